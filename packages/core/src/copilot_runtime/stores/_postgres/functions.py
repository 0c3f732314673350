"""The functions of a PostgreSQL store: every write is one call of one of them (see ``tables.py``).

``p_not_after`` is when the caller gives up, by the server's clock, in seconds since the epoch: a server that was away
must not carry out later what its caller has tried again elsewhere since.
"""

from __future__ import annotations

TOO_LATE = "CRT01"
"""The SQLSTATE of a call that is executed too late."""

_SHARED = """
CREATE FUNCTION {s}.check_time(p_not_after double precision) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF extract(epoch FROM clock_timestamp()) > p_not_after THEN
        RAISE EXCEPTION 'the caller has given up' USING ERRCODE = 'CRT01';
    END IF;
END $$;

-- An expiry that is further away than any can be: the clock was set back.
CREATE FUNCTION {s}.has_expired(p_expires_at timestamptz, p_lease_seconds double precision) RETURNS boolean
LANGUAGE sql AS $$
    SELECT NOT (clock_timestamp() < p_expires_at
        AND p_expires_at <= clock_timestamp() + make_interval(secs => p_lease_seconds))
$$;

CREATE FUNCTION {s}.notify(p_process bigint, p_keys bytea[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_from integer := 1;
BEGIN
    WHILE v_from <= cardinality(p_keys) LOOP  -- as many as there is room for
        PERFORM pg_notify('copilot_runtime_' || p_process, (SELECT string_agg(encode(key, 'hex'), ',')
            FROM unnest(p_keys[v_from : v_from + 199]) AS key));
        v_from := v_from + 200;
    END LOOP;
END $$;

-- Tells the holder (null: nobody) and the followers of an active run that something has changed.
CREATE FUNCTION {s}.notify_watchers(
    p_key bytea, p_holder bigint, p_followed_until timestamptz, p_followers bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_holder IS NOT NULL THEN
        PERFORM {s}.notify(p_holder, ARRAY[p_key]);
    END IF;
    IF p_followed_until > clock_timestamp() THEN
        PERFORM {s}.notify(process, ARRAY[p_key]) FROM unnest(p_followers) AS process;
    END IF;
END $$;

-- Tells the processes that follow active runs, given by their keys, that something has changed.
CREATE FUNCTION {s}.notify_followers(p_keys bytea[], p_followers bigint[]) RETURNS void LANGUAGE sql AS $$
    SELECT {s}.notify(process, array_agg(key)) FROM unnest(p_keys, p_followers) AS u(key, process) GROUP BY process
$$;

CREATE FUNCTION {s}.lock_threads(p_keys bytea[]) RETURNS void LANGUAGE sql AS $$
    SELECT 1 FROM {s}.threads WHERE key = ANY (p_keys) ORDER BY key FOR UPDATE
$$;
"""

_RUNS = """
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
"""

_RETENTION = """
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

-- Deletes the raw frames of a run that has ended, and returns how many bytes that makes.
CREATE FUNCTION {s}.delete_raw_frames(p_thread bigint, p_ordinal bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    SELECT frames_id, frames_bytes, raw_until INTO r FROM {s}.runs WHERE thread = p_thread AND ordinal = p_ordinal;
    IF r.raw_until IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM {s}.frames WHERE frames_id = r.frames_id;
    UPDATE {s}.runs SET raw_until = NULL, frames_bytes = 0 WHERE thread = p_thread AND ordinal = p_ordinal;
    UPDATE {s}.threads SET bytes = bytes - r.frames_bytes WHERE id = p_thread;
    RETURN r.frames_bytes;
END $$;

-- Deletes a run that has ended, and returns how many bytes that makes.
CREATE FUNCTION {s}.delete_run(p_thread bigint, p_ordinal bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_raw bigint := {s}.delete_raw_frames(p_thread, p_ordinal);
    v_bytes bigint;
BEGIN
    DELETE FROM {s}.runs WHERE thread = p_thread AND ordinal = p_ordinal RETURNING bytes INTO v_bytes;
    UPDATE {s}.threads SET runs = runs - 1, bytes = bytes - v_bytes WHERE id = p_thread;
    RETURN v_raw + v_bytes;
END $$;

-- Adds some of the changes to the usage. One process at a time: the others wait for the end of its statement.
CREATE FUNCTION {s}.fold_usage() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r record;
    v_deleted bigint;
BEGIN
    PERFORM pg_advisory_xact_lock('{s}.usage'::regclass::oid::integer, 1);
    WITH gone AS (DELETE FROM {s}.usage_changes WHERE id IN (SELECT id FROM {s}.usage_changes LIMIT 2000)
            RETURNING owner_key, threads, bytes),
        sums AS (SELECT owner_key, sum(threads)::bigint AS threads, sum(bytes)::bigint AS bytes
            FROM gone GROUP BY owner_key),
        changed AS (INSERT INTO {s}.usage AS u (owner_key, threads, bytes) SELECT owner_key, threads, bytes FROM sums
            ON CONFLICT (owner_key) DO UPDATE SET threads = u.threads + excluded.threads,
            bytes = u.bytes + excluded.bytes RETURNING u.owner_key, u.threads, u.xmax = 0 AS is_new)
        SELECT count(*) FILTER (WHERE is_new) AS added, array_agg(owner_key) FILTER (WHERE threads = 0) AS without,
            (SELECT sum(threads) FROM sums) AS threads, (SELECT sum(bytes) FROM sums) AS bytes INTO r FROM changed;
    IF r.threads IS NULL THEN  -- nothing has changed
        RETURN;
    END IF;
    DELETE FROM {s}.usage WHERE owner_key = ANY (r.without);
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    UPDATE {s}.usage SET owners = owners + r.added - v_deleted, threads = threads + r.threads, bytes = bytes + r.bytes
        WHERE owner_key = '';
END $$;

-- Deletes the least recently used idle thread of an owner, or of all (null). Returns whether there was one that nobody
-- is using at the moment.
CREATE FUNCTION {s}.evict_one(p_owner_key bytea, p_except bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_thread bigint;
BEGIN
    IF p_owner_key IS NULL THEN
        SELECT id INTO v_thread FROM {s}.threads WHERE NOT active AND id <> p_except ORDER BY used_at LIMIT 1
            FOR UPDATE SKIP LOCKED;
    ELSE
        SELECT id INTO v_thread FROM {s}.threads WHERE owner_key = p_owner_key AND NOT active AND id <> p_except
            ORDER BY used_at LIMIT 1 FOR UPDATE SKIP LOCKED;
    END IF;
    IF v_thread IS NULL THEN
        RETURN false;
    END IF;
    PERFORM {s}.delete_threads(ARRAY[v_thread]);
    RETURN true;
END $$;

-- Returns how much there is beyond a limit: of threads or bytes, in all or of what is above the share of one owner.
CREATE FUNCTION {s}.excess(p_measure text, p_limit bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_used bigint;
BEGIN
    PERFORM {s}.fold_usage();
    SELECT CASE p_measure WHEN 'threads' THEN threads ELSE bytes END INTO v_used FROM {s}.usage WHERE owner_key = '';
    RETURN v_used - p_limit;
END $$;

CREATE FUNCTION {s}.is_above_share(p_owner_key bytea, p_measure text, p_limit bigint) RETURNS boolean LANGUAGE sql AS $$
    SELECT coalesce((SELECT (CASE p_measure WHEN 'threads' THEN threads ELSE bytes END)
        * (SELECT owners FROM {s}.usage WHERE owner_key = '') > p_limit FROM {s}.usage
        WHERE owner_key = p_owner_key), false)
$$;

-- Enforces a limit after a thread has grown. Owners share each limit equally: as long as one has more than its share,
-- no other one loses a thread that is within its own. Deletes, as far as necessary: if the thread's owner has more than
-- its share, other threads of the owner, and then (of bytes) the raw frames and the oldest runs of the thread; threads
-- of others; and again the raw frames and the oldest runs of the thread, whose last run is kept. Returns how many
-- threads it has deleted.
CREATE FUNCTION {s}.enforce(p_thread bigint, p_measure text, p_limit bigint, p_batch integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    -- A little less, so that not every run has to make room for itself.
    v_target bigint := p_limit - p_limit / 64;
    v_owner_key bytea;
    v_share bigint;
    v_other record;
    v_evicted integer := 0;
BEGIN
    IF {s}.excess(p_measure, p_limit) <= 0 THEN
        RETURN 0;
    END IF;
    SELECT owner_key INTO v_owner_key FROM {s}.threads WHERE id = p_thread;
    WHILE v_evicted < p_batch AND {s}.excess(p_measure, v_target) > 0
        AND {s}.is_above_share(v_owner_key, p_measure, p_limit) AND {s}.evict_one(v_owner_key, p_thread)
    LOOP
        v_evicted := v_evicted + 1;
    END LOOP;
    IF p_measure = 'bytes' THEN
        WHILE v_evicted < p_batch AND {s}.excess(p_measure, p_limit) > 0
            AND {s}.is_above_share(v_owner_key, p_measure, p_limit) AND {s}.trim(p_thread)
        LOOP
        END LOOP;
    END IF;
    WHILE v_evicted < p_batch AND {s}.excess(p_measure, v_target) > 0 LOOP
        -- The least recently used one, if its owner has more than its share; or else one of the owner who has most.
        SELECT owner_key INTO v_other FROM {s}.threads WHERE NOT active AND id <> p_thread ORDER BY used_at LIMIT 1;
        EXIT WHEN NOT FOUND;
        IF {s}.is_above_share(v_other.owner_key, p_measure, p_limit) THEN
            EXIT WHEN NOT {s}.evict_one(v_other.owner_key, p_thread);
        ELSE
            SELECT p_limit / greatest(owners, 1) INTO v_share FROM {s}.usage WHERE owner_key = '';
            IF p_measure = 'threads' THEN  -- a query for each, or none could use an index
                SELECT u.owner_key INTO v_other FROM {s}.usage AS u WHERE u.owner_key <> '' AND u.threads > v_share
                    AND EXISTS (SELECT 1 FROM {s}.threads AS t WHERE t.owner_key = u.owner_key AND NOT t.active
                    AND t.id <> p_thread) ORDER BY u.threads DESC LIMIT 1;
            ELSE
                SELECT u.owner_key INTO v_other FROM {s}.usage AS u WHERE u.owner_key <> '' AND u.bytes > v_share
                    AND EXISTS (SELECT 1 FROM {s}.threads AS t WHERE t.owner_key = u.owner_key AND NOT t.active
                    AND t.id <> p_thread) ORDER BY u.bytes DESC LIMIT 1;
            END IF;
            EXIT WHEN NOT {s}.evict_one(CASE WHEN FOUND THEN v_other.owner_key END, p_thread);
        END IF;
        v_evicted := v_evicted + 1;
    END LOOP;
    IF p_measure = 'bytes' THEN
        WHILE {s}.excess(p_measure, p_limit) > 0 AND {s}.trim(p_thread) LOOP
        END LOOP;
    END IF;
    RETURN v_evicted;
END $$;

-- Deletes the raw frames of a thread's oldest run that has any, or else its oldest run, except the last one. Returns
-- whether there was any.
CREATE FUNCTION {s}.trim(p_thread bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_ordinal bigint;
BEGIN
    SELECT ordinal INTO v_ordinal FROM {s}.runs WHERE thread = p_thread AND raw_until IS NOT NULL
        ORDER BY ordinal LIMIT 1;
    IF FOUND THEN
        PERFORM {s}.delete_raw_frames(p_thread, v_ordinal);
        RETURN true;
    END IF;
    SELECT ordinal INTO v_ordinal FROM {s}.runs WHERE thread = p_thread ORDER BY ordinal DESC OFFSET 1 LIMIT 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM {s}.delete_run(p_thread, (SELECT min(ordinal) FROM {s}.runs WHERE thread = p_thread));
    RETURN true;
END $$;

-- Enforces the limits (0: none) after threads have grown. Returns how many threads it has deleted, and how many threads
-- and bytes there is room for; with none to look at, only that.
CREATE FUNCTION {s}.make_room(
    p_not_after double precision, p_tokens bigint[], p_keys bytea[], p_max_threads bigint, p_max_bytes bigint,
    p_batch integer
) RETURNS TABLE (evicted integer, threads_left bigint, bytes_left bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    r record;
BEGIN
    PERFORM {s}.check_time(p_not_after);
    evicted := 0;
    -- Those of active runs are counted first.
    PERFORM {s}.lock_threads(p_keys);
    FOR r IN SELECT l.* FROM {s}.live AS l WHERE l.token = ANY (p_tokens) ORDER BY l.key FOR UPDATE LOOP
        UPDATE {s}.threads SET bytes = bytes + r.frames_bytes - r.counted_bytes WHERE id = r.thread;
        UPDATE {s}.live AS l SET counted_bytes = l.frames_bytes WHERE l.token = r.token;
    END LOOP;
    FOR r IN SELECT t.id FROM {s}.threads AS t WHERE t.key = ANY (p_keys) ORDER BY t.key LOOP
        IF p_max_threads > 0 THEN
            evicted := evicted + {s}.enforce(r.id, 'threads', p_max_threads, p_batch);
        END IF;
        IF p_max_bytes > 0 THEN
            evicted := evicted + {s}.enforce(r.id, 'bytes', p_max_bytes, p_batch);
        END IF;
    END LOOP;
    PERFORM {s}.fold_usage();
    SELECT p_max_threads - u.threads, p_max_bytes - u.bytes INTO threads_left, bytes_left
        FROM {s}.usage AS u WHERE u.owner_key = '';
    RETURN NEXT;
END $$;

-- Deletes, in small pieces, what has expired or is not visible any more. Returns whether there is more; false also if
-- another process is doing it, or has done it in the last p_interval seconds.
CREATE FUNCTION {s}.sweep(
    p_max_age double precision, p_raw_seconds double precision, p_rows integer, p_interval double precision
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    r record;
    v_expired integer := 0;
    v_old bigint[];
    v_left integer := p_rows;
    v_deleted integer;
BEGIN
    IF NOT pg_try_advisory_xact_lock('{s}.usage'::regclass::oid::integer, 2) THEN
        RETURN false;
    END IF;
    IF p_interval > 0 THEN
        UPDATE {s}.sweeps SET swept_at = clock_timestamp() WHERE swept_at > clock_timestamp()
            OR swept_at <= clock_timestamp() - make_interval(secs => p_interval);
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    END IF;
    -- An expiry or a use that is later than any can be: the clock was set back.
    FOR r IN WITH expired AS MATERIALIZED (
        (SELECT thread, ordinal FROM {s}.runs WHERE raw_until <= clock_timestamp() ORDER BY raw_until LIMIT p_rows)
        UNION ALL (SELECT thread, ordinal FROM {s}.runs WHERE raw_until > clock_timestamp()
        + make_interval(secs => 2 * p_raw_seconds) ORDER BY raw_until DESC LIMIT p_rows)),
        -- Each thread once: FOR UPDATE leaves out a row that the loop has changed since the query began.
        locked AS MATERIALIZED (SELECT id FROM {s}.threads WHERE id IN (SELECT thread FROM expired)
        FOR UPDATE SKIP LOCKED)
        SELECT locked.id, expired.ordinal FROM locked JOIN expired ON expired.thread = locked.id
    LOOP
        PERFORM {s}.delete_raw_frames(r.id, r.ordinal);
        v_expired := v_expired + 1;
    END LOOP;
    UPDATE {s}.threads SET used_at = clock_timestamp() WHERE id IN (SELECT id FROM {s}.threads
        WHERE used_at > clock_timestamp() + interval '1 second' ORDER BY used_at DESC LIMIT p_rows
        FOR UPDATE SKIP LOCKED);
    IF p_max_age > 0 THEN
        SELECT array_agg(id) INTO v_old FROM (SELECT id FROM {s}.threads
            WHERE used_at <= clock_timestamp() - make_interval(secs => p_max_age) AND NOT active
            ORDER BY used_at LIMIT p_rows FOR UPDATE SKIP LOCKED) AS t;
        IF v_old IS NOT NULL THEN
            PERFORM {s}.delete_threads(v_old);
        END IF;
    END IF;
    WHILE v_left > 0 LOOP
        SELECT * INTO r FROM {s}.garbage ORDER BY id LIMIT 1;
        EXIT WHEN NOT FOUND;
        v_deleted := {s}.collect(r.thread, r.frames_id, v_left);
        v_left := v_left - v_deleted - 1;
        IF v_left >= 0 THEN
            DELETE FROM {s}.garbage WHERE id = r.id;
        END IF;
    END LOOP;
    PERFORM {s}.fold_usage();
    RETURN v_expired >= p_rows OR coalesce(cardinality(v_old), 0) >= p_rows OR EXISTS (SELECT 1 FROM {s}.garbage)
        OR EXISTS (SELECT 1 FROM {s}.usage_changes OFFSET 2000);
END $$;

-- Deletes up to p_rows rows of a thread that is gone, or of frames, and returns how many.
CREATE FUNCTION {s}.collect(p_thread bigint, p_frames_id bigint, p_rows integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_left integer := p_rows;
    v_count integer;
    r record;
BEGIN
    IF p_frames_id IS NOT NULL THEN
        DELETE FROM {s}.frames WHERE frames_id = p_frames_id AND first IN (SELECT first FROM {s}.frames
            WHERE frames_id = p_frames_id ORDER BY first LIMIT v_left);
        GET DIAGNOSTICS v_count = ROW_COUNT;
        v_left := v_left - v_count;
    END IF;
    IF p_thread IS NOT NULL THEN
        DELETE FROM {s}.messages WHERE thread = p_thread AND key IN (SELECT key FROM {s}.messages
            WHERE thread = p_thread LIMIT v_left);
        GET DIAGNOSTICS v_count = ROW_COUNT;
        v_left := v_left - v_count;
        FOR r IN SELECT ordinal, frames_id FROM {s}.runs WHERE thread = p_thread ORDER BY ordinal LIMIT v_left LOOP
            v_left := v_left - {s}.collect(NULL, r.frames_id, v_left);
            EXIT WHEN v_left <= 0;
            DELETE FROM {s}.runs WHERE thread = p_thread AND ordinal = r.ordinal;
            v_left := v_left - 1;
        END LOOP;
    END IF;
    RETURN p_rows - v_left;
END $$;
"""

_MOVING = """
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
"""

FUNCTIONS = _SHARED + _RETENTION + _RUNS + _MOVING
