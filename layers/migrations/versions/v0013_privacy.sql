-- Layers that publish less than they hold: exact rows in city_raw, published ones in city.
-- @postgis@ stands for the schema PostGIS is installed in.

INSERT INTO quartier.secrets (name, value)
    VALUES ('privacy', decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

CREATE TABLE quartier.privacy_state (
    layer_id   text PRIMARY KEY REFERENCES quartier.layers (id) ON DELETE CASCADE,
    definition text NOT NULL,
    withheld   bigint NOT NULL DEFAULT 0,
    derived_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE quartier.privacy_state IS
    'Of each layer with a privacy policy: a hash of what its published rows were derived by, and how
many rows are not published at all.';

-- How many in fives, so that no single one is told by what it adds.
CREATE VIEW quartier.public_privacy AS
    SELECT p.layer_id, p.withheld / 5 * 5 AS withheld
    FROM quartier.privacy_state p JOIN quartier.layers l ON l.id = p.layer_id WHERE NOT l.withdrawn;
GRANT SELECT ON quartier.public_privacy TO quartier_web, quartier_officer;

ALTER TABLE quartier.layer_state ADD COLUMN history_from bigint NOT NULL DEFAULT 0,
    ADD COLUMN rollback_from bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN quartier.layer_state.rollback_from IS
    'The first revision that can be gone back to. Exact rows of a private layer may be known from an
earlier one on than what was published of them.';
COMMENT ON COLUMN quartier.layer_state.history_from IS
    'The first revision whose rows can still be read; what was before was let go.';

CREATE OR REPLACE VIEW quartier.public_revisions AS
    SELECT r.layer_id, r.revision, r.made_at, r.inserted, r.updated, r.deleted, r.run_id,
           (r.note ->> 'back_to')::bigint AS back_to
    FROM quartier.revisions r JOIN quartier.layers l ON l.id = r.layer_id
    JOIN quartier.layer_state s ON s.layer_id = r.layer_id
    WHERE NOT l.withdrawn AND r.revision >= s.history_from;

-- How many rows a private layer was given tells how many are withheld.
CREATE OR REPLACE VIEW quartier.public_provenance AS
    SELECT r.layer_id, r.id AS run, r.finished_at, r.revision, r.tool_version, r.config_hash,
           CASE WHEN NOT l.declaration ? 'privacy' THEN (r.counts ->> 'read')::bigint END AS rows,
           CASE WHEN NOT l.declaration ? 'privacy' THEN (r.counts ->> 'quarantined')::bigint END
               AS withheld,
           (SELECT coalesce(jsonb_agg(s - 'path' ORDER BY s ->> 'name'), '[]')
            FROM jsonb_array_elements(r.sources) s) AS sources
    FROM quartier.current_runs r JOIN quartier.layers l ON l.id = r.layer_id
    WHERE NOT l.withdrawn;

-- The exact rows of a private layer come first, as for everyone who writes them.
CREATE OR REPLACE FUNCTION quartier.lock(layer text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF to_regclass(format('city_raw.%I', layer)) IS NOT NULL THEN
        EXECUTE format('LOCK TABLE city_raw.%I IN SHARE ROW EXCLUSIVE MODE', layer);
    END IF;
    EXECUTE format('LOCK TABLE city.%I IN SHARE ROW EXCLUSIVE MODE', layer);
    PERFORM FROM quartier.layer_state WHERE layer_id = layer FOR UPDATE;
END $$;

CREATE FUNCTION quartier.public_fid(fid bigint, key bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    l bigint := fid >> 26;
    r bigint := fid & 67108863;
    was bigint;
BEGIN
    LOOP
        FOR i IN 1 .. 6 LOOP
            was := r;
            r := l # (hashint8extended(r, key + i) & 67108863);
            l := was;
        END LOOP;
        IF (l | r) <> 0 THEN  -- 0 is no fid; what goes there goes on to where 0 itself would go
            RETURN (l << 26) | r;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION quartier.public_fid IS
    'The number that an exact row is published under: a keyed permutation of 52 bits (a Feistel
network), so that published numbers tell neither the order of rows nor that some are missing.';

-- Cells of the world's grid (29 bits an axis, in Morton order), as privacy makes them coarser.

CREATE FUNCTION quartier.cell_at(cell bigint, level int) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (cell >> (2 * (29 - level))) << (2 * (29 - level))
$$;
COMMENT ON FUNCTION quartier.cell_at IS 'The first of the finest cells that a cell of a level holds.';

CREATE FUNCTION quartier.cell_corner(cell bigint, level int, OUT x bigint, OUT y bigint)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    x := 0;
    y := 0;
    FOR bit IN 0 .. level - 1 LOOP
        x := x | (((cell >> (2 * (29 - level + bit))) & 1) << bit);
        y := y | (((cell >> (2 * (29 - level + bit) + 1)) & 1) << bit);
    END LOOP;
END $$;

CREATE FUNCTION quartier.cell_width(cell bigint, level int) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    -- At the middle latitude of the tile of zoom 6 that the cell lies in, so that all cells of a
    -- level have one width there.
    SELECT 40075016.686 / 2 ^ level / cosh(pi() * (1 - (2 * c.y + 1) / 64.0))
    FROM quartier.cell_corner(cell, 6) c
$$;
COMMENT ON FUNCTION quartier.cell_width IS 'The width of a cell of a level on the ground, in metres.';

CREATE FUNCTION quartier.finest_level(latitude float8, metres float8) RETURNS int
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT greatest(6, least(29, floor(ln(40075016.686 / metres / cosh(pi() * (1 - (2 * least(63,
        greatest(0, floor((0.5 - asinh(tan(radians(latitude))) / 6.283185307179586) * 64))) + 1)
        / 64.0))) / ln(2::float8))))::int
$$;
COMMENT ON FUNCTION quartier.finest_level IS
    'The finest level whose cells are at least this wide on the ground, as quartier.cell_width has it.';

CREATE FUNCTION quartier.cell_envelope(cell bigint, level int) RETURNS @postgis@.geometry
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT @postgis@.ST_Transform(@postgis@.ST_TileEnvelope(level, c.x::int, c.y::int), 4326)
    FROM quartier.cell_corner(cell, level) c
$$;

CREATE FUNCTION quartier.only_derived() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('quartier.deriving', true) IS DISTINCT FROM TG_ARGV[0] THEN
        RAISE EXCEPTION 'city.% holds what the privacy policy of the layer leaves of its rows', TG_ARGV[0]
            USING HINT = format('change city_raw.%s instead', TG_ARGV[0]);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION quartier.only_derived IS
    'BEFORE STATEMENT on a published table: nobody but its derivation writes there.';
GRANT EXECUTE ON FUNCTION quartier.cell_at, quartier.cell_corner, quartier.cell_width,
    quartier.finest_level, quartier.cell_envelope TO PUBLIC;
