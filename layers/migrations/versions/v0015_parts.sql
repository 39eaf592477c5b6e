-- Layers of observations that are divided by time: their tables lie in city_parts, and everything
-- is said to the layer.

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
