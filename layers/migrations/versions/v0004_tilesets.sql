CREATE TABLE quartier.tilesets (
    id          text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9_]{0,47}$'),
    declaration jsonb NOT NULL,
    file        text NOT NULL,
    withdrawn   boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE quartier.tilesets IS
    'Archives and rasters that are served as tiles: one row for each declared tileset.';
COMMENT ON COLUMN quartier.tilesets.file IS
    'Absolute path on the machine that serves; readers of the web are never told.';

CREATE VIEW quartier.public_tilesets AS
    SELECT id, declaration, file FROM quartier.tilesets WHERE NOT withdrawn;
GRANT SELECT ON quartier.public_tilesets TO quartier_web, quartier_officer;
