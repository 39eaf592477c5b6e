-- Lines that go there and back. ST_AsMVTGeom drops a vertex whose neighbours fall together on the
-- tile's grid, once it has dropped what lies on straight lines, and with it the whole way there and
-- back: a spur of a bus route, or all of a line that is nothing else. A vertex a quarter along each
-- of the two legs keeps the turn: its neighbours then lie in two places.
-- @postgis@ stands for the schema PostGIS is installed in.

CREATE FUNCTION quartier.turns_back(place @postgis@.geometry, near float8) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    -- What is nearer than `near` falls together in one of four grids of twice that (and what lies in
    -- one place does in none); whether that loses a turn, the function says that ST_AsMVTGeom asks.
    SELECT @postgis@.ST_NPoints(place) > 2 AND EXISTS (
        SELECT FROM (VALUES (0, 0, 0), (0, 0, 2), (0, 1, 2), (1, 0, 2), (1, 1, 2)) s (x, y, size),
        LATERAL (SELECT @postgis@.ST_SnapToGrid(
            place, s.x * near, s.y * near, s.size * near, s.size * near) AS geom OFFSET 0) g
        WHERE coalesce(@postgis@.ST_Length(@postgis@.ST_Simplify(g.geom, 0)), 0)
              < @postgis@.ST_Length(g.geom) * (1 - 1e-9))
$$;

CREATE FUNCTION quartier.turns_marked(line @postgis@.geometry, near float8)
RETURNS @postgis@.geometry
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    WITH vertex AS (
        SELECT d.path[1] AS n, @postgis@.ST_X(d.geom) AS x, @postgis@.ST_Y(d.geom) AS y
        FROM @postgis@.ST_DumpPoints(@postgis@.ST_RemoveRepeatedPoints(line)) d
    ), legs AS (  -- to the vertex before and to the one after
        SELECT v.*, lag(v.x, 1, v.x) OVER w - v.x AS back_x, lag(v.y, 1, v.y) OVER w - v.y AS back_y,
               lead(v.x, 1, v.x) OVER w - v.x AS on_x, lead(v.y, 1, v.y) OVER w - v.y AS on_y
        FROM vertex v WINDOW w AS (ORDER BY v.n)
    ), beyond AS (  -- and from the one after, where that is near, to the next
        SELECT l.*, CASE WHEN on_x ^ 2 + on_y ^ 2 <= near ^ 2 THEN lead(on_x, 1, 0) OVER w END AS far_x,
               CASE WHEN on_x ^ 2 + on_y ^ 2 <= near ^ 2 THEN lead(on_y, 1, 0) OVER w END AS far_y
        FROM legs l WINDOW w AS (ORDER BY l.n)
    ), turn AS (  -- the shorter leg lies along the longer one
        SELECT b.*, back_x * on_x + back_y * on_y > 0
                    AND abs(back_x * on_y - back_y * on_x)
                        <= near * sqrt(greatest(back_x ^ 2 + back_y ^ 2, on_x ^ 2 + on_y ^ 2))
                    AS is_turn,
               coalesce(back_x * far_x + back_y * far_y > 0
                        AND abs(back_x * far_y - back_y * far_x)
                            <= near * sqrt(greatest(back_x ^ 2 + back_y ^ 2, far_x ^ 2 + far_y ^ 2)),
                        false) AS is_hairpin
        FROM beyond b
    ), leg AS (  -- a mark must not lie where the leg before began
        SELECT t.*, t.is_turn OR lead(t.is_turn OR t.is_hairpin) OVER w
                    OR lag(t.is_hairpin, 1, false) OVER w AS leads,
               CASE WHEN sqrt(back_x ^ 2 + back_y ^ 2) BETWEEN 0.15 * sqrt(on_x ^ 2 + on_y ^ 2)
                                                           AND 0.35 * sqrt(on_x ^ 2 + on_y ^ 2)
                    THEN 0.5 ELSE 0.25 END AS mark
        FROM turn t WINDOW w AS (ORDER BY t.n)
    )
    SELECT @postgis@.ST_SetSRID(@postgis@.ST_MakeLine(
               @postgis@.ST_MakePoint(l.x + p.part * l.on_x, l.y + p.part * l.on_y)
               ORDER BY l.n, p.part), @postgis@.ST_SRID(line))
    FROM leg l, LATERAL (VALUES (0.0::float8), (l.mark)) p (part)
    WHERE p.part = 0 OR l.leads
$$;

CREATE FUNCTION quartier.turns_kept(place @postgis@.geometry, near float8)
RETURNS @postgis@.geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF NOT quartier.turns_back(place, near) THEN
        RETURN place;
    END IF;
    IF @postgis@.GeometryType(place) = 'LINESTRING' THEN
        RETURN quartier.turns_marked(place, near);
    END IF;
    RETURN (SELECT @postgis@.ST_Multi(@postgis@.ST_Collect(
                quartier.turns_marked(d.geom, near) ORDER BY d.path))
            FROM @postgis@.ST_Dump(place) d);
END $$;
COMMENT ON FUNCTION quartier.turns_kept IS
    'A line (EPSG:3857), with vertices where it turns back to within `near` metres of where it came
from, so that ST_AsMVTGeom keeps the turn.';

CREATE OR REPLACE FUNCTION quartier.to_tile_geom(place @postgis@.geometry)
RETURNS @postgis@.geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    box @postgis@.box3d := place;
BEGIN
    IF @postgis@.ST_XMin(box) >= -180 AND @postgis@.ST_XMax(box) <= 180
       AND @postgis@.ST_YMin(box) >= -85.06 AND @postgis@.ST_YMax(box) <= 85.06 THEN
        place := @postgis@.ST_Transform(place, 3857);
    ELSE
        IF box IS NULL OR NOT (@postgis@.ST_XMin(box) >= -180 AND @postgis@.ST_XMax(box) <= 180
           AND @postgis@.ST_YMin(box) >= -90 AND @postgis@.ST_YMax(box) <= 90) THEN
            RETURN NULL;
        END IF;
        place := @postgis@.ST_Intersection(
            @postgis@.ST_MakeValid(place), @postgis@.ST_MakeEnvelope(-180, -85.06, 180, 85.06, 4326));
        IF @postgis@.ST_IsEmpty(place) THEN
            RETURN NULL;
        END IF;
        place := @postgis@.ST_Transform(place, 3857);
    END IF;
    -- A metre is more than the grid of a tile of zoom 14.
    IF @postgis@.GeometryType(place) IN ('LINESTRING', 'MULTILINESTRING') THEN
        RETURN quartier.turns_kept(place, 1);
    END IF;
    RETURN place;
END $$;

CREATE OR REPLACE FUNCTION quartier.visible(place @postgis@.geometry, pixel float8, area boolean)
RETURNS @postgis@.geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    -- What is narrower than a quarter of a pixel would fall together on the tile's grid of eighths.
    IF area THEN
        IF @postgis@.ST_Area(place) < @postgis@.ST_Perimeter(place) * pixel / 8 THEN
            RETURN @postgis@.ST_Buffer(place, pixel / 8, 'quad_segs=1 join=mitre mitre_limit=1.5');
        END IF;
        RETURN place;
    END IF;
    IF quartier.reach(place) < pixel / 2 THEN  -- a tangle
        RETURN quartier.speck(place, pixel);
    END IF;
    RETURN quartier.turns_kept(place, pixel / 4);
END $$;
DROP FUNCTION quartier.unclosed;
GRANT EXECUTE ON FUNCTION quartier.turns_back, quartier.turns_marked, quartier.turns_kept TO PUBLIC;
-- Whoever may write a line calls them by their names.
GRANT USAGE ON SCHEMA quartier TO PUBLIC;

-- Lines that are stored: without triggers, because no row changes; the tiles do.
DO $$
DECLARE
    layer text;
    changed bigint;
BEGIN
    FOR layer IN SELECT id FROM quartier.layers WHERE declaration ->> 'geometry' IN ('line', 'mixed') LOOP
        EXECUTE format('ALTER TABLE city.%I DISABLE TRIGGER USER', layer);
        EXECUTE format('UPDATE city.%I SET geom = geom WHERE @postgis@.ST_Dimension(geom) = 1'
                       ' AND tile_geom IS DISTINCT FROM quartier.to_tile_geom(geom)', layer);
        GET DIAGNOSTICS changed = ROW_COUNT;
        EXECUTE format('ALTER TABLE city.%I ENABLE TRIGGER USER', layer);
        IF changed > 0 THEN
            PERFORM quartier.touch_everything(layer, quartier.allocate_revision(layer, 0, 0, 0));
        END IF;
    END LOOP;
END $$;
