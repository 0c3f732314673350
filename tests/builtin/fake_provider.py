"""A model server for what aimock cannot do: wait for the test, notice disconnects, send invalid data."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .frames import last_user_text, sse

TIMEOUT_SECONDS = 30.0
"""After which a wait fails; no test that passes waits for it."""


@dataclasses.dataclass
class Exchange:
    """One request that has been read, and the means to answer it."""

    path: str
    headers: dict[str, str]
    body: bytes
    handler: BaseHTTPRequestHandler

    def json(self) -> Any:
        return json.loads(self.body)

    def text(self) -> str:
        """The text of the last user message."""
        return last_user_text(self.json())

    def keys(self) -> list[str]:
        """The keys in the headers, of whichever API."""
        names = ("authorization", "x-api-key", "x-goog-api-key")
        return [self.headers[name].removeprefix("Bearer ") for name in names if name in self.headers]

    def respond(self, body: Any, status: int = 200, **headers: str) -> None:
        """A whole answer in JSON."""
        data = json.dumps(body).encode()
        self._send_head(status, content_type="application/json", content_length=str(len(data)), **headers)
        self.handler.wfile.write(data)

    def start_stream(self) -> None:
        """The head of a stream."""
        self._send_head(200, content_type="text/event-stream", transfer_encoding="chunked")

    def send(self, *items: Any) -> None:
        """Frames of the stream; text is sent as it is."""
        for item in items:
            frame = f"data: {item}\n\n".encode() if isinstance(item, str) else sse(item)
            self.handler.wfile.write(b"%x\r\n%b\r\n" % (len(frame), frame))

    def send_bytes(self, data: bytes) -> None:
        """A part of the stream, as it is."""
        self.handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self) -> None:
        """The end of a stream, whatever was sent before."""
        self.handler.wfile.write(b"0\r\n\r\n")

    def finish(self, reason: str = "stop") -> None:
        """The end of a stream that went well."""
        self.send(chunk({}, reason), "[DONE]")
        self.end_stream()

    def wait_for_disconnect(self) -> None:
        """Waits until the client has closed the connection."""
        self.handler.connection.settimeout(TIMEOUT_SECONDS)
        with contextlib.suppress(ConnectionError):
            while self.handler.connection.recv(1024):
                pass

    def _send_head(self, status: int, **headers: str) -> None:
        self.handler.send_response(status)
        self.handler.send_header("connection", "close")
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()


Script = Callable[[Exchange], None]


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **members: Any) -> dict[str, Any]:
    """Returns a chunk of a completion, as OpenAI's API streams it."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice], **members}


def tool_call_chunk(index: int, arguments: str, id: str | None = None, name: str | None = None) -> dict[str, Any]:
    """Returns a chunk with a part of a tool call; the first one of each call has its id and name."""
    function = {"arguments": arguments, **({"name": name} if name else {})}
    part = {"index": index, "function": function, **({"id": id, "type": "function"} if id else {})}
    return chunk({"tool_calls": [part]})


class FakeProvider:
    """A running fake provider. ``requests`` are those so far."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self.requests: list[Exchange] = []


@contextlib.contextmanager
def run_fake_provider(script: Script) -> Iterator[FakeProvider]:
    """A server that answers every request by the script, on a thread of the request's own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.close_connection = True
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            exchange = Exchange(self.path, headers, body, self)
            it.requests.append(exchange)
            # Some tests disconnect in the middle of a response.
            with contextlib.suppress(ConnectionError):
                script(exchange)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    server = Server(("127.0.0.1", 0), Handler)
    it = FakeProvider(server.server_port)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield it
    finally:
        server.shutdown()
        server.server_close()
