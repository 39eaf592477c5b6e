-- The house: catalogue, state, revisions, changes, runs and quarantine, and the functions that
-- every layer's triggers call. @postgis@ stands for the schema PostGIS is installed in.
-- Runs as quartier_ingest, which owns the data.

CREATE TABLE quartier.layers (
    id          text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9_]{0,47}$'),
    declaration jsonb NOT NULL,
    config_hash text NOT NULL,
    withdrawn   boolean NOT NULL DEFAULT false,
    declared_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE quartier.layers IS 'The catalogue: one row for each declared layer.';

-- Kept apart from the catalogue: this row is the lock and the clock of a layer, changed by every
-- transaction that changes one of its rows.
CREATE TABLE quartier.layer_state (
    layer_id      text PRIMARY KEY REFERENCES quartier.layers ON DELETE CASCADE,
    revision      bigint NOT NULL DEFAULT 0,
    base_revision bigint NOT NULL DEFAULT 0,
    log_epoch     bigint NOT NULL DEFAULT 0,
    log_size      bigint NOT NULL DEFAULT 0,
    salt          uuid NOT NULL DEFAULT gen_random_uuid(),
    last_xid      xid8,
    changed_at    timestamptz
) WITH (fillfactor = 50);
COMMENT ON COLUMN quartier.layer_state.base_revision IS
    'Every tile is at least this new; what the change log no longer tells apart is folded into it.';
COMMENT ON COLUMN quartier.layer_state.salt IS
    'Tells this layer from one of the same name and revision in another database.';
COMMENT ON COLUMN quartier.layer_state.log_epoch IS
    'Raised when cells of the change log were merged, so that readers read it anew.';

CREATE TABLE quartier.revisions (
    layer_id   text NOT NULL REFERENCES quartier.layers ON DELETE CASCADE,
    revision   bigint NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT now(),
    inserted   bigint NOT NULL DEFAULT 0,
    updated    bigint NOT NULL DEFAULT 0,
    deleted    bigint NOT NULL DEFAULT 0,
    run_id     bigint,
    made_by    text NOT NULL DEFAULT session_user,
    PRIMARY KEY (layer_id, revision)
);

CREATE TABLE quartier.changes (
    layer_id text NOT NULL REFERENCES quartier.layers ON DELETE CASCADE,
    z        smallint NOT NULL CHECK (z BETWEEN 0 AND 20),
    cell     bigint NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (layer_id, z, cell)
);
CREATE INDEX changes_by_revision ON quartier.changes (layer_id, revision);
COMMENT ON TABLE quartier.changes IS
    'The last revision that touched each cell: a tile of the world at zoom z, named by its Morton code.';

CREATE TABLE quartier.maps (
    id          text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9_]{0,47}$'),
    declaration jsonb NOT NULL,
    withdrawn   boolean NOT NULL DEFAULT false
);

CREATE TABLE quartier.runs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    layer_id     text NOT NULL REFERENCES quartier.layers ON DELETE CASCADE,
    state        text NOT NULL DEFAULT 'running'
                 CHECK (state IN ('running', 'published', 'unchanged', 'refused')),
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    sources      jsonb NOT NULL DEFAULT '[]',
    checksum     text,
    config_hash  text,
    revision     bigint,
    counts       jsonb NOT NULL DEFAULT '{}',
    facts        jsonb NOT NULL DEFAULT '[]',
    message      text,
    tool_version text
);
CREATE INDEX runs_by_layer ON quartier.runs (layer_id, id DESC);
COMMENT ON TABLE quartier.runs IS 'One row for each execution of an ingest; written outside its transaction.';

CREATE TABLE quartier.quarantine (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id      bigint NOT NULL REFERENCES quartier.runs ON DELETE CASCADE,
    layer_id    text NOT NULL,
    file        text NOT NULL,
    line        bigint NOT NULL,
    row_number  bigint NOT NULL,
    column_name text,
    source_key  text,
    reason      text NOT NULL,
    content     jsonb NOT NULL
);
CREATE INDEX quarantine_by_run ON quartier.quarantine (run_id, id);
COMMENT ON COLUMN quartier.quarantine.column_name IS
    'Null: the whole row is withheld. A name: that cell became null and the row is published.';

-- What the web may know.
CREATE VIEW quartier.public_layers AS
    SELECT l.id, l.declaration - 'source' AS declaration,
           md5(l.config_hash || s.salt::text) AS config_hash, s.salt, s.revision, s.base_revision, s.log_epoch, s.changed_at
    FROM quartier.layers l JOIN quartier.layer_state s ON s.layer_id = l.id
    WHERE NOT l.withdrawn;
CREATE VIEW quartier.public_state AS
    SELECT s.layer_id, s.revision, s.base_revision, s.log_epoch
    FROM quartier.layer_state s JOIN quartier.layers l ON l.id = s.layer_id
    WHERE NOT l.withdrawn;
CREATE VIEW quartier.public_changes AS
    SELECT c.layer_id, c.z, c.cell, c.revision
    FROM quartier.changes c JOIN quartier.layers l ON l.id = c.layer_id
    WHERE NOT l.withdrawn;
CREATE VIEW quartier.public_maps AS
    SELECT id, declaration FROM quartier.maps WHERE NOT withdrawn;

-- Grid arithmetic -------------------------------------------------------------------------------

CREATE FUNCTION quartier.morton(x bigint, y bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    x := (x | (x << 16)) & 281470681808895;          -- 0x0000FFFF0000FFFF
    x := (x | (x << 8)) & 71777214294589695;         -- 0x00FF00FF00FF00FF
    x := (x | (x << 4)) & 1085102592571150095;       -- 0x0F0F0F0F0F0F0F0F
    x := (x | (x << 2)) & 3689348814741910323;       -- 0x3333333333333333
    x := (x | (x << 1)) & 6148914691236517205;       -- 0x5555555555555555
    y := (y | (y << 16)) & 281470681808895;
    y := (y | (y << 8)) & 71777214294589695;
    y := (y | (y << 4)) & 1085102592571150095;
    y := (y | (y << 2)) & 3689348814741910323;
    y := (y | (y << 1)) & 6148914691236517205;
    RETURN x | (y << 1);
END $$;
COMMENT ON FUNCTION quartier.morton IS
    'The Morton code of column x and row y: their bits in turn, x in the even places.';

-- The bits are spread here once more: a call of quartier.morton would double what a row costs.
CREATE FUNCTION quartier.cell(place @postgis@.geometry) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    lon float8 := @postgis@.ST_X(place);
    lat float8 := @postgis@.ST_Y(place);
    x bigint;
    y bigint;
BEGIN
    IF lon IS NULL OR NOT (lon BETWEEN -180 AND 180 AND lat BETWEEN -85.06 AND 85.06) THEN
        RETURN NULL;
    END IF;
    x := least(1048575, floor((lon / 360.0 + 0.5) * 1048576));
    y := least(1048575, greatest(0, floor((0.5 - asinh(tan(radians(lat))) / 6.283185307179586) * 1048576)));
    x := (x | (x << 16)) & 281470681808895;
    x := (x | (x << 8)) & 71777214294589695;
    x := (x | (x << 4)) & 1085102592571150095;
    x := (x | (x << 2)) & 3689348814741910323;
    x := (x | (x << 1)) & 6148914691236517205;
    y := (y | (y << 16)) & 281470681808895;
    y := (y | (y << 8)) & 71777214294589695;
    y := (y | (y << 4)) & 1085102592571150095;
    y := (y | (y << 2)) & 3689348814741910323;
    y := (y | (y << 1)) & 6148914691236517205;
    RETURN x | (y << 1);
END $$;
COMMENT ON FUNCTION quartier.cell IS
    'The zoom 20 cell a point (EPSG:4326) stands in, as a Morton code; null off the square world.';

CREATE FUNCTION quartier.to_tile_geom(place @postgis@.geometry) RETURNS @postgis@.geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    box @postgis@.box3d := place;
BEGIN
    IF @postgis@.ST_XMin(box) >= -180 AND @postgis@.ST_XMax(box) <= 180
       AND @postgis@.ST_YMin(box) >= -85.06 AND @postgis@.ST_YMax(box) <= 85.06 THEN
        RETURN @postgis@.ST_Transform(place, 3857);
    END IF;
    IF box IS NULL OR NOT (@postgis@.ST_XMin(box) >= -180 AND @postgis@.ST_XMax(box) <= 180
       AND @postgis@.ST_YMin(box) >= -90 AND @postgis@.ST_YMax(box) <= 90) THEN
        RETURN NULL;
    END IF;
    place := @postgis@.ST_Intersection(
        @postgis@.ST_MakeValid(place), @postgis@.ST_MakeEnvelope(-180, -85.06, 180, 85.06, 4326));
    IF @postgis@.ST_IsEmpty(place) THEN
        RETURN NULL;
    END IF;
    RETURN @postgis@.ST_Transform(place, 3857);
END $$;
COMMENT ON FUNCTION quartier.to_tile_geom IS
    'A geometry (EPSG:4326) on the square world (EPSG:3857), cut at ±85.06° so that the poles raise
nothing; null outside ±180/±90, where the CHECK on geom speaks.';

CREATE FUNCTION quartier.cells_of(place @postgis@.geometry)
RETURNS TABLE (z smallint, cell bigint)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    world CONSTANT float8 := 40075016.68557849;
    x0 float8 := @postgis@.ST_XMin(place) / world + 0.5;
    x1 float8 := @postgis@.ST_XMax(place) / world + 0.5;
    y0 float8 := 0.5 - @postgis@.ST_YMax(place) / world;
    y1 float8 := 0.5 - @postgis@.ST_YMin(place) / world;
    side float8 := greatest(x1 - x0, y1 - y0);
    depth int;
    n float8;
    top int;
BEGIN
    IF side IS NULL THEN
        RETURN;
    END IF;
    -- As fine as leaves at most nine cells in a row; 1 m where the side is nothing.
    depth := CASE WHEN side < 1e-12 THEN 20 ELSE least(20, greatest(0, floor(ln(8 / side) / ln(2.0)))) END;
    n := 2.0 ^ depth;
    top := (n - 1)::int;
    BEGIN
        RETURN QUERY
            SELECT depth::smallint, quartier.morton(cx, cy)
            FROM generate_series(least(top, greatest(0, floor(x0 * n)))::bigint,
                                 least(top, greatest(0, floor(x1 * n)))::bigint) AS cx,
                 generate_series(least(top, greatest(0, floor(y0 * n)))::bigint,
                                 least(top, greatest(0, floor(y1 * n)))::bigint) AS cy
            WHERE side < 1e-12
               OR @postgis@.ST_Intersects(
                      place, @postgis@.ST_TileEnvelope(depth, cx::int, cy::int, margin => 0.001));
    EXCEPTION WHEN OTHERS THEN  -- an invalid geometry that GEOS will not compare: its whole box
        RETURN QUERY
            SELECT depth::smallint, quartier.morton(cx, cy)
            FROM generate_series(least(top, greatest(0, floor(x0 * n)))::bigint,
                                 least(top, greatest(0, floor(x1 * n)))::bigint) AS cx,
                 generate_series(least(top, greatest(0, floor(y0 * n)))::bigint,
                                 least(top, greatest(0, floor(y1 * n)))::bigint) AS cy;
    END;
END $$;
COMMENT ON FUNCTION quartier.cells_of IS
    'The cells a geometry (EPSG:3857) lies in, at the finest zoom (20 at most) where its box is at
most nine cells wide, so that their number stays bounded.';

-- Revisions and changes ---------------------------------------------------------------------------

CREATE FUNCTION quartier.revision_for_us(state quartier.layer_state) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT state.revision + (state.last_xid IS DISTINCT FROM pg_catalog.pg_current_xact_id()
                             OR state.changed_at IS DISTINCT FROM pg_catalog.now())::int
$$;
COMMENT ON FUNCTION quartier.revision_for_us IS
    'The revision that this transaction has, or would be the first to make. Its number alone does
not name a transaction: after a restore into another cluster numbers begin anew, times do not.';

CREATE FUNCTION quartier.lock_layer() RETURNS trigger
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
    RETURN NULL;
END $$;
COMMENT ON FUNCTION quartier.lock_layer IS
    'BEFORE STATEMENT: takes the layer''s lock before any row is locked, so that two writers of one
layer wait for each other instead of deadlocking.';

CREATE FUNCTION quartier.stamp_since() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.fid IS DISTINCT FROM OLD.fid THEN
            RAISE EXCEPTION 'fid names a feature for good: % cannot become %', OLD.fid, NEW.fid
                USING HINT = 'insert a new row and delete the old one';
        END IF;
    END IF;
    NEW.since := current_setting('quartier.since_' || TG_ARGV[0])::bigint;
    RETURN NEW;
END $$;

CREATE FUNCTION quartier.allocate_revision(
    layer text, inserted bigint, updated bigint, deleted bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    current bigint;
BEGIN
    UPDATE quartier.layer_state s
    SET revision = quartier.revision_for_us(s),
        last_xid = pg_current_xact_id(),
        changed_at = now()
    WHERE s.layer_id = layer
    RETURNING s.revision INTO current;
    INSERT INTO quartier.revisions AS r (layer_id, revision, inserted, updated, deleted, run_id)
    VALUES (layer, current, $2, $3, $4, nullif(current_setting('quartier.run', true), '')::bigint)
    ON CONFLICT (layer_id, revision) DO UPDATE
    SET inserted = r.inserted + excluded.inserted,
        updated = r.updated + excluded.updated,
        deleted = r.deleted + excluded.deleted;
    PERFORM pg_notify('quartier', '');  -- the same words twice are told once at commit
    RETURN current;
END $$;

CREATE FUNCTION quartier.touch_everything(layer text, current bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM quartier.changes WHERE layer_id = layer;
    UPDATE quartier.layer_state
    SET base_revision = current, log_epoch = log_epoch + 1, log_size = 0
    WHERE layer_id = layer;
$$;

CREATE FUNCTION quartier.trim_changes(layer text, keep bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    median bigint;
    size bigint;
    merged boolean := false;
BEGIN
    SELECT count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY revision) INTO size, median
    FROM quartier.changes WHERE layer_id = layer;
    FOR depth IN REVERSE 19..0 LOOP
        EXIT WHEN size <= keep;
        merged := true;
        WITH fine AS (
            DELETE FROM quartier.changes c
            WHERE c.layer_id = layer AND c.z > depth AND c.revision <= median
            RETURNING c.z, c.cell, c.revision
        )
        INSERT INTO quartier.changes AS c (layer_id, z, cell, revision)
        SELECT layer, depth, cell >> (2 * (z - depth)), max(revision) FROM fine GROUP BY 3
        ON CONFLICT (layer_id, z, cell) DO UPDATE
        SET revision = greatest(c.revision, excluded.revision);
        SELECT count(*) INTO size FROM quartier.changes WHERE layer_id = layer;
    END LOOP;
    IF size > keep THEN  -- what is newer than the median alone fills the log
        PERFORM quartier.touch_everything(layer, (SELECT revision FROM quartier.layer_state WHERE layer_id = layer));
        RETURN;
    END IF;
    UPDATE quartier.layer_state SET log_epoch = log_epoch + merged::int, log_size = size
    WHERE layer_id = layer;
END $$;
COMMENT ON FUNCTION quartier.trim_changes IS
    'Merges the older half of a layer''s cells into coarser ones, each with its greatest revision,
until at most `keep` are left: a little more than changed looks changed, never less.';

CREATE FUNCTION quartier.log_cells(layer text, current bigint, cells bigint, bound bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    size bigint;
BEGIN
    UPDATE quartier.layer_state SET log_size = log_size + cells
    WHERE layer_id = layer RETURNING log_size INTO size;
    IF size <= bound THEN
        RETURN;
    END IF;
    IF (SELECT count(*) FROM quartier.changes WHERE layer_id = layer AND revision = current) > bound / 4 THEN
        PERFORM quartier.touch_everything(layer, current);
    ELSE
        PERFORM quartier.trim_changes(layer, bound * 3 / 4);
    END IF;
END $$;
COMMENT ON FUNCTION quartier.log_cells IS
    'Counts what a statement logged and keeps the log under its bound.';

CREATE FUNCTION quartier.lock(layer text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('LOCK TABLE city.%I IN SHARE ROW EXCLUSIVE MODE', layer);
    PERFORM FROM quartier.layer_state WHERE layer_id = layer FOR UPDATE;
END $$;
COMMENT ON FUNCTION quartier.lock IS
    'Call it first in a transaction that reads rows FOR UPDATE, or that truncates after other
changes, before it changes a layer: two such transactions then wait for each other. A transaction
of plain statements needs no call.';

-- Rights ----------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA quartier, city, city_overview TO quartier_web, quartier_officer;
GRANT SELECT ON quartier.public_layers, quartier.public_state, quartier.public_changes,
    quartier.public_maps TO quartier_web, quartier_officer;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA quartier FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA quartier REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT EXECUTE ON FUNCTION quartier.morton, quartier.cell, quartier.cells_of, quartier.to_tile_geom
    TO PUBLIC;
