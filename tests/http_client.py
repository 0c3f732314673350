"""An HTTP client over a socket: requests, and streams that are read frame by frame.

It uses nothing of ours, so that the bytes are judged by an independent implementation.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import itertools
import json
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

TIMEOUT_SECONDS = 45.0
"""Seconds without a byte, or without a frame, after which a test fails; no passing test waits that long.

Longer than the timeout of the events that servers wait for (`fixtures/events.py`).
"""

PIECE = 64 * 1024
"""How much of a stream is read at once, at most."""

Event = dict[str, Any]
HeaderFields = Mapping[str, str] | Sequence[tuple[str, str]]

_numbers = itertools.count(1)


def unique(word: str) -> str:
    """Returns a name that no other test uses."""
    return f"{word}-{next(_numbers)}"


def run_input(thread: str, run: str | None = None, **members: Any) -> dict[str, Any]:
    """Returns a RunAgentInput without messages; ``members`` are added to it."""
    lists: dict[str, Any] = {"messages": [], "tools": [], "context": []}
    return {"threadId": thread, "runId": run or unique("run"), **lists, "forwardedProps": {}, **members}


def user_message(content: Any) -> dict[str, Any]:
    return {"id": unique("message"), "role": "user", "content": content}


def hello_input(thread: str, run: str | None = None, **members: Any) -> dict[str, Any]:
    """Returns a RunAgentInput with one user message, "hi", whose id is made from the run's."""
    run = run or unique("run")
    return run_input(thread, run, **{"messages": [{"id": f"{run}-u1", "role": "user", "content": "hi"}], **members})


def types(events: Iterable[Event]) -> list[str]:
    return [event["type"] for event in events]


def text_of(events: Iterable[Event], kind: str = "TEXT_MESSAGE_CONTENT") -> str:
    """Returns the joined deltas of all events of that type."""
    return "".join(event["delta"] for event in events if event["type"] == kind)


class Frame(NamedTuple):
    """One event of a stream, with its SSE id if it has one."""

    id: str | None
    event: Event


def parse_frame(block: str) -> Frame | None:
    """Returns the frame in the lines between two empty ones; None for comments."""
    members: dict[str, str] = {}
    for line in block.split("\n"):
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            members[name] = value
    if not members:
        return None
    assert members.keys() <= {"id", "data"}, block
    return Frame(members.get("id"), _json.decode(members["data"]))


def _refuse_constant(word: str) -> Any:
    raise AssertionError(f"{word} is not JSON")


_json = json.JSONDecoder(parse_constant=_refuse_constant)
"""Made once: some streams have hundreds of thousands of frames."""


class ResponseHeaders(Mapping[str, str]):
    """Header fields by case-insensitive name; the values of a repeated field are joined."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in response.getheaders():
            self._values.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get_all(self, name: str) -> list[str]:
        return self._values.get(name.lower(), [])


class Response(NamedTuple):
    """A response that has been read to its end."""

    status: int
    headers: ResponseHeaders
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def frames(self) -> list[Frame]:
        """Returns the frames of a finished stream."""
        frames = (parse_frame(block) for block in self.body.decode().split("\n\n"))
        return [frame for frame in frames if frame is not None]

    def events(self) -> list[Event]:
        """Returns the events of a finished stream."""
        return [frame.event for frame in self.frames()]

    def ids(self) -> list[str]:
        """Returns the SSE ids of a finished stream."""
        return [frame.id for frame in self.frames() if frame.id is not None]


def read_response(response: http.client.HTTPResponse) -> Response:
    return Response(response.status, ResponseHeaders(response), response.read())


def receive_response(connection: socket.socket, method: str = "GET") -> Response | None:
    """Reads the response to a request that was sent on a socket; None if the server closes it without one."""
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        return read_response(response)
    except (ConnectionError, http.client.HTTPException):
        return None
    finally:
        response.close()


class Stream:
    """A response that is read as it arrives. Leaving the ``with`` block closes its connection."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._response = connection.getresponse()
        self.status = self._response.status
        self.headers = ResponseHeaders(self._response)
        self.comments: list[str] = []
        self.last_id: str | None = None
        # What has arrived and was not read yet: whole blocks, and the beginning of the next one.
        self._blocks: collections.deque[bytes] = collections.deque()
        self._rest = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection, whatever is still to come."""
        self._response.close()
        self._connection.close()

    def blocks(self) -> Iterator[str]:
        """Yields what is between empty lines, comments included, as it arrives."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self._blocks or self._receive():
            if time.monotonic() > deadline:  # keep-alives may never end, so the socket's timeout is not enough
                raise TimeoutError(f"nothing but comments for {TIMEOUT_SECONDS:g} s: {self.comments[-3:]}")
            while self._blocks:
                block = self._blocks.popleft().decode().strip("\n")
                if block:
                    yield block
                    if not block.startswith(":"):
                        deadline = time.monotonic() + TIMEOUT_SECONDS
        assert not self._rest, f"the stream ended inside a frame: {bytes(self._rest)!r}"

    def _receive(self) -> bool:
        """Waits for more of the body. Returns False at its end, also if that came too early."""
        try:
            data = self._response.read1(PIECE)
        except http.client.IncompleteRead:
            return False
        last = self._rest[-1:]
        self._rest += data
        # A frame may have a thousand pieces: it is not searched again for each of them.
        if b"\n\n" in last + data:
            *blocks, rest = bytes(self._rest).split(b"\n\n")
            self._blocks += blocks
            self._rest = bytearray(rest)
        return bool(data)

    def frames(self) -> Iterator[Frame]:
        """Yields the remaining frames as they arrive."""
        for block in self.blocks():
            frame = parse_frame(block)
            if frame is None:
                self.comments.append(block)
            else:
                self.last_id = frame.id
                yield frame

    def events(self) -> Iterator[Event]:
        """Yields the remaining events as they arrive."""
        return (frame.event for frame in self.frames())

    def frame(self) -> Frame:
        """Waits for the next frame."""
        return next(self.frames())

    def event(self) -> Event:
        """Waits for the next event."""
        return self.frame().event

    def take(self, count: int) -> list[Event]:
        """Waits for the next ``count`` events, or for the end."""
        return list(itertools.islice(self.events(), count))

    def until(self, kind: str) -> list[Event]:
        """Waits for an event of that type, and returns the events up to it."""
        events: list[Event] = []
        for event in self.events():
            events.append(event)
            if event["type"] == kind:
                return events
        raise AssertionError(f"the stream ended without {kind}: {events}")

    def rest(self) -> list[Event]:
        """Waits for the end, and returns all remaining events."""
        return list(self.events())

    def comment(self) -> str:
        """Waits for the next comment, dropping what comes before it."""
        return next(block for block in self.blocks() if block.startswith(":"))

    def read(self) -> bytes:
        """Returns all remaining bytes."""
        arrived = b"".join(block + b"\n\n" for block in self._blocks) + bytes(self._rest)
        self._blocks.clear()
        self._rest.clear()
        return arrived + self._response.read()

    def json(self) -> Any:
        """Returns the whole body, parsed."""
        return json.loads(self.read())


class Server(Protocol):
    """What a client needs of a server (`servers.RunningServer`)."""

    @property
    def port(self) -> int: ...

    @property
    def base_url(self) -> str: ...


class Client:
    """Requests to one runtime, each on a connection of its own.

    Args:
        server: The server.
        base: The path that all requests start with; by default the path of the server's ``base_url``.
        headers: Header fields of every request that has none of the same name.
    """

    def __init__(self, server: Server, base: str | None = None, headers: HeaderFields = ()) -> None:
        self.port = server.port
        self.base = server.base_url.removeprefix(f"http://127.0.0.1:{server.port}") if base is None else base
        self.headers = _pairs(headers)

    def send(self, method: str, path: str, body: Any = None, headers: HeaderFields = ()) -> http.client.HTTPConnection:
        """Sends a request and does not wait for its response.

        A ``body`` of bytes is sent as it is, an iterator of bytes with chunked transfer coding, anything else
        but None as JSON.
        """
        own = _pairs(headers)
        names = {name.lower() for name, _ in own}
        pairs = [*((name, value) for name, value in self.headers if name.lower() not in names), *own]
        names.update(name.lower() for name, _ in self.headers)
        if body is not None and not isinstance(body, bytes | Iterator):
            body = json.dumps(body).encode()
            if "content-type" not in names:
                pairs.append(("content-type", "application/json"))
        if isinstance(body, Iterator):
            pairs.append(("transfer-encoding", "chunked"))
        elif body is not None or method in ("POST", "PUT", "PATCH"):
            pairs.append(("content-length", str(len(body or b""))))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        connection.putrequest(method, f"{self.base}{path}", skip_host="host" in names, skip_accept_encoding=True)
        for name, value in pairs:
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders(body or None, encode_chunked=isinstance(body, Iterator))
        return connection

    def open(self, method: str, path: str, body: Any = None, headers: HeaderFields = ()) -> Stream:
        """Sends a request, and waits for the response's headers."""
        return Stream(self.send(method, path, body, headers))

    def request(self, method: str, path: str, body: Any = None, headers: HeaderFields = ()) -> Response:
        """Sends a request, and reads the whole response."""
        with contextlib.closing(self.send(method, path, body, headers)) as connection:
            return read_response(connection.getresponse())

    def connect_socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_SECONDS)

    def send_bytes(self, data: bytes, method: str = "GET") -> Response | None:
        """Sends these bytes; returns the response, or None if the server closes the connection without one."""
        with self.connect_socket() as connection:
            connection.sendall(data)
            return receive_response(connection, method)

    # --- what tests do most ---

    def start_run(
        self, agent: str, thread: str, run: str | None = None, *, headers: HeaderFields = (), **members: Any
    ) -> Stream:
        """Starts a run; ``members`` are further members of its input."""
        return self.open("POST", f"/agent/{agent}/run", run_input(thread, run, **members), headers)

    def run(
        self, agent: str, thread: str, run: str | None = None, *, headers: HeaderFields = (), **members: Any
    ) -> list[Event]:
        """Returns all events of a run."""
        with self.start_run(agent, thread, run, headers=headers, **members) as stream:
            assert stream.status == 200, stream.read()
            return stream.rest()

    def connect(self, agent: str, thread: str, last_seen: str | None = None, headers: HeaderFields = ()) -> Stream:
        """Joins a thread, after the frame ``last_seen`` if there is one."""
        members = {} if last_seen is None else {"lastSeenEventId": last_seen}
        return self.open("POST", f"/agent/{agent}/connect", run_input(thread, unique("join"), **members), headers)

    def replay(self, agent: str, thread: str, last_seen: str | None = None) -> list[Frame]:
        """Returns all frames of a thread that has no active run."""
        with self.connect(agent, thread, last_seen) as stream:
            assert stream.status == 200, stream.read()
            return list(stream.frames())

    def stop(self, agent: str, thread: str, run: str | None = None) -> Any:
        """Stops a run, and returns the parsed response."""
        response = self.request("POST", f"/agent/{agent}/stop/{thread}", None if run is None else {"runId": run})
        assert response.status == 200, response
        return response.json()

    def info(self) -> Any:
        response = self.request("GET", "/info")
        assert response.status == 200, response
        return response.json()


def _pairs(headers: HeaderFields) -> list[tuple[str, str]]:
    return list(headers.items() if isinstance(headers, Mapping) else headers)
