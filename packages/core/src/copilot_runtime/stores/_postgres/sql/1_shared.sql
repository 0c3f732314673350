-- What all functions use. p_not_after is when the caller gives up, by the server's clock, in seconds since the epoch: a
-- server that was away must not carry out later what its caller has tried again elsewhere since. {s} is the schema.

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
