"""What the test clients return."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

from .._events import apply_events, decode
from .._events.shared_state import apply_state_events
from .._http.headers import Headers

Event = dict[str, Any]
Message = dict[str, Any]

_STATE_EVENTS = ("STATE_SNAPSHOT", "STATE_DELTA")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientResponse:
    """A response of the runtime.

    Attributes:
        status: the HTTP status.
        headers: the response headers.
        body: the whole body.
    """

    status: int
    headers: Headers = dataclasses.field(repr=False)
    body: bytes

    def json(self) -> Any:
        """Returns the body as JSON. Raises ValueError if it is not JSON."""
        return json.loads(self.body)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult(ClientResponse):
    """The events of a run, a suggestion or a replay, with what a frontend makes of them.

    Attributes:
        thread_id: the thread.
        run_id: the run of the request.
        events: the AG-UI events, in wire form. Empty for a response that is not a stream.
        last_event_id: the id of the last event, with which `connect` resumes; None if the events have no ids.
    """

    thread_id: str
    run_id: str
    events: Sequence[Event]
    last_event_id: str | None = None
    _input_messages: Sequence[Message] = dataclasses.field(default=(), repr=False)
    _input_state: Any = dataclasses.field(default=None, repr=False)

    @property
    def messages(self) -> list[Message]:
        """The messages that were sent, and those of the events, in wire form."""
        messages = list(self._input_messages)
        for event in self.events:
            messages = apply_events([*messages, *_new_messages(event, messages)], [event])
        return messages

    @property
    def text(self) -> str:
        """The text of the assistant's new messages, joined by line ends."""
        known = {message["id"] for message in self._input_messages}
        new = [message for message in self.messages if message["role"] == "assistant" and message["id"] not in known]
        return "\n".join(message["content"] for message in new if message.get("content"))

    @property
    def state(self) -> Any:
        """The shared state after the last event."""
        # The events are copied, since they become part of the state.
        events = json.loads(json.dumps([event for event in self.events if event["type"] in _STATE_EVENTS]))
        return apply_state_events(self._input_state, events)

    @property
    def error(self) -> Event | None:
        """The RUN_ERROR event of a run that failed; None if there is none."""
        return next((event for event in self.events if event["type"] == "RUN_ERROR"), None)


def _new_messages(event: Event, messages: Iterable[Message]) -> list[Message]:
    """Returns the messages that a run was started with and that are not among the known ones."""
    if event["type"] != "RUN_STARTED":
        return []
    known = {message["id"] for message in messages}
    return [message for message in (event.get("input") or {}).get("messages", ()) if message["id"] not in known]


class HTTPStatusError(Exception):
    """The runtime answered with a status that is not 2xx.

    Attributes:
        response: the response.
    """

    def __init__(self, method: str, path: str, response: ClientResponse) -> None:
        body = response.body.decode("utf-8", "replace")
        super().__init__(f"{method} {path} was answered with {response.status}: {body}")
        self.response = response


class EventParser:
    """Collects the events of a stream from its chunks."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.last_event_id: str | None = None
        self.received: list[bytes] = []
        """The chunks that have been received."""
        self._frame: list[bytes] = []
        """The chunks of a frame that has not been received as a whole."""

    @property
    def body(self) -> bytes:
        """Everything that has been received."""
        return b"".join(self.received)

    def feed(self, chunk: bytes) -> list[Event]:
        """Returns the events that a chunk completes: a large frame comes in several chunks."""
        self.received.append(chunk)
        # The end of a frame may itself be in two chunks.
        last = self._frame[-1][-1:] if self._frame else b""
        if b"\n\n" not in last + chunk:
            self._frame.append(chunk)
            return []
        *frames, rest = b"".join((*self._frame, chunk)).split(b"\n\n")
        self._frame = [rest] if rest else []
        new: list[Event] = []
        for frame in frames:
            if not frame or frame.startswith(b":"):
                continue
            if frame.startswith(b"id: "):
                self.last_event_id = frame[4 : frame.index(b"\n")].decode()
            new.append(decode(frame))
        self.events += new
        return new
