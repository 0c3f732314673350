"""What a run shows, if the user has named an agent for it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from ..examination import Examination
from ..findings import Finding, Status, ok, skipped
from ..live_run import RunRecord, watch_run
from ..watched_stream import Arrival, WatchedStream
from .streams import CLIENT_HEADERS_SECONDS, compression_of

NOT_RUN = (
    "buffering, delayed headers, keep-alives, worker threads, stop, and whether all processes know a thread: these "
    "need a run."
)
_ADD_AGENT = (
    "Add --agent {agent}: it runs that agent once and stops it, which costs what one answer costs. docs/doctor.md has "
    "an agent for this that uses no model."
)
SLOW_AGENT = "docs/doctor.md has an agent that takes long enough, and uses no model."

_SEEN_SECONDS = 0.5
"""For how long a run has to be active before it is said that its events were held back."""
_LATE_HEADERS_SECONDS = 1.0
_STUCK_SECONDS = 2.0
"""How long a request beside a stream may take."""
_GAP_SECONDS = 0.05
"""Between two arrivals: they have not come at once."""
_MANY_GAPS_SECONDS = 0.25
_STREAMED_PARTS = 4
_BUFFER_BYTES = 3_500
_KEEP_ALIVE_SECONDS = 20.0
"""Silence in which a keep-alive should have come, at the default of one every 15 s."""
_END_SECONDS = 12.0
"""An agent has 10 s to end after it was stopped."""


async def check_run(examination: Examination) -> list[Finding]:
    """Runs the agent that the user has named, and returns what that has shown."""
    agent = examination.options.agent
    if agent is None:
        return [skipped("run", f"not looked at: {NOT_RUN}", _ADD_AGENT.format(agent=examination.agent))]
    if agent not in examination.info["agents"]:
        return []
    record = await watch_run(examination, agent)
    return list(judge(examination, record))


def judge(examination: Examination, record: RunRecord) -> Iterator[Finding]:
    """Yields what the record of a run shows."""
    stream = record.stream
    if not stream.is_stream:
        yield _no_stream(stream)
        return
    yield _run(record)
    for judgement in _JUDGEMENTS:
        finding = judgement(examination, record)
        if finding is not None:
            yield finding


def _wrong(
    check: str, summary: str, advice: str = "", snippet: str = "", *, status: Status = Status.WRONG, **measured: object
) -> Finding:
    return Finding(check=check, status=status, summary=summary, advice=advice, snippet=snippet, measured=measured)


def _no_stream(stream: WatchedStream) -> Finding:
    if stream.status is None:
        summary = f"the run got no response within {stream.seconds:.0f} s" + (
            f": {stream.failure}" * bool(stream.failure)
        )
        return _wrong(
            "run",
            f"{summary}.",
            "Header fields have to arrive before the agent's first event: look for a proxy or middleware that waits "
            "for the whole response, and for a server whose workers are all busy.",
        )
    text = " ".join(stream.body.decode("utf-8", "replace").split())[:300]
    return _wrong("run", f"the run gets {stream.status}: {text or 'an empty body'}.")


def _run(record: RunRecord) -> Finding:
    stream = record.stream
    kinds = [arrival.kind for arrival in stream.events]
    if record.is_deleted:
        left = "its thread was deleted again"
    elif record.forgotten_replays and record.forgotten_replays == record.replays:
        left = "its thread was not kept"
    else:
        left = f"its thread {record.thread} is left"
    count = "1 event" if len(kinds) == 1 else f"{len(kinds)} events"
    summary = f"{count} in {_seconds(stream.end_seconds or stream.seconds)}; {left}."
    if "RUN_ERROR" in kinds:
        return _wrong(
            "run",
            f"the agent failed: its stream has a RUN_ERROR; {summary}",
            "The log of the server says why. What follows is about the run as far as it went.",
            status=Status.WARNING,
        )
    return ok("run", summary, events=len(kinds))


# --- the time at which things arrive ---


def _buffering(examination: Examination, record: RunRecord) -> Finding | None:
    stream, arrivals = record.stream, record.stream.arrivals
    if not arrivals:
        return _held_back(examination, record, "nothing of the run has arrived")
    first, last = arrivals[0].seconds, arrivals[-1].seconds
    active = [seconds for seconds in record.active_seconds if seconds < first]
    waited = max([*active, (stream.headers_seconds or 0.0) if record.alone_info_seconds is None else 0.0], default=0.0)
    came_at_once = _came_at_once(stream)
    if came_at_once and waited >= _SEEN_SECONDS:
        # The head came early, and what came later is what an agent yields that only knows a whole answer.
        is_ambiguous = first - (stream.headers_seconds or 0.0) >= _SEEN_SECONDS and not _was_streamed(stream)
        return _held_back(
            examination,
            record,
            f"all events arrived at once, after {_seconds(first)}",
            status=Status.WARNING if is_ambiguous else Status.WRONG,
        )
    if came_at_once:
        return skipped("buffering", f"not seen: the run was over after {_seconds(last)}.", SLOW_AGENT)
    if _arrives_in_buffers(arrivals):
        return _held_back(
            examination,
            record,
            "events arrive together, each time a few kilobytes have come together",
            status=Status.WARNING,
        )
    first_event = next((arrival.seconds for arrival in arrivals if not arrival.is_comment), None)
    if first_event is None:
        return _held_back(examination, record, "only comments have arrived, and no event")
    return ok(
        "buffering",
        f"events arrive as they happen: the first after {_seconds(first_event)}, the last after {_seconds(last)}.",
        firstEventSeconds=round(first_event, 3),
    )


def _came_at_once(stream: WatchedStream) -> bool:
    """Returns whether all that has arrived did so together, as far as a busy machine can tell."""
    first, last = stream.arrivals[0].seconds, stream.arrivals[-1].seconds
    return stream.has_terminal_event and last - first < max(_GAP_SECONDS, min(_MANY_GAPS_SECONDS, first / 4))


def _was_streamed(stream: WatchedStream) -> bool:
    """Returns whether the agent yielded its answer in parts, or was silent for so long that a keep-alive was due."""
    parts = [arrival for arrival in stream.events if arrival.kind.endswith(("_CONTENT", "_CHUNK", "_ARGS"))]
    return len(parts) >= _STREAMED_PARTS or stream.has_keep_alive


def _held_back(examination: Examination, record: RunRecord, what: str, status: Status = Status.WRONG) -> Finding:
    coding = compression_of(record.stream.headers)
    cause = f" The stream is compressed ({coding})." if coding else ""
    culprit = (
        "something between holds the stream back"
        if status is Status.WRONG
        else "something between holds the stream back, or the agent yields nothing before it has finished"
    )
    return _wrong(
        "buffering",
        f"{what}, although the run had been active on other connections: {culprit}.{cause}",
        "Switch off the buffering of responses in the proxy, and middleware that reads whole responses "
        "(compression, response caches, BaseHTTPMiddleware that collects the body). Only if nothing is there: the "
        "agent itself yields nothing before it has finished.",
        examination.snippet("compression" if coding and not examination.mount.software.proxy else "buffering"),
        status=status,
    )


def _arrives_in_buffers(arrivals: list[Arrival]) -> bool:
    """Returns whether many small events arrive together, each time a buffer is full."""
    sizes: dict[int, list[int]] = {}
    groups, last = 0, float("-inf")
    for arrival in arrivals:
        groups += arrival.seconds - last >= _GAP_SECONDS
        last = arrival.seconds
        sizes.setdefault(groups, []).append(arrival.size)
    full = list(sizes.values())[:-1]
    return (
        len(full) >= 2
        and all(len(group) >= 5 for group in full)
        and statistics.median(sum(group) for group in full) >= _BUFFER_BYTES
    )


def _headers(examination: Examination, record: RunRecord) -> Finding | None:
    stream, seconds = record.stream, record.stream.headers_seconds or 0.0
    if seconds - (record.alone_info_seconds or 0.0) < _LATE_HEADERS_SECONDS and seconds < CLIENT_HEADERS_SECONDS:
        return ok("headers", f"header fields arrive after {_seconds(seconds)}.", seconds=round(seconds, 3))
    with_first = bool(stream.arrivals) and stream.arrivals[0].seconds - seconds < _GAP_SECONDS
    what = f"header fields arrive after {_seconds(seconds)}" + (", together with the first data" if with_first else "")
    return _wrong(
        "headers",
        f"{what}. A client waits {CLIENT_HEADERS_SECONDS:g} s, and then takes the server for unreachable.",
        "Look for middleware that waits for the body before it passes on the head of a response, a proxy that buffers, "
        "and synchronous code that blocks the event loop before the run begins.",
        examination.snippet("buffering"),
        status=Status.WRONG if seconds >= CLIENT_HEADERS_SECONDS or with_first else Status.WARNING,
        seconds=round(seconds, 3),
    )


def _compression(examination: Examination, record: RunRecord) -> Finding | None:
    coding = compression_of(record.stream.headers)
    if not coding:
        return None
    return _wrong(
        "compression",
        f"the stream of a run is compressed ({coding}).",
        "Exclude text/event-stream from compression: an event may wait until a buffer of the compressor is full.",
        examination.snippet("compression"),
    )


def _keep_alive(examination: Examination, record: RunRecord) -> Finding | None:
    stream = record.stream
    later = [arrival for arrival in stream.arrivals[1:] if arrival.is_comment]
    if later:
        return ok("keep-alive", f"keep-alives reach the client: {later[0].text!r} after {_seconds(later[0].seconds)}.")
    if not stream.arrivals or _came_at_once(stream):
        return None  # what holds the stream back holds keep-alives back, too
    silence = stream.longest_silence
    if silence < min(_KEEP_ALIVE_SECONDS, examination.options.watch_seconds):
        return skipped(
            "keep-alive", f"not seen: the run was never silent for longer than {_seconds(silence)}.", SLOW_AGENT
        )
    if silence < _KEEP_ALIVE_SECONDS:
        return _wrong(
            "keep-alive",
            f"no keep-alive came in {_seconds(silence)} of silence. By default, there is one every 15 s.",
            f"Watch for longer, with --watch {_KEEP_ALIVE_SECONDS:g}, unless sse_keep_alive_seconds is less than that.",
            status=Status.WARNING,
        )
    return _wrong(
        "keep-alive",
        f"no keep-alive came in {_seconds(silence)} of silence: proxies close silent connections, many after 60 s, and "
        "clients that have left are not noticed.",
        "Leave sse_keep_alive_seconds at 15, and look for a proxy that drops comments.",
    )


def _cut(examination: Examination, record: RunRecord) -> Finding | None:
    stream = record.stream
    if stream.is_abandoned:
        return None  # `_stop` says that it does not end
    if stream.has_terminal_event and not stream.failure:
        return None
    reason = f" ({stream.failure})" if stream.failure else ""
    return _wrong(
        "cut",
        f"the stream ended after {_seconds(stream.end_seconds or 0)} without the end of the run{reason}; it had been "
        f"silent for {_seconds(stream.silent_seconds)}.",
        "Something closes it: a read timeout of a proxy that is shorter than the keep-alive (15 s), a limit for the "
        "whole response, or gunicorn's default worker, which kills streams at --timeout (30 s).",
        examination.snippet("read timeout"),
    )


# --- what else is served meanwhile ---


def _headroom(examination: Examination, record: RunRecord) -> Finding | None:
    stream = record.stream
    if record.alone_info_seconds is None:
        return _wrong(
            "workers",
            "while one stream is open, nothing else is answered: the server handles one request at a time, or the "
            "agent blocks the event loop. No stop request can get in.",
            "Under WSGI, use worker threads. Under ASGI, let an agent that blocks be a synchronous generator (def), "
            "which runs on an OS thread of its own.",
            examination.snippet("threads"),
        )
    has_room = record.crowded_info_seconds is not None
    if record.slowest_seconds >= _STUCK_SECONDS and (has_room or not record.is_crowded):
        return _wrong(
            "workers",
            f"while the stream was open, another request waited for {_seconds(record.slowest_seconds)}: the agent "
            "blocks "
            "the event loop, or the server is overloaded.",
            "Let an agent that blocks be a synchronous generator (def), which runs on an OS thread of its own, or call "
            "what blocks with await asyncio.to_thread(...).",
            examination.snippet("threads"),
            status=Status.WARNING,
            seconds=round(record.slowest_seconds, 1),
        )
    if record.is_crowded and record.streams == 1:
        return skipped(
            "workers", "not seen: no second stream stays open, because of max_streams or of several processes."
        )
    if not record.is_crowded:
        return skipped("workers", f"not seen: the run was over after {_seconds(stream.end_seconds or 0)}.", SLOW_AGENT)
    if record.crowded_info_seconds is None:
        return _wrong(
            "workers",
            f"with {record.streams} streams open, nothing else is answered: each takes a worker thread, and none is "
            "left. A stop request cannot get in then.",
            "Use as many worker threads as chats that stream at the same time, plus some, and max_streams below that.",
            examination.snippet("threads"),
            streams=record.streams,
        )
    milliseconds = round(record.crowded_info_seconds * 1000)
    return ok(
        "workers",
        f"with {record.streams} streams open, /info is answered within {milliseconds} ms.",
        streams=record.streams,
        milliseconds=milliseconds,
    )


def _processes(examination: Examination, record: RunRecord) -> Finding | None:
    stops = record.stop_attempts > 1
    forgotten = record.forgotten_replays if record.forgotten_replays < record.replays else 0
    if record.forgotten_joins or forgotten or stops:
        seen = [
            f"{forgotten} of {record.replays} replays of the thread were empty" if forgotten else "",
            f"{record.forgotten_joins} of {record.joins} streams that joined the run ended at once"
            if record.forgotten_joins
            else "",
            f"the stop request reached it at attempt {record.stop_attempts}" if stops else "",
        ]
        return _wrong(
            "processes",
            f"several processes answer, and not all of them know the thread: {'; '.join(filter(None, seen))}.",
            "The memory store belongs to one process: use a store that all share, or one process.",
            examination.snippet("store"),
        )
    if record.forgotten_replays == record.replays:
        return skipped("processes", "not seen: no process replays the thread.")
    return ok("processes", f"{record.replays} replays of the thread all had its events.", replays=record.replays)


def _stop(examination: Examination, record: RunRecord) -> Finding | None:
    stream = record.stream
    if record.stop_seconds is None:
        if record.stop_refusal:
            return _wrong(
                "stop",
                f"no stop request reached the run while its stream was open: {record.stop_refusal}.",
                "If it got no answer, all worker threads are taken by streams. If there is no such run, it is in "
                "another process: use a store that all share.",
                examination.snippet("threads" if record.alone_info_seconds is None else "store"),
            )
        return skipped("stop", f"not seen: the run was over after {_seconds(stream.end_seconds or 0)}.", SLOW_AGENT)
    if stream.is_abandoned or (stream.end_seconds or 0) - record.stop_seconds > _END_SECONDS:
        return _wrong(
            "stop",
            "the stop request was accepted, but the stream went on for more than 12 s.",
            "A synchronous agent is stopped at its next yield only: let it look at context.stop_requested. If the "
            "end is only late, a proxy holds it back.",
        )
    seconds = max(0.0, (stream.end_seconds or 0) - record.stop_seconds)
    return ok("stop", f"stop ends the run: its stream ended {_seconds(seconds)} later.", seconds=round(seconds, 3))


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


_JUDGEMENTS: tuple[Callable[[Examination, RunRecord], Finding | None], ...] = (
    _buffering,
    _headers,
    _compression,
    _keep_alive,
    _cut,
    _headroom,
    _processes,
    _stop,
)
