-- The officer's door: keys, what they open, and a record of what was done with them.
-- Functions raise QK401 (no valid key), QK403 (scope), QK404 (not there, or out of the key's reach)
-- and QK409 (a change that cannot be made); `layers.sqlstates` knows them.
-- @postgis@ stands for the schema PostGIS is installed in.

CREATE TABLE quartier.keys (
    id           text PRIMARY KEY CHECK (id ~ '^[a-z0-9]{10}$'),
    name         text NOT NULL CHECK (name <> ''),
    hash         bytea NOT NULL CHECK (octet_length(hash) = 32),
    scopes       text[] NOT NULL CHECK (
        cardinality(scopes) > 0 AND scopes <@ ARRAY[
            'runs:read', 'quarantine:read', 'runs:accept', 'data:rollback']),
    layers       text[] CHECK (cardinality(layers) > 0),
    expires_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text NOT NULL,
    revoked_at   timestamptz
);
COMMENT ON TABLE quartier.keys IS 'Who may come in by the officer''s door, and how far.';
COMMENT ON COLUMN quartier.keys.hash IS
    'SHA-256 of the digest that the web sends, which is SHA-256 of the key: what is stored here opens
nothing, neither at the door nor in the functions below.';
COMMENT ON COLUMN quartier.keys.layers IS 'The layers it reaches; null: all of them.';

CREATE TABLE quartier.key_uses (
    key_id       text PRIMARY KEY,
    last_used_at timestamptz
);
COMMENT ON TABLE quartier.key_uses IS
    'When a key was last used, to the minute. Kept apart, so that a key at work can be revoked.';

CREATE TABLE quartier.key_audit (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    done_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    key_id   text NOT NULL,
    key_name text NOT NULL,
    action   text NOT NULL CHECK (action IN ('create', 'revoke', 'accept', 'rollback')),
    done_by  text NOT NULL CHECK (done_by <> ''),
    note     text NOT NULL CHECK (note <> ''),
    layer_id text,
    run_id   bigint,
    details  jsonb NOT NULL DEFAULT '{}',
    login    text NOT NULL DEFAULT session_user
);
CREATE INDEX key_audit_by_key ON quartier.key_audit (key_id, id DESC);
COMMENT ON TABLE quartier.key_audit IS
    'What was done to keys and, for writes, with them. Rows are added and never changed; they name
layers and runs without referring to them, so that they outlive both.';

CREATE FUNCTION quartier.keep_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'quartier.key_audit is only ever added to'
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER keep_audit BEFORE UPDATE OR DELETE OR TRUNCATE ON quartier.key_audit
    FOR EACH STATEMENT EXECUTE FUNCTION quartier.keep_audit();
REVOKE UPDATE, DELETE, TRUNCATE ON quartier.key_audit FROM quartier_ingest;

CREATE TABLE quartier.acceptances (
    run_id      bigint PRIMARY KEY REFERENCES quartier.runs ON DELETE CASCADE,
    layer_id    text NOT NULL REFERENCES quartier.layers ON DELETE CASCADE,
    gates       text[] NOT NULL CHECK (cardinality(gates) > 0),
    accepted_by text NOT NULL,
    note        text NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT now(),
    key_id      text,
    revision    bigint NOT NULL,
    used_by     bigint
);
CREATE INDEX acceptances_by_layer ON quartier.acceptances (layer_id);
COMMENT ON TABLE quartier.acceptances IS
    'Gates that somebody lets the very files of a refused run pass, by name: the next ingest of them
heeds it, if they are read as that run read them, and the layer is at the revision that it was at.';
COMMENT ON COLUMN quartier.acceptances.used_by IS 'The run that was published by it.';

-- What officers look at ---------------------------------------------------------------------------

CREATE VIEW quartier.run_reports AS
    SELECT r.id AS run, r.layer_id AS layer, r.state, r.started_at, r.finished_at,
           round(extract(epoch FROM r.finished_at - r.started_at), 1) AS seconds,
           r.revision, r.counts, r.gates, r.accepted, r.message, r.tool_version,
           coalesce((r.profile ->> 'partial')::boolean, false) AS partial,
           (SELECT coalesce(jsonb_agg(s - 'path' ORDER BY s ->> 'name'), '[]')
            FROM jsonb_array_elements(r.sources) s) AS sources,
           r.facts,
           (SELECT coalesce(array_agg(g ->> 'gate'), '{}') FROM jsonb_array_elements(r.gates) g
            WHERE r.state = 'refused' AND g ->> 'severity' = 'refuse'
              AND NOT coalesce((g ->> 'accepted')::boolean, false)) AS stopped_by,
           (SELECT jsonb_build_object(
                'gates', a.gates, 'by', a.accepted_by, 'note', a.note, 'at', a.accepted_at,
                'used_by', a.used_by)
            FROM quartier.acceptances a WHERE a.run_id = r.id) AS acceptance,
           EXISTS (SELECT FROM quartier.runs n WHERE n.layer_id = r.layer_id AND n.id > r.id
                   AND n.state IN ('published', 'unchanged')) AS overtaken
    FROM quartier.runs r;
COMMENT ON VIEW quartier.run_reports IS
    'Runs as they are told. `stopped_by`: the gates that stopped it; `overtaken`: a later run of the
layer ended well, so that an acceptance of this one is void.';

CREATE VIEW quartier.withheld AS
    SELECT q.run_id AS run, q.id, q.file, q.line, q.column_name AS "column", q.source_key AS key,
           q.reason, q.fingerprint IS NOT NULL AS acceptable, q.content
    FROM quartier.quarantine q;
COMMENT ON VIEW quartier.withheld IS 'The quarantine as it is told.';

CREATE VIEW quartier.freshness AS
    SELECT l.id AS layer, l.declaration -> 'title' AS title,
           coalesce(l.declaration ->> 'time_zone', 'UTC') AS time_zone, l.withdrawn, s.revision, s.changed_at,
           latest.id AS last_run, latest.state AS last_state, latest.started_at AS last_run_at,
           good.finished_at AS checked_at,
           (l.declaration #>> '{source,late_after_h}')::float8 AS late_after_h,
           coalesce(coalesce(good.finished_at, l.declared_at)
               + (l.declaration #>> '{source,late_after_h}')::float8 * interval '1 hour'
               < now(), false) AND NOT l.withdrawn AS late
    FROM quartier.layers l JOIN quartier.layer_state s ON s.layer_id = l.id
    LEFT JOIN LATERAL (SELECT * FROM quartier.runs r WHERE r.layer_id = l.id
                       ORDER BY r.id DESC LIMIT 1) latest ON true
    LEFT JOIN LATERAL (SELECT * FROM quartier.runs r WHERE r.layer_id = l.id
                       AND r.state IN ('published', 'unchanged')
                       ORDER BY r.id DESC LIMIT 1) good ON true;
COMMENT ON VIEW quartier.freshness IS
    'Of each layer: its last run, the last one that ended well, its last change, and whether it is late.';

-- What officers do; the commands of whoever owns the data call the same -----------------------------

CREATE FUNCTION quartier.accept_gates(
    of_run bigint, wanted text[], who text, why text, of_key text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r quartier.run_reports;
    passed text[];
BEGIN
    PERFORM FROM quartier.runs WHERE id = of_run FOR UPDATE;
    SELECT * INTO r FROM quartier.run_reports WHERE run = of_run;
    IF r.run IS NULL THEN
        RAISE EXCEPTION 'no run %', of_run USING ERRCODE = 'QK404';
    ELSIF cardinality(r.stopped_by) = 0 THEN
        RAISE EXCEPTION 'run %: no gate stopped it, so there is nothing to accept', of_run
            USING ERRCODE = 'QK409';
    ELSIF r.acceptance IS NOT NULL THEN
        RAISE EXCEPTION 'run %: % has accepted it already', of_run, r.acceptance ->> 'by'
            USING ERRCODE = 'QK409';
    ELSIF r.overtaken THEN
        RAISE EXCEPTION 'run %: a later run of % ended well; what this one read is no news',
            of_run, r.layer USING ERRCODE = 'QK409';
    ELSIF (wanted <@ r.stopped_by AND cardinality(wanted) > 0) IS NOT TRUE THEN
        RAISE EXCEPTION 'run %: the gates that stopped it are %',
            of_run, array_to_string(r.stopped_by, ', ') USING ERRCODE = 'QK409';
    END IF;
    -- Those that somebody let this run pass must not stop the next one.
    SELECT array_agg(DISTINCT gate ORDER BY gate) INTO passed FROM (
        SELECT unnest(wanted) UNION
        SELECT g ->> 'gate' FROM jsonb_array_elements(r.gates) g
        WHERE coalesce((g ->> 'accepted')::boolean, false)) t (gate);
    INSERT INTO quartier.acceptances (run_id, layer_id, gates, accepted_by, note, key_id, revision)
    SELECT of_run, r.layer, passed, who, why, of_key, s.revision
    FROM quartier.layer_state s WHERE s.layer_id = r.layer;
    RETURN jsonb_build_object('run', of_run, 'layer', r.layer, 'gates', passed, 'by', who,
                              'note', why);
END $$;

CREATE FUNCTION quartier.roll_back(
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
    SELECT s.revision INTO revision FROM quartier.layer_state s WHERE s.layer_id = of_layer;
    UPDATE quartier.revisions v
    SET note = jsonb_build_object('back_to', target, 'by', who, 'note', why)
    WHERE v.layer_id = of_layer AND v.revision = roll_back.revision AND v.revision > newest;
END $$;
COMMENT ON FUNCTION quartier.roll_back IS
    'Makes the rows of a layer what they were at a revision, as a revision of its own. Only rows that
have changed since are touched. `seen`: the newest revision that whoever asks knows of, or null.';

-- The door ------------------------------------------------------------------------------------------
-- These are all that quartier_officer may call, and each asks for a key first: whoever can make the
-- web say anything to the database, still has none.

CREATE FUNCTION quartier.same_bytes(a bytea, b bytea) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT bit_or(get_byte(a, i) # get_byte(b, i)) = 0 FROM generate_series(0, 31) i
$$;
COMMENT ON FUNCTION quartier.same_bytes IS
    'Whether 32 bytes are the same; every one of them is looked at, whatever the first ones are.';

CREATE FUNCTION quartier.key_for(of_key text, digest bytea, scope text) RETURNS quartier.keys
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k quartier.keys;
BEGIN
    SELECT * INTO k FROM quartier.keys WHERE id = of_key;
    IF quartier.same_bytes(coalesce(k.hash, sha256('')), sha256(digest)) IS NOT TRUE
       OR k.id IS NULL THEN
        RAISE EXCEPTION 'this key opens nothing here' USING ERRCODE = 'QK401';
    ELSIF k.revoked_at IS NOT NULL THEN
        RAISE EXCEPTION 'key % was revoked', k.id USING ERRCODE = 'QK401';
    ELSIF k.expires_at <= now() THEN
        RAISE EXCEPTION 'key % has expired', k.id USING ERRCODE = 'QK401';
    ELSIF scope IS NOT NULL AND NOT scope = ANY (k.scopes) THEN
        RAISE EXCEPTION 'key % has not the scope %', k.id, scope USING ERRCODE = 'QK403';
    END IF;
    UPDATE quartier.key_uses SET last_used_at = now() WHERE key_id = (
        SELECT u.key_id FROM quartier.key_uses u
        WHERE u.key_id = k.id AND coalesce(u.last_used_at, '-infinity') < now() - interval '1 minute'
        FOR UPDATE SKIP LOCKED);
    RETURN k;
END $$;
COMMENT ON FUNCTION quartier.key_for IS
    'The key, if this is one that is valid and has the scope.';

CREATE FUNCTION quartier.reached_layer(k quartier.keys, of_layer text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM quartier.layers l WHERE l.id = of_layer
                   AND (k.layers IS NULL OR l.id = ANY (k.layers))) THEN
        RAISE EXCEPTION 'no layer %', quote_literal(of_layer) USING ERRCODE = 'QK404';
    END IF;
END $$;

CREATE FUNCTION quartier.reached_run(k quartier.keys, of_run bigint) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_layer text;
BEGIN
    SELECT r.layer_id INTO found_layer FROM quartier.runs r
    WHERE r.id = of_run AND (k.layers IS NULL OR r.layer_id = ANY (k.layers));
    IF found_layer IS NULL THEN
        RAISE EXCEPTION 'no run %', of_run USING ERRCODE = 'QK404';
    END IF;
    RETURN found_layer;
END $$;

CREATE FUNCTION quartier.officer_key(of_key text, digest bytea) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k quartier.keys := quartier.key_for(of_key, digest, NULL);
BEGIN
    RETURN jsonb_build_object('id', k.id, 'name', k.name, 'scopes', k.scopes, 'layers', k.layers,
                              'expires_at', k.expires_at);
END $$;

CREATE FUNCTION quartier.officer_runs(
    of_key text, digest bytea, of_layer text, of_state text, before bigint, most int)
RETURNS SETOF jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k quartier.keys := quartier.key_for(of_key, digest, 'runs:read');
BEGIN
    IF of_layer IS NOT NULL THEN
        PERFORM quartier.reached_layer(k, of_layer);
    END IF;
    RETURN QUERY
        SELECT to_jsonb(r) - 'facts' FROM quartier.run_reports r
        WHERE (k.layers IS NULL OR r.layer = ANY (k.layers))
          AND (of_layer IS NULL OR r.layer = of_layer)
          AND (of_state IS NULL OR r.state = of_state)
          AND (before IS NULL OR r.run < before)
        ORDER BY r.run DESC LIMIT most;
END $$;

CREATE FUNCTION quartier.officer_run(of_key text, digest bytea, of_run bigint) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k quartier.keys := quartier.key_for(of_key, digest, 'runs:read');
BEGIN
    PERFORM quartier.reached_run(k, of_run);
    RETURN (SELECT to_jsonb(r) FROM quartier.run_reports r WHERE r.run = of_run);
END $$;

CREATE FUNCTION quartier.officer_quarantine(
    of_key text, digest bytea, of_run bigint, after bigint, most int) RETURNS SETOF jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k quartier.keys := quartier.key_for(of_key, digest, 'quarantine:read');
BEGIN
    PERFORM quartier.reached_run(k, of_run);
    RETURN QUERY
        SELECT to_jsonb(q) - 'run' FROM quartier.withheld q
        WHERE q.run = of_run AND q.id > after ORDER BY q.id LIMIT most;
END $$;

CREATE FUNCTION quartier.officer_freshness(of_key text, digest bytea) RETURNS SETOF jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k quartier.keys := quartier.key_for(of_key, digest, 'runs:read');
BEGIN
    RETURN QUERY
        SELECT to_jsonb(f) FROM quartier.freshness f
        WHERE k.layers IS NULL OR f.layer = ANY (k.layers) ORDER BY f.layer;
END $$;

CREATE FUNCTION quartier.officer_revisions(
    of_key text, digest bytea, of_layer text, before bigint, most int) RETURNS SETOF jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k quartier.keys := quartier.key_for(of_key, digest, 'runs:read');
BEGIN
    PERFORM quartier.reached_layer(k, of_layer);
    RETURN QUERY
        SELECT jsonb_build_object(
            'revision', v.revision, 'made_at', v.made_at, 'inserted', v.inserted,
            'updated', v.updated, 'deleted', v.deleted, 'run', v.run_id, 'made_by', v.made_by,
            'note', v.note)
        FROM quartier.revisions v
        WHERE v.layer_id = of_layer AND (before IS NULL OR v.revision < before)
        ORDER BY v.revision DESC LIMIT most;
END $$;

CREATE FUNCTION quartier.officer_accept(
    of_key text, digest bytea, of_run bigint, wanted text[], who text, why text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k quartier.keys := quartier.key_for(of_key, digest, 'runs:accept');
    of_layer text := quartier.reached_run(k, of_run);
    done jsonb := quartier.accept_gates(of_run, wanted, who, why, of_key);
BEGIN
    INSERT INTO quartier.key_audit (key_id, key_name, action, done_by, note, layer_id, run_id, details)
    VALUES (k.id, k.name, 'accept', who, why, of_layer, of_run,
            jsonb_build_object('gates', done -> 'gates'));
    RETURN done;
END $$;

CREATE FUNCTION quartier.officer_roll_back(
    of_key text, digest bytea, of_layer text, target bigint, seen bigint, who text, why text)
RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k quartier.keys := quartier.key_for(of_key, digest, 'data:rollback');
    done jsonb;
BEGIN
    PERFORM quartier.reached_layer(k, of_layer);
    SELECT to_jsonb(r) INTO done FROM quartier.roll_back(of_layer, target, seen, who, why) r;
    INSERT INTO quartier.key_audit (key_id, key_name, action, done_by, note, layer_id, details)
    VALUES (k.id, k.name, 'rollback', who, why, of_layer,
            jsonb_build_object('back_to', target) || done);
    RETURN jsonb_build_object('layer', of_layer, 'back_to', target) || done;
END $$;

GRANT EXECUTE ON FUNCTION quartier.officer_key, quartier.officer_runs, quartier.officer_run,
    quartier.officer_quarantine, quartier.officer_freshness, quartier.officer_revisions,
    quartier.officer_accept, quartier.officer_roll_back TO quartier_officer;
