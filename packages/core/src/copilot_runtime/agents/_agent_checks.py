"""Refuses what cannot run as an agent, and says what to write instead.

Frameworks are recognised by the names of their classes, so that nothing is imported for it.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from ._base import agent_callable, arity_problem

_UNREACHABLE_IDS = (".", "..")
"""Browsers remove these from a path before they send it."""


class _ForeignClass(NamedTuple):
    """A class of an agent framework, and what to write instead of an instance of it."""

    package: str
    name: str
    kind: str
    instead: str


_DOCUMENTED = "docs/agents.md says how to use it"

# Most specific first: a RemoteGraph and a compiled graph are Runnables, too.
_FOREIGN_CLASSES = (
    _ForeignClass("pydantic_ai", "AbstractAgent", "a Pydantic AI agent", "write PydanticAIAgent(agent)"),
    _ForeignClass(
        "langgraph",
        "StateGraph",
        "a LangGraph graph that is not compiled",
        "write LangGraphAgent(graph.compile(checkpointer=InMemorySaver()))",
    ),
    _ForeignClass(
        "langgraph",
        "RemoteGraph",
        "a RemoteGraph",
        "write LangGraphAgent(graph) with the compiled graph itself, or serve the graph as an AG-UI endpoint and write "
        "HttpAgent(url)",
    ),
    _ForeignClass("langgraph", "PregelProtocol", "a LangGraph graph", "write LangGraphAgent(graph)"),
    _ForeignClass("langgraph", "Pregel", "a LangGraph graph", "write LangGraphAgent(graph)"),
    _ForeignClass(
        "langchain_core",
        "Runnable",
        "a LangChain Runnable",
        "write LangGraphAgent(create_agent(model, checkpointer=InMemorySaver())), or a function that yields the events",
    ),
    _ForeignClass("agno", "Agent", "an Agno agent", _DOCUMENTED),
    _ForeignClass("strands", "Agent", "a Strands agent", "write StrandsAgent(agent) of ag_ui_strands"),
    _ForeignClass("google", "BaseAgent", "a Google ADK agent", "write ADKAgent(adk_agent=agent) of ag_ui_adk"),
    _ForeignClass("agent_framework", "BaseAgent", "an agent of Microsoft's Agent Framework", _DOCUMENTED),
    _ForeignClass("crewai", "Crew", "a crew of CrewAI", _DOCUMENTED),
    _ForeignClass("crewai", "Flow", "a flow of CrewAI", _DOCUMENTED),
    _ForeignClass("workflows", "Workflow", "a LlamaIndex workflow", _DOCUMENTED),
)


def check_agents(agents: Mapping[Any, Any]) -> None:
    """Raises ValueError for an id that no client can send, and TypeError for what is not an agent."""
    for agent_id, agent in agents.items():
        if not isinstance(agent_id, str) or not agent_id.strip():
            raise ValueError(f"agents: the id {agent_id!r} must be a string that is not blank, such as 'default'")
        if agent_id in _UNREACHABLE_IDS:
            raise ValueError(f"agents: no browser can send the id {agent_id!r}: use another, such as 'default'")
        problem = agent_problem(agent)
        if problem is not None:
            raise TypeError(f"agents[{agent_id!r}]: {problem}")


def agent_instead_of_agents(agents: Any) -> str | None:
    """Returns what to write if something that was passed as ``agents`` is a single agent; None otherwise."""
    if inspect.isclass(agents):
        if issubclass(agents, Mapping) or not hasattr(agents, "run"):
            return None
        return f"it is the class {agents.__name__}: write agents={{'default': {agents.__name__}(...)}}"
    if inspect.isgenerator(agents) or inspect.isasyncgen(agents):
        name = agents.__name__
        return f"it is what calling {name} has returned: write agents={{'default': {name}}}, without calling it"
    if _is_awaitable(agents):
        return f"it is what calling {_name(agents)} has returned: write agents={_name(agents)}, without calling it"
    if _is_generator_function(agents) or _takes_run_input(agents):
        name = getattr(agents, "__name__", "agent")
        return f"{name} is a single agent: write agents={{'default': {name}}}"
    foreign = _foreign_class(agents)
    if foreign is not None:
        return f"it is {foreign.kind}: write agents={{'default': ...}}, and {foreign.instead}"
    if callable(getattr(agents, "run", None)) and not isinstance(agents, Mapping):
        return f"it is a single agent, of the type {type(agents).__name__}: write agents={{'default': agent}}"
    return None


def agent_problem(agent: Any) -> str | None:
    """Returns why something is not an agent and what to write instead; None for an agent."""
    for applies, describe in _MISTAKES:
        if applies(agent):
            return describe(agent)
    foreign = _foreign_class(agent)
    if foreign is not None:
        return f"{foreign.kind} is not an agent by itself: {foreign.instead}"
    try:
        function = agent_callable(agent)
    except TypeError as error:
        return str(error)
    return arity_problem(function)


def _is_generator_function(value: Any) -> bool:
    candidates = (value, getattr(value, "__call__", value))  # noqa: B004 - of an object that can be called
    return any(inspect.isasyncgenfunction(each) or inspect.isgeneratorfunction(each) for each in candidates)


def _takes_run_input(value: Any) -> bool:
    """Returns whether the first parameter of a function says that it is for the input of a run."""
    if not inspect.isroutine(value):
        return False
    try:
        first = next(iter(inspect.signature(value).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    return first is not None and (first.name == "input" or _annotated_name(first) == "RunAgentInput")


def _annotated_name(parameter: inspect.Parameter) -> Any:
    """Returns the name of the class that a parameter is annotated with, by the class itself or by its name."""
    return getattr(parameter.annotation, "__name__", parameter.annotation)


def _is_string(value: Any) -> bool:
    return isinstance(value, str | bytes)


def _is_collection(value: Any) -> bool:
    return isinstance(value, Collection) and not callable(value) and not hasattr(value, "run")


def _is_iterator(value: Any) -> bool:
    return isinstance(value, Iterator | AsyncIterator) and not callable(value) and not hasattr(value, "run")


def _is_awaitable(value: Any) -> bool:
    return isinstance(value, Awaitable) and not callable(value) and not hasattr(value, "run")


def _name(value: Any) -> str:
    """Returns the name of the function that has made a generator or coroutine."""
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else "agent"


def _describe_string(value: Any) -> str:
    is_url = str(value).lower().startswith(("http://", "https://"))
    return f"a string is not an agent: write {'HttpAgent(url)' if is_url else 'BuiltInAgent(model), or HttpAgent(url)'}"


# Not the values themselves: they may hold secrets.
_MISTAKES: tuple[tuple[Callable[[Any], bool], Callable[[Any], str]], ...] = (
    (
        lambda value: value is None,
        lambda value: (
            "None is not an agent: expected a function of (input) or (input, context), or an object with "
            "run(). Does the function that makes the agent return it?"
        ),
    ),
    (
        inspect.isclass,
        lambda value: f"the class {value.__name__} is not an agent: use an instance of it, {value.__name__}(...)",
    ),
    (
        _is_iterator,
        lambda value: (
            f"an iterator ({type(value).__name__}) is not an agent, since it could run only once: "
            f"write {_name(value)}, without calling it"
        ),
    ),
    (
        _is_awaitable,
        lambda value: (
            f"a {type(value).__name__} is not an agent: write {_name(value)} without calling it if it is "
            "the agent, or await it if it makes the agent"
        ),
    ),
    (_is_string, _describe_string),
    (
        _is_collection,
        lambda value: (
            f"a {type(value).__name__} is not an agent: use one id for each agent, as in "
            "{'default': one, 'other': two}"
        ),
    ),
)


def _foreign_class(value: Any) -> _ForeignClass | None:
    """Returns the class of a framework that something is an instance of, or a method of such an instance."""
    owner = getattr(value, "__self__", None) if inspect.ismethod(value) else value
    own_package = _package(getattr(value, "__module__", None))
    for cls in type(owner).__mro__:
        package = _package(cls.__module__)
        for foreign in _FOREIGN_CLASSES:
            if (package, cls.__name__) == (foreign.package, foreign.name):
                # A method that a user has added to a framework's class may well be an agent.
                return None if inspect.ismethod(value) and own_package != package else foreign
    return None


def _package(module: Any) -> str:
    return module.partition(".")[0] if isinstance(module, str) else ""
