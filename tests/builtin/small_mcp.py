"""An MCP server at a URL, by hand and in this process, that counts its sessions."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.fixtures import mcp_program
from tests.http_client import unique


class SmallMcp:
    """A running server. ``sessions`` are those that are open, with the users that have opened them."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/mcp"
        self.sessions: dict[str, str] = {}
        self.opened: list[str] = []
        """The users that have opened sessions."""


@contextlib.contextmanager
def run_small_mcp() -> Iterator[SmallMcp]:
    """A server whose tool ``who`` returns the id of its session, and the token of the request."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            session, token = self.headers.get("mcp-session-id"), self.headers["x-token"]
            if request.get("method") == "initialize":
                session = unique("session")
                it.sessions[session] = token
                it.opened.append(token)
            elif session is not None and session not in it.sessions:
                self._send(404, b"")
                return
            response = mcp_program.respond(request, f"{session} {token}")
            self._send(202 if response is None else 200, json.dumps(response or {}).encode(), session)

        def do_GET(self) -> None:
            self._send(405, b"")

        def do_DELETE(self) -> None:
            it.sessions.pop(self.headers["mcp-session-id"], None)
            self._send(204, b"")

        def _send(self, status: int, body: bytes, session: str | None = None) -> None:
            self.send_response(status)
            if session is not None:
                self.send_header("mcp-session-id", session)
            if status != 204:
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    it = SmallMcp(server.server_port)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield it
    finally:
        server.shutdown()
        server.server_close()
