"""`Agent`, `AgentFunction`, and what the runtime accepts as an agent."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
from ag_ui.core import RunAgentInput

from copilot_runtime.agents import Agent, BuiltInAgent, HttpAgent, RunContext
from copilot_runtime.agents._base import agent_callable, inspect_agent

pytestmark = pytest.mark.requirement("RUN-17")

LOCAL = "http://localhost:11434/v1"


class Minimal:
    def run(self, input: RunAgentInput) -> Iterator[dict[str, Any]]:
        yield {}


def one(input: Any) -> Any: ...
def two(input: Any, context: Any) -> Any: ...
def named(input: Any, context: Any = None) -> Any: ...
def option(input: Any, limit: int = 5) -> Any: ...
def variadic(*args: Any) -> Any: ...


@pytest.mark.parametrize("agent", [Minimal(), HttpAgent(LOCAL), BuiltInAgent("x", base_url=LOCAL)])
def test_agent_protocol_matches_objects_with_run(agent: Any) -> None:
    assert isinstance(agent, Agent)
    assert agent_callable(agent) == agent.run


@pytest.mark.parametrize("value", [42, None, "agent", one, object()])
def test_agent_protocol_does_not_match_other_values(value: Any) -> None:
    assert not isinstance(value, Agent)


@pytest.mark.parametrize("value", [42, None, "agent", Minimal, object()])
def test_agent_callable_rejects_what_is_not_an_agent(value: Any) -> None:
    with pytest.raises(TypeError, match="is not an agent: expected a function"):
        agent_callable(value)


@pytest.mark.parametrize(
    ("function", "takes_context"),
    [
        (one, False),
        (two, True),
        (named, True),
        (option, False),
        (variadic, True),
        (functools.partial(two, None), False),
        (Minimal().run, False),
        (HttpAgent(LOCAL).run, True),
    ],
)
def test_context_is_passed_to_functions_that_accept_it(function: Any, takes_context: bool) -> None:
    assert inspect_agent(function).takes_context is takes_context


def test_run_context_has_no_public_stop_callback() -> None:
    assert RunContext().stop_requested is False
    assert not hasattr(RunContext(), "is_stopped")


def test_agent_callable_accepts_a_proxy_of_an_agent() -> None:
    class Proxy:
        def __getattr__(self, name: str) -> Any:
            return getattr(HttpAgent(LOCAL), name)

    assert agent_callable(Proxy()).__name__ == "run"
