-- Turns of a few units of a tile's grid. A mark a quarter along a leg of two or three units falls
-- together with the turn. A second one lies half way along the shorter leg: where the ends of that
-- are two units apart, it is on the unit between them. And a turn is looked for at its vertex, as no
-- grid of one size shows the turns of every zoom.
-- @postgis@ stands for the schema PostGIS is installed in.

CREATE FUNCTION quartier.legs(place @postgis@.geometry, near float8)
RETURNS TABLE (n int, x float8, y float8, back_x float8, back_y float8, on_x float8, on_y float8,
               is_turn boolean, is_hairpin boolean)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    WITH leg AS (  -- to the vertex before, to the one after, and from that to the next
        SELECT d.n, d.x, d.y, lag(x, 1, x) OVER () - x AS back_x, lag(y, 1, y) OVER () - y AS back_y,
               lead(x, 1, x) OVER () - x AS on_x, lead(y, 1, y) OVER () - y AS on_y,
               lead(x, 2) OVER () - lead(x) OVER () AS far_x,
               lead(y, 2) OVER () - lead(y) OVER () AS far_y
        FROM (SELECT d.path[1] AS n, @postgis@.ST_X(d.geom) AS x, @postgis@.ST_Y(d.geom) AS y
              FROM @postgis@.ST_DumpPoints(@postgis@.ST_RemoveRepeatedPoints(place)) d OFFSET 0) d
    )  -- a turn: the shorter of two legs lies along the longer one
    SELECT n, x, y, back_x, back_y, on_x, on_y,
           back_x * on_x + back_y * on_y > 0
           AND abs(back_x * on_y - back_y * on_x)
               <= near * sqrt(greatest(back_x ^ 2 + back_y ^ 2, on_x ^ 2 + on_y ^ 2)),
           on_x ^ 2 + on_y ^ 2 <= near ^ 2
           AND coalesce(back_x * far_x + back_y * far_y > 0
                        AND abs(back_x * far_y - back_y * far_x) <= near * sqrt(greatest(
                            back_x ^ 2 + back_y ^ 2, far_x ^ 2 + far_y ^ 2)), false)
    FROM leg
$$;
COMMENT ON FUNCTION quartier.legs IS
    'The legs that meet at each vertex of a line, in its order, without repeated ones. Of a line of
several parts, legs from part to part are among them.';

CREATE OR REPLACE FUNCTION quartier.turns_back(place @postgis@.geometry, near float8) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN @postgis@.ST_NPoints(place) > 2 AND EXISTS (
        SELECT FROM quartier.legs(place, near) WHERE is_turn OR is_hairpin);
END $$;

CREATE OR REPLACE FUNCTION quartier.turns_marked(line @postgis@.geometry, near float8)
RETURNS @postgis@.geometry
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    WITH leg AS (  -- a mark must not lie where the leg before began
        SELECT l.*, l.is_turn OR lead(l.is_turn OR l.is_hairpin) OVER w
                    OR lag(l.is_hairpin, 1, false) OVER w AS leads,
               CASE WHEN sqrt(back_x ^ 2 + back_y ^ 2) BETWEEN 0.15 * sqrt(on_x ^ 2 + on_y ^ 2)
                                                           AND 0.35 * sqrt(on_x ^ 2 + on_y ^ 2)
                    THEN 0.5 ELSE 0.25 END AS mark,
               CASE WHEN l.is_turn THEN 0.5 * least(1, sqrt((back_x ^ 2 + back_y ^ 2)
                                                            / (on_x ^ 2 + on_y ^ 2))) END AS middle
        FROM quartier.legs(line, near) l WINDOW w AS (ORDER BY l.n)
    )
    SELECT @postgis@.ST_SetSRID(@postgis@.ST_MakeLine(
               @postgis@.ST_MakePoint(l.x + p.part * l.on_x, l.y + p.part * l.on_y)
               ORDER BY l.n, p.part), @postgis@.ST_SRID(line))
    FROM leg l, LATERAL (
        SELECT 0.0::float8 UNION SELECT l.mark WHERE l.leads UNION SELECT l.middle WHERE l.middle > 0
    ) p (part)
$$;
GRANT EXECUTE ON FUNCTION quartier.legs TO PUBLIC;

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
