-- Finer cells in the log of changes, so that few tiles are said to have changed that did not; and
-- what a layer's triggers were made by.
-- @postgis@ stands for the schema PostGIS is installed in.

ALTER TABLE quartier.layers ADD COLUMN triggers text NOT NULL DEFAULT '';
COMMENT ON COLUMN quartier.layers.triggers IS
    'A hash of what the triggers do; another one has quartier apply make them anew.';

ALTER TABLE quartier.changes DROP CONSTRAINT changes_z_check;
ALTER TABLE quartier.changes ADD CONSTRAINT changes_z_check CHECK (z BETWEEN 0 AND 29);
ALTER TABLE quartier.changes ADD COLUMN parts bigint NOT NULL DEFAULT -1;
COMMENT ON COLUMN quartier.changes.parts IS
    'Which of the 64 cells three zooms deeper were touched, as bits in the order of their Morton codes.';
CREATE OR REPLACE VIEW quartier.public_changes AS
    SELECT c.layer_id, c.z, c.cell, c.revision, c.parts
    FROM quartier.changes c JOIN quartier.layers l ON l.id = c.layer_id
    WHERE NOT l.withdrawn;

CREATE OR REPLACE FUNCTION quartier.cell(place @postgis@.geometry) RETURNS bigint
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
    x := least(536870911, floor((lon / 360.0 + 0.5) * 536870912));
    y := least(536870911, greatest(0, floor((0.5 - asinh(tan(radians(lat))) / 6.283185307179586) * 536870912)));
    -- The bits are spread here once more: a call of quartier.morton would double what a row costs.
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
    'The cell of zoom 29 that a point (EPSG:4326) stands in, the 128th part of a tile of zoom 22, as a
Morton code; null off the square world.';

-- What is stored is of zoom 20. Nobody sees the layer until `apply` has given it triggers and an
-- overview that know better.
DO $$
DECLARE
    layer text;
BEGIN
    FOR layer IN SELECT id FROM quartier.layers WHERE declaration ->> 'geometry' = 'point' LOOP
        EXECUTE format('ALTER TABLE city.%I DISABLE TRIGGER USER', layer);
        EXECUTE format('UPDATE city.%I SET geom = geom WHERE geom IS NOT NULL', layer);
        EXECUTE format('ALTER TABLE city.%I ENABLE TRIGGER USER', layer);
        UPDATE quartier.layers SET withdrawn = true WHERE id = layer;
    END LOOP;
END $$;

COMMENT ON TYPE quartier.weighted_point IS
    'A point as overviews count it: once more (w = 1) or once less (-1), in its zoom 29 cell, at
millimetres of EPSG:3857.';

CREATE FUNCTION quartier.cells_of(place @postgis@.geometry, most int, deepest int)
RETURNS TABLE (z smallint, cell bigint, parts bigint)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    world CONSTANT float8 := 40075016.68557849;
    kind text := @postgis@.GeometryType(place);
    is_area boolean := @postgis@.ST_Dimension(place) = 2;
    longest float8 := greatest(@postgis@.ST_XMax(place) - @postgis@.ST_XMin(place),
                               @postgis@.ST_YMax(place) - @postgis@.ST_YMin(place)) / world;
    edge @postgis@.geometry;
    depth int;
    levels int;
    side float8;
    top bigint;
BEGIN
    IF kind = 'POINT' THEN
        RETURN QUERY SELECT 29::smallint, c, -1::bigint
            FROM quartier.cell(@postgis@.ST_Transform(place, 4326)) c WHERE c IS NOT NULL;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    IF longest IS NULL OR longest < 1e-12 OR most < 32
       OR kind LIKE '%COLLECTION' OR kind LIKE '%CURVE%' OR kind = 'CIRCULARSTRING' THEN
        RETURN QUERY SELECT c.z, c.cell, -1::bigint FROM quartier.cells_of(place) c;
        RETURN;
    END IF;
    edge := CASE WHEN is_area THEN @postgis@.ST_Boundary(place) ELSE place END;
    -- An edge goes through about 1.3 cells for each of its length, some more lie a quarter of a cell
    -- from it, and within an area there are as many again.
    depth := greatest(0, floor(ln(most * CASE WHEN is_area THEN 0.38 ELSE 0.6 END
                     / greatest(longest, @postgis@.ST_Length(edge) / world)) / ln(2.0)));
    depth := greatest(3, least(depth, deepest));
    levels := least(depth, depth - floor(-ln(longest) / ln(2.0))::int);
    side := world / 2.0 ^ depth;
    top := (1::bigint << depth) - 1;
    RETURN QUERY
        WITH vertex AS (  -- no point of the edge is further than a quarter of a cell from one
            SELECT @postgis@.ST_X(d.geom) / side + 2.0 ^ (depth - 1) AS x,
                   2.0 ^ (depth - 1) - @postgis@.ST_Y(d.geom) / side AS y
            FROM @postgis@.ST_DumpPoints(@postgis@.ST_Segmentize(edge, side / 2)) d
        ), met AS MATERIALIZED (
            SELECT least(top, greatest(0, floor(v.x + dx * 0.251)::bigint)) AS x,
                   least(top, greatest(0, floor(v.y + dy * 0.251)::bigint)) AS y
            FROM vertex v, (VALUES (-1, -1), (-1, 1), (1, -1), (1, 1)) s (dx, dy) GROUP BY 1, 2
        ), coarser AS MATERIALIZED (  -- up to where four cells or fewer hold it all
            SELECT k, m.x >> k AS x, m.y >> k AS y
            FROM met m, generate_series(0, CASE WHEN is_area THEN levels ELSE 0 END) k GROUP BY 1, 2, 3
        ), beside AS (  -- parts of a cell that the edge goes through, and not through the part
            SELECT c.k - 1 AS k, c.x * 2 + dx AS x, c.y * 2 + dy AS y
            FROM coarser c, (VALUES (0, 0), (0, 1), (1, 0), (1, 1)) s (dx, dy) WHERE c.k > 0
            EXCEPT SELECT * FROM coarser
        ), held AS (
            SELECT 0 AS k, quartier.morton(m.x, m.y) AS code FROM met m
            UNION ALL
            SELECT b.k, quartier.morton(b.x, b.y) FROM beside b
            WHERE @postgis@.ST_Intersects(place, @postgis@.ST_SetSRID(@postgis@.ST_MakePoint(
                ((b.x + 0.5) * (1 << b.k) - 2.0 ^ (depth - 1)) * side,
                (2.0 ^ (depth - 1) - (b.y + 0.5) * (1 << b.k)) * side), 3857))
        )
        -- Cells of the three deepest zooms are parts of one three zooms up: 1, 4 or 16 of its 64.
        SELECT (depth - greatest(h.k, 3))::smallint, h.code >> 2 * greatest(0, 3 - h.k),
               bit_or(CASE h.k WHEN 0 THEN 1::bigint << (h.code & 63)::int
                               WHEN 1 THEN 15::bigint << (h.code & 15)::int * 4
                               WHEN 2 THEN 65535::bigint << (h.code & 3)::int * 16
                               ELSE -1 END)
        FROM held h GROUP BY 1, 2;
EXCEPTION WHEN OTHERS THEN  -- an invalid geometry that GEOS will not compare
    RETURN QUERY SELECT c.z, c.cell, -1::bigint FROM quartier.cells_of(place) c;
END $$;
COMMENT ON FUNCTION quartier.cells_of(@postgis@.geometry, int, int) IS
    'The cells that a geometry (EPSG:3857) lies in, small along its edge, large within. Their parts
are of zoom `deepest` at most, and about `most` in number (some more where it has very many parts).';
GRANT EXECUTE ON FUNCTION quartier.cells_of(@postgis@.geometry, int, int) TO PUBLIC;

CREATE OR REPLACE FUNCTION quartier.trim_changes(layer text, keep bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    median bigint;
    size bigint;
    merged boolean := false;
BEGIN
    SELECT count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY revision) INTO size, median
    FROM quartier.changes WHERE layer_id = layer;
    FOR depth IN REVERSE 26..0 BY 2 LOOP
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
        SET revision = greatest(c.revision, excluded.revision), parts = -1;
        SELECT count(*) INTO size FROM quartier.changes WHERE layer_id = layer;
    END LOOP;
    IF size > keep THEN  -- what is newer than the median alone fills the log
        PERFORM quartier.touch_everything(layer, (SELECT revision FROM quartier.layer_state WHERE layer_id = layer));
        RETURN;
    END IF;
    UPDATE quartier.layer_state SET log_epoch = log_epoch + merged::int, log_size = size
    WHERE layer_id = layer;
END $$;

CREATE OR REPLACE FUNCTION quartier.touch_places(
    layer text, current bigint, places @postgis@.geometry[], bound bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, @postgis@, pg_temp AS $$
DECLARE
    cells bigint;
BEGIN
    INSERT INTO quartier.changes AS l (layer_id, z, cell, revision)
        SELECT layer, c.z, c.cell, current FROM unnest(places) p, LATERAL quartier.cells_of(p) c
        GROUP BY c.z, c.cell
        ON CONFLICT (layer_id, z, cell) DO UPDATE SET revision = excluded.revision, parts = -1;
    GET DIAGNOSTICS cells = ROW_COUNT;
    PERFORM quartier.log_cells(layer, current, cells, bound);
END $$;
