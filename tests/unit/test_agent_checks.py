"""What is not an agent is refused, at construction or when a factory returns it, with what to write instead."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from ag_ui.core import RunAgentInput

from copilot_runtime import CopilotRuntime
from copilot_runtime.agents import BuiltInAgent, HttpAgent
from copilot_runtime.testing import TestClient

from ..http_client import types

pytestmark = pytest.mark.requirement("CONFIG-03")


async def hello(input: Any) -> AsyncIterator[Any]:
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **ids}
    yield {"type": "RUN_FINISHED", **ids}


def sync_hello(input: Any, context: Any) -> Iterator[Any]:
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **ids}
    yield {"type": "RUN_FINISHED", **ids}


async def no_generator(input: Any) -> Any:
    return list(sync_hello(input, None))


def returns_a_generator(input: Any) -> Any:
    return hello(input)


class Agent:
    def run(self, input: Any) -> Any:
        return hello(input)


def annotated(run_input: RunAgentInput) -> Any:
    return hello(run_input)


class CallableAgent:
    def __call__(self, input: Any) -> Any:
        return hello(input)


class WithoutSelf:
    def run(input: Any) -> Any:  # without self: the mistake
        return hello(input)


class RunIsNoMethod:
    run = "hello"


def needs_db(db: Any, input: Any, context: Any) -> Any:
    return hello(input)


def passes_db(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(input: Any) -> Any:
        return function(None, input, None)

    return wrapper


def passes_anything(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(None, *args)

    return wrapper


def no_arguments() -> Iterator[Any]:
    yield {}


def keyword_only(*, input: Any) -> Iterator[Any]:
    yield {}


ACCEPTED = {
    "async generator": hello,
    "sync generator": sync_hello,
    "coroutine function": no_generator,
    "function that returns a generator": returns_a_generator,
    "lambda": lambda input: hello(input),
    "object": Agent(),
    "bound method": Agent().run,
    "callable object": CallableAgent(),
    "partial": functools.partial(sync_hello, context=None),
    "partial of a method": functools.partial(Agent().run),
    "decorated, with an argument of the decorator": passes_db(needs_db),
    "decorated, with any arguments": passes_anything(needs_db),
    "slash/in an id": hello,
}


@pytest.mark.parametrize("agent_id", ACCEPTED)
def test_agents_of_every_kind_run(agent_id: str) -> None:
    with TestClient(CopilotRuntime(agents={agent_id: ACCEPTED[agent_id]})) as client:
        assert types(client.run(agent_id).events) == ["RUN_STARTED", "RUN_FINISHED"]


async def closed_coroutine(input: Any) -> Any: ...


def coroutine() -> Any:
    made = closed_coroutine(None)
    made.close()  # so that Python does not warn that nobody has awaited it
    return made


REFUSED = {
    "none": (None, "None is not an agent"),
    "class": (Agent, r"an instance of it, Agent\(\.\.\.\)"),
    "class of ours": (HttpAgent, r"HttpAgent\(\.\.\.\)"),
    "called async generator": (hello(None), "write hello, without calling it"),
    "called generator": (sync_hello(None, None), "write sync_hello, without calling it"),
    "iterator": (iter([]), "without calling it"),
    "called coroutine function": (coroutine(), "closed_coroutine without calling it"),
    "future": (asyncio.Future(loop=asyncio.new_event_loop()), "await it"),
    "no arguments": (no_arguments, r"no_arguments\(\).* must accept \(input\) or \(input, context\)"),
    "three arguments": (needs_db, r"needs_db\(db, input, context\).* must accept \(input\) or \(input, context\)"),
    "three arguments of a lambda": (lambda a, b, c: [], r"\(a, b, c\)"),
    "too many left by a partial": (functools.partial(lambda a, b, c, d: [], 1), r"\(b, c, d\)"),
    "keyword only": (keyword_only, r"keyword_only\(input\).* must accept"),
    "run without self": (WithoutSelf(), r"run\(\).* must accept"),
    "unbound method": (Agent.run, r"Agent\.run is a method .* use an instance, as in Agent\(\.\.\.\)"),
    "run is no method": (RunIsNoMethod(), "expected a function"),
    "number": (3, "expected a function"),
    "object": (object(), "expected a function"),
    "model name": ("openai/gpt-4o", r"BuiltInAgent\(model\)"),
    "url": ("https://user:secret@agents.example/run", r"HttpAgent\(url\)"),
    "dict": ({"name": "hello", "key": "secret"}, "one id for each agent"),
    "list": ([hello, hello], "one id for each agent"),
    "tuple": ((hello,), "one id for each agent"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_agent_that_is_none_is_refused_at_construction(name: str) -> None:
    value, instead = REFUSED[name]
    with pytest.raises(TypeError, match=r"agents\['mine'\]") as raised:
        CopilotRuntime(agents={"good": hello, "mine": value})
    assert re.search(instead, str(raised.value)), str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(("method", "path"), [("GET", "/info"), ("POST", "/agent/good/run")])
def test_agent_that_is_none_from_a_factory_is_500_with_a_log(
    method: str, path: str, debug: bool, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    value, instead = REFUSED[name]
    body = {"threadId": "t", "runId": "r", "messages": [], "tools": [], "context": []} if method == "POST" else None
    with TestClient(CopilotRuntime(agents=lambda context: {"good": hello, "mine": value}, debug=debug)) as client:
        response = client.request(method, path, body, check=False)
    assert response.status == 500
    assert re.search(rf"agents\['mine'\].*{instead}", caplog.text)
    assert ("agents['mine']" in response.json()["message"]) is debug


@pytest.mark.parametrize("agent_id", ["", " ", "\t", 3, None, ("a",), b"a", ".", ".."])
def test_agent_id_that_no_client_can_send_is_refused(agent_id: Any) -> None:
    with pytest.raises(ValueError, match=r"agents: .*such as 'default'"):
        CopilotRuntime(agents={agent_id: hello})
    with TestClient(CopilotRuntime(agents=lambda context: {agent_id: hello})) as client:
        assert client.request("GET", "/info", check=False).status == 500


@pytest.mark.parametrize(
    ("agents", "instead"),
    [
        (hello, r"write agents={'default': hello}"),
        (sync_hello, r"write agents={'default': sync_hello}"),
        (no_generator, r"write agents={'default': no_generator}"),
        (returns_a_generator, r"write agents={'default': returns_a_generator}"),
        (lambda input: [], r"write agents={'default': "),
        (Agent().run, r"write agents={'default': run}"),
        (annotated, r"write agents={'default': annotated}"),
        (coroutine(), r"write agents=closed_coroutine, without calling it"),
        (functools.partial(hello), r"single agent: write agents={'default': "),
        (hello(None), r"write agents={'default': hello}, without calling it"),
        (Agent(), r"of the type Agent: write agents={'default': agent}"),
        (BuiltInAgent("x", base_url="http://localhost:1/v1"), r"write agents={'default': agent}"),
        (Agent, r"write agents={'default': Agent\(\.\.\.\)}"),
        ([hello], r"such as {'default': agent}"),
        ("hello", r"such as {'default': agent}"),
        (None, r"such as {'default': agent}"),
        (lambda: {"default": hello}, r"must accept one argument, an AgentsContext"),
        (needs_db, r"If needs_db is an agent, write agents={'default': needs_db}"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_agents_that_are_one_agent_are_refused(agents: Any, instead: str) -> None:
    with pytest.raises(TypeError, match=r"agents=") as raised:
        CopilotRuntime(agents=agents)
    assert re.search(instead, str(raised.value)), str(raised.value)


def test_agents_that_are_empty_are_refused() -> None:
    with pytest.raises(ValueError, match="must name at least one agent, such as"):
        CopilotRuntime(agents={})


def test_agents_factory_may_return_no_agents() -> None:
    """It may be that a user is allowed none."""
    with TestClient(CopilotRuntime(agents=lambda context: {})) as client:
        assert client.request("GET", "/info").json()["agents"] == {}


@pytest.mark.parametrize("returned", [None, [hello], hello, "hello", 3], ids=lambda value: type(value).__name__)
def test_agents_factory_that_returns_no_mapping_is_500_with_a_log(
    returned: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with TestClient(CopilotRuntime(agents=lambda context: returned)) as client:
        assert client.request("GET", "/info", check=False).status == 500
    assert "such as {'default': agent}" in caplog.text


@pytest.mark.parametrize("returned", [None, 3, "text", {"type": "RUN_STARTED"}], ids=str)
@pytest.mark.parametrize("is_async", [False, True])
def test_agent_function_that_returns_no_events_is_a_run_error(
    returned: Any, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def returns_later(input: Any) -> Any:
        return returned

    agent = returns_later if is_async else lambda input: returned
    with TestClient(CopilotRuntime(agents={"mine": agent})) as client:
        events = client.run("mine", check=False).events
    assert events[-1]["type"] == "RUN_ERROR"
    assert f"not {type(returned).__name__}" in caplog.text
    assert "yield" in caplog.text


def test_inspection_of_a_function_does_not_depend_on_the_order() -> None:
    """A method and its function have one function object, but not one signature."""

    class Once:
        def run(self, input: Any) -> Any:
            return hello(input)

    with pytest.raises(TypeError, match="without its object"):
        CopilotRuntime(agents={"a": Once.run})
    with TestClient(CopilotRuntime(agents={"a": Once()})) as client:
        assert types(client.run("a").events) == ["RUN_STARTED", "RUN_FINISHED"]
