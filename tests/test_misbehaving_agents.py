"""Agents that fail, flood, hang and lie: each harms only its own run."""

from __future__ import annotations

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
MILLION = 1_000_000


# For tests that need a server each, and for long tables of what agents may do wrong: they try how the engine and its
# loop fare, which the adapters of a stack share.
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
    """A run that has begun before the test and goes on after it, on the shared server."""
    if "client" not in request.fixturenames:
        yield
        return
    client: Client = request.getfixturevalue("client")
    gate = unique("bystander")
    with client.start_run(
        "play", unique("beside"), forwardedProps={"steps": [["say", "a"], ["wait", gate], ["say", "b"]]}
    ) as beside:
        assert types(beside.until("TEXT_MESSAGE_CONTENT")) == [
            "RUN_STARTED",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_CONTENT",
        ]
        yield
        client.run("play", unique("opener"), forwardedProps={"steps": [["set", gate]]})
        assert types(beside.rest()) == ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]


def works(client: Client, thread: str) -> None:
    """The thread is free, other requests are answered, and what runs on it is whole."""
    assert "good" in client.info()["agents"]
    events = client.run("good", thread)
    assert types(events)[-1] == "RUN_FINISHED"
    assert "".join(event.get("delta", "") for event in events) == "good as gold"


def failed(events: list[Event], code: str = INCOMPLETE) -> None:
    """The stream ends in an error that tells nothing of an exception."""
    assert types(events)[-1] == "RUN_ERROR", events
    assert events[-1]["code"] == code, events[-1]
    assert events[-1]["message"].strip()
    assert misbehaving_agents.SECRET not in json.dumps(events)
    assert types(events).count("RUN_ERROR") == 1


def kept(client: Client, thread: str, events: list[Event]) -> None:
    """What is replayed is what was streamed, folded."""
    assert [frame.event for frame in client.replay("good", thread)] == compact(events)


def release(client: Client, run: str) -> None:
    client.run("release", unique("release"), forwardedProps={"run": run})


# --- raising -------------------------------------------------------------------------


@ONE_OF_EACH_STACK
@pytest.mark.parametrize("exception", misbehaving_agents.EXCEPTIONS)
@pytest.mark.parametrize("agent", misbehaving_agents.RAISING)
def test_raising_midway(client: Client, agent: str, exception: str) -> None:
    thread = unique("raising")
    events = client.run(agent, thread, forwardedProps={"what": exception})
    failed(events)
    assert types(events) == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_ERROR",
    ]
    kept(client, thread, events)
    works(client, thread)


@pytest.mark.parametrize("exception", misbehaving_agents.EXCEPTIONS)
@pytest.mark.parametrize("agent", misbehaving_agents.RAISING_AT_ONCE)
def test_raising_at_once(client: Client, agent: str, exception: str) -> None:
    thread = unique("raising")
    events = client.run(agent, thread, forwardedProps={"what": exception})
    failed(events)
    assert types(events) == ["RUN_ERROR"]
    # A run that failed before it emitted anything is not stored.
    kept(client, thread, [])
    works(client, thread)


@pytest.mark.parametrize("exception", misbehaving_agents.EXCEPTIONS)
def test_raising_while_it_is_cleaned_up(client: Client, exception: str) -> None:
    thread = unique("cleanup")
    events = client.run("raises-in-cleanup", thread, forwardedProps={"what": exception})
    failed(events)
    kept(client, thread, events)
    works(client, thread)


@ONE_OF_EACH_STACK
@pytest.mark.parametrize("exception", misbehaving_agents.EXCEPTIONS)
@pytest.mark.parametrize("agent", [*misbehaving_agents.RAISING, *misbehaving_agents.RAISING_AT_ONCE])
def test_raising_for_a_suggestion(client: Client, agent: str, exception: str) -> None:
    thread = unique("suggesting")
    body = {"threadId": thread, "runId": unique("run"), "messages": [], "tools": [], "context": []}
    with client.open("POST", f"/agent/{agent}/suggest", {**body, "forwardedProps": {"what": exception}}) as stream:
        failed(stream.rest())
    kept(client, thread, [])


@ONE_OF_EACH_STACK
@pytest.mark.parametrize("agent", [*misbehaving_agents.RAISING, *misbehaving_agents.RAISING_AT_ONCE])
def test_raising_a_keyboard_interrupt(adapter: str, agent: str) -> None:
    """On a server of its own, since that is what it may end."""
    with serve_runtime(adapter, "plain") as server:
        client, thread = Client(server), unique("interrupt")
        failed(client.run(agent, thread, forwardedProps={"what": misbehaving_agents.INTERRUPT}))
        works(client, thread)


@ONE_OF_EACH_STACK
def test_the_text_of_an_exception_when_debugging(adapter: str) -> None:
    with serve_runtime(adapter, "debug") as server:
        events = Client(server).run("raises-async", "thread", forwardedProps={"what": "exception"})
        assert misbehaving_agents.SECRET in events[-1]["message"]


# --- nonsense ------------------------------------------------------------------------


@ONE_OF_EACH_STACK
@pytest.mark.parametrize(
    ("agent", "nonsense"),
    [
        *(("nonsense-async", name) for name in (*misbehaving_agents.NONSENSE, *misbehaving_agents.MEMBERS)),
        *(("nonsense-sync", name) for name in misbehaving_agents.NONSENSE),
    ],
)
def test_nonsense(client: Client, agent: str, nonsense: str) -> None:
    thread = unique("nonsense")
    events = client.run(agent, thread, forwardedProps={"what": nonsense})
    failed(events)
    assert types(events) == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_ERROR",
    ]
    kept(client, thread, events)
    works(client, thread)


@ONE_OF_EACH_STACK
@pytest.mark.parametrize("nonsense", [name for name in misbehaving_agents.NONSENSE if name != "second-run"])
def test_nonsense_first(client: Client, nonsense: str) -> None:
    thread = unique("nonsense")
    events = client.run("nonsense-first", thread, forwardedProps={"what": nonsense})
    failed(events)
    assert types(events) == ["RUN_ERROR"]
    kept(client, thread, [])
    works(client, thread)


@ONE_OF_EACH_STACK
@pytest.mark.parametrize("nonsense", [name for name in misbehaving_agents.NONSENSE if name != "second-run"])
def test_nonsense_after_the_end(client: Client, nonsense: str) -> None:
    """An agent that fails after its terminal event changes nothing."""
    thread = unique("nonsense")
    events = client.run("nonsense-last", thread, forwardedProps={"what": nonsense})
    assert types(events)[-1] == "RUN_FINISHED"
    assert types(events).count("RUN_FINISHED") == 1
    kept(client, thread, events)
    works(client, thread)


@ONE_OF_EACH_STACK
@pytest.mark.parametrize("odd", misbehaving_agents.TOLERATED)
def test_what_json_has_some_form_for(client: Client, odd: str) -> None:
    thread = unique("tolerated")
    events = client.run("nonsense-async", thread, forwardedProps={"what": odd})
    if types(events)[-1] != "RUN_FINISHED":
        failed(events)
        assert len(events) == 5, "what a run fails of is not sent"
    kept(client, thread, events)
    works(client, thread)


@pytest.mark.parametrize("agent", misbehaving_agents.GIVING_NOTHING)
def test_giving_something_else_than_events(client: Client, agent: str) -> None:
    thread = unique("nothing")
    events = client.run(agent, thread)
    failed(events)
    assert types(events) == ["RUN_ERROR"]
    works(client, thread)


@pytest.mark.parametrize("agent", misbehaving_agents.GIVING_EVENTS)
def test_giving_events_in_an_unusual_way(client: Client, agent: str) -> None:
    thread = unique("unusual")
    events = client.run(agent, thread)
    assert types(events)[0] == "RUN_STARTED"
    assert types(events)[-1] == "RUN_FINISHED", events
    kept(client, thread, events)
    works(client, thread)


@ONE_OF_EACH_STACK
@pytest.mark.parametrize("iterator", misbehaving_agents.ITERATORS)
def test_iterators_that_do_not_iterate(client: Client, iterator: str) -> None:
    thread = unique("iterator")
    events = client.run("odd-iterator", thread, forwardedProps={"what": iterator})
    failed(events)
    works(client, thread)


@pytest.mark.parametrize("agent", ["raising-clone", "nonsense-clone", "raising-headers", "nonsense-headers"])
def test_agents_that_cannot_be_prepared(client: Client, agent: str) -> None:
    """There is no stream yet that could say it."""
    thread = unique("unprepared")
    with client.start_run(agent, thread) as answer:
        assert answer.status == 500
        text = answer.read().decode()
    assert json.loads(text)["error"]
    assert misbehaving_agents.SECRET not in text
    kept(client, thread, [])
    works(client, thread)


# --- floods --------------------------------------------------------------------------


@pytest.mark.parametrize(("agent", "count"), [("floods-async", MILLION), ("floods-sync", MILLION // 5)])
def test_a_flood(client: Client, adapter: str, agent: str, count: int) -> None:
    if adapter not in ("asgi", "wsgi"):
        count //= 10  # a million tries the engine, which is the same for all; this tries how frames leave
    thread = unique("flood")
    with client.start_run(agent, thread, forwardedProps={"count": count}) as flood:
        flood.until("TEXT_MESSAGE_CONTENT")
        works(client, unique("dry"))
        # Read in bulk, for a million frames are too many to take apart one by one.
        rest = flood.read()
    assert rest.count(b'"TEXT_MESSAGE_CONTENT"') == count - 1
    number = 3 + count
    last = parse_frame(rest.split(b"\n\n")[-2].decode())
    assert last is not None
    ordinal, _, end = str(last.id).partition(".")
    assert int(end) == number + 1
    events = [frame.event for frame in client.replay("good", thread)]
    assert types(events) == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert events[2]["delta"] == "x" * count
    # The frames in the store are the ones that were sent, each once and in order.
    assert [frame.id for frame in client.replay("good", thread, f"{ordinal}.{number - 5}")] == [
        f"{ordinal}.{later}" for later in range(number - 4, number + 2)
    ]
    works(client, thread)


@pytest.fixture(scope="module")
def small_store(adapter: str) -> Iterator[Client]:
    with serve_runtime(adapter, "small-store") as server:
        yield Client(server)


@pytest.mark.parametrize("agent", ["endless-async", "endless-sync"])
def test_outgrowing_the_store(small_store: Client, agent: str) -> None:
    thread = unique("large")
    events = small_store.run(agent, thread)
    failed(events, "RUN_TOO_LARGE")
    kept(small_store, thread, events)
    works(small_store, thread)


def test_one_event_larger_than_the_store(small_store: Client) -> None:
    thread = unique("large")
    events = small_store.run("one-huge-event", thread, forwardedProps={"count": 2 * runtimes.STORE_BYTES})
    failed(events, "RUN_TOO_LARGE")
    works(small_store, thread)


# --- never coming to an end ----------------------------------------------------------


@pytest.mark.parametrize("agent", misbehaving_agents.NEVER_ENDING)
def test_stopping_what_does_not_end(client: Client, agent: str) -> None:
    """Where it does not listen, the runtime ends the run after the grace that it has."""
    thread, run = unique("endless"), unique("run")
    with client.start_run(agent, thread, run) as stream:
        assert stream.status == 200
        assert client.stop(agent, thread, run)["stopped"] is True
        works(client, unique("beside"))
        events = stream.rest()
    assert types(events)[0] == "RUN_STARTED"
    assert types(events)[-1] == "RUN_FINISHED"
    assert types(events).count("TEXT_MESSAGE_END") == types(events).count("TEXT_MESSAGE_START")
    kept(client, thread, events)
    works(client, thread)
    before = client.replay("good", thread)
    release(client, run)
    works(client, unique("beside"))
    assert client.replay("good", thread) == before, "what it says afterwards is of no account"


@pytest.fixture(scope="module")
def hasty(adapter: str) -> Iterator[Client]:
    with serve_runtime(adapter, "timeout") as server:
        yield Client(server)


@pytest.mark.parametrize("agent", [*misbehaving_agents.NEVER_ENDING, "endless-async", "endless-sync"])
def test_a_run_that_takes_too_long(hasty: Client, agent: str) -> None:
    thread, run = unique("endless"), unique("run")
    events = hasty.run(agent, thread, run)
    failed(events, "RUN_TIMEOUT")
    # A run that failed before it emitted anything is not stored.
    kept(hasty, thread, events if len(events) > 1 else [])
    works(hasty, thread)
    release(hasty, run)
    works(hasty, thread)


def test_an_agent_that_does_not_return_after_its_end(client: Client) -> None:
    thread = unique("linger")
    with client.start_run("lingers", thread) as stream:
        events = stream.until("RUN_FINISHED")
        client.stop("good", thread)
        assert stream.rest() == []
    kept(client, thread, events)
    works(client, thread)


@pytest.mark.parametrize("agent", ["polls-async", "polls-sync"])
def test_agents_that_look_whether_they_are_to_stop(client: Client, agent: str) -> None:
    thread = unique("polling")
    with client.start_run(agent, thread) as stream:
        events = stream.until("RUN_STARTED")
        assert client.stop(agent, thread)["stopped"] is True
        events += stream.rest()
    assert types(events) == ["RUN_STARTED", "CUSTOM", "RUN_FINISHED"]
    kept(client, thread, events)
    works(client, thread)


@ONE_OF_EACH_STACK
@pytest.mark.parametrize("agent", ["silent-sync", "hangs-sync", "deaf-sync"])
@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "running"])
def test_a_blocked_thread_does_not_keep_the_server_from_ending(adapter: str, agent: str, stopped: bool) -> None:
    with serve_runtime(adapter, "plain") as server:
        client = Client(server)
        with client.start_run(agent, "thread") as stream:
            if stopped:
                assert client.stop(agent, "thread")["stopped"] is True
                assert types(stream.rest())[-1] == "RUN_FINISHED"
    # That it ended when it was told to is what `serve_runtime` has checked.
    assert server.process.poll() is not None


# --- changing what was yielded -------------------------------------------------------

GIVEN: dict[str, Any] = {"state": {"n": 1}, "messages": [{"id": "u1", "role": "user", "content": "as it was"}]}


@pytest.mark.parametrize("agent", misbehaving_agents.CHANGING)
def test_changing_what_was_yielded(client: Client, agent: str) -> None:
    thread = unique("changing")
    events = client.run(agent, thread, **GIVEN)
    assert types(events)[-1] == "RUN_FINISHED"
    assert "changed" not in json.dumps(events)
    kept(client, thread, events)
    with client.open("GET", f"/threads/{thread}/messages") as answer:
        assert "changed" not in json.dumps(answer.json())


def test_a_second_run_in_one_stream(client: Client) -> None:
    thread = unique("restart")
    events = client.run("restarts", thread)
    assert types(events)[-1] == "RUN_FINISHED"
    replayed = [frame.event for frame in client.replay("good", thread)]
    for kind in ("RUN_STARTED", "RUN_ERROR", "RUN_FINISHED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_END"):
        assert types(replayed).count(kind) == types(events).count(kind), replayed
    texts = [event["delta"] for event in replayed if event["type"] == "TEXT_MESSAGE_CONTENT"]
    assert texts == ["lost", "second try"]


# --- capabilities --------------------------------------------------------------------


@pytest.fixture(scope="module")
def incapable(adapter: str) -> Iterator[Client]:
    with serve_runtime(adapter, "incapable") as server:
        yield Client(server)


def listed_without_capabilities(client: Client, agent: str) -> None:
    with client.open("GET", "/info", headers={"x-agent": agent}) as answer:
        assert answer.status == 200, answer.read()
        text = answer.read().decode()
    assert misbehaving_agents.SECRET not in text
    agents = json.loads(text, parse_constant=pytest.fail)["agents"]
    assert set(agents) == {"good", agent, "capable"}
    assert [name for name, one in agents.items() if "capabilities" in one] == ["capable"]


@pytest.mark.parametrize("agent", misbehaving_agents.INCAPABLE)
def test_agents_that_cannot_be_described(incapable: Client, agent: str) -> None:
    listed_without_capabilities(incapable, agent)
    works(incapable, unique("capable"))


@ONE_OF_EACH_STACK
def test_capabilities_that_end_the_process(adapter: str) -> None:
    """On a server of its own, since that is what they may do."""
    with serve_runtime(adapter, "incapable") as server:
        client = Client(server)
        listed_without_capabilities(client, misbehaving_agents.EXITING)
        works(client, unique("capable"))


@ONE_OF_EACH_STACK
def test_capabilities_that_never_come(adapter: str) -> None:
    with serve_runtime(adapter, "unreachable") as server:
        agents = Client(server).info()["agents"]
        assert set(agents) == {"good", "capable-hangs"}
        assert "capabilities" not in agents["capable-hangs"]


@ONE_OF_EACH_STACK
def test_capabilities_that_block(adapter: str) -> None:
    """They hold up who asks for them, and nobody else."""
    with serve_runtime(adapter, "blocking") as server:
        client = Client(server)
        connection = client.send("GET", "/info")
        assert types(client.run("good", "thread"))[-1] == "RUN_FINISHED"
        client.run("unblock", unique("unblocker"))
        response = connection.getresponse()
        assert response.status == 200
        assert set(json.loads(response.read())["agents"]) == {"good", "capable-blocks", "unblock"}
        connection.close()
