-- Overviews of lines and polygons: what a low zoom draws of one geometry, and what is known of
-- each layer's overview. @postgis@ stands for the schema PostGIS is installed in.

CREATE TABLE quartier.shape_state (
    layer_id   text PRIMARY KEY REFERENCES quartier.layers ON DELETE CASCADE,
    definition text NOT NULL,
    stale      boolean NOT NULL DEFAULT false
);
COMMENT ON COLUMN quartier.shape_state.definition IS
    'What the rows of the overview were made by; another one has quartier apply make them anew.';
COMMENT ON COLUMN quartier.shape_state.stale IS
    'Rows changed since borders were simplified together, or lines joined, the last time.';

CREATE FUNCTION quartier.reach(place @postgis@.geometry) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT greatest(@postgis@.ST_XMax(place) - @postgis@.ST_XMin(place),
                    @postgis@.ST_YMax(place) - @postgis@.ST_YMin(place))
$$;
COMMENT ON FUNCTION quartier.reach IS 'The longer side of a geometry''s box.';

CREATE FUNCTION quartier.chance(fid bigint) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (((abs(fid) & 2147483647) * 2654435761) & 4294967295) / 4294967296.0::float8
$$;
COMMENT ON FUNCTION quartier.chance IS
    'A number in [0, 1) that belongs to a feature for good. Multiples of the golden section: any run
of following fids is spread evenly.';

-- Too small to be told from a point: a square, or a stroke in its direction, of one pixel. It is
-- put on a point of the feature, so that it reaches at most half a pixel past the feature''s place.
CREATE FUNCTION quartier.speck(place @postgis@.geometry, pixel float8) RETURNS @postgis@.geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    part @postgis@.geometry := @postgis@.ST_GeometryN(place, 1);
    middle @postgis@.geometry;
    dx float8 := 1;
    dy float8 := 0;
    x float8;
    y float8;
BEGIN
    IF @postgis@.ST_Dimension(place) = 2 THEN
        middle := @postgis@.ST_PointOnSurface(part);
        x := @postgis@.ST_X(middle);
        y := @postgis@.ST_Y(middle);
        RETURN @postgis@.ST_MakeEnvelope(
            x - pixel / 2, y - pixel / 2, x + pixel / 2, y + pixel / 2, 3857);
    END IF;
    middle := @postgis@.ST_LineInterpolatePoint(part, 0.5);
    x := @postgis@.ST_X(@postgis@.ST_EndPoint(part)) - @postgis@.ST_X(@postgis@.ST_StartPoint(part));
    y := @postgis@.ST_Y(@postgis@.ST_EndPoint(part)) - @postgis@.ST_Y(@postgis@.ST_StartPoint(part));
    IF x <> 0 OR y <> 0 THEN
        dx := x / sqrt(x * x + y * y);
        dy := y / sqrt(x * x + y * y);
    END IF;
    x := @postgis@.ST_X(middle);
    y := @postgis@.ST_Y(middle);
    RETURN @postgis@.ST_SetSRID(@postgis@.ST_MakeLine(
        @postgis@.ST_MakePoint(x - dx * pixel / 2, y - dy * pixel / 2),
        @postgis@.ST_MakePoint(x + dx * pixel / 2, y + dy * pixel / 2)), 3857);
END $$;

-- Parts and holes smaller than a pixel go, the greatest part always stays.
CREATE FUNCTION quartier.without_crumbs(place @postgis@.geometry, pixel float8)
RETURNS @postgis@.geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    area boolean := @postgis@.ST_Dimension(place) = 2;
    kept @postgis@.geometry[];
BEGIN
    IF @postgis@.ST_NumGeometries(place) > 1 THEN
        SELECT array_agg(p.geom ORDER BY p.path) FILTER (WHERE p.size >= pixel OR p.place = 1)
        INTO kept
        FROM (
            SELECT d.path, d.geom, quartier.reach(d.geom) AS size,
                   row_number() OVER (ORDER BY quartier.reach(d.geom) DESC, d.path) AS place
            FROM @postgis@.ST_Dump(place) d
        ) p;
    ELSE
        kept := ARRAY[@postgis@.ST_GeometryN(place, 1)];
    END IF;
    IF area AND @postgis@.ST_NRings(place) > @postgis@.ST_NumGeometries(place) THEN
        SELECT array_agg(
            CASE WHEN @postgis@.ST_NumInteriorRings(k.geom) = 0 THEN k.geom
            ELSE @postgis@.ST_MakePolygon(@postgis@.ST_ExteriorRing(k.geom), ARRAY(
                SELECT @postgis@.ST_ExteriorRing(r.geom) FROM @postgis@.ST_DumpRings(k.geom) r
                WHERE r.path[1] > 0 AND quartier.reach(r.geom) >= pixel ORDER BY r.path[1]))
            END ORDER BY k.n)
        INTO kept FROM unnest(kept) WITH ORDINALITY k (geom, n);
    END IF;
    IF cardinality(kept) = 1 THEN
        RETURN kept[1];
    END IF;
    RETURN @postgis@.ST_Multi(@postgis@.ST_Collect(kept));
END $$;

CREATE FUNCTION quartier.simpler(place @postgis@.geometry, pixel float8) RETURNS @postgis@.geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    -- Bands are simplified one from the other and lie two zooms apart: 3/8 + 3/32 + 3/128 …
    -- comes to half a pixel.
    tolerance float8 := pixel * 0.375;
    area boolean := @postgis@.ST_Dimension(place) = 2;
    simple @postgis@.geometry;
BEGIN
    IF @postgis@.ST_NumGeometries(place) > 1
       OR area AND @postgis@.ST_NRings(place) > 1 THEN
        place := quartier.without_crumbs(place, pixel);
    END IF;
    IF @postgis@.ST_NPoints(place) <= (CASE WHEN area THEN 5 ELSE 2 END) THEN
        RETURN place;
    END IF;
    -- Douglas-Peucker takes a twentieth of what keeping topology takes, and seldom breaks a ring.
    simple := @postgis@.ST_Simplify(place, tolerance, true);
    IF area AND (simple IS NULL OR NOT (@postgis@.ST_IsValidDetail(simple)).valid) THEN
        simple := @postgis@.ST_SimplifyPreserveTopology(place, tolerance);
    END IF;
    RETURN coalesce(simple, place);
END $$;
COMMENT ON FUNCTION quartier.simpler IS
    'A line or polygon (EPSG:3857) for pixels of this many metres; never nothing.';

-- ST_AsMVTGeom drops a line that comes back to its beginning when what it went round is gone; in
-- two halves it stays.
CREATE FUNCTION quartier.unclosed(place @postgis@.geometry, pixel float8)
RETURNS @postgis@.geometry
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN count(*) = 1 THEN (array_agg(h.geom))[1]
           ELSE @postgis@.ST_Collect(h.geom ORDER BY d.path, h.n) END
    FROM @postgis@.ST_Dump(place) d,
    LATERAL (
        SELECT d.geom, 0 AS n
        WHERE @postgis@.ST_Distance(
            @postgis@.ST_StartPoint(d.geom), @postgis@.ST_EndPoint(d.geom)) >= pixel / 2
        UNION ALL
        SELECT @postgis@.ST_LineSubstring(d.geom, n / 2.0, (n + 1) / 2.0), n
        FROM generate_series(0, 1) n
        WHERE @postgis@.ST_Distance(
            @postgis@.ST_StartPoint(d.geom), @postgis@.ST_EndPoint(d.geom)) < pixel / 2
    ) h
$$;

-- What is narrower than a quarter of a pixel would fall together on the tile's grid of eighths.
CREATE FUNCTION quartier.visible(place @postgis@.geometry, pixel float8, area boolean)
RETURNS @postgis@.geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF area THEN
        IF @postgis@.ST_Area(place) < @postgis@.ST_Perimeter(place) * pixel / 8 THEN
            RETURN @postgis@.ST_Buffer(place, pixel / 8, 'quad_segs=1 join=mitre mitre_limit=1.5');
        END IF;
        RETURN place;
    END IF;
    IF quartier.reach(place) < pixel / 2 THEN  -- a tangle
        RETURN quartier.speck(place, pixel);
    END IF;
    IF @postgis@.ST_NumGeometries(place) > 1 OR @postgis@.ST_Distance(
           @postgis@.ST_StartPoint(place), @postgis@.ST_EndPoint(place)) < pixel / 2 THEN
        RETURN quartier.unclosed(place, pixel);
    END IF;
    RETURN place;
END $$;

CREATE FUNCTION quartier.shapes_of(fid bigint, place @postgis@.geometry, tops int[])
RETURNS TABLE (band smallint, geom @postgis@.geometry, size float8)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    reach float8 := quartier.reach(place);
    chance float8 := quartier.chance(fid);
    area boolean := @postgis@.ST_Dimension(place) = 2;
    pixel float8;
    share float8;
BEGIN
    size := CASE WHEN area THEN @postgis@.ST_Area(place) ELSE @postgis@.ST_Length(place) END;
    IF @postgis@.GeometryType(place) IN ('POINT', 'MULTIPOINT', 'GEOMETRYCOLLECTION') THEN
        RETURN QUERY SELECT t::smallint, place, shapes_of.size FROM unnest(tops) t;
        RETURN;
    END IF;
    FOREACH band IN ARRAY tops LOOP
        pixel := 78271.51696402048 / 2.0 ^ band;
        BEGIN
            IF (CASE WHEN area THEN reach ELSE size END) < pixel THEN
                share := CASE WHEN area THEN size / (pixel * pixel) ELSE size / pixel END;
                EXIT WHEN share <= chance;  -- and so in every coarser band
                geom := quartier.speck(place, pixel);
            ELSE
                place := quartier.simpler(place, pixel);
                geom := quartier.visible(place, pixel, area);
            END IF;
        EXCEPTION WHEN OTHERS THEN  -- an invalid geometry that GEOS will not work on
            geom := place;
        END;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION quartier.shapes_of IS
    'What each band of zooms draws of a geometry (EPSG:3857); `tops` are the bands'' last zooms,
finest first. What is smaller than a pixel of 512 a tile is drawn as one pixel, and as often as is its
share of one.';

CREATE FUNCTION quartier.label_point(place @postgis@.geometry) RETURNS @postgis@.geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    world CONSTANT float8 := 20037508.342789244;
    part @postgis@.geometry := @postgis@.ST_GeometryN(place, 1);
    middle @postgis@.geometry;
BEGIN
    IF @postgis@.ST_NumGeometries(place) > 1 THEN
        SELECT d.geom INTO part FROM @postgis@.ST_Dump(place) d
        ORDER BY @postgis@.ST_Area(d.geom) DESC, d.path LIMIT 1;
    END IF;
    BEGIN
        -- The middle of most shapes is their centroid, at a hundredth of the cost; only where it
        -- stands near an edge, or outside, is the widest place looked for.
        middle := @postgis@.ST_Centroid(part);
        IF NOT @postgis@.ST_Intersects(middle, part) OR @postgis@.ST_Distance(
               middle, @postgis@.ST_Boundary(part)) < 0.2 * sqrt(@postgis@.ST_Area(part)) THEN
            middle := (@postgis@.ST_MaximumInscribedCircle(
                @postgis@.ST_SimplifyPreserveTopology(part, quartier.reach(part) / 256))).center;
            IF NOT @postgis@.ST_Intersects(middle, part) THEN
                middle := @postgis@.ST_PointOnSurface(part);
            END IF;
        END IF;
    EXCEPTION WHEN OTHERS THEN  -- an invalid polygon that GEOS will not measure
        middle := @postgis@.ST_PointN(@postgis@.ST_ExteriorRing(part), 1);
    END;
    -- On the square world, its east and south edges apart: each point lies in exactly one tile.
    RETURN @postgis@.ST_SetSRID(@postgis@.ST_MakePoint(
        least(world - 0.001, greatest(-world, @postgis@.ST_X(middle))),
        least(world, greatest(0.001 - world, @postgis@.ST_Y(middle)))), 3857);
END $$;
COMMENT ON FUNCTION quartier.label_point IS
    'Where a polygon''s name stands: in the middle of its widest place.';

CREATE FUNCTION quartier.ground_area(place @postgis@.geometry) RETURNS float8
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN @postgis@.ST_Area(place::@postgis@.geography);
EXCEPTION WHEN OTHERS THEN  -- an edge half around the world is no edge on a globe
    RETURN @postgis@.ST_Area(place) * 111319.49 ^ 2
           * cos(radians((@postgis@.ST_YMin(place) + @postgis@.ST_YMax(place)) / 2));
END $$;
COMMENT ON FUNCTION quartier.ground_area IS
    'Square metres that a polygon (EPSG:4326) covers on the ground.';

CREATE FUNCTION quartier.touch_places(
    layer text, current bigint, places @postgis@.geometry[], bound bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, @postgis@, pg_temp AS $$
DECLARE
    cells bigint;
BEGIN
    INSERT INTO quartier.changes AS l (layer_id, z, cell, revision)
        SELECT layer, c.z, c.cell, current FROM unnest(places) p, LATERAL quartier.cells_of(p) c
        GROUP BY c.z, c.cell
        ON CONFLICT (layer_id, z, cell) DO UPDATE SET revision = excluded.revision
        WHERE l.revision < excluded.revision;
    GET DIAGNOSTICS cells = ROW_COUNT;
    PERFORM quartier.log_cells(layer, current, cells, bound);
END $$;
COMMENT ON FUNCTION quartier.touch_places IS
    'Says that the tiles of these geometries (EPSG:3857) changed with revision `current`.';
