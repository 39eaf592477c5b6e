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

ALTER TABLE quartier.layer_state ADD COLUMN division text;
COMMENT ON COLUMN quartier.layer_state.division IS
    'How the layer''s table is divided by time, in words; null: it is not.';

CREATE OR REPLACE FUNCTION quartier.roll_back(
    of_layer text, target bigint, seen bigint, who text, why text,
    OUT revision bigint, OUT inserted bigint, OUT updated bigint, OUT deleted bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    declared jsonb;
    newest bigint;
    first bigint;
    rows text;
    past text;
    names text[];
    listed text;
    divided_by text;
    moved bigint := 0;
    was text := format('h.valid_from <= %s AND h.valid_to > %s', target, target);
BEGIN
    SELECT l.declaration INTO declared FROM quartier.layers l WHERE l.id = of_layer;
    IF declared IS NULL THEN
        RAISE EXCEPTION 'no layer %', quote_literal(of_layer) USING ERRCODE = 'QK404';
    END IF;
    PERFORM quartier.lock(of_layer);
    SELECT s.revision, s.rollback_from INTO newest, first
    FROM quartier.layer_state s WHERE s.layer_id = of_layer;
    IF (target BETWEEN 0 AND newest - 1) IS NOT TRUE THEN
        RAISE EXCEPTION 'layer %: % is no earlier revision; the newest is %', of_layer, target, newest
            USING ERRCODE = 'QK409';
    ELSIF target < first THEN
        RAISE EXCEPTION 'layer %: the past is kept from revision % on', of_layer, first
            USING ERRCODE = 'QK409';
    ELSIF seen <> newest THEN
        RAISE EXCEPTION 'layer %: the newest revision was % and now is %; look again', of_layer,
            seen, newest USING ERRCODE = 'QK409';
    END IF;
    -- Of a layer with a privacy policy the exact rows go back; what is published follows from them.
    IF jsonb_typeof(declared -> 'privacy') = 'object' THEN
        rows := format('city_raw.%I', of_layer);
        past := format('city_raw.%I', of_layer || '__history');
    ELSE
        rows := format('city.%I', of_layer);
        past := format('city_history.%I', of_layer);
    END IF;
    names := ARRAY['source_key'] || ARRAY(
        SELECT c.value ->> 'name' FROM jsonb_array_elements(declared -> 'columns')
        WITH ORDINALITY c ORDER BY c.ordinality);
    IF declared ->> 'geometry' <> 'none' THEN
        names := names || 'geom'::text;
    END IF;
    EXECUTE format(
        'DELETE FROM %1$s t WHERE t.since > %4$s'
        ' AND NOT EXISTS (SELECT FROM %2$s h WHERE h.fid = t.fid AND %3$s)',
        rows, past, was, target);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    -- A row of a divided layer keeps its time: one that had another then goes, and comes again.
    divided_by := declared #>> '{partitions,by}';
    IF divided_by IS NOT NULL THEN
        EXECUTE format(
            'DELETE FROM %1$s t USING %2$s h'
            ' WHERE h.fid = t.fid AND %3$s AND h.%4$I IS DISTINCT FROM t.%4$I', rows, past, was,
            divided_by);
        GET DIAGNOSTICS moved = ROW_COUNT;
    END IF;
    -- Rows may have changed keys among each other: those that did have one of nobody's in between.
    EXECUTE format(
        'UPDATE %1$s t SET source_key = ''#'' || t.fid FROM %2$s h'
        ' WHERE h.fid = t.fid AND %3$s AND h.source_key <> t.source_key', rows, past, was);
    SELECT string_agg(format('%1$I = h.%1$I', name), ', ') INTO listed FROM unnest(names) name;
    EXECUTE format(
        'UPDATE %1$s t SET %4$s FROM %2$s h WHERE h.fid = t.fid AND %3$s',
        rows, past, was, listed);
    GET DIAGNOSTICS updated = ROW_COUNT;
    SELECT string_agg(format('%I', name), ', ') INTO listed FROM unnest(names) name;
    EXECUTE format(
        'INSERT INTO %1$s (fid, %4$s) OVERRIDING SYSTEM VALUE'
        ' SELECT h.fid, %5$s FROM %2$s h WHERE %3$s'
        ' AND NOT EXISTS (SELECT FROM %1$s t WHERE t.fid = h.fid)',
        rows, past, was, listed,
        (SELECT string_agg(format('h.%I', n), ', ') FROM unnest(names) n));
    GET DIAGNOSTICS inserted = ROW_COUNT;
    inserted := inserted - moved;
    updated := updated + moved;
    SELECT s.revision INTO revision FROM quartier.layer_state s WHERE s.layer_id = of_layer;
    UPDATE quartier.revisions v
    SET note = jsonb_build_object('back_to', target, 'by', who, 'note', why)
    WHERE v.layer_id = of_layer AND v.revision = roll_back.revision AND v.revision > newest;
END $$;

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
