-- The log of changes as one row a statement. A row a cell had to be looked up, written and put into
-- two indexes, which took a third of what an edit of an attribute cost.
-- @postgis@ stands for the schema PostGIS is installed in.

ALTER TABLE quartier.changes RENAME TO changes_by_cell;
ALTER INDEX quartier.changes_by_revision RENAME TO changes_by_cell_revision;
CREATE TABLE quartier.changes (
    layer_id text NOT NULL,
    revision bigint NOT NULL,
    z        smallint[] NOT NULL,
    cell     bigint[] NOT NULL,
    parts    bigint[],
    CHECK (cardinality(z) = cardinality(cell))
);
CREATE INDEX changes_by_revision ON quartier.changes (layer_id, revision);
COMMENT ON TABLE quartier.changes IS
    'The cells that a statement touched: tiles of the world at zoom z, named by their Morton codes.';
COMMENT ON COLUMN quartier.changes.parts IS
    'Which of the 64 cells three zooms deeper were touched, as bits in the order of their Morton codes;
null where all of every cell was.';
INSERT INTO quartier.changes (layer_id, revision, z, cell, parts)
    SELECT layer_id, revision, array_agg(z), array_agg(cell), array_agg(parts)
    FROM quartier.changes_by_cell GROUP BY 1, 2;

CREATE OR REPLACE VIEW quartier.public_changes AS
    SELECT c.layer_id, t.z, t.cell, c.revision, coalesce(t.parts, -1) AS parts
    FROM quartier.changes c JOIN quartier.layers l ON l.id = c.layer_id,
    LATERAL unnest(c.z, c.cell, c.parts) t (z, cell, parts)
    WHERE NOT l.withdrawn;
DROP TABLE quartier.changes_by_cell;

CREATE FUNCTION quartier.log_changes(
    layer text, current bigint, depths smallint[], cells bigint[], pieces bigint[], bound bigint)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    size bigint;
BEGIN
    IF cells IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO quartier.changes (layer_id, revision, z, cell, parts)
        VALUES (layer, current, depths, cells, pieces);
    UPDATE quartier.layer_state SET log_size = log_size + cardinality(cells)
    WHERE layer_id = layer RETURNING log_size INTO size;
    IF size <= bound THEN
        RETURN;
    END IF;
    IF (SELECT sum(cardinality(c.cell)) FROM quartier.changes c
        WHERE c.layer_id = layer AND c.revision = current) > bound / 4 THEN
        PERFORM quartier.touch_everything(layer, current);
    ELSE
        PERFORM quartier.trim_changes(layer, bound * 3 / 4);
    END IF;
END $$;
COMMENT ON FUNCTION quartier.log_changes IS
    'Writes what a statement touched to the log, and keeps the log under its bound of cells.';
DROP FUNCTION quartier.log_cells;

CREATE OR REPLACE FUNCTION quartier.trim_changes(layer text, keep bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    median bigint;
    newer bigint;
    size bigint;
    depths smallint[];
    cells bigint[];
    revisions bigint[];
    pieces bigint[];
BEGIN
    SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY c.revision) INTO median
    FROM quartier.changes c, unnest(c.cell) WHERE c.layer_id = layer;
    SELECT coalesce(sum(cardinality(c.cell)), 0) INTO newer
    FROM quartier.changes c WHERE c.layer_id = layer AND c.revision > median;
    SELECT array_agg(s.z), array_agg(s.cell), array_agg(s.revision), array_agg(s.parts)
    INTO depths, cells, revisions, pieces
    FROM (SELECT t.z, t.cell, max(c.revision) AS revision, bit_or(coalesce(t.parts, -1)) AS parts
          FROM quartier.changes c, LATERAL unnest(c.z, c.cell, c.parts) t (z, cell, parts)
          WHERE c.layer_id = layer AND c.revision <= median GROUP BY 1, 2) s;
    -- First what was logged twice; then what lies in one cell of zoom 28, of 26, and so on.
    FOR depth IN REVERSE 30..0 BY 2 LOOP
        SELECT count(*) INTO size
        FROM (SELECT DISTINCT least(t.z, depth), t.cell >> 2 * greatest(0, t.z - depth)
              FROM unnest(depths, cells) t (z, cell)) s;
        CONTINUE WHEN newer + size > keep;
        DELETE FROM quartier.changes c WHERE c.layer_id = layer AND c.revision <= median;
        INSERT INTO quartier.changes (layer_id, revision, z, cell, parts)
            SELECT layer, s.revision, array_agg(s.z), array_agg(s.cell), array_agg(s.parts)
            FROM (SELECT least(t.z, depth) AS z, t.cell >> 2 * greatest(0, t.z - depth) AS cell,
                         max(t.revision) AS revision,
                         bit_or(CASE WHEN t.z > depth THEN -1 ELSE t.parts END) AS parts
                  FROM unnest(depths, cells, revisions, pieces) t (z, cell, revision, parts)
                  GROUP BY 1, 2) s
            GROUP BY s.revision;
        UPDATE quartier.layer_state
        SET log_epoch = log_epoch + (depth < 30)::int, log_size = newer + size
        WHERE layer_id = layer;
        RETURN;
    END LOOP;
    -- What is newer than the median alone fills the log.
    PERFORM quartier.touch_everything(
        layer, (SELECT revision FROM quartier.layer_state WHERE layer_id = layer));
END $$;

CREATE OR REPLACE FUNCTION quartier.touch_places(
    layer text, current bigint, places @postgis@.geometry[], bound bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, @postgis@, pg_temp AS $$
BEGIN
    PERFORM quartier.log_changes(layer, current, array_agg(s.z), array_agg(s.cell), NULL, bound)
    FROM (SELECT DISTINCT c.z, c.cell
          FROM unnest(places) p, LATERAL quartier.cells_of(p) c) s;
END $$;
