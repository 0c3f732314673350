"""One server for all runtimes of `fixtures/security_apps.py`, and a client that can misbehave."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import itertools
import json
import socket
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .fixtures.apps import KINDS
from .fixtures.events import CONTROL
from .fixtures.security_apps import SECRET, STORES
from .servers import serve_app

SECONDS = 45
"""How long the client waits for anything at all; longer than the server's own patience."""

Fields = Sequence[tuple[str, str]] | Mapping[str, str]

_numbers = itertools.count(1)


def fresh(what: str) -> str:
    """An id that nobody has used."""
    return f"{what}-{next(_numbers)}-{uuid.uuid4().hex[:8]}"


@dataclasses.dataclass(frozen=True)
class Answer:
    """A whole answer. Field names are in lower case; a repeated field's values are joined."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[dict[str, Any]]:
        """The events of a stream that has ended."""
        lines = self.body.decode().split("\n")
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]

    def ids(self) -> list[str]:
        return [line.removeprefix("id: ") for line in self.body.decode().split("\n") if line.startswith("id: ")]


class Stream:
    """A stream of events that goes on."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = _fields(response)
        self.last_id = ""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while line := self._response.readline():
            if line.startswith(b"id: "):
                self.last_id = line[4:].strip().decode()
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    def take(self, count: int) -> list[dict[str, Any]]:
        """The next events, waited for."""
        return list(itertools.islice(self, count))

    def comment(self) -> bytes:
        """The next comment, waited for."""
        return next((line for line in iter(self._response.readline, b"") if line.startswith(b":")), b"")

    def rest(self) -> list[dict[str, Any]]:
        """All that comes until the end."""
        return list(self)


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that answers, and what tests ask of it."""

    adapter: str
    port: int

    @property
    def on_wsgi(self) -> bool:
        return KINDS[self.adapter].stack == "wsgi"

    @contextlib.contextmanager
    def _sent(self, method: str, target: str, body: Any, headers: Fields) -> Iterator[http.client.HTTPResponse]:
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            if not any(name.lower() == "content-type" for name, _ in pairs):
                pairs.append(("content-type", "application/json"))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            own_host = any(name.lower() == "host" for name, _ in pairs)
            connection.putrequest(method, target, skip_host=own_host, skip_accept_encoding=True)
            for name, value in pairs:
                connection.putheader(name, value.encode("latin-1"))
            if body is not None or method in ("POST", "PUT", "PATCH"):
                connection.putheader("content-length", str(len(body or b"")))
            connection.endheaders(body or None)
            yield connection.getresponse()
        finally:
            connection.close()

    def ask(self, method: str, target: str, body: Any = None, headers: Fields = ()) -> Answer:
        """Sends a request and reads all of the answer. A ``body`` that is not bytes is sent as JSON."""
        with self._sent(method, target, body, headers) as response:
            return answer_of(response)

    @contextlib.contextmanager
    def open(self, method: str, target: str, body: Any = None, headers: Fields = ()) -> Iterator[Stream]:
        """Sends a request and leaves its answer to be read; hangs up at the end of the block."""
        with self._sent(method, target, body, headers) as response:
            yield Stream(response)

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as connection:
            yield connection

    def raw(self, data: bytes, method: str = "GET") -> Answer | None:
        """Sends these bytes, and gives the answer; None where the server just hangs up."""
        with self.connection() as connection:
            connection.sendall(data)
            return read_answer(connection, method)

    def control(self, verb: str, name: str) -> Any:
        return self.ask("GET", f"/{CONTROL}/{verb}/{name}").json()

    def set_event(self, name: str) -> None:
        self.control("set", name)

    def notes(self, name: str) -> list[Any]:
        """What was noted under a name so far."""
        notes: list[Any] = self.control("read", name)
        return notes

    def noted(self, name: str) -> list[Any]:
        """What was noted under a name, once that is something."""
        notes: list[Any] = self.control("wait", name)
        assert notes, f"nothing was ever noted under {name}"
        return notes


def _fields(response: http.client.HTTPResponse) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in response.getheaders():
        key = name.lower()
        fields[key] = f"{fields[key]}, {value}" if key in fields else value
    return fields


def answer_of(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, _fields(response), response.read())


def read_answer(connection: socket.socket, method: str = "GET") -> Answer | None:
    """The answer that comes on a connection; None where there is none."""
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        return answer_of(response)
    except (ConnectionError, http.client.HTTPException):
        return None
    finally:
        response.close()


def run_body(thread: str, run: str | None = None, **more: Any) -> dict[str, Any]:
    """A run input that is right."""
    run = run or fresh("run")
    message = {"id": f"{run}-u1", "role": "user", "content": "hi"}
    return {"threadId": thread, "runId": run, "messages": [message], "tools": [], "context": [], **more}


def fault(answer: Answer | None, *statuses: int) -> str | None:
    """What is wrong with an answer that should be a clear refusal (``statuses``, or any 4xx); None if nothing."""
    if answer is None:
        return "no answer"
    shown = f"{answer.status} {answer.headers.get('content-type')} {answer.body[:300]!r}"
    if answer.status not in (statuses or range(400, 500)):
        return f"wrong status: {shown}"
    if answer.headers.get("content-type", "").partition(";")[0] != "application/json":
        return f"not JSON: {shown}"
    try:
        error = answer.json().get("error")
    except (ValueError, AttributeError):
        return f"no JSON object: {shown}"
    if not isinstance(error, str) or not error:
        return f"no error member: {shown}"
    return leak(answer)


def leak(answer: Answer) -> str | None:
    """What an answer tells that it must not; None if nothing."""
    told = [word for word in (SECRET.encode(), b"Traceback", b".py", b"RuntimeError") if word in answer.body]
    return f"tells {told}: {answer.body[:300]!r}" if told else None


@contextlib.contextmanager
def guarded(adapter: str, store: str = "memory") -> Iterator[Server]:
    """A server for all guarded runtimes, over memory or ``sqlite``, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="copilot-stores-") as folder:
        env = {STORES: folder} if store == "sqlite" else {}
        with serve_app(adapter, "tests.fixtures.security_apps:application", mount="/auto", env=env) as up:
            yield Server(adapter, up.port)
