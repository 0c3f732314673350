-- What is deleted where a limit is exceeded, or after some time.

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
