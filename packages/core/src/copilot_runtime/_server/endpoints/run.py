"""``/agent/{agent_id}/run``, ``/connect`` and ``/suggest``: the endpoints that respond with a stream of events."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from ..._concurrency.driver import call_user_function, run_off_loop
from ..._engine import RunRequest, history_frames
from ..._events import Cursor
from ..._http.forward_headers import merge_headers
from ..._http.headers import Headers
from ..._http.streaming import EventStream
from ..._http.types import Response
from ...agents._base import agent_headers, clone_agent
from ...agents._context import RunContext, RunControl
from ...agents._history import history_function
from ...agents._json_body import JSONBody
from ...middleware._generative_ui_names import asks_for_user_interfaces
from ...stores.protocol import ThreadKey
from ..errors import error_response
from .agents import find_agent
from .context import EndpointContext

if TYPE_CHECKING:
    from ...middleware._layers import Layer
    from ..runtime import CopilotRuntime
    from .run_input import ParsedInput
    from .stored_messages import InsertedMessages

_STREAM_HEADERS = Headers(
    (
        ("content-type", "text/event-stream"),
        # Compressing middleware honours no-transform, nginx the last one: an event that waits in a buffer is late.
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    )
)
_STREAM_HEADERS.check_sendable()

_NONE_OPEN: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
"""Until the engine has read the thread, which it does only for a run that responds to interrupts."""


def stream_response(stream: EventStream) -> Response:
    """Returns the response that sends a stream."""
    return Response._of_checked(200, _STREAM_HEADERS, stream)


async def run(context: EndpointContext) -> Response:
    """Runs an agent on a thread and streams its events."""
    agent, parsed = await _read(context, "Failed to run agent")
    runtime = context.runtime
    ui: tuple[Layer, ...] = ()
    wire = parsed.wire.members  # its models are built once they are looked at, which the agent may not do
    if runtime.has_generative_ui or (parsed.rest != b"" and asks_for_user_interfaces(wire)):
        from ..generative_ui import layers_of_run, proxied_request  # with what few runs need

        proxy = proxied_request(runtime, context.agent_id, wire)
        if proxy is not None:
            return stream_response(await context.engine.suggest(_run_request(context, proxy, parsed)))
        ui = layers_of_run(runtime, context.agent_id, wire)
    agent = clone_agent(agent)
    request = _run_request(context, _wrap(agent, (*ui, *runtime.middleware)), parsed)
    if ui:
        request = dataclasses.replace(request, agent_without_ui=_wrap(agent, runtime.middleware))
    runtime.note_run(request)
    result = await context.engine.run(request)
    if isinstance(result, EventStream):
        return stream_response(result)
    message = (
        f"Thread '{request.thread_id}' already has an active run ('{result.run_id}'). "
        "Wait until it has ended, or stop it, then send this again."
    )
    return error_response(409, "thread_busy", message=message, runId=result.run_id)


async def suggest(context: EndpointContext) -> Response:
    """Runs an agent on no thread: nothing of the run is stored."""
    agent, parsed = await _read(context, None)
    request = _run_request(context, _wrap(clone_agent(agent), context.runtime.middleware), parsed)
    return stream_response(await context.engine.suggest(request))


async def connect(context: EndpointContext) -> Response:
    """Replays a thread, and streams its active run if it has one."""
    agent = await find_agent(context, "Failed to run agent")
    run_input = _run_input or await _import_input()
    parsed = run_input.parse_input(context.body, context.runtime.input_limits)
    last_seen = parsed.wire.get("lastSeenEventId") or context.request.headers.get("last-event-id")
    cursor = Cursor.parse(last_seen if isinstance(last_seen, str) else None)
    thread = ThreadKey(context.owner, parsed.model.thread_id)
    history = None if history_function(agent) is None else partial(_agent_history, context, agent, parsed)
    return stream_response(await context.engine.connect(thread, cursor, history))


async def _agent_history(context: EndpointContext, agent: Any, parsed: ParsedInput) -> Sequence[bytes]:
    """Returns the frames of a thread that only its agent remembers."""
    thread_id, run_id = parsed.model.thread_id, parsed.model.run_id

    async def load() -> Any:
        ready = clone_agent(agent)
        return await call_user_function(ready.history, thread_id, _run_context(context, ready, parsed))

    return await history_frames(load, thread_id, run_id, debug=context.runtime.debug)


async def _read(context: EndpointContext, failure: str | None) -> tuple[Any, ParsedInput]:
    """Returns the agent and the input of the run that a request is for.

    ``failure`` is the ``error`` of the response if the factory of agents fails; None leaves that to the handler.
    """
    runtime = context.runtime
    agents = runtime.fixed_agents
    agent = None if agents is None else agents.get(context.agent_id)
    if agent is None:
        agent = await find_agent(context, failure)
    run_input = _run_input or await _import_input()
    return agent, run_input.parse_input(context.body, runtime.input_limits, runtime.attachment_url_schemes)


def _wrap(agent: Any, layers: Sequence[Layer]) -> Any:
    """Returns an agent with layers around it, if there are any, outermost first."""
    if not layers:
        return agent
    from ...middleware._use import wrap  # with what few runs need

    return wrap(agent, layers)


_run_input: ModuleType | None = None
"""The module, kept since an import in a function takes as long as to look an agent up."""


async def _import_input() -> ModuleType:
    """Imports `run_input`, at the first run of a process.

    Not with this module, since AG-UI's models take longer to import than the whole runtime, and a process that is
    starting should respond to ``/info`` at once. Not on the event loop, which may have other streams to serve.
    """
    global _run_input
    _run_input = await run_off_loop(_import_without_collecting, ".run_input")
    return _run_input


def _import_without_collecting(name: str) -> ModuleType:
    """Imports a module of this package without the garbage collector.

    Nothing that AG-UI's models consist of is garbage, and looking for some takes a sixth of the time of their import.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return import_module(name, __package__)
    finally:
        if was_enabled:
            _spare_new_objects()
            gc.enable()


def _spare_new_objects() -> None:
    """Has the garbage collector count all objects as old. Otherwise, it would look at all that are new right now."""
    if gc.get_freeze_count() == 0:  # what an application has frozen stays frozen
        gc.freeze()
        gc.unfreeze()  # into the oldest generation


def _run_request(context: EndpointContext, agent: Any, parsed: ParsedInput) -> RunRequest:
    assert _run_input is not None, "it has parsed the input"
    runtime = context.runtime
    return RunRequest(
        agent_id=context.agent_id,
        agent=agent,
        input=parsed.model,
        body=parsed.wire,
        size=len(parsed.wire.data),
        memory=_run_input.size_in_memory(parsed),
        context=_run_context(context, agent, parsed),
        insert_messages=_message_inserter(runtime) if runtime.history == "stored" else None,
    )


def _run_context(context: EndpointContext, agent: Any, parsed: ParsedInput) -> RunContext:
    request, runtime = context.request, context.runtime
    return RunContext._of(
        request,
        merge_headers(runtime.select_headers(request.headers), agent_headers(agent)),
        context.user,
        JSONBody(parsed.agent_body),  # a copy of the agent's own, which few agents need
        runtime.debug,
        _NONE_OPEN,
        RunControl(),
    )


def _message_inserter(runtime: CopilotRuntime) -> Callable[[RunRequest, InsertedMessages], RunRequest]:
    from .stored_messages import insert_messages

    return partial(insert_messages, url_schemes=runtime.attachment_url_schemes)
