"""The tables of a PostgreSQL store. ``{s}`` stands for its schema, as a quoted identifier.

Clients choose ids of any length, which no index takes: ``key`` and ``owner_key`` are digests of 16 bytes
(`encoding.digest`). Texts are as `encoding.encode_text` has them. Times are the server's.

A write never takes more than one statement, a call of a function (folder ``sql``): whatever becomes of a process, it
leaves no transaction open that others would have to wait for. Rows are locked in one order, or there would be
deadlocks: those of ``threads`` by their keys, and then those of ``live`` by theirs; what deletes any threads that it
likes skips those that are locked.
"""

from __future__ import annotations

TABLES = """
-- A lease must not hold for another run: of the schema that replaces a deleted one, or on a standby that has become the
-- primary without the last transactions. So tokens start at a random number, and their last digits are random.
CREATE SEQUENCE {s}.tokens;
SELECT setval('{s}.tokens', (random() * 1e12)::bigint + 1);
CREATE FUNCTION {s}.next_token() RETURNS bigint LANGUAGE sql AS $$
    SELECT nextval('{s}.tokens') * 1048576 + floor(random() * 1048576)::bigint
$$;

CREATE TABLE {s}.threads (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key bytea NOT NULL UNIQUE,
    owner_key bytea NOT NULL,
    owner text NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    agent_id text NOT NULL DEFAULT '',
    name text,
    archived boolean NOT NULL DEFAULT false,
    created_at timestamptz,
    updated_at timestamptz,
    used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ordinal bigint NOT NULL,
    active boolean NOT NULL DEFAULT false,
    runs integer NOT NULL DEFAULT 0,
    messages_bytes bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE {s}.threads IS 'A thread, which is listed once it has runs; active: whether it has a row in live';
-- Every list of threads is a range of an index, and a list with archived threads two of them. They have the whole order
-- of the list, or the planner would sort all threads of an owner whom it takes for one with few.
CREATE INDEX threads_listed ON {s}.threads (owner_key, archived, updated_at DESC, key) WHERE runs > 0;
CREATE INDEX threads_listed_by_agent ON {s}.threads (owner_key, left(agent_id, 100), archived, updated_at DESC, key)
    WHERE runs > 0;
CREATE INDEX threads_used ON {s}.threads (used_at);
CREATE INDEX threads_used_by_owner ON {s}.threads (owner_key, used_at);

CREATE TABLE {s}.live (
    token bigint PRIMARY KEY,
    key bytea NOT NULL UNIQUE,
    thread bigint NOT NULL UNIQUE,
    ordinal bigint NOT NULL,
    run_id text NOT NULL,
    agent_id text NOT NULL,
    holder bigint NOT NULL,
    begin_id text NOT NULL,
    started_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    lease_seconds double precision NOT NULL,
    stopping boolean NOT NULL DEFAULT false,
    followed_until timestamptz,
    followers bigint[] NOT NULL DEFAULT '{}',
    frames_id bigint NOT NULL,
    frames integer NOT NULL DEFAULT 0,
    frames_bytes bigint NOT NULL DEFAULT 0,
    counted_bytes bigint NOT NULL DEFAULT 0,
    duplicates text NOT NULL DEFAULT '[]',
    size bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE {s}.live IS 'An active run. Its frames are those with its frames_id, which is its first token. Of the '
    'bytes that they take, counted_bytes are among those of the thread. holder and followers are processes';

CREATE TABLE {s}.runs (
    thread bigint NOT NULL,
    ordinal bigint NOT NULL,
    run_id text NOT NULL,
    agent_id text NOT NULL,
    token bigint NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    frames_id bigint NOT NULL,
    frames integer NOT NULL,
    frames_bytes bigint NOT NULL,
    raw_until timestamptz,
    event_messages text NOT NULL,
    input_messages text NOT NULL,
    duplicates text NOT NULL,
    has_run_error boolean NOT NULL,
    was_stopped boolean NOT NULL DEFAULT false,
    recorded_by text NOT NULL,
    bytes bigint NOT NULL,
    checksum bigint NOT NULL,
    records bytea NOT NULL,
    PRIMARY KEY (thread, ordinal)
) WITH (fillfactor = 95);
COMMENT ON TABLE {s}.runs IS 'A run that has ended; records: its compacted events, as they are sent';
CREATE INDEX runs_raw ON {s}.runs (raw_until) WHERE raw_until IS NOT NULL;

-- A run's frames as they were sent, of which raw_until says how long they are kept. They are read a few times at most.
CREATE TABLE {s}.frames (
    frames_id bigint NOT NULL,
    first integer NOT NULL,
    count integer NOT NULL,
    checksum bigint NOT NULL,
    frames bytea NOT NULL,
    PRIMARY KEY (frames_id, first)
);
ALTER TABLE {s}.frames ALTER COLUMN frames SET STORAGE EXTERNAL;

CREATE TABLE {s}.messages (
    thread bigint NOT NULL,
    key bytea NOT NULL,
    position integer NOT NULL,
    checksum bigint NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (thread, key)
) WITH (fillfactor = 95);
COMMENT ON TABLE {s}.messages IS 'A message of a thread, as JSON';

-- A faster compression, where the server was built with it. PostgreSQL 13 would not parse the statements.
DO $$ BEGIN
    EXECUTE 'ALTER TABLE {s}.runs ALTER COLUMN records SET COMPRESSION lz4';
    EXECUTE 'ALTER TABLE {s}.messages ALTER COLUMN message SET COMPRESSION lz4';
EXCEPTION WHEN OTHERS THEN
    NULL;
END $$;

-- What is not visible any more, and is to be deleted in small pieces: all rows of a thread, or the frames of a run.
CREATE TABLE {s}.garbage (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    thread bigint,
    frames_id bigint
);

-- When some process has swept.
CREATE TABLE {s}.sweeps (swept_at timestamptz NOT NULL);
INSERT INTO {s}.sweeps VALUES (clock_timestamp());

-- How many threads and bytes each owner has, and all together (an empty owner_key): as of the last time that the
-- changes were added to it. Transactions that changed these rows themselves would wait for each other.
CREATE TABLE {s}.usage (
    owner_key bytea PRIMARY KEY,
    owners bigint NOT NULL DEFAULT 0,
    threads bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
INSERT INTO {s}.usage (owner_key) VALUES ('');
CREATE INDEX usage_threads ON {s}.usage (threads);
CREATE INDEX usage_bytes ON {s}.usage (bytes);
CREATE TABLE {s}.usage_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner_key bytea NOT NULL,
    threads bigint NOT NULL,
    bytes bigint NOT NULL
);

CREATE FUNCTION {s}.note_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO {s}.usage_changes (owner_key, threads, bytes) VALUES (NEW.owner_key, 1, NEW.bytes);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO {s}.usage_changes (owner_key, threads, bytes) VALUES (OLD.owner_key, -1, -OLD.bytes);
    ELSE
        INSERT INTO {s}.usage_changes (owner_key, threads, bytes) VALUES (NEW.owner_key, 0, NEW.bytes - OLD.bytes);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER threads_added_or_deleted AFTER INSERT OR DELETE ON {s}.threads
    FOR EACH ROW EXECUTE FUNCTION {s}.note_usage();
CREATE TRIGGER threads_changed AFTER UPDATE OF bytes ON {s}.threads
    FOR EACH ROW WHEN (OLD.bytes <> NEW.bytes) EXECUTE FUNCTION {s}.note_usage();
"""
