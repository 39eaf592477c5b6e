-- Where rows come from, and what is known of those withheld.
-- @postgis@ stands for the schema PostGIS is installed in.

ALTER TABLE quartier.quarantine ADD COLUMN fingerprint text;
COMMENT ON COLUMN quartier.quarantine.fingerprint IS
    'Of the row and the reason, where the row can be published all the same once it is accepted.';

CREATE TABLE quartier.accepted_rows (
    layer_id    text NOT NULL REFERENCES quartier.layers ON DELETE CASCADE,
    fingerprint text NOT NULL,
    reason      text NOT NULL,
    content     jsonb NOT NULL,
    accepted_by text NOT NULL,
    note        text NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (layer_id, fingerprint)
);
COMMENT ON TABLE quartier.accepted_rows IS
    'Rows that would be withheld and are published because somebody vouched for them, by name.';

CREATE VIEW quartier.current_runs AS
    SELECT DISTINCT ON (layer_id) * FROM quartier.runs
    WHERE state IN ('published', 'unchanged') AND (counts ->> 'read')::bigint > 0
    ORDER BY layer_id, id DESC;
COMMENT ON VIEW quartier.current_runs IS
    'Of each layer, the last run that read anything: what is withheld now, it withheld.';

CREATE VIEW quartier.public_provenance AS
    SELECT r.layer_id, r.id AS run, r.finished_at, r.revision, r.tool_version, r.config_hash,
           (r.counts ->> 'read')::bigint AS rows,
           (r.counts ->> 'quarantined')::bigint AS withheld,
           (SELECT coalesce(jsonb_agg(s - 'path' ORDER BY s ->> 'name'), '[]')
            FROM jsonb_array_elements(r.sources) s) AS sources
    FROM quartier.current_runs r JOIN quartier.layers l ON l.id = r.layer_id
    WHERE NOT l.withdrawn;
GRANT SELECT ON quartier.public_provenance TO quartier_web, quartier_officer;
