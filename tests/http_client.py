"""Talking to a runtime over a socket: requests, and streams that are read frame by frame.

Nothing of ours is used for it, so that the bytes are judged by somebody else's reading.
"""

from __future__ import annotations

import http.client
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

from .servers import RunningServer

PATIENCE = 30.0
"""Seconds without a byte, or without a frame, after which a test gives up; none waits for them to pass."""

Event = dict[str, Any]

_numbers = itertools.count(1)


def fresh(word: str) -> str:
    """A name that no other test uses."""
    return f"{word}-{next(_numbers)}"


class Frame(NamedTuple):
    """One event as it came, with its id where it has one."""

    id: str | None
    event: Event


def parsed(block: str) -> Frame | None:
    """The frame in the lines between two empty ones; None for comments."""
    fields = [line.partition(": ") for line in block.split("\n") if line and not line.startswith(":")]
    if not fields:
        return None
    members = {name: value for name, _, value in fields}
    assert set(members) <= {"id", "data"}, block
    return Frame(members.get("id"), json.loads(members["data"], parse_constant=_no_json))


def _no_json(word: str) -> Any:
    raise AssertionError(f"{word} is not JSON")


class Stream:
    """An answer that is read as it arrives. Leaving the ``with`` block closes its connection."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.status = response.status
        self.headers = response.headers
        self.comments: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Closes the connection, whatever is still to come."""
        self._response.close()
        self._connection.close()

    def blocks(self) -> Iterator[str]:
        """What stands between empty lines, comments included, as it comes."""
        lines: list[str] = []
        deadline = time.monotonic() + PATIENCE
        while line := self._response.readline():
            if time.monotonic() > deadline:  # keep-alives may go on for ever, so the socket's timeout is not enough
                raise TimeoutError(f"nothing but comments for {PATIENCE:g} s: {self.comments[-3:]}")
            text = line.decode().removesuffix("\n")
            if text:
                lines.append(text)
                if not text.startswith(":"):
                    deadline = time.monotonic() + PATIENCE
            elif lines:
                yield "\n".join(lines)
                lines = []
        assert not lines, f"the stream ended inside a frame: {lines}"

    def frames(self) -> Iterator[Frame]:
        """The frames still to come, as they come."""
        for block in self.blocks():
            frame = parsed(block)
            if frame is None:
                self.comments.append(block)
            else:
                yield frame

    def events(self) -> Iterator[Event]:
        """The events still to come, as they come."""
        return (frame.event for frame in self.frames())

    def frame(self) -> Frame:
        """The next frame."""
        return next(self.frames())

    def event(self) -> Event:
        """The next event."""
        return self.frame().event

    def until(self, kind: str) -> list[Event]:
        """The events up to the next one of a type."""
        taken: list[Event] = []
        for event in self.events():
            taken.append(event)
            if event["type"] == kind:
                return taken
        raise AssertionError(f"the stream ended without {kind}: {taken}")

    def comment(self) -> str:
        """The next comment; what comes before it is dropped."""
        return next(block for block in self.blocks() if block.startswith(":"))

    def rest(self) -> bytes:
        """All bytes still to come."""
        return self._response.read()

    def json(self) -> Any:
        """The whole answer as JSON."""
        return json.loads(self.rest())


class Client:
    """Requests to one runtime."""

    def __init__(self, server: RunningServer, base: str | None = None) -> None:
        self.port = server.port
        self.base = server.base_url.removeprefix(f"http://127.0.0.1:{server.port}") if base is None else base

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Stream:
        """A request of its own connection; the answer's headers have come when this returns."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        given = {"content-type": "application/json"} if body is not None else {}
        data = None if body is None else json.dumps(body)
        connection.request(method, f"{self.base}{path}", body=data, headers={**given, **(headers or {})})
        return Stream(connection, connection.getresponse())

    def run(self, agent: str, thread: str, run: str | None = None, **members: Any) -> Stream:
        """Begins a run; ``members`` are further members of the input."""
        return self.ask("POST", f"/agent/{agent}/run", run_input(thread, run or fresh("run"), **members))

    def ran(self, agent: str, thread: str, run: str | None = None, **members: Any) -> list[Event]:
        """All events of a run."""
        with self.run(agent, thread, run, **members) as stream:
            assert stream.status == 200, stream.rest()
            return list(stream.events())

    def connect(
        self, agent: str, thread: str, seen: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Stream:
        """Joins a thread, after the frame ``seen`` where that is given."""
        members = {} if seen is None else {"lastSeenEventId": seen}
        return self.ask("POST", f"/agent/{agent}/connect", run_input(thread, fresh("join"), **members), headers)

    def replay(self, agent: str, thread: str, seen: str | None = None) -> list[Frame]:
        """All frames that a thread has to show."""
        with self.connect(agent, thread, seen) as stream:
            assert stream.status == 200, stream.rest()
            return list(stream.frames())

    def stop(self, agent: str, thread: str, run: str | None = None) -> Any:
        """Asks a run to stop; gives the answer."""
        body = None if run is None else {"runId": run}
        with self.ask("POST", f"/agent/{agent}/stop/{thread}", body) as stream:
            assert stream.status == 200, stream.rest()
            return stream.json()

    def info(self) -> Any:
        with self.ask("GET", "/info") as stream:
            assert stream.status == 200, stream.rest()
            return stream.json()


def run_input(thread: str, run: str, **members: Any) -> dict[str, Any]:
    """A RunAgentInput with nothing in it."""
    base = {"threadId": thread, "runId": run, "messages": [], "tools": [], "context": [], "forwardedProps": {}}
    return {**base, **members}


def types(events: Sequence[Event]) -> list[str]:
    return [event["type"] for event in events]
