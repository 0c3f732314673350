-- Changing and deleting threads.

-- Deletes threads, whose rows are locked, with everything that belongs to them. The rest of their rows is left to
-- collect.
CREATE FUNCTION {s}.delete_threads(p_threads bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {s}.garbage (frames_id) SELECT frames_id FROM {s}.live WHERE thread = ANY (p_threads) AND frames > 0;
    PERFORM {s}.drop_live(token) FROM (SELECT token FROM {s}.live WHERE thread = ANY (p_threads) ORDER BY key) AS l;
    INSERT INTO {s}.garbage (thread) SELECT id FROM {s}.threads WHERE id = ANY (p_threads) AND (runs > 0
        OR messages_bytes > 0);
    DELETE FROM {s}.threads WHERE id = ANY (p_threads);
END $$;

-- Changes those columns of a thread whose new values are not null. Returns whether the thread is listed and, if
-- p_if_unnamed, had no name.
CREATE FUNCTION {s}.update_thread(p_not_after double precision, p_key bytea, p_name text, p_archived boolean,
    p_if_unnamed boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM {s}.check_time(p_not_after);
    UPDATE {s}.threads SET bytes = bytes + CASE WHEN p_name IS NULL THEN 0 ELSE octet_length(p_name)
        - octet_length(coalesce(name, '')) END, name = coalesce(p_name, name), archived = coalesce(p_archived, archived)
        WHERE key = p_key AND runs > 0 AND (name IS NULL OR NOT p_if_unnamed);
    RETURN FOUND;
END $$;

CREATE FUNCTION {s}.delete_thread(p_not_after double precision, p_key bytea) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    PERFORM {s}.check_time(p_not_after);
    SELECT id, runs <> 0 AS listed INTO r FROM {s}.threads WHERE key = p_key FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM {s}.delete_threads(ARRAY[r.id]);
    RETURN r.listed;
END $$;

-- Deletes some of an owner's threads, up to an id, and returns how many that were. An active run continues, on
-- a new thread.
CREATE FUNCTION {s}.clear_threads(p_not_after double precision, p_owner_key bytea, p_last bigint, p_limit integer,
    p_thread_bytes bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    r record;
    v_keys bytea[] := ARRAY(SELECT key FROM {s}.threads WHERE owner_key = p_owner_key AND id <= p_last LIMIT p_limit);
    v_new bigint;
BEGIN
    PERFORM {s}.check_time(p_not_after);
    PERFORM {s}.lock_threads(v_keys);
    FOR r IN SELECT t.id, t.key, t.owner, t.thread_id, t.ordinal, t.active FROM {s}.threads AS t
        WHERE t.key = ANY (v_keys) AND t.id <= p_last ORDER BY t.key
    LOOP
        IF NOT r.active THEN
            PERFORM {s}.delete_threads(ARRAY[r.id]);
            CONTINUE;
        END IF;
        INSERT INTO {s}.garbage (thread) VALUES (r.id);
        DELETE FROM {s}.threads WHERE id = r.id;
        INSERT INTO {s}.threads (key, owner_key, owner, thread_id, ordinal, active, bytes)
            SELECT r.key, p_owner_key, r.owner, r.thread_id, r.ordinal, true, p_thread_bytes
            + octet_length(r.thread_id) + l.frames_bytes FROM {s}.live AS l WHERE l.key = r.key
            RETURNING id INTO v_new;
        UPDATE {s}.live SET thread = v_new, counted_bytes = frames_bytes WHERE key = r.key;
    END LOOP;
    RETURN cardinality(v_keys);
END $$;
