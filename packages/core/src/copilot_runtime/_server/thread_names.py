"""How ``CopilotRuntime(thread_names=...)`` finds the names of threads: by a function, a model, or an agent."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

from pydantic_core import to_json

from .._concurrency.driver import call_user_function
from .._engine import EndedRun, RunRequest
from .._strict_json import loads
from ..agents._agent_checks import agent_problem
from ..agents._base import Agent, CallStyle, clone_agent, inspect_agent
from ..agents._context import RunContext

ThreadNames: TypeAlias = bool | str | Agent | Callable[..., Any]
"""What names threads: the agent of each (True), a model by its name, an agent, or a function."""

TOOL = "nameThread"
_INSTRUCTION = (
    f"Give this conversation a title of at most six words, in its own language. Call the tool {TOOL} with the title. "
    "If you do not have that tool, reply with the title and nothing else."
)
_TOOL: Mapping[str, Any] = {
    "name": TOOL,
    "description": "Gives this conversation its title.",
    "parameters": {
        "type": "object",
        "properties": {"name": {"type": "string", "description": "At most six words, in the conversation's language."}},
        "required": ["name"],
    },
}
_MAX_MESSAGES = 20
"""How many messages an agent reads to find a title, from the beginning: a new thread may come with a long past."""

_MAX_TEXT_LENGTH = 2000
"""How many characters of each it reads."""


def parse_thread_names(setting: Any, url_schemes: Collection[str]) -> AskedNames | CalledNames | None:
    """Returns how threads are named; None if they are not. Raises TypeError and ValueError for an unusable setting."""
    if setting is None or setting is False:
        return None
    if setting is True:
        return AskedNames(None, url_schemes)
    if isinstance(setting, str):
        from ..agents._builtin import BuiltInAgent  # which takes long to import

        try:
            return AskedNames(BuiltInAgent(setting), url_schemes)
        except ValueError as error:
            raise ValueError(f"thread_names={setting!r}: must be the name of a model: {error}") from error
    problem = agent_problem(setting)
    if problem is not None:
        raise TypeError(
            f"thread_names={type(setting).__name__}: must be True, the name of a model, an agent, or a function of "
            f"(input) or (input, context) that returns a name: {problem}"
        )
    return AskedNames(setting, url_schemes) if hasattr(setting, "run") else CalledNames(setting, url_schemes)


class _Names:
    """The run that names a thread: on no thread, with the context of the run that has ended."""

    def __init__(self, url_schemes: Collection[str]) -> None:
        self._url_schemes = url_schemes

    def _request(
        self, run: RunRequest, agent: Any, messages: Sequence[Mapping[str, Any]], **members: Any
    ) -> RunRequest:
        from .endpoints.run_input import parse_input
        from .endpoints.stored_messages import STORED_LIMITS, insert_messages

        new = {"threadId": f"name-{uuid.uuid4()}", "runId": f"name-{uuid.uuid4()}", "messages": [], **members}
        if "state" in run.body:
            new["state"] = run.body["state"]
        parsed = parse_input(to_json(new), STORED_LIMITS)
        context = RunContext(
            request=run.context.request,
            headers=run.context.headers,
            user=run.context.user,
            body=parsed.wire,
            debug=run.context.debug,
            open_interrupts={},
        )
        request = RunRequest(agent_id=run.agent_id, agent=agent, input=parsed.model, body=parsed.wire, context=context)
        return insert_messages(request, {0: messages}, url_schemes=self._url_schemes)

    async def forget(self, naming: RunRequest) -> None:
        """Has the agent forget the thread of the run, if it can."""
        forget = getattr(naming.agent, "forget_thread", None)
        if callable(forget):
            await call_user_function(forget, naming.thread_id, naming.context)


class CalledNames(_Names):
    """Names that a function finds. It is called as an agent is, and returns the name, or events as an agent does."""

    def __init__(self, function: Callable[..., Any], url_schemes: Collection[str]) -> None:
        super().__init__(url_schemes)
        self._agent = _returning_events(function)

    def request(self, run: RunRequest, ended: EndedRun) -> RunRequest | None:
        """Returns the run that calls the function with all messages of the thread."""
        return self._request(run, self._agent, ended.messages())

    def name_in(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Returns the text."""
        return _last_text(messages)


class AskedNames(_Names):
    """Names that an agent is asked for: one of its own, or with None the agent of the thread."""

    def __init__(self, agent: Any, url_schemes: Collection[str]) -> None:
        super().__init__(url_schemes)
        self._agent = agent

    def request(self, run: RunRequest, ended: EndedRun) -> RunRequest | None:
        """Returns the run that asks the agent, which reads texts only; None if the user has written none."""
        spoken = list(islice(_spoken(ended.messages()), _MAX_MESSAGES))
        if not any(message["role"] == "user" for message in spoken):
            return None
        # The tool is the frontend's, so that an agent of this package that is forced to call it runs no other one.
        choice = {"type": "function", "function": {"name": TOOL}}
        messages = [*spoken, {"id": str(uuid.uuid4()), "role": "user", "content": _INSTRUCTION}]
        own = run.agent if run.agent_without_ui is None else run.agent_without_ui
        agent = clone_agent(own if self._agent is None else self._agent)
        return self._request(run, agent, messages, tools=[_TOOL], forwardedProps={"toolChoice": choice})

    def name_in(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Returns the argument of the tool, or else the text."""
        return next(filter(None, map(_argument_in, messages)), "") or _last_text(messages)


def _spoken(messages: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Yields what user and agent have said: a model refuses calls without results, and needs none of them."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            content = "\n".join(part["text"] for part in content if isinstance(part, Mapping) and "text" in part)
        if message.get("role") in ("user", "assistant") and isinstance(content, str) and content.strip():
            yield {"id": message["id"], "role": message["role"], "content": content[:_MAX_TEXT_LENGTH]}


def _argument_in(message: Mapping[str, Any]) -> str:
    for call in message.get("toolCalls") or ():
        if call["function"]["name"] == TOOL:
            try:
                name = loads(call["function"]["arguments"].encode())["name"]
            except (ValueError, TypeError, KeyError):
                continue
            if isinstance(name, str):
                return name
    return ""


def _last_text(messages: Sequence[Mapping[str, Any]]) -> str:
    texts = [content for message in messages if isinstance(content := message.get("content"), str) and content.strip()]
    return texts[-1] if texts else ""


def _returning_events(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns an agent that calls a function, and has the name that it returns as its text."""
    signature = inspect_agent(function)

    def arguments(input: Any, context: Any) -> tuple[Any, ...]:
        return (input, context) if signature.takes_context else (input,)

    async def finish(returned: Awaitable[Any], input: Any) -> Any:
        return _events_of(await returned, input)

    async def call(input: Any, context: Any) -> Any:
        return _events_of(await function(*arguments(input, context)), input)

    def call_plain(input: Any, context: Any) -> Any:
        returned = function(*arguments(input, context))
        if isinstance(returned, Awaitable):
            return finish(returned, input)
        return _events_of(returned, input)

    styles = {CallStyle.ASYNC_GENERATOR: function, CallStyle.COROUTINE: call, CallStyle.PLAIN: call_plain}
    return styles[signature.kind]


def _events_of(returned: Any, input: Any) -> Any:
    """Returns the events of a run whose function has returned a name, or None; what else it returns are its events."""
    if not isinstance(returned, str | None):
        return returned
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    said = [{"type": "TEXT_MESSAGE_CHUNK", "messageId": "name", "role": "assistant", "delta": returned}]
    return [{"type": "RUN_STARTED", **ids}, *(said if returned else ()), {"type": "RUN_FINISHED", **ids}]
