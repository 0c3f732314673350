"""Threads in Redis, shared by the processes of several machines."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ..._concurrency.process_local import ProcessLocal
from ..._events import CompactedFrames, split_frames
from ..._optional.optional_imports import import_optional
from .. import protocol as p
from .._limits import check_seconds
from .._sql.encoding import parse_duplicates
from .._sql.shared_frames import SharedList
from ..portable import MAX_IMPORT_ATTEMPTS, ImportOutcome, KeyPage, PortableThread, check_room, import_outcome
from . import values
from .address import Address
from .background import start_in_background
from .client import Call, Client
from .limits import Limits, ShardTotals
from .listener import run_name
from .process_state import ProcessState
from .run_calls import append_call, begin_call, finish_call, random_digits
from .shards import CLUSTER_SHARDS, Shards, owner_digest
from .thread_list import list_threads

logger = logging.getLogger("copilot_runtime.stores.redis")

_SWEEP_INTERVAL_SECONDS = 10.0
_SWEEP_PAUSE_SECONDS = 0.01
"""How long others are left alone with the server between two pieces."""

_SIGNALS = {1: p.LeaseSignal.STOP, 2: p.LeaseSignal.LOST, 3: p.LeaseSignal.FOLLOWED}
_REFUSALS: Mapping[int, type[p.LeaseLost] | type[p.RunTooLarge]] = {0: p.LeaseLost, 2: p.RunTooLarge}

_NO_FRAMES = 2**53
"""More frames than any run has, so that none is returned."""


class RedisStore:
    """Keeps threads in Redis 6.2 or newer, or in Valkey.

    What is acknowledged survives a restart of the server if its ``appendonly`` is on.

    Args:
        url: ``redis://[user:password@]host:6379/0``, ``rediss://`` for TLS,
            ``redis+sentinel://host:26379,host:26379/service/0`` or ``redis+cluster://host:6379,host:6379``.
        prefix: What all keys begin with. Stores with different prefixes have nothing in common.
        max_threads: How many threads to keep. The least recently used are deleted first.
        max_runs_per_thread: How many runs of each thread to keep. The oldest are deleted first.
        max_age_seconds: Threads that have not been used for this long are deleted.
        max_bytes: How much memory of the server the threads may take. The least recently used are deleted first.
        lease_seconds: How long a run stays active after its process has stopped renewing its lease.
        poll_seconds: How often to look for changes by other processes whose notifications were lost.
        timeout_seconds: The longest wait for an answer of the server, connecting included.

    0 means no limit. Threads with an active run are never deleted.

    Raises:
        ValueError: The URL or the value of an option is invalid.
        ImportError: The package ``redis`` is not installed.
    """

    blocking: bool = True

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "copilot-runtime",
        max_threads: int = 100_000,
        max_runs_per_thread: int = 1000,
        max_age_seconds: float = 0,
        max_bytes: int = 1024 * 1024 * 1024,
        lease_seconds: float = 15.0,
        poll_seconds: float = 1.0,
        timeout_seconds: float = 5.0,
    ) -> None:
        check_seconds(
            "RedisStore", lease_seconds=lease_seconds, poll_seconds=poll_seconds, timeout_seconds=timeout_seconds
        )
        self._address = Address.from_url(url)
        import_optional("redis", feature="RedisStore", extra="redis")
        self._shards = Shards(prefix, CLUSTER_SHARDS if self._address.kind == "cluster" else 1)
        self._limits = Limits(
            max_threads=max_threads,
            max_runs_per_thread=max_runs_per_thread,
            max_age_seconds=max_age_seconds,
            max_bytes=max_bytes,
        )
        self._totals = ShardTotals(self._shards.names, self._limits)
        self.lease_seconds: float | None = lease_seconds
        self.poll_seconds: float | None = poll_seconds
        self._lease = round(lease_seconds * values.MICROSECONDS)
        self._prefix = prefix
        self._timeout_seconds = timeout_seconds
        self._expires_threads = max_age_seconds > 0
        self._has_evicted = False
        self._process = ProcessLocal(self._open)

    def __repr__(self) -> str:
        return f"RedisStore({self._address.shown!r}, prefix={self._prefix!r})"

    def _open(self) -> ProcessState:
        client = Client(self._address, self._timeout_seconds, self._limits.max_bytes, self._totals.parameters)
        return ProcessState(client, f"{self._prefix}:changes:{secrets.token_hex(8)}", self._announce)

    # --- writing runs ---

    def begin(self, run: p.NewRun) -> p.RunStarted | p.ThreadBusy:
        started: p.RunStarted | p.ThreadBusy = _raise_if_error(self.write_runs([run])[0])
        return started

    def finish(self, lease: p.Lease, frames: Sequence[bytes], completion: p.RunCompletion) -> None:
        _raise_if_error(self.write_runs([p.RunEnd(lease, frames, completion)])[0])

    def write_runs(
        self, changes: Sequence[p.NewRun | p.RunEnd]
    ) -> Sequence[p.RunStarted | p.ThreadBusy | Exception | None]:
        process = self._process.get()
        outcomes: list[Any] = [None] * len(changes)
        calls: dict[int, Call] = {}
        for at, change in enumerate(changes):
            try:
                calls[at] = self._change_call(process, change)
            except Exception as error:  # of this run alone
                outcomes[at] = error
        repeated = [
            isinstance(change := changes[at], p.RunEnd) and change.lease.token in process.unsure for at in calls
        ]
        self._totals.refresh_soon(process.client)
        self._sweep_soon(process)
        began_at = time.monotonic()
        results = process.client.call_many(list(calls.values()), repeated) if calls else []
        for at, result in zip(calls, results, strict=True):
            try:
                outcomes[at] = self._change_result(process, changes[at], result, began_at)
            except Exception as error:
                outcomes[at] = error
        return outcomes

    def _change_call(self, process: ProcessState, change: p.NewRun | p.RunEnd) -> Call:
        if isinstance(change, p.NewRun):
            return begin_call(self._shards.place(change.thread), change, self._lease, process.channel)
        return finish_call(self._shards.place(change.lease.run.thread), change)

    def _change_result(
        self, process: ProcessState, change: p.NewRun | p.RunEnd, result: Any, began_at: float
    ) -> p.RunStarted | p.ThreadBusy | None:
        if isinstance(change, p.RunEnd):
            lease = change.lease
            if isinstance(result, Exception):
                if not isinstance(result, p.ThreadUnreadable):
                    process.note_unsure(lease.token)
                raise result
            process.unsure.discard(lease.token)
            process.begun.pop(lease.run, None)
            if not result[0]:
                raise p.LeaseLost
            self._note_eviction(process, lease.run.thread, result[1], result[2])
            return None
        if isinstance(result, Exception):
            raise result
        with _detecting_damage():
            if not result[0]:
                return p.ThreadBusy(values.active_run(change.thread, result[1:]))
            _, ordinal, token, evicted, is_exceeded, event_messages, input_messages, now = result
            process.client.clock.note(self._shards.place(change.thread).shard, int(now))
            lease = p.Lease(p.RunKey(change.thread, int(ordinal)), change.run_id, int(token))
            started = p.RunStarted(lease, values.texts(event_messages), values.texts(input_messages))
        process.begun[lease.run] = began_at
        self._note_eviction(process, change.thread, evicted, is_exceeded)
        return started

    def append(self, batches: Sequence[p.Batch]) -> Mapping[p.Lease, p.LeaseLost | p.RunTooLarge]:
        process = self._process.get()
        refused: dict[p.Lease, p.LeaseLost | p.RunTooLarge] = {}
        by_shard: dict[str, list[tuple[str, p.Batch]]] = {}
        for batch in batches:
            place = self._shards.place(batch.lease.run.thread)
            by_shard.setdefault(place.shard, []).append((place.thread, batch))
        self._totals.refresh_soon(process.client)
        calls = [append_call(shard, of_shard) for shard, of_shard in by_shard.items()]
        for of_shard, result in zip(by_shard.values(), process.client.call_many(calls), strict=True):
            evicted, is_exceeded, *outcomes = _raise_if_error(result)
            for (_, batch), outcome in zip(of_shard, outcomes, strict=True):
                if outcome in _REFUSALS:
                    refused[batch.lease] = _REFUSALS[outcome]()
            self._note_eviction(process, of_shard[0][1].lease.run.thread, evicted, is_exceeded)
        return refused

    def renew(self, leases: Sequence[p.Lease]) -> None:
        calls = [(shard, "renew", [self._lease, *arguments]) for shard, arguments in self._by_shard(leases).items()]
        for result in self._process.get().client.call_many(calls):
            _raise_if_error(result)

    def poll_signals(self, leases: Sequence[p.Lease]) -> Mapping[p.Lease, p.LeaseSignal]:
        process = self._process.get()
        signals: dict[p.Lease, p.LeaseSignal] = {}
        by_shard: dict[str, list[p.Lease]] = {}
        for lease in leases:
            by_shard.setdefault(self._shards.place(lease.run.thread).shard, []).append(lease)
        calls = [(shard, "poll", self._by_shard(of_shard)[shard]) for shard, of_shard in by_shard.items()]
        for of_shard, result in zip(by_shard.values(), process.client.call_many(calls), strict=True):
            for lease, code in zip(of_shard, _raise_if_error(result), strict=True):
                if code:
                    signals[lease] = _SIGNALS[code]
                    if code == 2:
                        process.begun.pop(lease.run, None)
        return signals

    def claim(self, run: p.RunKey, *, force: bool = False) -> p.ClaimedRun | None:
        process = self._process.get()
        place = self._shards.place(run.thread)
        if force:  # what only this side can find damaged
            self.follow(run, 0)
            self.messages(run.thread)
        result = self._call(
            place.shard, "claim", place.thread, run.ordinal, int(force), self._lease, random_digits(), process.channel
        )
        if result is None:
            return None
        with _detecting_damage():
            token, run_id, agent_id, started_at, *stored = result
            lease = p.Lease(run, values.text(run_id), int(token))
            process.begun[run] = time.monotonic()

            def read() -> tuple[list[bytes], list[dict[str, Any]], frozenset[str]]:
                with _detecting_damage():
                    entries, messages, event_messages = stored
                    return (
                        values.frames_after(entries, 0),
                        [values.parse_message(message) for message in messages],
                        values.texts(event_messages),
                    )

            return p.ClaimedRun.from_stored(lease, values.text(agent_id), values.seconds(started_at), read)

    def request_stop(self, thread: p.ThreadKey, run_id: str | None) -> p.ActiveRun | None:
        place = self._shards.place(thread)
        encoded = b"" if run_id is None else values.encode(run_id)
        row = self._call(place.shard, "stop", place.thread, int(run_id is not None), encoded)
        with _detecting_damage():
            return None if row is None else values.active_run(thread, row)

    # --- reading ---

    def read(self, thread: p.ThreadKey, *, touch: bool = False, raw_ordinal: int | None = None) -> p.ThreadSnapshot:
        return self._read(thread, touch=touch, raw_ordinal=raw_ordinal)[0]

    def read_with_messages(self, thread: p.ThreadKey) -> tuple[p.ThreadSnapshot, list[dict[str, Any]]]:
        """Returns what `read` and `messages` return, see `CombiningStore`."""
        return self._read(thread, with_messages=True)

    def _read(
        self,
        thread: p.ThreadKey,
        *,
        touch: bool = False,
        raw_ordinal: int | None = None,
        with_messages: bool = False,
    ) -> tuple[p.ThreadSnapshot, list[dict[str, Any]]]:
        process, place = self._process.get(), self._shards.place(thread)
        which_raw = "" if raw_ordinal is None else raw_ordinal
        result = self._call(place.shard, "read", place.thread, int(touch), which_raw, int(with_messages))
        if result is None:
            return p.ThreadSnapshot(), []
        with _detecting_damage():
            last_ordinal, live, fields, entries, messages = result
            runs = []
            for ordinal, header, replay in values.stored_runs(fields):
                # A run does not change, and a thread that is created again has other ordinals.
                key = (thread, ordinal, header.ended_at)
                has_raw = ordinal == raw_ordinal and entries is not None
                runs.append(
                    p.StoredRun(
                        ordinal,
                        header.run_id,
                        header.agent_id,
                        process.records.get(key, lambda replay=replay: CompactedFrames(split_frames(replay))),  # type: ignore[misc]
                        process.raw.get(key, lambda: SharedList(values.frames_after(entries, 0))) if has_raw else None,
                        header.has_run_error,
                        header.recorded_by,
                        header.duplicates if has_raw else frozenset(),
                    )
                )
            active = None if live is None else values.active_run(thread, live)
            snapshot = p.ThreadSnapshot(runs, active, int(last_ordinal))
            return snapshot, [values.parse_message(message) for message in messages or ()]

    def follow(self, run: p.RunKey, after: int) -> p.RunUpdate:
        place = self._shards.place(run.thread)
        channel = self._process.get().channel
        kind, *rest = self._call(
            place.shard, "follow", place.thread, run.ordinal, after, channel, round(p.FOLLOWED_SECONDS)
        )
        with _detecting_damage():
            if kind == 0:
                duplicates, is_expired, entries = rest
                frames = values.frames_after(entries, after)
                return p.RunUpdate(frames, parse_duplicates(duplicates.decode()), False, bool(is_expired))
            if kind == 1:
                header = values.RunHeader.parse(rest[0])
                first = header.frame_count - 1 if after > header.frame_count else after
                return p.RunUpdate(values.frames_after(rest[1], first), header.duplicates, True)
        return p.RunUpdate((), frozenset(), True)

    def watch(self, run: p.RunKey, on_change: Callable[[], None]) -> Callable[[], None]:
        """Calls back after changes by other processes, see `WatchingStore`."""
        process = self._process.get()
        name = run_name(self._shards.place(run.thread).thread, run.ordinal)
        stop_listening = process.listener.watch(run, name, on_change, process.begun.get(run))

        def stop() -> None:
            process.begun.pop(run, None)
            stop_listening()

        return stop

    def _announce(self, run: p.RunKey) -> None:
        """Tells the store that this process follows a run."""
        self.follow(run, _NO_FRAMES)

    def messages(self, thread: p.ThreadKey) -> list[dict[str, Any]]:
        place = self._shards.place(thread)
        stored = self._process.get().client.fetch_list(place.shard, f"m:{place.thread}")
        with _detecting_damage():
            return [values.parse_message(message) for message in stored]

    def threads(self, owner: str, query: p.ThreadQuery) -> p.ThreadPage:
        return list_threads(self._call, self._shards.of_owner(owner), owner, query)

    # --- changing threads ---

    def update(
        self, thread: p.ThreadKey, *, name: str | None = None, archived: bool | None = None, if_unnamed: bool = False
    ) -> bool:
        place = self._shards.place(thread)
        updated = self._call(
            place.shard,
            "update",
            place.thread,
            int(name is not None),
            values.encode(name or ""),
            "" if archived is None else int(archived),
            int(if_unnamed),
        )
        return bool(updated)

    def delete(self, thread: p.ThreadKey) -> bool:
        place = self._shards.place(thread)
        return bool(self._call(place.shard, "delete", place.thread, place.owner))

    def clear(self, owner: str, cursor: str | None = None) -> str | None:
        # The cursor has the last thread of each shard that is left to be cleared.
        left = [] if cursor is None else cursor.split(",")
        shards = self._shards.of_owner(owner)
        if cursor is None and len(shards) > 1:
            left = [str(int(self._call(shard, "serial"))) for shard in shards]
        shard = shards[-len(left)] if left else shards[0]
        last, has_more = self._call(shard, "clear", owner_digest(owner), left[0] if left else "")
        rest = left[1:]
        if has_more:
            rest = [str(int(last)), *rest]
        return ",".join(rest) or None

    # --- moving threads; modules for this alone are imported when it is done, which few processes do ---

    def thread_keys(self, cursor: str | None, limit: int) -> KeyPage:
        from .portable_threads import select_keys

        return select_keys(self._call, self._shards.names, cursor, limit)

    def export_thread(self, thread: p.ThreadKey) -> PortableThread | None:
        from .portable_threads import parse_thread

        place = self._shards.place(thread)
        row = self._call(place.shard, "export", place.thread)
        with _detecting_damage():
            return None if row is None else parse_thread(thread, row)

    def import_thread(self, thread: PortableThread) -> ImportOutcome:
        from .portable_threads import Staging, parse_state

        client, place = self._process.get().client, self._shards.place(thread.key)
        staging = Staging(thread, place)
        attempted: ImportOutcome | None = None
        for _ in range(MAX_IMPORT_ATTEMPTS):
            row = self._call(place.shard, "state", place.thread)
            with _detecting_damage():
                version, state = parse_state(row)
            outcome = import_outcome(state, thread)
            if not outcome.is_written:
                staging.discard(client)
                if outcome is ImportOutcome.UNCHANGED and attempted is not None:
                    return attempted  # by a call whose answer was lost
                return outcome
            check_room("max_runs_per_thread", self._limits.max_runs_per_thread, len(thread.runs))
            self._totals.refresh_soon(client)
            staging.store(client)
            code, *needed = self._call(place.shard, "import", *staging.import_arguments(version))
            if code == 1:
                return outcome
            if code == 2:
                staging.discard(client)
                limit = needed[0].decode()
                check_room(limit, getattr(self._limits, limit), int(needed[1]))
            attempted = outcome
        raise p.StoreError("the thread that is to be replaced changes all the time")

    # --- retention and forks ---

    def sweep(self) -> bool:
        return any(self._call(shard, "sweep") for shard in self._shards.names)

    def _sweep_soon(self, process: ProcessState) -> None:
        """Deletes threads that have expired, from time to time, beside the calls."""
        if self._expires_threads and time.monotonic() >= process.next_sweep:
            process.next_sweep = time.monotonic() + _SWEEP_INTERVAL_SECONDS
            start_in_background(self._sweep_all, name="copilot-runtime-redis-sweep")

    def _sweep_all(self) -> None:
        with suppress(p.StoreError):  # others will
            while self.sweep():
                time.sleep(_SWEEP_PAUSE_SECONDS)

    def after_fork(self) -> None:
        # Each process has connections of its own.
        self._totals.after_fork()

    # --- helpers ---

    def _call(self, shard: str, operation: str, *arguments: str | bytes | int | float) -> Any:
        return self._process.get().client.call(shard, operation, *arguments)

    def _by_shard(self, leases: Sequence[p.Lease]) -> dict[str, list[str | bytes | int | float]]:
        """Returns the threads and tokens of leases, by shard."""
        arguments: dict[str, list[str | bytes | int | float]] = {}
        for lease in leases:
            place = self._shards.place(lease.run.thread)
            arguments.setdefault(place.shard, []).extend((place.thread, lease.token))
        return arguments

    def _note_eviction(self, process: ProcessState, thread: p.ThreadKey, evicted: int, is_exceeded: int) -> None:
        if is_exceeded and len(self._shards.names) > 1:
            evicted += self._totals.evict(process.client, self._shards.place(thread).thread)
        if evicted and not self._has_evicted:
            self._has_evicted = True
            self._limits.log_eviction(logger, self._address.shown)


@contextmanager
def _detecting_damage() -> Iterator[None]:
    """Raises ThreadUnreadable where the block cannot make sense of what was stored."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise p.ThreadUnreadable(f"what is stored of the thread is damaged: {type(error).__name__}: {error}") from error


def _raise_if_error(result: Any) -> Any:
    """Returns a result; raises it if it is an exception."""
    if isinstance(result, Exception):
        raise result
    return result
