"""Streams as their readers see them: sent at once, resumed anywhere, shared, and left at any time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from copilot_runtime_asgi import create_copilot_asgi_app

from .compaction_oracle import compact
from .fixtures import runtimes
from .http_client import TIMEOUT_SECONDS, Client, Event, Frame, Stream, run_input, types, unique, user_message
from .serve import ADAPTERS
from .servers import serve_runtime

PLAYERS = ["play", "play-sync"]


@pytest.fixture(scope="module", params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def runtime_fixture(name: str) -> Any:
    """A server of that runtime for the module, as a client."""

    @pytest.fixture(scope="module")
    def client(adapter: str) -> Iterator[Client]:
        with serve_runtime(adapter, name) as server:
            yield Client(server)

    return client


client = runtime_fixture("plain")
patient = runtime_fixture("patient")
two_streams = runtime_fixture("two-streams")
one_stream = runtime_fixture("one-stream")
leave_stops = runtime_fixture("leave-stops")
supersede = runtime_fixture("supersede")
forgetful = runtime_fixture("forgetful")


def steps(*pairs: tuple[str, Any]) -> dict[str, Any]:
    """What a player is to play, as a member of its input."""
    return {"forwardedProps": {"steps": [list(pair) for pair in pairs]}}


def set_event(client: Client, gate: str) -> None:
    """Opens a gate, by a run on a thread of its own."""
    client.run("play", unique("opener"), **steps(("set", gate)))


def deltas(frames: list[Frame]) -> list[str]:
    return [frame.event["delta"] for frame in frames if "delta" in frame.event]


def posted(path: str, body: bytes) -> bytes:
    """A request on a connection of its own, as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


def ordinal_of(frame: Frame) -> int:
    """Which run of its thread a frame belongs to."""
    return int(str(frame.id).split(".")[0])


# --- as it happens -------------------------------------------------------------------


@pytest.mark.requirement("SSE-05")
@pytest.mark.parametrize("agent", PLAYERS)
def test_sse_each_event_is_sent_before_the_next(patient: Client, agent: str) -> None:
    first, second = unique("gate"), unique("gate")
    script = steps(("wait", first), ("say", "a"), ("wait", second), ("say", "b"))
    with patient.start_run(agent, unique("thread"), **script) as stream:
        assert stream.event()["type"] == "RUN_STARTED"
        set_event(patient, first)
        assert stream.event()["type"] == "TEXT_MESSAGE_START"
        assert stream.event()["delta"] == "a"
        set_event(patient, second)
        assert stream.event()["delta"] == "b"


@pytest.mark.requirement("SSE-01")
@pytest.mark.parametrize("agent", ["silent-async", "silent-sync"])
def test_sse_headers_are_sent_before_the_first_event(patient: Client, agent: str) -> None:
    """`Client.run` returns once they have come, and there is nothing else that could bring them."""
    thread, run = unique("thread"), unique("run")
    with patient.start_run(agent, thread, run) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream"
        assert "no-cache" in stream.headers["cache-control"]
        assert stream.headers["x-accel-buffering"] == "no"
        assert "content-length" not in stream.headers
        with patient.connect(agent, thread) as joined:
            assert joined.status == 200
            patient.run("release", unique("release"), forwardedProps={"run": run})
            patient.stop(agent, thread)
            assert types(joined.rest())[-1] in ("RUN_FINISHED", "RUN_ERROR")


@pytest.mark.requirement("SSE-05")
def test_sse_ready_events_share_an_http_chunk(client: Client) -> None:
    """A thousand events at once are not a thousand writes: an HTTP chunk holds many."""
    body = json.dumps(run_input(unique("thread"), **steps(("many", 1000)))).encode()
    with socket.create_connection(("127.0.0.1", client.port), timeout=TIMEOUT_SECONDS) as raw:
        raw.sendall(posted(f"{client.base}/agent/play/run", body))
        response = b"".join(iter(lambda: raw.recv(1 << 16), b""))
    assert response.count(b'"TEXT_MESSAGE_CONTENT"') == 1000
    chunks = len(re.findall(rb"\r\n[0-9a-fA-F]+\r\n", response))
    assert 0 < chunks < 100


@pytest.mark.requirement("SSE-05")
def test_sse_run_that_never_waits_has_a_length_on_wsgi(client: Client, adapter: str) -> None:
    """It has a length, and takes neither a chunk for its end nor timers; ASGI says with the last message that it is."""

    def has_length() -> bool:
        with client.start_run("play", unique("thread"), **steps(("say", "a"))) as stream:
            assert types(stream.rest())[-1] == "RUN_FINISHED"
            return "content-length" in stream.headers

    # Several runs, since on a busy machine one may take longer than its headers wait.
    assert any(has_length() for _ in range(10)) == ("asgi" not in adapter)


# --- ids -----------------------------------------------------------------------------


@pytest.mark.requirement("SSE-07")
@pytest.mark.parametrize("agent", PLAYERS)
def test_sse_ids_of_a_run_count_from_its_ordinal(client: Client, agent: str) -> None:
    thread = unique("thread")
    ordinals = []
    for _ in range(3):
        with client.start_run(agent, thread, **steps(("say", "a"), ("say", "b"))) as stream:
            frames = list(stream.frames())
        ordinals.append(ordinal_of(frames[0]))
        assert [frame.id for frame in frames] == [f"{ordinals[-1]}.{number}" for number in range(1, len(frames) + 1)]
    # Where it begins is the store's business: ids of a forgotten thread must not fit its next life.
    assert ordinals == [ordinals[0], ordinals[0] + 1, ordinals[0] + 2]


@pytest.mark.requirement("SSE-07")
def test_sse_ids_are_absent_from_suggest(client: Client) -> None:
    body = run_input(unique("thread"), **steps(("say", "a")))
    with client.open("POST", "/agent/play/suggest", body) as stream:
        frames = list(stream.frames())
    assert types([frame.event for frame in frames])[-1] == "RUN_FINISHED"
    assert {frame.id for frame in frames} == {None}


# --- several readers -----------------------------------------------------------------


@pytest.mark.requirement("CONNECT-02")
@pytest.mark.parametrize("agent", PLAYERS)
def test_connect_all_readers_of_a_run_get_the_same_frames(client: Client, agent: str) -> None:
    thread, gates = unique("thread"), [unique("gate") for _ in range(4)]
    script = steps(*(pair for gate in gates for pair in (("say", gate), ("wait", gate))))
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(client.start_run(agent, thread, **script))]
        for gate in gates:
            readers += [stack.enter_context(client.connect("good", thread)) for _ in range(2)]
            set_event(client, gate)
        event_id = [list(reader.frames()) for reader in readers]
    assert deltas(event_id[0]) == gates
    assert all(frames == event_id[0] for frames in event_id)


@pytest.mark.requirement("SSE-08")
def test_slow_reader_does_not_delay_others(client: Client) -> None:
    """It does not read at all, while more is sent than any buffer between takes."""
    thread, gate = unique("thread"), unique("gate")
    huge = ("event", {"type": "CUSTOM", "name": "huge", "value": "x" * 1_000_000})
    script = steps(("wait", gate), *[huge] * 32, ("say", "end"))
    with client.start_run("play", thread, **script) as first, socket.socket() as slow_reader:
        slow_reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow_reader.connect(("127.0.0.1", client.port))
        body = json.dumps(run_input(thread, "lazy")).encode()
        slow_reader.sendall(posted(f"{client.base}/agent/play/connect", body))
        assert slow_reader.recv(1)  # its stream is set up
        assert first.event()["type"] == "RUN_STARTED"
        set_event(client, gate)
        assert first.until("RUN_FINISHED")[-2]["type"] == "TEXT_MESSAGE_END"
        assert types(client.run("good", thread))[-1] == "RUN_FINISHED"
        assert len(client.replay("good", thread)) > 32
        # What it has missed is still there for it, once it reads on, and as fast as it can.
        slow_reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        slow_reader.settimeout(TIMEOUT_SECONDS)
        rest = bytearray()
        while b"RUN_FINISHED" not in rest[-2000:]:
            chunk = slow_reader.recv(1 << 20)
            assert chunk
            rest += chunk
    assert rest.count(b'data: {"type":"CUSTOM"') == 32


@pytest.mark.requirement("SSE-06")
def test_sse_keep_alive_seconds_many_quiet_streams(client: Client) -> None:
    gate = unique("gate")
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(client.start_run("play", unique("thread"), **steps(("wait", gate), ("say", "a"))))
            for _ in range(40)
        ]
        for stream in streams:
            assert stream.event()["type"] == "RUN_STARTED"
        for _ in range(2):
            for stream in streams:
                assert stream.comment() == ": keep-alive"
        set_event(client, gate)
        for stream in streams:
            assert types(stream.rest())[-1] == "RUN_FINISHED"


# --- leaving -------------------------------------------------------------------------


def until_free(client: Client, thread: str) -> Stream:
    """Connects until there is room for a stream, which shows that another one's disconnect was noticed."""
    while True:
        stream = client.connect("good", thread)
        if stream.status == 200:
            return stream
        assert stream.status == 503, stream.read()
        stream.close()


@pytest.mark.parametrize("agent", PLAYERS)
def test_disconnect_is_noticed_while_nothing_is_sent(one_stream: Client, agent: str) -> None:
    thread = unique("thread")
    with one_stream.start_run(agent, thread, **steps(("wait", unique("never")), ("say", "a"))) as stream:
        assert stream.event()["type"] == "RUN_STARTED"
    # The only place is released, and the run is still active.
    with until_free(one_stream, thread) as joined:
        assert joined.event()["type"] == "RUN_STARTED"
        assert one_stream.stop("good", thread)["stopped"] is True
        assert types(joined.rest())[-1] == "RUN_FINISHED"
    with until_free(one_stream, thread) as replayed:
        assert types(replayed.rest()) == ["RUN_STARTED", "RUN_FINISHED"]


@pytest.mark.requirement("RUN-10")
@pytest.mark.parametrize("agent", PLAYERS)
def test_on_disconnect_by_default_a_run_continues(client: Client, agent: str) -> None:
    thread, gate = unique("thread"), unique("gate")
    with client.start_run(agent, thread, **steps(("say", "a"), ("wait", gate), ("say", "b"))) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
    with client.connect("good", thread) as joined:
        assert [joined.event()["type"] for _ in range(3)] == [
            "RUN_STARTED",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_CONTENT",
        ]
        set_event(client, gate)
        assert types(joined.rest()) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]


@pytest.mark.requirement("STOP-02")
def test_stop_of_a_run_without_readers(client: Client) -> None:
    thread, run, gate = unique("thread"), unique("run"), unique("gate")
    with client.start_run("play", thread, run, **steps(("say", "a"), ("wait", gate))) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
    assert client.stop("good", thread, "another")["stopped"] is False
    assert client.stop("good", thread, run)["stopped"] is True
    with client.connect("good", thread) as joined:
        assert types(joined.rest()) == [
            "RUN_STARTED",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_CONTENT",
            "TEXT_MESSAGE_END",
            "RUN_FINISHED",
        ]


@pytest.mark.requirement("RUN-10")
def test_on_disconnect_stop_stops_the_run(leave_stops: Client) -> None:
    thread, left = unique("thread"), unique("left")
    script = steps(("set-on-cancel", left), ("say", "a"), ("wait", unique("never")))
    with leave_stops.start_run("play", unique("watch"), **steps(("wait", left), ("say", "it has"))) as watcher:
        with leave_stops.start_run("play", thread, **script) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
        watcher.until("TEXT_MESSAGE_CONTENT")
    with leave_stops.connect("good", thread) as joined:
        assert types(joined.rest())[-1] == "RUN_FINISHED"


@pytest.mark.requirement("RUN-10")
def test_on_disconnect_stop_waits_for_the_last_reader(leave_stops: Client) -> None:
    thread, gate = unique("thread"), unique("gate")
    with leave_stops.start_run("play", thread, **steps(("say", "a"), ("wait", gate), ("say", "b"))) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        with leave_stops.connect("good", thread) as joined:
            joined.until("TEXT_MESSAGE_CONTENT")
            stream.close()
            for _ in range(4):  # enough of them for the other's leaving to be noticed
                assert joined.comment() == ": keep-alive"
            set_event(leave_stops, gate)
            assert types(joined.rest()) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]


@pytest.mark.requirement("SUGGEST-03")
def test_disconnect_from_suggest_cancels_the_agent(client: Client) -> None:
    left = unique("left")
    body = run_input(
        unique("thread"), unique("run"), **steps(("set-on-cancel", left), ("say", "a"), ("wait", unique("never")))
    )
    with client.start_run("play", unique("watch"), **steps(("wait", left), ("say", "it has"))) as watcher:
        with client.open("POST", "/agent/play/suggest", body) as stream:
            stream.until("TEXT_MESSAGE_CONTENT")
        watcher.until("TEXT_MESSAGE_CONTENT")


# --- resuming ------------------------------------------------------------------------

RUN = (
    ("say", "one"),
    ("say", " two"),
    ("event", {"type": "CUSTOM", "name": "between", "value": 1}),
    ("say", " three"),
    ("event", {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}}),
    ("event", {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/n", "value": 2}]}),
    ("event", {"type": "TOOL_CALL_START", "toolCallId": "call", "toolCallName": "search"}),
    ("event", {"type": "TOOL_CALL_ARGS", "toolCallId": "call", "delta": "{"}),
    ("event", {"type": "TOOL_CALL_ARGS", "toolCallId": "call", "delta": "}"}),
    ("event", {"type": "TOOL_CALL_END", "toolCallId": "call"}),
)

UNKNOWN = [
    "",
    "0.1",
    "{run}.0",
    "{run}",
    "{run}.",
    ".1",
    "{run}.1.1",
    "-{run}.1",
    "{run}.-1",
    "+{run}.1",
    "{run}.1 ",
    " {run}.1",
    "0{run}.1",
    "{run}.01",
    "{run}e0.1",
    "\u0661.\u0661",
    "{run}.1\n",
    "{run}00000.1",
    "999999999999999999.1",
    "{run}" * 5000 + ".1",
    "nonsense",
    "null",
    "../../etc",
    "\u0000",
]
"""What no frame of a thread with one run has for an id; ``{run}`` is that run's ordinal."""

BEYOND = ["{run}.1000", "{run}.999999999999999999"]


def live_frames(client: Client, agent: str, thread: str, gate: str) -> tuple[Stream, list[Frame]]:
    """A run that has come as far as `RUN` goes and waits at the gate."""
    stream = client.start_run(agent, thread, **steps(*RUN, ("wait", gate), ("say", " four")))
    reading = stream.frames()
    return stream, [next(reading) for _ in range(2 + len(RUN))]


@pytest.mark.requirement("CONNECT-06")
@pytest.mark.parametrize("agent", PLAYERS)
def test_last_seen_event_id_of_an_active_run(client: Client, agent: str) -> None:
    thread, gate = unique("thread"), unique("gate")
    stream, start = live_frames(client, agent, thread, gate)
    with contextlib.ExitStack() as stack:
        stack.enter_context(stream)
        joined = {
            frame.id: stack.enter_context(
                client.connect("good", thread, frame.id)
                if number % 2
                else client.connect("good", thread, headers={"Last-Event-ID": str(frame.id)})
            )
            for number, frame in enumerate(start)
        }
        set_event(client, gate)
        frames_of_first = start + list(stream.frames())
        for number, frame in enumerate(start, 1):
            assert list(joined[frame.id].frames()) == frames_of_first[number:], frame.id


@pytest.mark.requirement("CONNECT-06")
@pytest.mark.parametrize("agent", PLAYERS)
def test_last_seen_event_id_of_a_finished_run(client: Client, agent: str) -> None:
    thread, gate = unique("thread"), unique("gate")
    stream, start = live_frames(client, agent, thread, gate)
    with stream:
        set_event(client, gate)
        frames_of_first = start + list(stream.frames())
    with client.start_run("good", thread) as second:
        second_run = list(second.frames())
    after = [frame for frame in client.replay("good", thread) if ordinal_of(frame) == ordinal_of(second_run[0])]
    assert [frame.event for frame in after] == compact([frame.event for frame in second_run])
    for number, frame in enumerate(frames_of_first, 1):
        assert client.replay("good", thread, frame.id) == [*frames_of_first[number:], *after], frame.id
    for number, frame in enumerate(second_run, 1):
        assert client.replay("good", thread, frame.id) == second_run[number:], frame.id


@pytest.mark.requirement("CONNECT-06")
@pytest.mark.parametrize("agent", PLAYERS)
def test_last_seen_event_id_of_a_replay_that_was_cut_where_groups_interleave(client: Client, agent: str) -> None:
    """A replay has the events in another order than the run, so that its ids may not be those of the run."""
    thread = unique("thread")
    interleaved: list[Event] = [
        {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
        {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "search"},
        {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "a"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": "{"},
        {"type": "STEP_STARTED", "stepName": "s"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": "}"},
        {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/n", "value": 2}]},
        {"type": "TOOL_CALL_END", "toolCallId": "c"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "b"},
        {"type": "STEP_FINISHED", "stepName": "s"},
        {"type": "TEXT_MESSAGE_END", "messageId": "m"},
    ]
    with client.start_run(agent, thread, **steps(*[("event", event) for event in interleaved])) as stream:
        sent = list(stream.frames())
    for number, frame in enumerate(sent, 1):
        assert client.replay("good", thread, frame.id) == sent[number:], frame.id
    replayed = client.replay("good", thread)
    assert types(frame.event for frame in replayed) != types(frame.event for frame in sent)
    for cut in range(1, len(replayed) + 1):
        rest = client.replay("good", thread, replayed[cut - 1].id)
        events = [frame.event for frame in (*replayed[:cut], *rest)]
        assert sorted(map(str, compact(events))) == sorted(str(frame.event) for frame in replayed), cut
        if rest != replayed[cut:]:  # then both have had the same events until here
            assert rest == sent[[frame.id for frame in sent].index(replayed[cut - 1].id) + 1 :]


@pytest.mark.requirement("CONNECT-04", "CONNECT-06")
@pytest.mark.parametrize("agent", PLAYERS)
def test_last_seen_event_id_of_an_active_run_that_repeats_a_message_of_the_history(client: Client, agent: str) -> None:
    """Readers who have joined the run resume without the repeated message, the one who began it with the rest of it."""
    thread, gate = unique("thread"), unique("gate")
    start, content, end = (
        ("event", {"type": f"TEXT_MESSAGE_{kind}", "messageId": "m", **members})
        for kind, members in (("START", {"role": "assistant"}), ("CONTENT", {"delta": "a"}), ("END", {}))
    )
    between = [("event", {"type": "CUSTOM", "name": "between", "value": value}) for value in range(3)]
    client.run(agent, thread, **steps(start, content, end))
    history = client.replay("good", thread)
    held = (start, content, between[0], ("wait", gate), content, between[1], end, between[2])
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(client.start_run(agent, thread, **steps(*held)))
        sent = [first.frame() for _ in range(4)]
        whole = stack.enter_context(client.connect("good", thread))
        joined = [whole.frame() for _ in range(len(history) + 2)]
        resumed = [
            (number, kind, stack.enter_context(client.connect("good", thread, frame.id)))
            for kind, frames in (("began", sent), ("joined", joined))
            for number, frame in enumerate(frames, 1)
        ]
        set_event(client, gate)
        sent += first.frames()
        joined += whole.frames()
        assert types(frame.event for frame in joined[len(history) :]) == [
            "RUN_STARTED",
            *["CUSTOM"] * 3,
            "RUN_FINISHED",
        ]
        for number, kind, stream in resumed:
            assert list(stream.frames()) == (sent if kind == "began" else joined)[number:], (kind, number)
    for frames in (sent, joined[len(history) :]):
        for number, frame in enumerate(frames, 1):
            assert client.replay("good", thread, frame.id) == frames[number:], frame.id


@pytest.mark.requirement("CONNECT-06")
def test_last_seen_event_id_of_an_earlier_run_while_another_is_active(client: Client) -> None:
    thread, gate = unique("thread"), unique("gate")
    with client.start_run("good", thread) as first:
        frames_of_first = list(first.frames())
    with client.start_run("play", thread, **steps(("say", "a"), ("wait", gate))) as stream:
        start = [stream.frame() for _ in range(3)]
        with contextlib.ExitStack() as stack:
            joined = [stack.enter_context(client.connect("good", thread, frame.id)) for frame in frames_of_first]
            set_event(client, gate)
            rest = start + list(stream.frames())
            for number, reader in enumerate(joined, 1):
                assert list(reader.frames()) == frames_of_first[number:] + rest


@pytest.mark.requirement("CONNECT-08")
@pytest.mark.parametrize("agent", PLAYERS)
def test_failed_run_is_replayed_as_finished_once_another_run_has_begun(client: Client, agent: str) -> None:
    thread, gate = unique("thread"), unique("gate")
    error = {"type": "RUN_ERROR", "message": "on purpose"}
    with client.start_run(agent, thread, **steps(("say", "half"), ("event", error))) as failed:
        frames_of_failed = list(failed.frames())
    assert types(frame.event for frame in frames_of_failed)[-2:] == ["TEXT_MESSAGE_END", "RUN_ERROR"]
    assert client.replay("good", thread)[-1].event == error  # nothing has happened since
    assert client.replay("good", thread, frames_of_failed[0].id) == frames_of_failed[1:]

    started, end = frames_of_failed[0].event, frames_of_failed[-1]
    finished = Frame(end.id, {"type": "RUN_FINISHED", "threadId": thread, "runId": started["runId"]})
    settled = [*frames_of_failed[:-1], finished]
    with client.start_run("play", thread, **steps(("say", "a"), ("wait", gate))) as stream:
        start = [stream.frame() for _ in range(3)]
        with contextlib.ExitStack() as stack:
            joined = {
                frame.id: stack.enter_context(client.connect("good", thread, frame.id)) for frame in frames_of_failed
            }
            whole = stack.enter_context(client.connect("good", thread))
            set_event(client, gate)
            rest = start + list(stream.frames())
            for number, frame in enumerate(frames_of_failed, 1):
                assert list(joined[frame.id].frames()) == settled[number:] + rest, frame.id
            assert list(whole.frames()) == settled + rest
    for number, frame in enumerate(frames_of_failed, 1):
        assert client.replay("good", thread, frame.id)[: len(settled) - number] == settled[number:], frame.id
    kept = client.request("GET", f"/threads/{thread}/events").json()["events"]
    assert types(kept).count("RUN_ERROR") == 1


def resumable(replayed: list[Frame]) -> dict[str, list[Frame]]:
    """Returns what follows each id of a run after which its compacted events can be resumed exactly.

    Only where nothing before it came after it: folding puts a text where it ended, and
    what came in between after that.
    """
    ids = [str(frame.id).removesuffix("c") for frame in replayed]
    numbers = [int(identity.split(".")[1]) for identity in ids]
    return {
        identity: replayed[at + 1 :]
        for at, identity in enumerate(ids)
        if max(numbers[: at + 1]) == numbers[at] == min(numbers[at:])
    }


@pytest.mark.requirement("CONNECT-06")
@pytest.mark.parametrize("agent", PLAYERS)
def test_last_seen_event_id_of_a_run_with_only_compacted_frames(forgetful: Client, agent: str) -> None:
    thread, gate = unique("thread"), unique("gate")
    stream, start = live_frames(forgetful, agent, thread, gate)
    with stream:
        set_event(forgetful, gate)
        frames_of_first = start + list(stream.frames())
    replayed = forgetful.replay("good", thread)
    exact = resumable(replayed)
    assert str(frames_of_first[0].id) in exact
    assert str(frames_of_first[-1].id) in exact
    assert len(exact) < len(frames_of_first)
    for frame in frames_of_first:
        expected = exact.get(str(frame.id), replayed)
        assert forgetful.replay("good", thread, frame.id) == expected, frame.id
    for number, frame in enumerate(replayed, 1):
        assert forgetful.replay("good", thread, frame.id) == replayed[number:], frame.id


@pytest.mark.requirement("CONNECT-06")
@pytest.mark.one_of_each_stack
@pytest.mark.parametrize("event_id", UNKNOWN)
def test_last_seen_event_id_that_is_unknown_replays_everything(
    client: Client, unknown_thread: str, event_id: str
) -> None:
    everything = client.replay("good", unknown_thread)
    assert client.replay("good", unknown_thread, event_id.format(run=ordinal_of(everything[0]))) == everything


@pytest.mark.requirement("CONNECT-06")
@pytest.mark.one_of_each_stack
@pytest.mark.parametrize("event_id", [1.1, 1, True, [], {}, ["1.1"]], ids=str)
def test_last_seen_event_id_of_another_type_replays_everything_or_gets_400(
    client: Client, unknown_thread: str, event_id: Any
) -> None:
    body = run_input(unknown_thread, unique("run"), lastSeenEventId=event_id)
    with client.open("POST", "/agent/good/connect", body) as response:
        if response.status == 200:
            assert list(response.frames()) == client.replay("good", unknown_thread)
        else:
            assert response.status == 400
            assert response.json()["error"]


@pytest.mark.requirement("CONNECT-06")
@pytest.mark.parametrize(
    "event_id",
    [event_id for event_id in UNKNOWN if event_id.isascii() and event_id.isprintable() and len(event_id) < 100],
)
def test_last_event_id_header_that_is_unknown_replays_everything(
    client: Client, unknown_thread: str, event_id: str
) -> None:
    everything = client.replay("good", unknown_thread)
    event_id = event_id.format(run=ordinal_of(everything[0]))
    with client.connect("good", unknown_thread, headers={"Last-Event-ID": event_id}) as stream:
        # White space around a value is not part of it, but not every server removes it: some of these are known then.
        assert list(stream.frames()) in (everything, client.replay("good", unknown_thread, event_id.strip()))


@pytest.fixture(scope="module")
def unknown_thread(client: Client) -> str:
    """A thread with one run."""
    thread = unique("thread")
    client.run("good", thread)
    return thread


@pytest.mark.requirement("CONNECT-06")
@pytest.mark.parametrize("event_id", BEYOND)
def test_last_seen_event_id_beyond_the_end_replays_the_end(client: Client, forgetful: Client, event_id: str) -> None:
    for runtime in (client, forgetful):
        thread = unique("thread")
        with runtime.start_run("good", thread) as stream:
            event_id = event_id.format(run=ordinal_of(list(stream.frames())[-1]))
        assert types([frame.event for frame in runtime.replay("good", thread, event_id)])[-1] == "RUN_FINISHED"


@pytest.mark.requirement("CONNECT-06")
@pytest.mark.parametrize("event_id", BEYOND)
def test_last_seen_event_id_beyond_an_active_run_sends_its_end(client: Client, event_id: str) -> None:
    thread, gate = unique("thread"), unique("gate")
    with client.start_run("play", thread, **steps(("say", "a"), ("wait", gate))) as stream:
        event_id = event_id.format(run=ordinal_of(stream.frame()))
        with client.connect("good", thread, event_id) as joined:
            set_event(client, gate)
            assert types(joined.rest())[-1] == "RUN_FINISHED"


@pytest.mark.requirement("CONNECT-06")
def test_last_seen_event_id_in_the_body_wins_over_the_last_event_id_header(client: Client, unknown_thread: str) -> None:
    """An intermediary may repeat an old header; the body is what the frontend says now."""
    everything = client.replay("good", unknown_thread)
    with client.connect("good", unknown_thread, everything[1].id, {"Last-Event-ID": str(everything[0].id)}) as stream:
        assert list(stream.frames()) == client.replay("good", unknown_thread, everything[1].id)


# --- how many ------------------------------------------------------------------------


@pytest.mark.requirement("SSE-09")
def test_max_streams_503_with_retry_after(two_streams: Client) -> None:
    threads, gate = [unique("thread"), unique("thread")], unique("gate")
    runs = [two_streams.start_run("play", thread, **steps(("wait", gate), ("say", "a"))) for thread in threads]
    with contextlib.ExitStack() as stack:
        for run in runs:
            stack.enter_context(run)
            assert run.event()["type"] == "RUN_STARTED"
        refused: list[Callable[[], Stream]] = [
            lambda: two_streams.start_run("good", unique("thread")),
            lambda: two_streams.connect("good", threads[0]),
            lambda: two_streams.open("POST", "/agent/good/suggest", run_input(unique("thread"))),
        ]
        for send in refused:
            with send() as response:
                assert response.status == 503
                assert int(response.headers["retry-after"]) > 0
                assert response.json()["error"] == "too_many_streams"
        # Requests without a stream are answered.
        assert "play" in two_streams.info()["agents"]
        assert two_streams.stop("good", threads[0])["stopped"] is True
        assert types(list(runs[0].events()))[-1] == "RUN_FINISHED"
        runs[0].close()
        with until_free(two_streams, threads[0]) as replayed:
            assert types(replayed.rest()) == ["RUN_STARTED", "RUN_FINISHED"]
        two_streams.stop("good", threads[1])
        assert types(list(runs[1].events()))[-1] == "RUN_FINISHED"


@pytest.mark.requirement("SSE-09")
def test_max_streams_a_refused_run_leaves_no_trace(two_streams: Client) -> None:
    thread, threads = unique("thread"), [unique("thread"), unique("thread")]
    with contextlib.ExitStack() as stack:
        for busy in threads:
            stack.enter_context(two_streams.start_run("play", busy, **steps(("wait", unique("never"))))).event()
        with two_streams.start_run("good", thread) as response:
            assert response.status == 503
        assert two_streams.stop("good", thread)["stopped"] is False
        for busy in threads:
            two_streams.stop("good", busy)
    with until_free(two_streams, thread) as replayed:
        assert replayed.rest() == []


@pytest.mark.requirement("SSE-09")
def test_max_streams_are_released_by_every_kind_of_end(one_stream: Client) -> None:
    """By streams that end, by refusals, and by requests that come to nothing."""
    for _ in range(5):
        with until_free(one_stream, unique("empty")) as stream:
            assert stream.rest() == []
        with one_stream.open("POST", "/agent/nobody/run", run_input("t", "r")) as response:
            assert response.status == 404
        with one_stream.open("POST", "/agent/good/run", {"threadId": 7}) as response:
            assert response.status == 400
        with one_stream.open("POST", "/agent/raising-clone/run", run_input("t", "r")) as response:
            assert response.status == 500


# --- one thread, one run -------------------------------------------------------------


@pytest.mark.requirement("RUN-11")
def test_on_concurrent_run_reject_409_leaves_no_trace(client: Client) -> None:
    thread, run, gate = unique("thread"), unique("run"), unique("gate")
    message = {"id": unique("message"), "role": "user", "content": "of the second"}
    with client.start_run("play", thread, run, **steps(("say", "a"), ("wait", gate), ("say", "b"))) as stream:
        first = stream.frame()
        start = [first.event, *stream.until("TEXT_MESSAGE_CONTENT")]
        with client.start_run("good", thread, unique("second"), messages=[message]) as response:
            assert response.status == 409
            refusal = response.json()
        assert refusal["error"] == "thread_busy"
        assert refusal["runId"] == run
        set_event(client, gate)
        events = start + stream.rest()
    assert [frame.event for frame in client.replay("good", thread)] == compact(events)
    assert message["id"] not in json.dumps(events)
    # It was not counted as a run of the thread, nor was its message taken for known.
    with client.start_run("good", thread, messages=[message]) as third:
        frames = list(third.frames())
    assert ordinal_of(frames[0]) == ordinal_of(first) + 1
    assert frames[0].event["input"]["messages"] == [message]


@pytest.mark.requirement("RUN-11")
def test_on_concurrent_run_reject_409_until_a_stopped_run_has_ended(patient: Client) -> None:
    thread, run = unique("thread"), unique("run")
    with patient.start_run("deaf", thread, run) as stream:
        stream.until("TEXT_MESSAGE_START")
        assert patient.stop("good", thread)["stopped"] is True
        assert patient.stop("good", thread)["stopped"] is False
        with patient.start_run("good", thread) as response:
            assert response.status == 409
        patient.run("release", unique("release"), forwardedProps={"run": run})
        stream.until("RUN_FINISHED")
    assert types(patient.run("good", thread))[-1] == "RUN_FINISHED"


@pytest.mark.requirement("RUN-12")
@pytest.mark.parametrize("agent", ["play", "play-sync", "deaf"])
def test_on_concurrent_run_supersede_stops_the_active_run(supersede: Client, agent: str) -> None:
    thread, run = unique("thread"), unique("run")
    with supersede.start_run(agent, thread, run, **steps(("wait", run))) as first:
        assert first.event()["type"] == "RUN_STARTED"
        second = supersede.run("good", thread)
        assert types(second)[-1] == "RUN_FINISHED"
        ended = first.rest()
    assert types(ended)[-1] == "RUN_FINISHED"
    set_event(supersede, run)
    supersede.run("release", unique("release"), forwardedProps={"run": run})
    replayed = [frame.event for frame in supersede.replay("good", thread)]
    assert replayed[-len(compact(second)) :] == compact(second)


@pytest.mark.requirement("RUN-12")
@pytest.mark.parametrize("agent", ["play", "play-sync", "deaf"])
def test_on_concurrent_run_supersede_keeps_what_the_superseded_run_has_said(supersede: Client, agent: str) -> None:
    thread, run = unique("thread"), unique("run")
    asked = {"messages": [user_message("What is the time?")]}
    with supersede.start_run(agent, thread, run, **asked, **steps(("say", "It is "), ("wait", run))) as first:
        begun = first.until("TEXT_MESSAGE_CONTENT" if agent != "deaf" else "TEXT_MESSAGE_START")
        second = supersede.run("good", thread)
        superseded = begun + first.rest()
    supersede.run("release", unique("release"), forwardedProps={"run": run})
    assert superseded[0]["input"]["messages"] == asked["messages"]
    assert [frame.event for frame in supersede.replay("good", thread)] == compact(superseded) + compact(second)


# --- an ASGI server of another kind --------------------------------------------------


class Server:
    """One request to an ASGI application, by a server whose ``send`` never fails."""

    def __init__(self, app: Any, path: str, body: dict[str, Any], spec_version: str) -> None:
        self.sent: list[Any] = []
        self.started = asyncio.Event()
        self.heard = asyncio.Event()
        """Something of the body has come."""
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": json.dumps(body).encode(), "more_body": False})
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": spec_version},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
        }
        self.task = asyncio.ensure_future(app(scope, self._messages.get, self._send))

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        (self.started if message["type"] == "http.response.start" else self.heard).set()

    def disconnect(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status


@pytest.mark.requirement("ASGI-01")
@pytest.mark.parametrize("spec_version", ["2.0", "2.3", "2.4", "2.5"])
@pytest.mark.parametrize("agent", ["silent-async", "play"])
def test_asgi_disconnect_is_noticed_for_every_spec_version(spec_version: str, agent: str) -> None:
    async def scenario() -> None:
        app = create_copilot_asgi_app(
            runtime=runtimes.runtime(max_streams=1, sse_keep_alive_seconds=0)(), base_path="/api"
        )
        never = steps(("say", "a"), ("wait", unique("never")))
        first = Server(app, f"/api/agent/{agent}/run", run_input("one", "one", **never), spec_version)
        await first.started.wait()
        if agent == "play":
            await first.heard.wait()
        refused = Server(app, "/api/agent/good/run", run_input("two", "two"), spec_version)
        await refused.task
        assert refused.status == 503
        first.disconnect()
        await first.task
        joined = Server(app, "/api/agent/good/connect", run_input("one", "three"), spec_version)
        await joined.started.wait()
        assert joined.status == 200
        stop = Server(app, "/api/agent/good/stop/one", {}, spec_version)
        await stop.task
        await joined.task
        assert b"RUN_FINISHED" in b"".join(message.get("body", b"") for message in joined.sent)

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_SECONDS))


@pytest.mark.requirement("ASGI-01")
def test_asgi_disconnect_before_the_whole_body() -> None:
    async def scenario() -> None:
        app = create_copilot_asgi_app(runtime=runtimes.runtime(max_streams=1)(), base_path="/api")
        messages: asyncio.Queue[Any] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": b'{"threadId"', "more_body": True})
        messages.put_nowait({"type": "http.disconnect"})
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/api/agent/good/run", "query_string": b"", "headers": []}
        await app(scope, messages.get, send)
        assert sent == []
        run = Server(app, "/api/agent/good/run", run_input("one", "one"), "2.3")
        await run.task
        assert run.status == 200

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_SECONDS))
