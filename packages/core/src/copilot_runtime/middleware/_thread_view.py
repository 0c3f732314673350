"""The messages and the state of a thread while a run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from .._events.deltas import DELTA_IDS
from .._events.json_patch import CopyBudget, patch_or_restore
from .._events.messages import REDUCED_TYPES, Message, MessageFold
from .._events.normalize import to_jsonable
from .._events.schema import SCHEMAS
from .._events.sse import Event, InvalidEventError
from .._events.surrogates import without_surrogates
from ..agents._wire_input import messages_in_wire_form

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

_STATE_TYPES = frozenset(("STATE_SNAPSHOT", "STATE_DELTA"))


class _Deltas:
    """Deltas of the same text in succession."""

    __slots__ = ("deltas", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.deltas: list[str] = []

    def joined(self) -> Event:
        """Returns one event in place of all."""
        return {**self.event, "delta": "".join(self.deltas)}


class ThreadView:
    """What an input and the events since make of a thread.

    Few middlewares look, so events are only noted, and applied when somebody does. Those that clients would reject
    have no effect.
    """

    __slots__ = ("_budget", "_events", "_fold", "_input", "_last", "_state", "_state_events")

    def __init__(self, input: RunAgentInput) -> None:
        self._input = input
        self._fold: MessageFold | None = None
        self._events: list[Event | _Deltas] = []
        """Events for the messages that have not been applied yet."""
        self._last: _Deltas | None = None
        """The last one of these, if it is deltas."""
        self._state: Any = None
        self._state_events: list[Event] = []
        """Events for the state that have not been applied yet."""
        self._budget: CopyBudget | None = None
        """For the deltas of the state; None until the state is read."""

    def note(self, event: Event) -> None:
        """Notes an event, which may be changed afterwards."""
        kind = event["type"]
        id_member = DELTA_IDS.get(kind)
        if id_member is not None:
            last, delta = self._last, event.get("delta")
            if last is None or last.event["type"] != kind or last.event[id_member] != event.get(id_member):
                self._last = last = _Deltas({"type": kind, id_member: event.get(id_member)})
                self._events.append(last)
            if isinstance(delta, str):
                last.deltas.append(delta)
        elif kind in REDUCED_TYPES:
            _append_valid(event, self._events)
            self._last = None
            if kind == "MESSAGES_SNAPSHOT":  # some agents send one after each step
                self.messages()
        elif kind in _STATE_TYPES:
            _append_valid(event, self._state_events)

    def messages(self) -> list[Message]:
        """Returns the messages, in wire form. Later events change them."""
        if self._fold is None:
            self._fold = MessageFold(messages_in_wire_form(self._input))
        for event in self._events:
            self._fold.apply(event.joined() if isinstance(event, _Deltas) else event)
        self._events.clear()
        self._last = None
        return self._fold.messages()

    def state(self) -> Any:
        """Returns the state. Later events change it."""
        if self._budget is None:
            self._budget = CopyBudget()
            self._state = from_json(to_json(self._input.state))
        for event in self._state_events:
            if event["type"] == "STATE_SNAPSHOT":
                self._state = event["snapshot"]
                continue
            try:
                self._state = patch_or_restore(self._state, event["delta"], self._budget)
            except ValueError:
                pass
        self._state_events.clear()
        return self._state


def _append_valid(event: Event, events: list[Any]) -> None:
    """Appends a copy of an event as clients accept it, if they do. A STATE_SNAPSHOT takes the place of those before."""
    try:
        valid = SCHEMAS[event["type"]].validate(to_jsonable(event))
    except InvalidEventError:
        return
    try:
        to_json(valid)
    except ValueError:  # of half a character
        valid = without_surrogates(valid)
    if event["type"] == "STATE_SNAPSHOT":
        events.clear()
    events.append(valid)
