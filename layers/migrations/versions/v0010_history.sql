-- History that may be read, and told apart: what a revision was, and who undid what.
-- @postgis@ stands for the schema PostGIS is installed in.

ALTER TABLE quartier.revisions ADD COLUMN note jsonb;
COMMENT ON COLUMN quartier.revisions.note IS
    'Of a revision that undid others: which one it went back to, by whom and why.';

CREATE VIEW quartier.public_revisions AS
    SELECT r.layer_id, r.revision, r.made_at, r.inserted, r.updated, r.deleted, r.run_id,
           (r.note ->> 'back_to')::bigint AS back_to
    FROM quartier.revisions r JOIN quartier.layers l ON l.id = r.layer_id
    WHERE NOT l.withdrawn;
GRANT SELECT ON quartier.public_revisions TO quartier_web, quartier_officer;

-- What `apply` makes for a new layer.
DO $$
DECLARE
    layer text;
    gone boolean;
BEGIN
    FOR layer, gone IN SELECT id, withdrawn FROM quartier.layers LOOP
        EXECUTE format('CREATE VIEW city_overview.%I AS SELECT * FROM city_history.%I',
                       layer || '__history', layer);
        IF NOT gone THEN
            EXECUTE format('GRANT SELECT ON city_overview.%I TO quartier_web, quartier_officer',
                           layer || '__history');
        END IF;
    END LOOP;
END $$;
