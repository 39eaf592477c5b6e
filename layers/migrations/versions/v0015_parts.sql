-- Layers of observations that are divided by time: their tables lie in city_parts, and everything
-- is said to the layer. And who read what was withheld.

CREATE FUNCTION quartier.truncate_parts(parent oid) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT set_config('quartier.truncating', string_agg(i.inhrelid::oid::text, ' '), true)
    FROM pg_inherits i WHERE i.inhparent = parent
$$;
COMMENT ON FUNCTION quartier.truncate_parts IS
    'Lets the parts of a layer be truncated, each once: the layer is, and has been told.';

CREATE FUNCTION quartier.guard_part() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    truncating text[] := string_to_array(current_setting('quartier.truncating', true), ' ');
BEGIN
    IF TG_OP = 'TRUNCATE' AND TG_RELID::text = ANY (truncating) THEN
        PERFORM set_config('quartier.truncating',
            array_to_string(array_remove(truncating, TG_RELID::text), ' '), true);
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% is a part of layer %: nothing would see that it changed', TG_TABLE_NAME,
        TG_ARGV[0] USING HINT = format('change city.%I instead', TG_ARGV[0]);
END $$;
COMMENT ON FUNCTION quartier.guard_part IS
    'BEFORE STATEMENT: refuses what is said to a part of a layer that is divided by time. What is
said to the layer passes: only the triggers of its own table hear of that.';

CREATE FUNCTION quartier.keep_time() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'layer %: the % of a row says which row it is, and cannot change: feature %',
        TG_ARGV[0], TG_ARGV[1], OLD.fid
        USING HINT = 'insert a new row and delete the old one, or correct the source';
END $$;
COMMENT ON FUNCTION quartier.keep_time IS
    'BEFORE UPDATE of the time that a layer is divided by.';

-- Who read what was withheld, which may be personal, is told by the audit: once an hour of each run.
ALTER TABLE quartier.key_audit DROP CONSTRAINT key_audit_action_check,
    ADD CONSTRAINT key_audit_action_check
    CHECK (action IN ('create', 'revoke', 'accept', 'rollback', 'read'));

CREATE OR REPLACE FUNCTION quartier.officer_quarantine(
    of_key text, digest bytea, of_run bigint, after bigint, most int) RETURNS SETOF jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k quartier.keys := quartier.key_for(of_key, digest, 'quarantine:read');
    of_layer text := quartier.reached_run(k, of_run);
BEGIN
    INSERT INTO quartier.key_audit (key_id, key_name, action, done_by, note, layer_id, run_id)
    SELECT k.id, k.name, 'read', k.name, 'what was withheld', of_layer, of_run
    WHERE NOT EXISTS (
        SELECT FROM quartier.key_audit a
        WHERE a.key_id = k.id AND a.action = 'read' AND a.run_id = of_run
          AND a.done_at > now() - interval '1 hour');
    RETURN QUERY
        SELECT to_jsonb(q) - 'run' FROM quartier.withheld q
        WHERE q.run = of_run AND q.id > after ORDER BY q.id LIMIT most;
END $$;
