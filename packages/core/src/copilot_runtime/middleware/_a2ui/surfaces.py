"""From the events of an agent to those of its surfaces. No I/O, and nothing of a run but its events."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from ..._events.sse import Event
from .._open_calls import OpenCalls
from .known_surfaces import KnownSurfaces, operations_in
from .operations import EXHAUSTED, OPERATIONS, read_result, surface_of
from .options import A2UIRecovery
from .streamed_arguments import StreamedArguments
from .toolkit import toolkit
from .validation import find_errors

LOG_EVENT_TOOL = "log_a2ui_event"
"""The tool of which an agent sees a call when the user has used a surface. Nobody calls it."""

_ACTIVITY_TYPE = "a2ui-surface"
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_UPDATE = 20

_GROWTH = 8
"""A surface is sent again when its data has grown by an eighth, so that what is sent grows with the data and not with
its square. For the first items that is with each of them."""

_RENDERED = '{"status":"rendered"}'
_NOT_RENDERED = "The surface is not valid, and the user does not see it. Correct the errors and call the tool again."
_NOT_READABLE = {
    "code": "invalid_arguments",
    "path": "components",
    "message": "The arguments must be a JSON object with an array of components",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceOptions:
    """How the surfaces of a run are made."""

    tool_names: frozenset[str]
    catalog_id: str | None
    """The catalog of streamed surfaces. None if neither the application nor the frontend names one."""
    catalog: dict[str, Any] | None
    """By which components are validated, if it is known."""
    recovery: A2UIRecovery
    frontend_tools: frozenset[str]
    """The tools whose calls the frontend runs, after the run: no other call is made within one of these."""


@dataclasses.dataclass(slots=True)
class _Slot:
    """The place of a surface in the chat, and what it shows until there is one. Later attempts take the same place."""

    key: str
    """The call, or the one within which it was made."""
    attempts: int = 0
    failures: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    is_retrying: bool = False
    is_settled: bool = False
    """Whether it shows a surface, or that there will be none."""
    sent_tokens: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class _OtherCall:
    """A call of another tool, within which surfaces may be made."""

    message_id: str | None
    is_frontend: bool


@dataclasses.dataclass(slots=True)
class _RenderCall:
    """A call whose arguments are a surface."""

    id: str
    slot: _Slot
    arguments: StreamedArguments = dataclasses.field(default_factory=StreamedArguments)
    is_answered: bool = False
    is_valid: bool | None = None
    """None until its components are whole."""
    errors: list[dict[str, str]] = dataclasses.field(default_factory=list)
    surface_id: str = ""
    catalog_id: str = ""
    components: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    items_member: str = ""
    """The member of the data with the items that one component is repeated for."""
    sent_items: int = 0
    is_data_sent: bool = False


class Surfaces:
    """Adds the activities of surfaces to the events of one run, and the results of calls that render them.

    Args:
        options: how surfaces are made.
        messages: returns the thread's messages so far, in wire form.
        open_calls: finds the calls that have no result at the end of the run.
    """

    def __init__(
        self, options: SurfaceOptions, messages: Callable[[], Sequence[Mapping[str, Any]]], open_calls: OpenCalls
    ) -> None:
        self._options = options
        self._messages = messages
        self._open_calls = open_calls
        self._calls: dict[str, _RenderCall] = {}
        self._slots: dict[str, _Slot] = {}
        self._open: dict[str, _OtherCall] = {}
        """The calls of other tools that have no result yet."""
        self._known: KnownSurfaces | None = None
        """The thread's surfaces; None until a result updates one of them."""
        self._has_snapshot = False
        """Whether the agent has sent messages that may have calls that were no events."""
        self._drawn_surfaces: set[str] = set()
        self._drawn_calls: set[str] = set()
        """The calls that have rendered a surface, and those within which that was done."""

    def process(self, event: Event) -> Iterable[Event]:
        """Returns the events to send in place of one of the agent's."""
        kind = event.get("type")
        row = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if row is None:
            return (event,)
        handler, members = row
        # What is no valid event is left to the check that all events pass.
        return handler(self, event) if all(isinstance(event.get(name), str) for name in members) else (event,)

    def fail_unfinished(self) -> Iterator[Event]:
        """Yields what has to be sent before a run ends: that there will be no surface where one was to come."""
        for slot in self._slots.values():
            if not slot.is_settled:
                yield self._failed(slot, "No valid surface was generated", slot.failures)

    # --- calls whose arguments are a surface -------------------------------------------------------------------------

    def _on_start(self, event: Event) -> Iterator[Event]:
        self._open_calls.note(event)
        call_id, message_id = event["toolCallId"], event.get("parentMessageId")
        if event["toolCallName"] in self._options.tool_names:
            key = self._outer_call(message_id) or call_id
            slot = self._slots.setdefault(key, _Slot(key))
            slot.attempts += 1
            slot.sent_tokens = 0
            slot.is_settled = False
            self._calls[call_id] = _RenderCall(call_id, slot)
            if not slot.is_retrying:
                yield self._state(slot, status="building")
        elif event["toolCallName"] != LOG_EVENT_TOOL:
            self._open[call_id] = _OtherCall(message_id, event["toolCallName"] in self._options.frontend_tools)
        yield event

    def _outer_call(self, message_id: str | None) -> str | None:
        """Returns the call within which another one is made: the last open one that is not of the same message.

        Without messages to compare, that is the last one. If it is for the frontend, all are calls of one message.
        """
        for call_id, call in reversed(self._open.items()):
            if message_id is None:
                return None if call.is_frontend else call_id
            if call.message_id != message_id and not call.is_frontend:
                return call_id
        return None

    def _on_arguments(self, event: Event) -> Iterator[Event]:
        call = self._calls.get(event["toolCallId"])
        if call is not None:
            has_news = call.arguments.feed(event["delta"])
            if call.is_valid is None:
                yield from self._progress(call)
            if has_news:
                yield from self._draw(call)
        yield event

    def _on_end(self, event: Event) -> Iterator[Event]:
        self._open_calls.note(event)
        call = self._calls.get(event["toolCallId"])
        if call is not None:
            yield from self._draw(call, surface_id=toolkit().DEFAULT_SURFACE_ID)
        yield event

    def _progress(self, call: _RenderCall) -> Iterator[Event]:
        slot = call.slot
        tokens = int(call.arguments.length / _CHARACTERS_PER_TOKEN + 0.5)
        is_due = not slot.is_retrying and tokens - slot.sent_tokens >= _TOKENS_PER_UPDATE
        if is_due and self._options.recovery.show_progress_tokens:
            slot.sent_tokens = tokens
            yield self._state(slot, status="building", progressTokens=tokens)

    def _draw(self, call: _RenderCall, surface_id: str | None = None) -> Iterator[Event]:
        """Yields what can be drawn now that could not be drawn before.

        Args:
            call: the call.
            surface_id: the id of its surface if the model names none, once it is certain that it does not.
        """
        if call.is_valid is None:
            yield from self._draw_components(call, surface_id)
        elif call.is_valid:
            count = call.arguments.count("data", call.items_member)
            if count - call.sent_items > call.sent_items // _GROWTH and not call.is_data_sent:
                yield from self._draw_items(call)
        if call.is_valid and not call.is_data_sent and call.arguments.is_whole("data"):
            call.is_data_sent = True
            data = call.arguments.value("data")
            if isinstance(data, dict):
                yield self._surface(call, data)

    def _draw_components(self, call: _RenderCall, surface_id: str | None) -> Iterator[Event]:
        if not call.arguments.is_whole("components"):
            return
        named = call.arguments.value("surfaceId")
        call.surface_id = named if named and isinstance(named, str) else surface_id or ""
        if not call.surface_id:
            return
        components = call.arguments.value("components")
        if components is None:
            self._reject(call, [_NOT_READABLE])
            return
        errors = find_errors(components, self._options.catalog)
        if errors:
            self._reject(call, errors)
            yield self._retrying(call)
            return
        call.is_valid = True
        call.components = components
        call.catalog_id = self._catalog_id(call.arguments)
        call.items_member = _repeated_member(components)
        call.slot.is_retrying, call.slot.is_settled = False, True
        self._drawn_surfaces.add(call.surface_id)
        self._drawn_calls.update((call.id, call.slot.key))
        if call.arguments.count("data", call.items_member):
            yield from self._draw_items(call)
        else:
            yield self._surface(call, None)

    def _reject(self, call: _RenderCall, errors: list[dict[str, str]]) -> None:
        call.is_valid = False
        call.errors = errors
        call.slot.failures.append({"attempt": call.slot.attempts, "ok": False, "errors": errors})

    def _draw_items(self, call: _RenderCall) -> Iterator[Event]:
        call.sent_items = call.arguments.count("data", call.items_member)
        items = call.arguments.items("data", call.items_member)
        yield self._surface(call, {call.items_member: items} if items else None)

    def _catalog_id(self, arguments: StreamedArguments) -> str:
        """Returns the application's or the frontend's catalog: a model may name one that does not exist."""
        if self._options.catalog_id is not None:
            return self._options.catalog_id
        named = arguments.value("catalogId")
        basic: str = toolkit().BASIC_CATALOG_ID
        return named if isinstance(named, str) and named not in ("", "basic") else basic

    def _surface(self, call: _RenderCall, data: dict[str, Any] | None) -> Event:
        """Returns the surface as far as it is known: each of its events suffices by itself."""
        kit = toolkit()
        operations = [
            kit.create_surface(call.surface_id, call.catalog_id),
            kit.update_components(call.surface_id, call.components),
        ]
        if data is not None:
            operations.append(kit.update_data_model(call.surface_id, data))
        self._note(operations)
        return _activity(call.slot.key, {OPERATIONS: operations})

    # --- what a slot shows in place of a surface ---------------------------------------------------------------------

    def _state(self, slot: _Slot, **content: Any) -> Event:
        exposure = self._options.recovery.debug_exposure
        return _activity(slot.key, content if exposure is None else {**content, "debugExposure": exposure})

    def _retrying(self, call: _RenderCall) -> Event:
        slot, most = call.slot, self._options.recovery.max_attempts
        slot.is_retrying = True
        slot.sent_tokens = 0
        attempt = min(slot.attempts + 1, most)
        return self._state(slot, status="retrying", attempt=attempt, maxAttempts=most, errors=call.errors)

    def _failed(self, slot: _Slot, error: str, attempts: list[Any]) -> Event:
        slot.is_settled, slot.is_retrying = True, False
        most = len(attempts) or self._options.recovery.max_attempts
        return self._state(slot, status="failed", error=error, attempts=attempts, maxAttempts=most)

    # --- surfaces in the results of tools ----------------------------------------------------------------------------

    def _on_result(self, event: Event) -> Iterator[Event]:
        yield event
        call_id = event["toolCallId"]
        self._open.pop(call_id, None)
        call = self._calls.get(call_id)
        if call is not None:
            call.is_answered = True
        if call_id in self._drawn_calls:
            return  # it repeats what has been drawn while it was generated
        content = read_result(event.get("content"))
        slot = call.slot if call is not None else self._slots.get(call_id, _Slot(call_id))
        operations = content.get(OPERATIONS)
        if isinstance(operations, list):
            yield from self._draw_operations(slot, call_id, [each for each in operations if isinstance(each, dict)])
        elif content.get("code") == EXHAUSTED:
            attempts = content.get("attempts")
            error = str(content.get("error") or "No valid surface was generated")
            yield self._failed(slot, error, attempts if isinstance(attempts, list) else [])

    def _draw_operations(self, slot: _Slot, call_id: str, operations: list[dict[str, Any]]) -> Iterator[Event]:
        by_surface: dict[str, list[dict[str, Any]]] = {}
        for operation in operations:
            by_surface.setdefault(surface_of(operation) or "default", []).append(operation)
        for surface_id in self._drawn_surfaces.intersection(by_surface):
            if _is_whole(by_surface[surface_id]):
                del by_surface[surface_id]
        drawn: dict[str, list[dict[str, Any]]] = {}
        for surface_id, of_surface in by_surface.items():
            if _is_whole(of_surface):
                self._note(of_surface)
            else:
                before = self._operations_before(surface_id, call_id)
                self._note(of_surface)
                of_surface = [*before, *of_surface]
            # Where attempts were made already, all take the place of these; a frontend tells the surfaces apart.
            is_alone = len(by_surface) == 1 or slot.attempts > 0
            drawn.setdefault(slot.key if is_alone else f"{surface_id}-{slot.key}", []).extend(of_surface)
        for key, of_place in drawn.items():
            slot.is_settled, slot.is_retrying = True, False
            yield _activity(key, {OPERATIONS: of_place})

    def _operations_before(self, surface_id: str, call_id: str) -> Iterable[dict[str, Any]]:
        """Returns what makes a surface that a result only updates: a frontend draws each place by itself."""
        if self._known is None:
            self._known = KnownSurfaces()
            options = self._options
            for message in self._messages():
                if message.get("toolCallId") != call_id:
                    self._known.note(operations_in(message, options.tool_names, options.catalog, self._catalog_id))
        return self._known.operations(surface_id, self._catalog_id(StreamedArguments()))

    def _note(self, operations: Iterable[dict[str, Any]]) -> None:
        if self._known is not None:
            self._known.note(operations)

    # --- the end of the run ------------------------------------------------------------------------------------------

    def _on_snapshot(self, event: Event) -> Iterator[Event]:
        self._has_snapshot = True
        yield event

    def _on_finished(self, event: Event) -> Iterator[Event]:
        self._open.clear()  # what has no result now is not at work
        is_looked_for = self._has_snapshot or any(not call.is_answered for call in self._calls.values())
        open_calls = self._open_calls.find(self._messages(), event) if is_looked_for else []
        for call in open_calls:
            if call["id"] not in self._calls:
                yield from self._draw_at_once(call["id"], call["function"]["name"], call["function"]["arguments"])
        yield from self.fail_unfinished()
        for call in open_calls:
            if (render_call := self._calls.get(call["id"])) is not None and not render_call.is_answered:
                render_call.is_answered = True
                yield _result(render_call)
        yield event

    def _draw_at_once(self, call_id: str, name: str, arguments: str) -> Iterator[Event]:
        """Draws a call that only a snapshot of the messages has, as that of a model that did not stream."""
        events = (
            {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": name},
            {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": arguments},
            {"type": "TOOL_CALL_END", "toolCallId": call_id},
        )
        processed = [each for event in events for each in self.process(event)]
        yield from [each for each in processed if each["type"] == "ACTIVITY_SNAPSHOT"][-1:]

    def _on_error(self, event: Event) -> Iterator[Event]:
        yield from self.fail_unfinished()
        yield event


_HANDLERS: dict[str, tuple[Callable[[Surfaces, Event], Iterator[Event]], tuple[str, ...]]] = {
    "TOOL_CALL_START": (Surfaces._on_start, ("toolCallId", "toolCallName")),
    "TOOL_CALL_ARGS": (Surfaces._on_arguments, ("toolCallId", "delta")),
    "TOOL_CALL_END": (Surfaces._on_end, ("toolCallId",)),
    "TOOL_CALL_RESULT": (Surfaces._on_result, ("toolCallId",)),
    "MESSAGES_SNAPSHOT": (Surfaces._on_snapshot, ()),
    "RUN_FINISHED": (Surfaces._on_finished, ()),
    "RUN_ERROR": (Surfaces._on_error, ()),
}
"""What is done with an event, and the strings that it must have."""


def _is_whole(operations: Iterable[dict[str, Any]]) -> bool:
    """Returns whether operations for one surface do not depend on what it was before."""
    return any("createSurface" in each or "deleteSurface" in each for each in operations)


def _activity(key: str, content: dict[str, Any]) -> Event:
    return {
        "type": "ACTIVITY_SNAPSHOT",
        "messageId": f"{_ACTIVITY_TYPE}-{key}",
        "activityType": _ACTIVITY_TYPE,
        "content": content,
        "replace": True,
    }


def _result(call: _RenderCall) -> Event:
    """Returns the result of a call that nothing else answers. The model has to know whether the user sees a surface."""
    content = _RENDERED
    if not call.is_valid:
        problem = {"status": "error", "message": _NOT_RENDERED, "errors": call.errors or [_NOT_READABLE]}
        content = to_json(problem).decode()
    return {"type": "TOOL_CALL_RESULT", "messageId": f"{call.id}-result", "toolCallId": call.id, "content": content}


def _repeated_member(components: Iterable[dict[str, Any]]) -> str:
    """Returns the member of the data for whose items a component is repeated."""
    for component in components:
        children = component.get("children")
        path = children.get("path") if isinstance(children, dict) else None
        if path and isinstance(path, str):
            return path.removeprefix("/")
    return "items"
