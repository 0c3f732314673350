"""Threads in a PostgreSQL database, shared by the processes of any number of machines."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..._concurrency.process_local import ProcessLocal
from ..._events import join_frames
from ..._optional.optional_imports import import_optional
from ..._validation import check_number
from .. import protocol as p
from .._limits import check_seconds
from .._pagination import next_cursor
from .._passwords import without_password
from .._sql.encoding import checksum, format_list, merge_batches
from ..portable import MAX_IMPORT_ATTEMPTS, ImportOutcome, KeyPage, PortableThread, check_room, import_outcome
from . import reading
from .calls import Calls
from .encoding import decode_text, encode_text, owner_digest, thread_digest
from .limits import Limits
from .process_state import HeldRun, ProcessState
from .retention import Retention
from .run_writes import RunWrites
from .schema import DEFAULT_SCHEMA, Migrated, check_name, quoted
from .sizes import THREAD_BYTES, frames_bytes
from .writes import APPEND_TYPES, call

if TYPE_CHECKING:
    from .connections import Connections
    from .notifications import Listener

logger = logging.getLogger("copilot_runtime.stores.postgres")

T = TypeVar("T")

CLEAR_BATCH = 200

POLL_SECONDS = 2.0
POLLS_PER_LEASE = 8
"""How often to look for changes of which there was no notification, such as that a lease has expired."""


class PostgresStore:
    """Keeps threads in a PostgreSQL database.

    Nothing is connected until the first use. The tables are in a schema of their own, which is created, and migrated
    where it is older, at first use or by ``copilot-runtime migrate``.

    Args:
        url: The database, as libpq has it: ``postgresql://user:password@host:5432/database``, with libpq's options as
            a query, such as ``sslmode=verify-full``. Or a function that returns it, which is called for each new
            connection, for passwords that are valid for some minutes.
        schema: The name of the schema.
        migrate: Whether to create and migrate the tables at first use. If not, a schema that is missing or older is an
            error.
        max_threads: How many threads to keep. The least recently used are deleted first.
        max_runs_per_thread: How many runs of each thread to keep. The oldest are deleted first.
        max_age_seconds: Threads that have not been used for this long are deleted.
        max_bytes: How many bytes the rows may have, before compression and without the space of deleted ones. The least
            recently used threads are deleted first.
        lease_seconds: How long a run stays active after its process has stopped renewing its lease.
        poll_seconds: The longest delay until a process sees what another one has done, in case a notification is lost
            (2), or none get through (0.1).
        timeout_seconds: The longest wait for a connection, and for the answer of the server.
        max_connections: How many connections a process has at most, and one more for notifications.
        notifications: Whether to use notifications (``LISTEN``), where they get through. PgBouncer is recognised; say
            no for another pooler that uses a connection for several clients.

    0 means no limit. Threads with an active run are never deleted.

    Raises:
        ValueError: The URL or the value of an option is invalid.
        ImportError: psycopg is not installed.
    """

    blocking: bool = True

    def __init__(
        self,
        url: str | Callable[[], str],
        *,
        schema: str = DEFAULT_SCHEMA,
        migrate: bool = True,
        max_threads: int = 0,
        max_runs_per_thread: int = 1000,
        max_age_seconds: float = 0,
        max_bytes: int = 0,
        lease_seconds: float = 15.0,
        poll_seconds: float | None = None,
        timeout_seconds: float = 5.0,
        max_connections: int = 4,
        notifications: bool = True,
    ) -> None:
        self._limits = Limits(
            max_threads=max_threads,
            max_runs_per_thread=max_runs_per_thread,
            max_age_seconds=max_age_seconds,
            max_bytes=max_bytes,
        )
        check_seconds(
            "PostgresStore",
            lease_seconds=lease_seconds,
            poll_seconds=1 if poll_seconds is None else poll_seconds,
            timeout_seconds=timeout_seconds,
        )
        check_number("PostgresStore: max_connections", max_connections, minimum=1, integer=True)
        check_name(schema)
        import_optional("psycopg", feature="PostgresStore", extra="postgres")
        if find_spec("psycopg_pool") is None:  # not imported yet: see `connections`
            import_optional("psycopg_pool", feature="PostgresStore", extra="postgres")
        from .options import parse_conninfo

        self._read_url = url if callable(url) else None
        self._url = url() if callable(url) else url
        self._given = parse_conninfo(self._url)
        self.lease_seconds: float | None = lease_seconds
        self._lease_seconds = lease_seconds
        self._given_poll_seconds = poll_seconds
        self.poll_seconds: float | None = poll_seconds or min(POLL_SECONDS, lease_seconds / POLLS_PER_LEASE)
        self._timeout_seconds = timeout_seconds
        self._max_connections = max_connections
        self._migrates = migrate
        self._notifications = notifications
        self._schema = schema
        self._connections_of_process = ProcessLocal(self._new_connections)
        self._calls = Calls(self._connections_of_process, quoted(schema))
        self._states = ProcessLocal(lambda: ProcessState(self._limits))
        self._listeners = ProcessLocal(self._new_listener)
        self._append = call(self._calls.schema, "append_frames", APPEND_TYPES)
        self._retention = Retention(self._calls, self._limits, self._states)
        self._writes = RunWrites(self._calls, self._states, self._limits, self._retention, lease_seconds)

    def __repr__(self) -> str:
        return f"PostgresStore({without_password(self._url)!r}, schema={self._schema!r})"

    @property
    def _connections(self) -> Connections:
        return self._connections_of_process.get()

    def _new_listener(self) -> Listener:
        from .notifications import Listener

        # Where the engine polls as often as the application wants, nobody need be called back for that.
        polls = self._given_poll_seconds is None
        return Listener(
            self._connections,
            self._states.get().id,
            self._announce,
            is_enabled=self._notifications,
            polls=polls,
        )

    def _announce(self, run: p.RunKey) -> None:
        types = ("bytea", "bigint", "bigint", "double precision")
        values = (thread_digest(run.thread), run.ordinal, self._states.get().id, p.FOLLOWED_SECONDS)
        self._calls.execute(call(self._calls.schema, "note_follower", types), values, repeatable=True)

    def _new_connections(self) -> Connections:
        from .connections import Connections
        from .options import complete_conninfo, describe, parse_conninfo

        read_url, timeout = self._read_url, self._timeout_seconds
        fixed = complete_conninfo(self._given, timeout)

        def conninfo() -> str:
            return fixed if read_url is None else complete_conninfo(parse_conninfo(read_url()), timeout)

        return Connections(
            conninfo,
            self._schema,
            describe(self._given),
            self._timeout_seconds,
            self._max_connections,
            self._migrates,
            assumes_pooler=not self._notifications,
        )

    @staticmethod
    def decode_text(text: str) -> str:
        """Returns an id or a name as it was before a store wrote it to its tables, for programs that read them."""
        return decode_text(text)

    def migrate(self) -> Migrated:
        """Creates the schema, or brings it up to date. Returns its versions before and after."""
        return self._connections.migrate()

    def close(self) -> None:
        """Closes the connections of this process. They are opened again when the store is used."""
        listener = self._listeners.get_existing()
        if listener is not None:
            listener.close()
            self._listeners = ProcessLocal(self._new_listener)
        self._connections.close()

    # --- writing runs ---

    def begin(self, run: p.NewRun) -> p.RunStarted | p.ThreadBusy:
        [outcome] = self.write_runs((run,))
        if isinstance(outcome, Exception):
            raise outcome
        return cast("p.RunStarted | p.ThreadBusy", outcome)

    def finish(self, lease: p.Lease, frames: Sequence[bytes], completion: p.RunCompletion) -> None:
        self._writes.finish(lease, frames, completion)

    def write_runs(
        self, changes: Sequence[p.NewRun | p.RunEnd]
    ) -> Sequence[p.RunStarted | p.ThreadBusy | Exception | None]:
        return self._writes.write(changes)

    def append(self, batches: Sequence[p.Batch]) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
        if not batches:
            return {}
        joined = merge_batches(batches)
        data = [join_frames(batch.frames) for batch in joined]
        values = [
            [batch.lease.token for batch in joined],
            [len(batch.frames) for batch in joined],
            [batch.frame_count for batch in joined],
            [len(each) for each in data],
            [frames_bytes(len(each)) for each in data],
            [checksum(each) for each in data],
            [format_list(batch.duplicates) for batch in joined],
            data,
        ]
        rows = self._calls.run(
            lambda db: db.execute(self._append, [db.not_after(), *values], binary=True).fetchall(),
            repeatable=all(batch.frame_count is not None for batch in joined),
        )
        found = {row[0]: row[1:] for row in rows}
        max_bytes = self._limits.max_bytes or math.inf
        refused: dict[p.Lease, p.LeaseLost | p.RunTooLarge] = {}
        grown: list[p.Lease] = []
        again: list[p.Batch] = []
        for batch in joined:
            frames, size, uncounted, was_appended = found.get(batch.lease.token, (0, None, 0, False))
            if size is None:
                refused[batch.lease] = p.LeaseLost()
            elif not was_appended:  # an earlier call has, although it has failed
                try:
                    again.append(batch._replace(frames=p.missing_frames(batch.frames, batch.frame_count, frames)))
                except p.LeaseLost as error:
                    refused[batch.lease] = error
            elif size > max_bytes:
                refused[batch.lease] = p.RunTooLarge()
            if uncounted > self._limits.max_uncounted and self._limits.tracks_usage:
                grown.append(batch.lease)
        if grown:
            self._retention.count(grown)
        return {**self.append(again), **refused}

    def renew(self, leases: Sequence[p.Lease]) -> None:
        if leases:
            values = ([lease.token for lease in leases], self._lease_seconds)
            self._calls.call("renew_leases", ("bigint[]", "double precision"), values, repeatable=True)

    def poll_signals(self, leases: Sequence[p.Lease]) -> Mapping[p.Lease, p.LeaseSignal]:
        if not leases:
            return {}
        rows = self._calls.fetch(
            "SELECT token, CASE WHEN stopping THEN 'STOP' WHEN followed_until > clock_timestamp() THEN 'FOLLOWED' END"
            " FROM {s}.live WHERE token = ANY (%b::bigint[])",
            ([lease.token for lease in leases],),
        )
        signals = dict(rows)
        found = {lease: signals.get(lease.token, "LOST") for lease in leases}
        for lease in [lease for lease, name in found.items() if name == "LOST"]:
            self._states.get().forget(lease)
        return {lease: p.LeaseSignal[name] for lease, name in found.items() if name is not None}

    def claim(self, run: p.RunKey, *, force: bool = False) -> p.ClaimedRun | None:
        state, key = self._states.get(), thread_digest(run.thread)
        if force:
            sql = "SELECT thread, frames_id FROM {s}.live WHERE key = %b AND ordinal = %b"
            for thread, frames_id in self._calls.fetch(sql, (key, run.ordinal)):
                self._read_stored(run.thread, thread, frames_id)
        types = ("bytea", "bigint", "boolean", "bigint", "double precision")
        rows = self._calls.call("claim_run", types, (key, run.ordinal, force, state.id, self._lease_seconds))
        if not rows:
            return None
        [(thread, token, run_id, agent_id, started_at, frames_id)] = rows

        def read() -> tuple[list[bytes], list[dict[str, Any]], set[str]]:
            frames, messages, in_events, in_inputs = self._read_stored(run.thread, thread, frames_id)
            state.held[run] = HeldRun(token, in_events, in_inputs)
            return frames, messages, in_events

        lease = p.Lease(run, decode_text(run_id), token)
        return p.ClaimedRun.from_stored(lease, decode_text(agent_id), started_at, read)

    def request_stop(self, thread: p.ThreadKey, run_id: str | None) -> p.ActiveRun | None:
        encoded = None if run_id is None else encode_text(run_id)
        rows = self._calls.call("request_stop", ("bytea", "text"), (thread_digest(thread), encoded), repeatable=True)
        return reading.active_run(thread, rows[0]) if rows else None

    def watch(self, run: p.RunKey, on_change: Callable[[], None]) -> Callable[[], None]:
        begun_at = self._states.get().begun_at(run)
        return self._listeners.get().watch(run, thread_digest(run.thread), on_change, begun_at)

    # --- reading ---

    def read(self, thread: p.ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> p.ThreadSnapshot:
        state = self._states.get()
        sql = reading.READ + (reading.READ_RAW if raw_ordinal is not None else "") + reading.READ_ORDER
        values = {"key": thread_digest(thread), "raw": raw_ordinal}
        if raw_ordinal is None:
            del values["raw"]
        rows = self._calls.fetch(sql, values)
        if touch and rows and self._limits.tracks_usage:
            # A server that refuses writes, such as one whose disk is full, can still be read.
            with contextlib.suppress(p.StoreError):
                self._calls.execute(
                    "UPDATE {s}.threads SET used_at = clock_timestamp() WHERE key = %b",
                    (values["key"],),
                    repeatable=True,
                )
        return reading.detect_damage(
            lambda: reading.snapshot(thread, rows, raw_ordinal, state.shared_records, state.shared_raw)
        )

    def follow(self, run: p.RunKey, after: int) -> p.RunUpdate:
        types = ("bytea", "bigint", "integer", "bigint", "double precision")
        values = (thread_digest(run.thread), run.ordinal, after, self._states.get().id, p.FOLLOWED_SECONDS)
        rows = self._calls.fetch(call(self._calls.schema, "follow_run", types), values)
        return reading.detect_damage(lambda: reading.update(rows))

    def _read_stored(
        self, key: p.ThreadKey, thread: int, frames_id: int
    ) -> tuple[list[bytes], list[dict[str, Any]], set[str], set[str]]:
        """Returns the frames of an active run, and its thread's messages, with the ids of its events and inputs."""
        pieces = self._calls.fetch(
            "SELECT first, checksum, frames FROM {s}.frames WHERE frames_id = %b ORDER BY first", (frames_id,)
        )
        frames = reading.detect_damage(lambda: reading.join_pieces(pieces, 0))
        ids = reading.detect_damage(lambda: self._writes.read_message_ids(thread))
        in_events = {text for _, of_events, _ in ids for text in of_events}
        in_inputs = {text for _, _, of_inputs in ids for text in of_inputs}
        return frames, self.messages(key), in_events, in_inputs

    def messages(self, thread: p.ThreadKey) -> list[dict[str, Any]]:
        rows = self._calls.fetch(reading.MESSAGES, (thread_digest(thread),))
        return reading.detect_damage(lambda: reading.messages(rows))

    def read_with_messages(self, thread: p.ThreadKey) -> tuple[p.ThreadSnapshot, list[dict[str, Any]]]:
        """Returns what `read` and `messages` return, see `CombiningStore`."""
        state = self._states.get()
        sql = reading.READ + reading.READ_MESSAGES + reading.READ_ORDER
        rows = self._calls.fetch(sql, {"key": thread_digest(thread)})
        return reading.detect_damage(
            lambda: reading.snapshot_with_messages(thread, rows, state.shared_records, state.shared_raw)
        )

    def threads(self, owner: str, query: p.ThreadQuery) -> p.ThreadPage:
        sql, values = reading.threads_statement(owner, query)
        rows = self._calls.fetch(sql, values)
        infos, damage = reading.thread_infos(rows if query.limit is None else rows[: query.limit])
        if damage is not None:
            # The others are listed, or nobody would find them.
            logger.error("some threads are not listed, since their rows are damaged: %s", damage)
        has_more = query.limit is not None and len(rows) > query.limit
        return p.ThreadPage(infos, next_cursor(infos[-1]) if has_more and infos else None)

    # --- changing threads ---

    def update(
        self, thread: p.ThreadKey, *, name: str | None = None, archived: bool | None = None, if_unnamed: bool = False
    ) -> bool:
        values = (thread_digest(thread), None if name is None else encode_text(name), archived, if_unnamed)
        types = ("bytea", "text", "boolean", "boolean")
        [(is_updated,)] = self._calls.call("update_thread", types, values, repeatable=not if_unnamed)
        return bool(is_updated)

    def delete(self, thread: p.ThreadKey) -> bool:
        [(was_listed,)] = self._calls.call("delete_thread", ("bytea",), (thread_digest(thread),))
        return bool(was_listed)

    def clear(self, owner: str, cursor: str | None = None) -> str | None:
        if cursor is None:
            # Row ids increase, so the threads that have been created since the first call are known by theirs.
            [(last,)] = self._calls.fetch("SELECT coalesce(max(id), 0) FROM {s}.threads", ())
        else:
            last = int(cursor)
        types = ("bytea", "bigint", "integer", "bigint")
        values = (owner_digest(owner), last, CLEAR_BATCH, THREAD_BYTES + len(owner))
        [(count,)] = self._calls.call("clear_threads", types, values)
        return str(last) if count == CLEAR_BATCH else None

    # --- moving threads; modules for this alone are imported when it is done, which few processes do ---

    def thread_keys(self, cursor: str | None, limit: int) -> KeyPage:
        from .portable_threads import KEYS, key_page

        rows = self._calls.fetch(KEYS, (0 if cursor is None else int(cursor), limit))
        return key_page(rows, limit)

    def export_thread(self, thread: p.ThreadKey) -> PortableThread | None:
        from .portable_threads import EXPORT, to_portable

        rows = self._calls.fetch(EXPORT, (thread_digest(thread),))
        return reading.detect_damage(lambda: to_portable(thread, rows[0])) if rows else None

    def import_thread(self, thread: PortableThread) -> ImportOutcome:
        from .portable_threads import IMPORT_TYPES, STATE, ThreadColumns, parse_state

        columns = ThreadColumns(thread)
        attempted: ImportOutcome | None = None
        for _ in range(MAX_IMPORT_ATTEMPTS):
            rows = self._calls.fetch(STATE, (columns.key,))
            version, size, existing = parse_state(rows)
            outcome = import_outcome(existing, thread)
            if outcome is ImportOutcome.UNCHANGED and attempted is not None:
                return attempted  # by a call whose answer was lost
            if not outcome.is_written:
                return outcome
            check_room("max_runs_per_thread", self._limits.max_runs_per_thread, len(thread.runs))
            self._retention.check_room(int(existing is None), columns.bytes - size)
            values = (columns.key, version, *columns.values)
            [(is_stored,)] = self._calls.call("import_thread", IMPORT_TYPES, values, repeatable=True)
            if is_stored:
                return outcome
            attempted = outcome
        raise p.StoreError("the thread that is to be replaced changes all the time")

    # --- retention and forks ---

    def sweep(self) -> bool:
        return self._retention.sweep()

    def after_fork(self) -> None:
        """Nothing to do: what belongs to a process is created on its first use there."""
