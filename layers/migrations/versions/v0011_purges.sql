-- What was erased for good, and may not come back.
-- @postgis@ stands for the schema PostGIS is installed in.

CREATE TABLE quartier.secrets (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);
COMMENT ON TABLE quartier.secrets IS
    'Keys of this database for digests that must tell nothing to whoever does not have them.';
INSERT INTO quartier.secrets (name, value)
    VALUES ('purge', decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

CREATE TABLE quartier.purges (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    layer_id  text NOT NULL,
    digests   text[] NOT NULL,
    purged_at timestamptz NOT NULL DEFAULT now(),
    purged_by text NOT NULL,
    note      text NOT NULL,
    receipt   jsonb NOT NULL
);
CREATE INDEX purges_by_layer ON quartier.purges (layer_id);
COMMENT ON TABLE quartier.purges IS
    'Receipts. A row that was erased is known by a keyed digest of its key alone, so that a later load
does not bring it back.';
