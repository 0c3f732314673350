"""Runs an agent once, and does meanwhile what a frontend does: asks for ``/info``, joins the run, stops it, reloads."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator

from .examination import Examination
from .mount import Unanswered, members, new_id, run_input
from .watched_stream import WatchedStream

JOINS = 4
"""How many further streams are opened: with waitress's default of four worker threads, nothing else is served then."""
REPLAYS = 12
"""How many requests at once look for processes that do not know the thread."""

_REPLAY_ROUNDS = 4
"""How often: one process may take all connections of a moment."""

_PROBE_PAUSE_SECONDS = 0.1
_SETTLE_SECONDS = 1.0
"""For how long a run is watched that is not silent."""
_QUICK_SHARE = 0.4
"""How long ``/info`` may take while streams are open, of what an answer may take."""
_STOP_SECONDS = 15.0
"""How long a stopped run may take to end: an agent has 10 s."""
_HEADERS_SECONDS = 1.0
"""How long the header fields of a stream are waited for before anything else is looked at."""
_STOP_ATTEMPTS = 8
_FREED_SECONDS = 35.0
"""After how long a worker thread has noticed that its client has disconnected: two keep-alives, and some."""
_STORE_SECONDS = 0.5
"""How much later than its reader a store may know the end of a run."""
_PROBE_RUN = "doctor-probe"
"""The id of no run: a stop that names it stops nothing."""
_UNANSWERED_SECONDS = 0.5
"""After how long a join without header fields is one that something holds back, where other requests are quick."""


@dataclasses.dataclass(slots=True)
class RunRecord:
    """What was seen of a run.

    Attributes:
        stream: its stream.
        thread: its thread.
        active_seconds: when streams that had joined it on other connections showed that it was active.
        joins: how many of them were responded to with a stream.
        forgotten_joins: how many of these ended at once and empty, although the run had begun and went on.
        alone_info_seconds: how long ``/info`` took beside its stream; None if it got no answer.
        crowded_info_seconds: the same beside further streams; None if it got no answer, or was not tried.
        slowest_seconds: how long the slowest of other requests took.
        is_crowded: whether further streams were opened.
        streams: how many stayed open, with its own: a runtime may refuse further ones.
        stop_seconds: when it was asked to stop; None if it was not.
        stop_attempts: how many stop requests it took; 0 if none reached it.
        stop_refusal: what the last one was answered, if none reached it.
        forgotten_replays: how many of the processes' replays of the ended run were empty.
        replays: how many replays there were.
        is_deleted: whether its thread was deleted.
    """

    stream: WatchedStream
    thread: str
    active_seconds: list[float] = dataclasses.field(default_factory=list)
    joins: int = 0
    forgotten_joins: int = 0
    alone_info_seconds: float | None = None
    crowded_info_seconds: float | None = None
    slowest_seconds: float = 0.0
    is_crowded: bool = False
    streams: int = 1
    stop_seconds: float | None = None
    stop_attempts: int = 0
    stop_refusal: str = ""
    forgotten_replays: int = 0
    replays: int = 0
    is_deleted: bool = False


async def watch_run(examination: Examination, agent: str) -> RunRecord:
    """Runs an agent, and returns what was seen of the run."""
    mount, options = examination.mount, examination.options
    thread = new_id("thread")
    body = run_input(thread, options.message)
    async with mount.watch("run", agent, body) as stream:
        record = RunRecord(stream, thread)
        watcher = _Watcher(examination, agent, record)
        with watcher.probing():
            if await stream.wait_for_headers(_HEADERS_SECONDS) and not stream.is_stream:
                await stream.wait_for_end(options.timeout_seconds)
                return record
            record.alone_info_seconds = await watcher.time_info()
            if record.alone_info_seconds is not None:
                await watcher.crowd(body["runId"])
            if record.stop_seconds is None and not record.stop_refusal:
                await watcher.watch()
                await watcher.stop(body["runId"])
    mount.software = mount.software.seen_in(stream.headers)
    await watcher.replay()
    await watcher.delete()
    return record


class _Watcher:
    """What is done while a run is active, and after it."""

    def __init__(self, examination: Examination, agent: str, record: RunRecord) -> None:
        self._examination = examination
        self._mount = examination.mount
        self._agent = agent
        self._record = record
        self._stream = record.stream
        self._joins: list[WatchedStream] = []

    @contextlib.contextmanager
    def probing(self) -> Iterator[None]:
        """Looks on other connections whether the run is active, and what is answered, until the end of the block."""
        task = asyncio.create_task(self._probe())
        try:
            yield
        finally:
            task.cancel()

    async def _probe(self) -> None:
        while self._stream.is_open:
            self._look_at_joins()
            await self._probe_once()
            await self._stream.wait_for_end(_PROBE_PAUSE_SECONDS)

    async def _probe_once(self) -> None:
        with contextlib.suppress(Unanswered):
            answer = await self._mount.call_agent(
                "stop", self._agent, {"runId": _PROBE_RUN}, thread=self._record.thread
            )
            self._record.slowest_seconds = max(self._record.slowest_seconds, answer.seconds)

    def _look_at_joins(self) -> None:
        if any(map(self._shows_an_active_run, self._joins)):
            self._record.active_seconds.append(self._stream.seconds)

    def _shows_an_active_run(self, join: WatchedStream) -> bool:
        """Returns whether a join is open, as it is only while the thread has a run: others end at once."""
        usual = self._record.alone_info_seconds or 0.0
        return join.is_open and (join.is_stream or join.seconds > _UNANSWERED_SECONDS + 2 * usual)

    def _is_running(self) -> bool:
        return self._stream.is_open and not self._stream.has_terminal_event and self._record.stop_seconds is None

    async def time_info(self) -> float | None:
        """Returns how long ``/info`` takes; None if it takes too long."""
        seconds = _QUICK_SHARE * self._mount.timeout_seconds
        with contextlib.suppress(Unanswered):
            if self._examination.has_rest:
                answer = await self._mount.request("GET", "/info", timeout_seconds=seconds)
            else:
                answer = await self._mount.request("POST", "", {"method": "info"}, timeout_seconds=seconds)
            return answer.seconds
        return None

    async def crowd(self, run_id: str) -> None:
        """Joins the run with further streams, and watches and stops it if anything else is still answered."""
        if not self._is_running():
            return
        had_begun = self._stream.has_event
        async with contextlib.AsyncExitStack() as stack:
            self._joins = joins = [
                await stack.enter_async_context(
                    self._mount.watch("connect", self._agent, run_input(self._record.thread))
                )
                for _ in range(JOINS)
            ]
            await asyncio.gather(*(join.wait_for_headers(_HEADERS_SECONDS) for join in joins))
            # Many at once: processes take connections in turn only if there are several to take.
            await asyncio.gather(*(self._probe_once() for _ in range(REPLAYS)))
            # One without a response waits for a worker thread.
            self._record.streams = 1 + sum(join.is_open and join.status in (None, 200) for join in joins)
            if had_begun:
                await self._count_forgotten_joins()
            if not self._is_running():
                return
            self._look_at_joins()  # the run may be stopped before it is probed again
            self._record.crowded_info_seconds = await self.time_info()
            self._record.is_crowded = self._is_running() or self._record.crowded_info_seconds is None
            if self._record.crowded_info_seconds is None:
                return  # only without these streams can it be stopped
            await self.watch()
            await self.stop(run_id)
            if self._record.stop_seconds is not None:
                # Until they end by themselves: a worker thread notices only later that a client has disconnected.
                await asyncio.gather(*(join.wait_for_end(self._mount.timeout_seconds) for join in joins))

    async def _count_forgotten_joins(self) -> None:
        joins = [join for join in self._joins if join.is_stream and not join.failure]
        forgotten = [join for join in joins if not join.is_open and not join.has_event]
        if forgotten:
            # The end of the run may be on its way.
            await self._stream.wait_until(lambda: not self._is_running(), _STORE_SECONDS)
        if self._is_running():
            self._record.joins, self._record.forgotten_joins = len(joins), len(forgotten)

    async def watch(self) -> None:
        """Waits until enough was seen: events that arrive one by one, or a keep-alive in a silence."""
        stream, limit = self._stream, self._examination.options.watch_seconds
        # A run that cannot be stopped, since nothing else is answered, may end by itself.
        can_stop = self._record.alone_info_seconds is not None
        settle = min(_SETTLE_SECONDS, limit / 2)
        while stream.is_open and stream.silent_seconds < limit and stream.seconds < 2 * limit:
            has_more = await stream.wait_for_more(settle)
            if not can_stop:
                continue
            # From the first arrival on, which may be late: what comes later has not come at once.
            seen_seconds = stream.seconds - stream.arrivals[0].seconds if stream.arrivals else 0.0
            if has_more and stream.has_event and seen_seconds >= settle:
                return

    async def stop(self, run_id: str) -> None:
        """Stops the run as the stop button does."""
        record, stream = self._record, self._stream
        seconds = self._mount.timeout_seconds
        if record.is_crowded and record.crowded_info_seconds is None:
            seconds = max(seconds, _FREED_SECONDS)
        for attempt in range(1, _STOP_ATTEMPTS + 1):
            if not stream.is_open or stream.has_terminal_event:
                break
            try:
                answer = await self._mount.call_agent(
                    "stop", self._agent, {"runId": run_id}, thread=record.thread, timeout_seconds=seconds
                )
            except Unanswered as error:
                record.stop_refusal = str(error)
                break
            if (answer.json() or {}).get("stopped") is True:
                record.stop_attempts, record.stop_seconds = attempt, stream.seconds
                break
            record.stop_refusal = answer.described()
        if record.stop_refusal and record.stop_seconds is None:
            # It may have ended by itself, and its end be on the way.
            await stream.wait_until(lambda: stream.has_terminal_event, _STORE_SECONDS)
            if stream.has_terminal_event:
                record.stop_refusal = ""
        if record.stop_seconds is not None or stream.has_terminal_event:
            await stream.wait_for_end(_STOP_SECONDS)

    async def replay(self) -> None:
        """Reloads the thread many times at once: each process should know it."""
        if not self._stream.has_terminal_event:
            return
        for round_number in range(_REPLAY_ROUNDS):
            answers = await asyncio.gather(*(self._replay_once() for _ in range(REPLAYS)))
            known = [answer for answer in answers if answer is not None]
            if round_number == 0 and not all(known):
                await asyncio.sleep(_STORE_SECONDS)
                continue
            self._record.replays += len(known)
            self._record.forgotten_replays += known.count(False)

    async def _replay_once(self) -> bool | None:
        with contextlib.suppress(Unanswered):
            answer = await self._mount.call_agent("connect", self._agent, run_input(self._record.thread))
            return b"data:" in answer.body if answer.status == 200 else None
        return None

    async def delete(self) -> None:
        """Deletes the thread, if the runtime lets its caller do that."""
        if not members(self._examination.info.get("threadEndpoints")).get("mutations"):
            return
        with contextlib.suppress(Unanswered):
            answer = await self._mount.request("DELETE", f"/threads/{self._record.thread}", {"agentId": self._agent})
            self._record.is_deleted = 200 <= answer.status < 300
