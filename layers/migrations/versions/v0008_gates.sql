-- What a load held against its gates.
-- @postgis@ stands for the schema PostGIS is installed in.

ALTER TABLE quartier.runs ADD COLUMN profile jsonb, ADD COLUMN gates jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN accepted jsonb;
COMMENT ON COLUMN quartier.runs.profile IS
    'Figures of the rows of the load: the baseline of the next one.';
COMMENT ON COLUMN quartier.runs.gates IS 'The gates that the load did not hold, with figure and limit.';
COMMENT ON COLUMN quartier.runs.accepted IS 'Which gates were let pass, by whom and why.';

-- What officers hold a load against is told to nobody else.
CREATE OR REPLACE VIEW quartier.public_layers AS
    SELECT l.id, l.declaration - 'source' - 'gates' AS declaration,
           md5(l.config_hash || s.salt::text) AS config_hash, s.salt, s.revision, s.base_revision,
           s.log_epoch, s.changed_at, s.detail_zoom, s.cube_depth
    FROM quartier.layers l JOIN quartier.layer_state s ON s.layer_id = l.id
    WHERE NOT l.withdrawn;
