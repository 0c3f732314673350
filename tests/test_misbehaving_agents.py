"""Agents that fail, flood, hang and yield invalid events: each harms only its own run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from .compaction_oracle import compact
from .fixtures import misbehaving_agents, runtimes
from .http_client import Client, Event, parse_frame, types, unique
from .serve import ADAPTERS
from .servers import RunningServer, serve_runtime

INCOMPLETE = "INCOMPLETE_STREAM"
TEXT = ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]
BROKEN_OFF = ["RUN_STARTED", *TEXT, "RUN_ERROR"]
"""The events of a run whose agent fails in the middle of its text."""
MILLION = 1_000_000


# For tests that need a server each, for agents without end, and for long tables of what agents may do wrong: they try
# how the engine and its loop fare, which the adapters of a stack share.
ONE_OF_EACH_STACK = pytest.mark.parametrize("adapter", ["asgi", "wsgi"], indirect=True)


@pytest.fixture(scope="module", params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def plain(adapter: str) -> Iterator[RunningServer]:
    with serve_runtime(adapter, "plain") as server:
        yield server


@pytest.fixture
def client(plain: RunningServer) -> Client:
    return Client(plain)


@pytest.fixture(autouse=True)
def bystander(request: pytest.FixtureRequest) -> Iterator[None]:
    """A run on the shared server that starts before the test and ends after it."""
    if "client" not in request.fixturenames:
        yield
        return
    client: Client = request.getfixturevalue("client")
    gate = unique("bystander")
    with client.start_run(
        "play", unique("beside"), forwardedProps={"steps": [["say", "a"], ["wait", gate], ["say", "b"]]}
    ) as bystander_stream:
        assert types(bystander_stream.until("TEXT_MESSAGE_CONTENT")) == [
            "RUN_STARTED",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_CONTENT",
        ]
        yield
        client.run("play", unique("opener"), forwardedProps={"steps": [["set", gate]]})
        assert types(bystander_stream.rest()) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]


def check_thread(client: Client, thread: str) -> None:
    """The thread is free, other requests are answered, and a run on it is complete."""
    assert "good" in client.info()["agents"]
    events = client.run("good", thread)
    assert types(events)[-1] == "RUN_FINISHED"
    assert "".join(event.get("delta", "") for event in events) == "good as gold"


def check_run_error(events: list[Event], code: str = INCOMPLETE) -> None:
    """The stream ends in an error that reveals nothing of an exception."""
    assert types(events)[-1] == "RUN_ERROR", events
    assert events[-1]["code"] == code, events[-1]
    assert events[-1]["message"].strip()
    assert misbehaving_agents.SECRET not in json.dumps(events)
    assert types(events).count("RUN_ERROR") == 1


def check_replay(client: Client, thread: str, events: list[Event]) -> None:
    """The replay is what was streamed, compacted."""
    assert [frame.event for frame in client.replay("good", thread)] == compact(events)


def release(client: Client, run: str) -> None:
    client.run("release", unique("release"), forwardedProps={"run": run})


# --- raising -------------------------------------------------------------------------


@pytest.mark.requirement("RUN-13", "RUN-15")
@ONE_OF_EACH_STACK
@pytest.mark.parametrize("exception", misbehaving_agents.EXCEPTIONS)
@pytest.mark.parametrize("agent", misbehaving_agents.RAISING)
def test_agent_that_raises_after_events_ends_in_run_error(client: Client, agent: str, exception: str) -> None:
    thread = unique("raising")
    events = client.run(agent, thread, forwardedProps={"what": exception})
    check_run_error(events)
    assert types(events) == BROKEN_OFF
    check_replay(client, thread, events)
    check_thread(client, thread)


@pytest.mark.requirement("RUN-15", "CONNECT-07")
@pytest.mark.parametrize("exception", misbehaving_agents.EXCEPTIONS)
@pytest.mark.parametrize("agent", misbehaving_agents.RAISING_AT_ONCE)
def test_agent_that_raises_before_any_event_ends_in_run_error(client: Client, agent: str, exception: str) -> None:
    thread = unique("raising")
    events = client.run(agent, thread, forwardedProps={"what": exception})
    check_run_error(events)
    assert types(events) == ["RUN_ERROR"]
    # A run that failed before it emitted anything is not stored.
    check_replay(client, thread, [])
    check_thread(client, thread)


@pytest.mark.requirement("RUN-15")
@pytest.mark.parametrize("exception", misbehaving_agents.EXCEPTIONS)
def test_agent_that_raises_in_cleanup_ends_in_run_error(client: Client, exception: str) -> None:
    thread = unique("cleanup")
    events = client.run("raises-in-cleanup", thread, forwardedProps={"what": exception})
    check_run_error(events)
    check_replay(client, thread, events)
    check_thread(client, thread)


@pytest.mark.requirement("SUGGEST-02")
@ONE_OF_EACH_STACK
@pytest.mark.parametrize("exception", misbehaving_agents.EXCEPTIONS)
@pytest.mark.parametrize("agent", [*misbehaving_agents.RAISING, *misbehaving_agents.RAISING_AT_ONCE])
def test_suggest_with_an_agent_that_raises_ends_in_run_error(client: Client, agent: str, exception: str) -> None:
    thread = unique("suggesting")
    body = {"threadId": thread, "runId": unique("run"), "messages": [], "tools": [], "context": []}
    with client.open("POST", f"/agent/{agent}/suggest", {**body, "forwardedProps": {"what": exception}}) as stream:
        check_run_error(stream.rest())
    check_replay(client, thread, [])


@pytest.mark.requirement("RUN-15")
@ONE_OF_EACH_STACK
@pytest.mark.parametrize("agent", [*misbehaving_agents.RAISING, *misbehaving_agents.RAISING_AT_ONCE])
def test_agent_that_raises_keyboard_interrupt(adapter: str, agent: str) -> None:
    """On a server of its own, since that is what it may end."""
    with serve_runtime(adapter, "plain") as server:
        client, thread = Client(server), unique("interrupt")
        check_run_error(client.run(agent, thread, forwardedProps={"what": misbehaving_agents.INTERRUPT}))
        check_thread(client, thread)


@pytest.mark.requirement("RUN-13")
@ONE_OF_EACH_STACK
def test_debug_sends_the_text_of_an_exception(adapter: str) -> None:
    with serve_runtime(adapter, "debug") as server:
        events = Client(server).run("raises-async", "thread", forwardedProps={"what": "exception"})
        assert misbehaving_agents.SECRET in events[-1]["message"]


# --- nonsense ------------------------------------------------------------------------


@pytest.mark.requirement("RUN-05")
@ONE_OF_EACH_STACK
@pytest.mark.parametrize(
    ("agent", "nonsense"),
    [
        *(("nonsense-async", name) for name in (*misbehaving_agents.NONSENSE, *misbehaving_agents.MEMBERS)),
        *(("nonsense-sync", name) for name in misbehaving_agents.NONSENSE),
    ],
)
def test_agent_that_yields_invalid_events_ends_in_run_error(client: Client, agent: str, nonsense: str) -> None:
    thread = unique("nonsense")
    events = client.run(agent, thread, forwardedProps={"what": nonsense})
    check_run_error(events)
    assert types(events) == BROKEN_OFF
    check_replay(client, thread, events)
    check_thread(client, thread)


@ONE_OF_EACH_STACK
@pytest.mark.parametrize("nonsense", [name for name in misbehaving_agents.NONSENSE if name != "second-run"])
def test_agent_whose_first_event_is_invalid_ends_in_run_error(client: Client, nonsense: str) -> None:
    thread = unique("nonsense")
    events = client.run("nonsense-first", thread, forwardedProps={"what": nonsense})
    check_run_error(events)
    assert types(events) == ["RUN_ERROR"]
    check_replay(client, thread, [])
    check_thread(client, thread)


@pytest.mark.requirement("RUN-08")
@ONE_OF_EACH_STACK
@pytest.mark.parametrize("nonsense", [name for name in misbehaving_agents.NONSENSE if name != "second-run"])
def test_agent_that_yields_invalid_events_after_its_end_changes_nothing(client: Client, nonsense: str) -> None:
    """An agent that fails after its terminal event changes nothing."""
    thread = unique("nonsense")
    events = client.run("nonsense-last", thread, forwardedProps={"what": nonsense})
    assert types(events)[-1] == "RUN_FINISHED"
    assert types(events).count("RUN_FINISHED") == 1
    check_replay(client, thread, events)
    check_thread(client, thread)


@ONE_OF_EACH_STACK
@pytest.mark.parametrize("value", misbehaving_agents.TOLERATED)
def test_agent_that_yields_values_which_json_can_represent(client: Client, value: str) -> None:
    thread = unique("tolerated")
    events = client.run("nonsense-async", thread, forwardedProps={"what": value})
    if types(events)[-1] != "RUN_FINISHED":
        check_run_error(events)
        assert len(events) == 5, "what a run fails of is not sent"
    check_replay(client, thread, events)
    check_thread(client, thread)


@ONE_OF_EACH_STACK
@pytest.mark.parametrize("agent", misbehaving_agents.RETURNING_NO_EVENTS)
def test_agent_that_returns_no_events_ends_in_run_error(client: Client, agent: str) -> None:
    thread = unique("nothing")
    events = client.run(agent, thread)
    check_run_error(events)
    assert types(events) == ["RUN_ERROR"]
    check_thread(client, thread)


@pytest.mark.parametrize("agent", misbehaving_agents.RETURNING_EVENTS)
def test_agent_that_returns_events_in_an_unusual_way(client: Client, agent: str) -> None:
    thread = unique("unusual")
    events = client.run(agent, thread)
    assert types(events)[0] == "RUN_STARTED"
    assert types(events)[-1] == "RUN_FINISHED", events
    check_replay(client, thread, events)
    check_thread(client, thread)


@ONE_OF_EACH_STACK
@pytest.mark.parametrize("iterator", misbehaving_agents.ITERATORS)
def test_agent_whose_iterator_is_broken_ends_in_run_error(client: Client, iterator: str) -> None:
    thread = unique("iterator")
    events = client.run("odd-iterator", thread, forwardedProps={"what": iterator})
    check_run_error(events)
    check_thread(client, thread)


@pytest.mark.parametrize("agent", ["raising-clone", "nonsense-clone", "raising-headers", "nonsense-headers"])
def test_agent_that_cannot_be_prepared_is_a_500(client: Client, agent: str) -> None:
    """There is no stream yet that could report it."""
    thread = unique("unprepared")
    with client.start_run(agent, thread) as response:
        assert response.status == 500
        text = response.read().decode()
    assert json.loads(text)["error"]
    assert misbehaving_agents.SECRET not in text
    check_replay(client, thread, [])
    check_thread(client, thread)


# --- floods --------------------------------------------------------------------------


@pytest.mark.parametrize(("agent", "count"), [("floods-async", MILLION), ("floods-sync", MILLION // 5)])
def test_agent_that_floods_is_streamed_and_compacted(client: Client, adapter: str, agent: str, count: int) -> None:
    if adapter not in ("asgi", "wsgi"):
        count //= 10  # a million tries the engine, which is the same for all; this tries how frames leave
    thread = unique("flood")
    with client.start_run(agent, thread, forwardedProps={"count": count}) as flood:
        flood.until("TEXT_MESSAGE_CONTENT")
        check_thread(client, unique("dry"))
        # Read in bulk, for a million frames are too many to take apart one by one.
        rest = flood.read()
    assert rest.count(b'"TEXT_MESSAGE_CONTENT"') == count - 1
    number = 3 + count
    last = parse_frame(rest.split(b"\n\n")[-2].decode())
    assert last is not None
    ordinal, _, end = str(last.id).partition(".")
    assert int(end) == number + 1
    events = [frame.event for frame in client.replay("good", thread)]
    assert types(events) == ["RUN_STARTED", *TEXT, "RUN_FINISHED"]
    assert events[2]["delta"] == "x" * count
    # The frames in the store are the ones that were sent, each once and in order.
    assert [frame.id for frame in client.replay("good", thread, f"{ordinal}.{number - 5}")] == [
        f"{ordinal}.{later}" for later in range(number - 4, number + 2)
    ]
    check_thread(client, thread)


@pytest.fixture(scope="module")
def small_store(adapter: str) -> Iterator[Client]:
    with serve_runtime(adapter, "small-store") as server:
        yield Client(server)


@pytest.mark.requirement("RUN-16")
@ONE_OF_EACH_STACK
@pytest.mark.parametrize("agent", ["endless-async", "endless-sync"])
def test_run_too_large_agent_without_end(small_store: Client, agent: str) -> None:
    thread = unique("large")
    events = small_store.run(agent, thread)
    check_run_error(events, "RUN_TOO_LARGE")
    check_replay(small_store, thread, events)
    check_thread(small_store, thread)


@pytest.mark.requirement("RUN-16")
@ONE_OF_EACH_STACK
def test_run_too_large_one_event(small_store: Client) -> None:
    thread = unique("large")
    events = small_store.run("one-huge-event", thread, forwardedProps={"count": 2 * runtimes.STORE_BYTES})
    check_run_error(events, "RUN_TOO_LARGE")
    check_thread(small_store, thread)


# --- never coming to an end ----------------------------------------------------------


@pytest.mark.requirement("STOP-04")
@ONE_OF_EACH_STACK
@pytest.mark.parametrize("agent", misbehaving_agents.NEVER_ENDING)
def test_stop_grace_seconds_ends_an_agent_that_does_not_react(client: Client, agent: str) -> None:
    """Where it does not listen, the runtime ends the run after the grace that it has."""
    thread, run = unique("endless"), unique("run")
    with client.start_run(agent, thread, run) as stream:
        assert stream.status == 200
        assert client.stop(agent, thread, run)["stopped"] is True
        check_thread(client, unique("beside"))
        events = stream.rest()
    assert types(events)[0] == "RUN_STARTED"
    assert types(events)[-1] == "RUN_FINISHED"
    assert types(events).count("TEXT_MESSAGE_END") == types(events).count("TEXT_MESSAGE_START")
    check_replay(client, thread, events)
    check_thread(client, thread)
    before = client.replay("good", thread)
    release(client, run)
    check_thread(client, unique("beside"))
    assert client.replay("good", thread) == before, "what it says afterwards is of no account"


@pytest.fixture(scope="module")
def short_timeout(adapter: str) -> Iterator[Client]:
    with serve_runtime(adapter, "timeout") as server:
        yield Client(server)


@pytest.mark.requirement("RUN-14")
@ONE_OF_EACH_STACK
@pytest.mark.parametrize("agent", [*misbehaving_agents.NEVER_ENDING, "endless-async", "endless-sync"])
def test_run_timeout_seconds_ends_a_run_with_run_timeout(short_timeout: Client, agent: str) -> None:
    thread, run = unique("endless"), unique("run")
    events = short_timeout.run(agent, thread, run)
    check_run_error(events, "RUN_TIMEOUT")
    # A run that failed before it emitted anything is not stored.
    check_replay(short_timeout, thread, events if len(events) > 1 else [])
    check_thread(short_timeout, thread)
    release(short_timeout, run)
    check_thread(short_timeout, thread)


def test_agent_that_does_not_return_after_its_terminal_event(client: Client) -> None:
    thread = unique("linger")
    with client.start_run("lingers", thread) as stream:
        events = stream.until("RUN_FINISHED")
        client.stop("good", thread)
        assert stream.rest() == []
    check_replay(client, thread, events)
    check_thread(client, thread)


@pytest.mark.requirement("STOP-05")
@pytest.mark.parametrize("agent", ["polls-async", "polls-sync"])
def test_stop_requested_is_seen_by_an_agent_that_polls(client: Client, agent: str) -> None:
    thread = unique("polling")
    with client.start_run(agent, thread) as stream:
        events = stream.until("RUN_STARTED")
        assert client.stop(agent, thread)["stopped"] is True
        events += stream.rest()
    assert types(events) == ["RUN_STARTED", "CUSTOM", "RUN_FINISHED"]
    check_replay(client, thread, events)
    check_thread(client, thread)


@pytest.mark.requirement("STOP-06")
@ONE_OF_EACH_STACK
@pytest.mark.parametrize("agent", ["silent-sync", "hangs-sync", "deaf-sync"])
@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "running"])
def test_shutdown_grace_seconds_a_blocked_worker_thread_does_not_keep_the_server_running(
    adapter: str, agent: str, stopped: bool
) -> None:
    with serve_runtime(adapter, "plain") as server:
        client = Client(server)
        with client.start_run(agent, "thread") as stream:
            if stopped:
                assert client.stop(agent, "thread")["stopped"] is True
                assert types(stream.rest())[-1] == "RUN_FINISHED"
    # `serve_runtime` has checked that it ended on SIGTERM.
    assert server.process.poll() is not None


# --- changing what was yielded -------------------------------------------------------

INPUT: dict[str, Any] = {"state": {"n": 1}, "messages": [{"id": "u1", "role": "user", "content": "as it was"}]}


@pytest.mark.parametrize("agent", misbehaving_agents.CHANGING)
def test_agent_that_changes_events_it_has_yielded(client: Client, agent: str) -> None:
    thread = unique("changing")
    events = client.run(agent, thread, **INPUT)
    assert types(events)[-1] == "RUN_FINISHED"
    assert "changed" not in json.dumps(events)
    check_replay(client, thread, events)
    with client.open("GET", f"/threads/{thread}/messages") as response:
        assert "changed" not in json.dumps(response.json())


def test_agent_that_starts_a_second_run_in_one_stream(client: Client) -> None:
    thread = unique("restart")
    events = client.run("restarts", thread)
    assert types(events)[-1] == "RUN_FINISHED"
    replayed = [frame.event for frame in client.replay("good", thread)]
    # In a replay only the end may be a failure.
    once = [kind for kind, _ in itertools.groupby(types(events))]
    assert types(replayed) == [kind.replace("RUN_ERROR", "RUN_FINISHED") for kind in once]
    texts = [event["delta"] for event in replayed if event["type"] == "TEXT_MESSAGE_CONTENT"]
    assert texts == ["lost", "second try"]


# --- capabilities --------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken_capabilities(adapter: str) -> Iterator[Client]:
    with serve_runtime(adapter, "incapable") as server:
        yield Client(server)


def listed_without_capabilities(client: Client, agent: str) -> None:
    with client.open("GET", "/info", headers={"x-agent": agent}) as response:
        assert response.status == 200, response.read()
        text = response.read().decode()
    assert misbehaving_agents.SECRET not in text
    agents = json.loads(text, parse_constant=pytest.fail)["agents"]
    assert set(agents) == {"good", agent, "capable"}
    assert [name for name, one in agents.items() if "capabilities" in one] == ["capable"]


@pytest.mark.requirement("INFO-02")
@pytest.mark.parametrize("agent", misbehaving_agents.INCAPABLE)
def test_info_lists_agents_whose_capabilities_fail(broken_capabilities: Client, agent: str) -> None:
    listed_without_capabilities(broken_capabilities, agent)
    check_thread(broken_capabilities, unique("capable"))


@pytest.mark.requirement("INFO-02")
@ONE_OF_EACH_STACK
def test_info_with_capabilities_that_raise_system_exit(adapter: str) -> None:
    """On a server of its own, since that is what they may do."""
    with serve_runtime(adapter, "incapable") as server:
        client = Client(server)
        listed_without_capabilities(client, misbehaving_agents.EXITING)
        check_thread(client, unique("capable"))


@pytest.mark.requirement("INFO-02")
@ONE_OF_EACH_STACK
def test_info_with_capabilities_that_never_return(adapter: str) -> None:
    with serve_runtime(adapter, "unreachable") as server:
        agents = Client(server).info()["agents"]
        assert set(agents) == {"good", "capable-hangs"}
        assert "capabilities" not in agents["capable-hangs"]


@pytest.mark.requirement("INFO-02")
@ONE_OF_EACH_STACK
def test_info_with_capabilities_that_block_delays_no_other_request(adapter: str) -> None:
    """They delay the request that needs them, and no other."""
    with serve_runtime(adapter, "blocking") as server:
        client = Client(server)
        connection = client.send("GET", "/info")
        assert types(client.run("good", "thread"))[-1] == "RUN_FINISHED"
        client.run("unblock", unique("unblocker"))
        response = connection.getresponse()
        assert response.status == 200
        assert set(json.loads(response.read())["agents"]) == {"good", "capable-blocks", "unblock"}
        connection.close()
