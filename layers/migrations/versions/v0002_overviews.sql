-- Overviews: what low zooms hold in the place of every feature. The tables are made for each
-- layer by quartier apply; here is what all of them share. Runs as quartier_ingest.

ALTER TABLE quartier.layers ADD COLUMN overview text NOT NULL DEFAULT '';
COMMENT ON COLUMN quartier.layers.overview IS
    'What the tables of the layer''s overview were made from; apply makes them anew for another.';

ALTER TABLE quartier.layer_state
    ADD COLUMN detail_zoom smallint NOT NULL DEFAULT 0,
    ADD COLUMN cube_depth smallint NOT NULL DEFAULT -1,
    ADD COLUMN cube_rows bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN quartier.layer_state.detail_zoom IS
    'The lowest zoom whose tiles hold the points themselves. It changes only with a revision that
touches everything.';

-- A check of the key for each logged cell costs more than the log itself; only functions of this
-- schema write it, for layers whose state they have locked.
ALTER TABLE quartier.changes DROP CONSTRAINT changes_layer_id_fkey;

CREATE TYPE quartier.weighted_point AS (
    w int, cell bigint, x bigint, y bigint, fid bigint, grp int, bucket int
);
COMMENT ON TYPE quartier.weighted_point IS
    'A point as overviews count it: once more (w = 1) or once less (-1), in its zoom 20 cell, at
millimetres of EPSG:3857.';

CREATE FUNCTION quartier.rebuild_overview(layer text, current bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before smallint := (SELECT detail_zoom FROM quartier.layer_state WHERE layer_id = layer);
BEGIN
    EXECUTE format('SELECT quartier.%I(true)', layer || '__overview');
    PERFORM set_config('quartier.rebuilt_' || layer, 'yes', true);  -- until the next statement
    IF (SELECT detail_zoom FROM quartier.layer_state WHERE layer_id = layer) <> before THEN
        PERFORM quartier.touch_everything(layer, current);
    END IF;
END $$;
COMMENT ON FUNCTION quartier.rebuild_overview IS
    'Counts a layer anew; where that moves its detail zoom, every tile is touched.';
REVOKE EXECUTE ON FUNCTION quartier.rebuild_overview FROM PUBLIC;

CREATE OR REPLACE VIEW quartier.public_layers AS
    SELECT l.id, l.declaration - 'source' AS declaration,
           md5(l.config_hash || s.salt::text) AS config_hash, s.salt, s.revision, s.base_revision,
           s.log_epoch, s.changed_at, s.detail_zoom, s.cube_depth
    FROM quartier.layers l JOIN quartier.layer_state s ON s.layer_id = l.id
    WHERE NOT l.withdrawn;

-- As before, and a statement begins in which nothing has been counted anew.
CREATE OR REPLACE FUNCTION quartier.lock_layer() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    next bigint;
BEGIN
    SELECT quartier.revision_for_us(s) INTO next
    FROM quartier.layer_state s WHERE layer_id = TG_ARGV[0] FOR UPDATE;
    IF next IS NULL THEN
        RAISE EXCEPTION 'layer % is not in quartier.layer_state; run quartier apply', TG_ARGV[0];
    END IF;
    -- Rows written by this statement carry it; see the column since.
    PERFORM set_config('quartier.since_' || TG_ARGV[0], next::text, true);
    IF pg_trigger_depth() = 1 THEN
        PERFORM set_config('quartier.rebuilt_' || TG_ARGV[0], '', true);
    END IF;
    RETURN NULL;
END $$;
