-- Moving threads from another store.

-- Stores a thread of another store in place of the one that has a version (none: ''), without raw frames. Returns false
-- if the thread has another version.
CREATE FUNCTION {s}.import_thread(
    p_not_after double precision, p_key bytea, p_version text, p_owner_key bytea, p_owner text, p_thread_id text,
    p_agent_id text, p_name text, p_archived boolean, p_created_at double precision, p_updated_at double precision,
    p_used_at double precision, p_ordinal bigint, p_bytes bigint, p_messages_bytes bigint,
    p_ordinals bigint[], p_run_ids text[], p_agent_ids text[], p_started_at double precision[],
    p_ended_at double precision[], p_event_messages text[], p_input_messages text[], p_has_error boolean[],
    p_was_stopped boolean[], p_recorded_by text[], p_run_bytes bigint[], p_checksums bigint[], p_records bytea[],
    p_message_keys bytea[], p_message_checksums bigint[], p_messages text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_version text;
    v_thread bigint;
BEGIN
    PERFORM {s}.check_time(p_not_after);
    SELECT t.id || ':' || t.xmin::text, t.id INTO v_version, v_thread FROM {s}.threads AS t WHERE t.key = p_key
        FOR UPDATE;
    IF coalesce(v_version, '') <> p_version THEN
        RETURN false;
    END IF;
    IF v_thread IS NOT NULL THEN
        PERFORM {s}.delete_threads(ARRAY[v_thread]);
    END IF;
    INSERT INTO {s}.threads (key, owner_key, owner, thread_id, agent_id, name, archived, created_at, updated_at,
        used_at, ordinal, runs, messages_bytes, bytes)
        VALUES (p_key, p_owner_key, p_owner, p_thread_id, p_agent_id, p_name, p_archived, to_timestamp(p_created_at),
        to_timestamp(p_updated_at), least(to_timestamp(p_used_at), clock_timestamp()), p_ordinal,
        cardinality(p_ordinals), p_messages_bytes, p_bytes)
        ON CONFLICT (key) DO NOTHING RETURNING id INTO v_thread;
    IF NOT FOUND THEN  -- which another process has created meanwhile
        RETURN false;
    END IF;
    INSERT INTO {s}.runs (thread, ordinal, run_id, agent_id, token, started_at, ended_at, frames_id, frames,
        frames_bytes, event_messages, input_messages, duplicates, has_run_error, was_stopped, recorded_by, bytes,
        checksum, records)
        SELECT v_thread, u.ordinal, u.run_id, u.agent_id, 0, to_timestamp(u.started_at), to_timestamp(u.ended_at), 0, 0,
        0, u.event_messages, u.input_messages, '[]', u.has_error, u.was_stopped, u.recorded_by, u.bytes,
        u.checksum, u.records
        FROM unnest(p_ordinals, p_run_ids, p_agent_ids, p_started_at, p_ended_at, p_event_messages, p_input_messages,
        p_has_error, p_was_stopped, p_recorded_by, p_run_bytes, p_checksums, p_records)
        AS u(ordinal, run_id, agent_id, started_at, ended_at, event_messages, input_messages,
        has_error, was_stopped, recorded_by, bytes, checksum, records);
    INSERT INTO {s}.messages (thread, key, position, checksum, message)
        SELECT v_thread, u.key, u.place, u.checksum, u.message FROM unnest(p_message_keys, p_message_checksums,
        p_messages) WITH ORDINALITY AS u(key, checksum, message, place);
    RETURN true;
END $$;
