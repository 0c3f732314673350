"""What an agent is, and how the runtime inspects one without running it."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import weakref
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from .._lazy_exports import LazyModule
from .._pydantic_models import BaseModel
from .._validation import UnusableResult

if TYPE_CHECKING:
    from . import _types
else:
    _types = LazyModule("._types", __package__)

logger = logging.getLogger("copilot_runtime.agents")


@runtime_checkable
class Agent(Protocol):
    """An object that runs an agent by its method ``run(input)`` or ``run(input, context)``.

    Optional attributes are ``description``, ``capabilities`` or ``get_capabilities()``, ``headers``, and ``clone()``,
    which is called for each run. An agent whose ``verifies_resume`` is True checks itself whether an entry of
    ``resume`` responds to an open interrupt; others receive only entries that do, as far as the store knows.

    Two more are plain or coroutine functions. ``history(thread_id, context)`` returns the messages of a thread, or a
    `ThreadHistory`, and is called when a client connects to a thread that the store does not have.
    ``forget_thread(thread_id, context)`` is called for the thread of a run that was only to find a name.
    """

    @property
    def run(self) -> _types.AgentFunction:
        """Runs the agent and returns its events."""


class CallStyle(Enum):
    """How the function of an agent is called."""

    ASYNC_GENERATOR = auto()
    COROUTINE = auto()
    PLAIN = auto()
    """May block, so it is called on a worker thread of the run."""
    DIRECT = auto()
    """Returns at once what can be iterated on an event loop and on a worker thread, so it is called on either."""


_F = TypeVar("_F", bound=Callable[..., Any])


def returns_at_once(function: _F) -> _F:
    """Marks a function whose style is `CallStyle.DIRECT`."""
    _direct_functions.add(function)
    return function


_direct_functions: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()


@dataclasses.dataclass(frozen=True, slots=True)
class AgentSignature:
    """How to call the function of an agent."""

    kind: CallStyle
    takes_context: bool
    problem: str | None = None
    """Why it cannot be called, and what to write instead."""


@dataclasses.dataclass(frozen=True, slots=True)
class CallConvention:
    """What functions of one kind are called with; a `RunContext` follows if they accept one.

    Attributes:
        role: what such a function is, with its article.
        parameters: the parameters that it must accept.
    """

    role: str
    parameters: tuple[str, ...]
    _signatures: tuple[weakref.WeakKeyDictionary[Any, AgentSignature], ...] = dataclasses.field(
        default_factory=lambda: (weakref.WeakKeyDictionary(), weakref.WeakKeyDictionary()), repr=False, compare=False
    )
    """By function: of plain functions, and of methods, which have the same function but one parameter less."""

    def inspect(self, function: Callable[..., Any]) -> AgentSignature:
        """Returns how to call a function; cached by function."""
        underlying = getattr(function, "__func__", function)
        cache = self._signatures[underlying is not function]
        try:
            signature = cache.get(underlying)
        except TypeError:  # it is not hashable or not weakly referenceable
            return _inspect(function, self)
        if signature is None:
            signature = _inspect(function, self)
            try:
                cache[underlying] = signature
            except TypeError:
                pass
        return signature

    @property
    def forms(self) -> str:
        """The parameters, without and with a context."""
        names = ", ".join(self.parameters)
        return f"({names}) or ({names}, context)"


AGENT = CallConvention("an agent", ("input",))


def agent_callable(agent: Any) -> Callable[..., Any]:
    """Returns the function that runs an agent. Raises TypeError for anything that is not an agent."""
    if not isinstance(agent, type):  # a class would have to be instantiated first
        run = getattr(agent, "run", None)
        if callable(run):
            return run  # type: ignore[no-any-return]
        if callable(agent):
            return agent  # type: ignore[no-any-return]
    raise UnusableResult(
        f"{agent!r} is not an agent: expected a function of (input) or (input, context), or an object with run()"
    )


def inspect_agent(function: Callable[..., Any]) -> AgentSignature:
    """Returns how to call the function of an agent; cached by function."""
    return AGENT.inspect(function)


def arity_problem(function: Callable[..., Any]) -> str | None:
    """Returns why the function of an agent cannot be called, and what to write instead; None if it can."""
    return inspect_agent(function).problem


def _is_direct(function: Callable[..., Any]) -> bool:
    try:
        return getattr(function, "__func__", function) in _direct_functions
    except TypeError:  # an object that cannot be hashed
        return False


def _inspect(function: Callable[..., Any], convention: CallConvention) -> AgentSignature:
    # These look through functools.partial, but not at the __call__ of an object.
    candidates = (function, getattr(function, "__call__", function))  # noqa: B004
    if _is_direct(function):
        kind = CallStyle.DIRECT
    elif any(map(inspect.isasyncgenfunction, candidates)):
        kind = CallStyle.ASYNC_GENERATOR
    elif any(map(inspect.iscoroutinefunction, candidates)):
        kind = CallStyle.COROUTINE
    else:
        kind = CallStyle.PLAIN
    takes_context = _accepts_context(function, len(convention.parameters))
    return AgentSignature(kind, takes_context, _arity_problem(function, takes_context, convention))


def _accepts_context(function: Callable[..., Any], index: int) -> bool:
    """Returns whether the parameter with this index is for a context."""
    try:
        signature = inspect.signature(function, follow_wrapped=False)
        if _is_variadic(signature):  # a decorator, which may pass on whatever it is called with
            signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    if _is_variadic(signature):
        return True
    positional = _positional(signature)
    # A parameter with a default is an option of the function's own, unless it is named context.
    return len(positional) > index and (
        positional[index].default is inspect.Parameter.empty or positional[index].name == "context"
    )


def _arity_problem(function: Callable[..., Any], takes_context: bool, convention: CallConvention) -> str | None:
    try:
        # What a decorator wraps does not count: the decorator may add arguments.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    name = getattr(function, "__qualname__", None) or type(function).__name__
    positional = _positional(signature)
    if positional and positional[0].name == "self" and not inspect.ismethod(function):
        owner = name.rpartition(".")[0].rpartition(".")[2] or "Agent"
        return f"{name} is a method without its object: use an instance, as in {owner}(...)"
    try:
        signature.bind(*convention.parameters, *([None] if takes_context else []))
    except TypeError:
        return f"{name}{_shown(signature)} cannot be called: {convention.role} must accept {convention.forms}"
    return None


def _shown(signature: inspect.Signature) -> str:
    """Returns the names of the parameters, without defaults and annotations, which may be long or secret."""
    stars: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return f"({', '.join(stars.get(each.kind, '') + each.name for each in signature.parameters.values())})"


def _is_variadic(signature: inspect.Signature) -> bool:
    return any(parameter.kind is parameter.VAR_POSITIONAL for parameter in signature.parameters.values())


def _positional(signature: inspect.Signature) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter for parameter in signature.parameters.values() if parameter.kind in kinds]


def clone_agent(agent: Any) -> Any:
    """Returns an agent for one request: the result of its ``clone()``, or else the agent itself."""
    clone = getattr(agent, "clone", None)
    return clone() if callable(clone) else agent


def describe_agent(agent: Any) -> tuple[str, str, Any]:
    """Returns what ``/info`` lists of an agent.

    That is its description, the name of its class (its own if it is a function), and what has its capabilities: its
    ``get_capabilities`` function, or else its ``capabilities``, or None.
    """
    try:
        text = getattr(agent, "description", None)
        name = getattr(agent, "__name__", None)
        source = getattr(agent, "get_capabilities", None)
        if source is None:
            source = getattr(agent, "capabilities", None)
    except Exception:  # of one of the agent's properties, which is reported
        text, name, source = (_attribute(agent, each) for each in ("description", "__name__", "get_capabilities"))
        if source is None:
            source = _attribute(agent, "capabilities")
    return *describe(text, name, type(agent)), source


def describe(text: Any, name: Any, kind: type) -> tuple[str, str]:
    """Returns the description and the name of an agent of a class that has these as its own."""
    if not isinstance(text, str):
        text = ""
    elif not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text, name if isinstance(name, str) else kind.__name__


def agent_headers(agent: Any) -> tuple[tuple[str, str], ...]:
    """Returns the headers that the server has set on an agent."""
    headers = getattr(agent, "headers", None)
    if not headers:
        return ()
    return tuple(headers.items() if hasattr(headers, "items") else headers)


def verifies_resume(agent: Any) -> bool:
    """Returns whether an agent checks itself which entries of ``resume`` respond to an open interrupt.

    A subclass that overrides ``run`` does not inherit it: it may call the original without the context, which is what
    the entries are checked with.
    """
    for members in (getattr(agent, "__dict__", {}), *map(vars, type(agent).__mro__)):
        if "verifies_resume" in members:
            return _attribute(agent, "verifies_resume") is True
        if "run" in members:
            break
    return False


def as_capabilities(value: Any) -> Mapping[str, Any] | None:
    """Returns the capabilities that an agent has or reports; None for what is none."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return value if isinstance(value, Mapping) else None


def _attribute(agent: Any, name: str) -> Any:
    """Returns an attribute; None if there is none, or if the agent's property raises."""
    try:
        return getattr(agent, name, None)
    except Exception:
        logger.warning("reading %s of an agent failed", name, exc_info=True)
        return None
