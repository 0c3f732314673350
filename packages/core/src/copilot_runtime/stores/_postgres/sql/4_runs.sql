-- Runs from their beginning to their end.

CREATE FUNCTION {s}.begin_runs(
    p_not_after double precision, p_holder bigint, p_lease_seconds double precision, p_keys bytea[],
    p_owner_keys bytea[], p_owners text[], p_thread_ids text[], p_run_ids text[], p_agent_ids text[],
    p_begin_ids text[], p_ordinals bigint[], p_sizes bigint[], p_thread_bytes bigint[], p_known_threads bigint[],
    p_known_ordinals bigint[]
) RETURNS TABLE (
    item integer, outcome text, thread bigint, ordinal bigint, token bigint, run_id text, agent_id text,
    stopping boolean, expired boolean, begin_id text, runs integer, after bigint, first bigint, ordinals bigint[],
    event_messages text[], input_messages text[], needed integer[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    r record;
BEGIN
    PERFORM {s}.check_time(p_not_after);
    FOR r IN SELECT u.*, u.place::integer AS item FROM unnest(p_keys, p_owner_keys, p_owners, p_thread_ids, p_run_ids,
        p_agent_ids, p_begin_ids, p_ordinals, p_sizes, p_thread_bytes, p_known_threads, p_known_ordinals)
        WITH ORDINALITY AS u(key, owner_key, owner, thread_id, run_id, agent_id, begin_id, ordinal, size, bytes,
        known_thread, known_ordinal, place) ORDER BY u.key, u.place
    LOOP
        item := r.item; outcome := 'begun'; run_id := r.run_id; agent_id := r.agent_id;
        stopping := false; expired := false; ordinals := NULL; event_messages := NULL; input_messages := NULL;
        INSERT INTO {s}.threads AS t (key, owner_key, owner, thread_id, ordinal, active, bytes)
            VALUES (r.key, r.owner_key, r.owner, r.thread_id, r.ordinal, true, r.bytes)
            ON CONFLICT (key) DO UPDATE SET ordinal = t.ordinal + 1, active = true WHERE NOT t.active
            RETURNING t.id, t.ordinal, t.runs INTO thread, ordinal, runs;
        IF NOT FOUND THEN
            outcome := 'busy';
            SELECT l.thread, l.ordinal, l.token, l.run_id, l.agent_id, l.stopping,
                {s}.has_expired(l.expires_at, l.lease_seconds), l.begin_id
                INTO thread, ordinal, token, run_id, agent_id, stopping, expired, begin_id
                FROM {s}.live AS l WHERE l.key = r.key;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'a thread that has an active run and has none' USING ERRCODE = 'data_corrupted';
            END IF;
            RETURN NEXT;
            CONTINUE;
        END IF;
        token := {s}.next_token();
        INSERT INTO {s}.live (token, key, thread, ordinal, run_id, agent_id, holder, begin_id, started_at,
            expires_at, lease_seconds, frames_id, size)
            VALUES (token, r.key, thread, ordinal, r.run_id, r.agent_id, p_holder, r.begin_id, clock_timestamp(),
            clock_timestamp() + make_interval(secs => p_lease_seconds), p_lease_seconds, token, r.size);
        IF runs > 0 THEN
            after := CASE WHEN r.known_thread = thread THEN r.known_ordinal ELSE 0 END;
            SELECT array_agg(o.ordinal ORDER BY o.ordinal), array_agg(o.event_messages ORDER BY o.ordinal),
                array_agg(o.input_messages ORDER BY o.ordinal) INTO ordinals, event_messages, input_messages
                FROM {s}.runs AS o WHERE o.thread = begin_runs.thread AND o.ordinal > after;
            first := CASE WHEN after > 0 THEN (SELECT min(o.ordinal) FROM {s}.runs AS o
                WHERE o.thread = begin_runs.thread) END;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- Deletes an active run, and tells those whom that concerns.
CREATE FUNCTION {s}.drop_live(p_token bigint, p_by_holder boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    DELETE FROM {s}.live WHERE token = p_token RETURNING key, holder, followers, followed_until INTO r;
    PERFORM {s}.notify_watchers(r.key, CASE WHEN NOT p_by_holder THEN r.holder END, r.followed_until, r.followers);
END $$;

-- Appends frames to active runs. p_expected is how many a run is to have then (null: any number): where that is not so,
-- nothing is appended. Uncounted bytes are those that are not yet among the thread's.
CREATE FUNCTION {s}.append_frames(
    p_not_after double precision, p_tokens bigint[], p_counts integer[], p_expected integer[], p_sizes bigint[],
    p_bytes bigint[], p_checksums bigint[], p_duplicates text[], p_frames bytea[]
) RETURNS TABLE (token bigint, frames integer, size bigint, uncounted bigint, appended boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_keys bytea[];
    v_followers bigint[];
BEGIN
    PERFORM {s}.check_time(p_not_after);
    PERFORM 1 FROM {s}.live AS l WHERE l.token = ANY (p_tokens) ORDER BY l.key FOR UPDATE;
    RETURN QUERY WITH
        given AS (SELECT * FROM unnest(p_tokens, p_counts, p_expected, p_sizes, p_bytes, p_checksums,
            p_duplicates, p_frames) AS u(token, count, expected, size, bytes, checksum, duplicates, frames)),
        grown AS (UPDATE {s}.live AS l SET frames = l.frames + g.count, frames_bytes = l.frames_bytes + g.bytes,
            size = l.size + g.size, duplicates = g.duplicates FROM given AS g WHERE l.token = g.token
            AND l.frames + g.count = coalesce(g.expected, l.frames + g.count)
            RETURNING l.token, l.frames_id, l.frames, l.size, l.frames_bytes - l.counted_bytes AS uncounted),
        added AS (INSERT INTO {s}.frames (frames_id, first, count, checksum, frames)
            SELECT o.frames_id, o.frames - g.count + 1, g.count, g.checksum, g.frames
            FROM grown AS o JOIN given AS g ON g.token = o.token WHERE g.count > 0)
        SELECT o.token, o.frames, o.size, o.uncounted, true FROM grown AS o UNION ALL
        SELECT l.token, l.frames, l.size, 0::bigint, false FROM {s}.live AS l JOIN given AS g ON g.token = l.token
            WHERE l.frames + g.count <> g.expected;
    SELECT array_agg(l.key), array_agg(process) INTO v_keys, v_followers
        FROM {s}.live AS l CROSS JOIN unnest(l.followers) AS process
        WHERE l.token = ANY (p_tokens) AND l.followed_until > clock_timestamp();
    IF v_keys IS NOT NULL THEN
        PERFORM {s}.notify_followers(v_keys, v_followers);
    END IF;
END $$;

-- Ends runs. p_lock are the keys of all threads that the statement changes. The messages are those of all runs, of
-- which p_message_counts says how many each has (-1: it leaves those of before). One whose body is null has not
-- changed, as far as the caller knows: if it has, nothing is done, and needed says which bodies are missing. Nothing is
-- done either where a run would not have the number of frames that is expected; after says how many it has.
CREATE FUNCTION {s}.finish_runs(
    p_not_after double precision, p_lock bytea[], p_raw_seconds double precision, p_max_runs integer,
    p_tokens bigint[], p_persist boolean[], p_keep_ordinal boolean[], p_frame_counts integer[], p_expected integer[],
    p_frame_bytes bigint[], p_frame_checksums bigint[], p_frames bytea[], p_record_bytes bigint[],
    p_record_checksums bigint[], p_records bytea[], p_event_messages text[], p_input_messages text[],
    p_duplicates text[], p_has_error boolean[], p_was_stopped boolean[],
    p_recorded_by text[], p_message_counts integer[], p_messages_bytes bigint[], p_message_keys bytea[],
    p_message_checksums bigint[], p_messages text[]
) RETURNS TABLE (
    item integer, outcome text, thread bigint, ordinal bigint, token bigint, run_id text, agent_id text,
    stopping boolean, expired boolean, begin_id text, runs integer, after bigint, first bigint, ordinals bigint[],
    event_messages text[], input_messages text[], needed integer[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    r record;
    v_first integer[];
    v_next integer := 1;
    v_keys bytea[];
    v_checksums bigint[];
    v_bodies text[];
    v_added bigint;
    v_old_messages_bytes bigint;
    v_bytes bigint;
BEGIN
    PERFORM {s}.check_time(p_not_after);
    PERFORM {s}.lock_threads(p_lock);
    FOR i IN 1 .. cardinality(p_tokens) LOOP
        v_first[i] := v_next;
        v_next := v_next + greatest(p_message_counts[i], 0);
    END LOOP;
    FOR r IN SELECT u.place::integer AS item, u.wanted, l.* FROM unnest(p_tokens) WITH ORDINALITY AS u(wanted, place)
        LEFT JOIN {s}.live AS l ON l.token = u.wanted ORDER BY l.key, u.place
    LOOP
        item := r.item; token := r.wanted; thread := r.thread; ordinal := r.ordinal; outcome := 'ended';
        needed := NULL; runs := NULL; run_id := r.run_id; agent_id := r.agent_id;
        IF r.token IS NOT NULL THEN  -- again, under its lock
            SELECT l.*, item AS item INTO r FROM {s}.live AS l WHERE l.token = r.token FOR UPDATE;
        END IF;
        IF r.token IS NULL THEN
            outcome := 'lost';
            RETURN NEXT;
            CONTINUE;
        END IF;
        SELECT t.runs, t.messages_bytes, t.bytes INTO runs, v_old_messages_bytes, v_bytes
            FROM {s}.threads AS t WHERE t.id = r.thread;
        IF NOT p_persist[item] THEN
            PERFORM {s}.drop_live(r.token, true);
            IF r.frames > 0 THEN
                INSERT INTO {s}.garbage (frames_id) VALUES (r.frames_id);
            END IF;
            IF runs = 0 AND NOT p_keep_ordinal[item] THEN
                PERFORM {s}.delete_threads(ARRAY[r.thread]);
            ELSE
                UPDATE {s}.threads AS t SET active = false, used_at = clock_timestamp(), bytes = bytes - r.counted_bytes
                    WHERE t.id = r.thread;
            END IF;
            RETURN NEXT;
            CONTINUE;
        END IF;
        IF r.frames + p_frame_counts[item] <> p_expected[item] THEN
            outcome := 'frames';
            after := r.frames;
            RETURN NEXT;
            CONTINUE;
        END IF;
        IF p_message_counts[item] >= 0 THEN
            v_keys := p_message_keys[v_first[item] : v_first[item] + p_message_counts[item] - 1];
            v_checksums := p_message_checksums[v_first[item] : v_first[item] + p_message_counts[item] - 1];
            v_bodies := p_messages[v_first[item] : v_first[item] + p_message_counts[item] - 1];
            SELECT array_agg(u.place::integer) INTO needed FROM unnest(v_keys, v_checksums, v_bodies) WITH ORDINALITY
                AS u(key, checksum, body, place) WHERE u.body IS NULL AND NOT EXISTS (SELECT 1 FROM {s}.messages AS m
                WHERE m.thread = r.thread AND m.key = u.key AND m.checksum = u.checksum);
            IF needed IS NOT NULL THEN
                outcome := 'incomplete';
                RETURN NEXT;
                CONTINUE;
            END IF;
            IF runs > 0 THEN
                DELETE FROM {s}.messages AS m WHERE m.thread = r.thread AND m.key <> ALL (v_keys);
                UPDATE {s}.messages AS m SET position = u.place FROM unnest(v_keys) WITH ORDINALITY AS u(key, place)
                    WHERE m.thread = r.thread AND m.key = u.key AND m.position <> u.place;
            END IF;
            INSERT INTO {s}.messages AS m (thread, key, position, checksum, message)
                SELECT r.thread, u.key, u.place, u.checksum, u.body FROM unnest(v_keys, v_checksums, v_bodies)
                WITH ORDINALITY AS u(key, checksum, body, place) WHERE u.body IS NOT NULL
                ON CONFLICT (thread, key) DO UPDATE SET checksum = excluded.checksum, message = excluded.message,
                position = excluded.position WHERE m.message <> excluded.message;
        END IF;
        IF p_frame_counts[item] > 0 THEN
            INSERT INTO {s}.frames (frames_id, first, count, checksum, frames) VALUES (r.frames_id, r.frames + 1,
                p_frame_counts[item], p_frame_checksums[item], p_frames[item]);
        END IF;
        INSERT INTO {s}.runs (thread, ordinal, run_id, agent_id, token, started_at, ended_at, frames_id, frames,
            frames_bytes, raw_until, event_messages, input_messages, duplicates, has_run_error, was_stopped,
            recorded_by, bytes, checksum, records)
            VALUES (r.thread, r.ordinal, r.run_id, r.agent_id, r.token, r.started_at, clock_timestamp(), r.frames_id,
            r.frames + p_frame_counts[item], r.frames_bytes + p_frame_bytes[item],
            clock_timestamp() + make_interval(secs => p_raw_seconds), p_event_messages[item], p_input_messages[item],
            p_duplicates[item], p_has_error[item], p_was_stopped[item], p_recorded_by[item], p_record_bytes[item],
            p_record_checksums[item], p_records[item]);
        v_added := r.frames_bytes - r.counted_bytes + p_frame_bytes[item] + p_record_bytes[item];
        IF p_message_counts[item] >= 0 THEN
            v_added := v_added + p_messages_bytes[item] - v_old_messages_bytes;
            v_old_messages_bytes := p_messages_bytes[item];
        END IF;
        UPDATE {s}.threads AS t SET runs = t.runs + 1, active = false, agent_id = r.agent_id,
            updated_at = clock_timestamp(), used_at = clock_timestamp(),
            created_at = coalesce(t.created_at, clock_timestamp()), messages_bytes = v_old_messages_bytes,
            bytes = t.bytes + v_added WHERE t.id = r.thread RETURNING t.runs INTO runs;
        -- Not its holder, which knows it.
        DELETE FROM {s}.live AS l WHERE l.token = r.token;
        PERFORM {s}.notify_watchers(r.key, NULL, r.followed_until, r.followers);
        IF p_max_runs > 0 AND runs > p_max_runs THEN
            PERFORM {s}.delete_run(r.thread, o.ordinal) FROM (SELECT ordinal FROM {s}.runs AS x
                WHERE x.thread = r.thread ORDER BY ordinal LIMIT least(runs - p_max_runs, 200)) AS o;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- Takes an active run over.
CREATE FUNCTION {s}.claim_run(
    p_not_after double precision, p_key bytea, p_ordinal bigint, p_force boolean, p_holder bigint,
    p_lease_seconds double precision
) RETURNS TABLE (thread bigint, token bigint, run_id text, agent_id text, started_at double precision,
    frames_id bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    r record;
    v_token bigint;
BEGIN
    PERFORM {s}.check_time(p_not_after);
    SELECT * INTO r FROM {s}.live AS l WHERE l.key = p_key AND l.ordinal = p_ordinal FOR UPDATE;
    IF NOT FOUND OR NOT (p_force OR {s}.has_expired(r.expires_at, r.lease_seconds)) THEN
        RETURN;
    END IF;
    v_token := {s}.next_token();
    UPDATE {s}.live AS l SET token = v_token, holder = p_holder, lease_seconds = p_lease_seconds,
        expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds) WHERE l.token = r.token;
    PERFORM {s}.notify_watchers(r.key, r.holder, r.followed_until, r.followers);
    RETURN QUERY SELECT r.thread, v_token, r.run_id, r.agent_id, extract(epoch FROM r.started_at)::double precision,
        r.frames_id;
END $$;

CREATE FUNCTION {s}.renew_leases(p_not_after double precision, p_tokens bigint[], p_lease_seconds double precision)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM {s}.check_time(p_not_after);
    PERFORM 1 FROM {s}.live WHERE token = ANY (p_tokens) ORDER BY key FOR UPDATE;
    UPDATE {s}.live SET expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
        lease_seconds = p_lease_seconds WHERE token = ANY (p_tokens);
END $$;

CREATE FUNCTION {s}.request_stop(p_not_after double precision, p_key bytea, p_run_id text) RETURNS TABLE (
    ordinal bigint, run_id text, agent_id text, stopping boolean, expired boolean, begin_id text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    r record;
BEGIN
    PERFORM {s}.check_time(p_not_after);
    SELECT l.*, {s}.has_expired(l.expires_at, l.lease_seconds) AS expired INTO r FROM {s}.live AS l
        WHERE l.key = p_key FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF NOT r.expired AND NOT r.stopping AND (p_run_id IS NULL OR r.run_id = p_run_id) THEN
        UPDATE {s}.live AS l SET stopping = true WHERE l.token = r.token;
        PERFORM {s}.notify_watchers(r.key, r.holder, r.followed_until, r.followers);
    END IF;
    RETURN QUERY SELECT r.ordinal, r.run_id, r.agent_id, r.stopping, r.expired, r.begin_id;
END $$;

-- Notes for a while that a process follows an active run whose lease it does not hold, and tells the holder.
CREATE FUNCTION {s}.note_follower(p_key bytea, p_ordinal bigint, p_process bigint, p_seconds double precision)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    SELECT l.key, l.holder, l.followed_until, l.followers, l.token INTO r FROM {s}.live AS l
        WHERE l.key = p_key AND l.ordinal = p_ordinal;
    IF FOUND AND r.holder <> p_process AND (r.followed_until IS NULL OR NOT p_process = ANY (r.followers)
        OR r.followed_until < clock_timestamp() + make_interval(secs => p_seconds / 2))
    THEN
        UPDATE {s}.live AS l SET followed_until = clock_timestamp() + make_interval(secs => p_seconds),
            followers = CASE WHEN l.followed_until > clock_timestamp()
            THEN array_append(array_remove(l.followers, p_process), p_process) ELSE ARRAY[p_process] END
            WHERE l.token = r.token;
        IF r.followed_until IS NULL OR r.followed_until < clock_timestamp() THEN
            PERFORM {s}.notify(r.holder, ARRAY[r.key]);
        END IF;
    END IF;
END $$;

-- Returns a run's progress: a row about the run, with pieces of its frames in further rows.
CREATE FUNCTION {s}.follow_run(
    p_key bytea, p_ordinal bigint, p_after integer, p_process bigint, p_follow_seconds double precision
) RETURNS TABLE (ended boolean, expired boolean, duplicates text, skip integer, first integer, checksum bigint,
    frames bytea) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM {s}.note_follower(p_key, p_ordinal, p_process, p_follow_seconds);
    RETURN QUERY SELECT false, {s}.has_expired(l.expires_at, l.lease_seconds), l.duplicates, p_after, f.first,
        f.checksum, f.frames FROM {s}.live AS l LEFT JOIN {s}.frames AS f
        ON f.frames_id = l.frames_id AND f.first + f.count > p_after + 1
        WHERE l.key = p_key AND l.ordinal = p_ordinal ORDER BY f.first;
    IF NOT FOUND THEN
        RETURN QUERY SELECT true, false, o.duplicates, x.skip, f.first, f.checksum, f.frames
            FROM {s}.threads AS t JOIN {s}.runs AS o ON o.thread = t.id AND o.ordinal = p_ordinal
            CROSS JOIN LATERAL (SELECT CASE WHEN p_after > o.frames THEN o.frames - 1 ELSE p_after END AS skip) AS x
            LEFT JOIN {s}.frames AS f ON f.frames_id = o.frames_id AND o.raw_until IS NOT NULL
            AND f.first + f.count > x.skip + 1
            WHERE t.key = p_key ORDER BY f.first;
    END IF;
END $$;
