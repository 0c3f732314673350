"""A proxy that spoils what passes through it, each in its own way: the first segment of the path says how."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import json
import threading
from collections.abc import Awaitable, Callable, Iterator

_HEAD_END = b"\r\n\r\n"

Write = Callable[[bytes], Awaitable[None]]
Fault = Callable[[asyncio.StreamReader, Write], Awaitable[None]]
"""Passes a response on: it reads from the server, and writes to the client."""


async def _pass_on(server: asyncio.StreamReader, write: Write) -> None:
    while data := await server.read(65536):
        await write(data)


async def _hold_everything(server: asyncio.StreamReader, write: Write) -> None:
    await write(await server.read(-1))


async def _hold_body(server: asyncio.StreamReader, write: Write) -> None:
    await write(await server.readuntil(_HEAD_END))
    await write(await server.read(-1))


async def _delay_head(server: asyncio.StreamReader, write: Write) -> None:
    head = await server.readuntil(_HEAD_END)
    await asyncio.sleep(1.2)
    await write(head)
    await _pass_on(server, write)


async def _drop_comments(server: asyncio.StreamReader, write: Write) -> None:
    await write(await server.readuntil(_HEAD_END))
    while data := await server.read(65536):
        # A chunk of HTTP/1.1 has one comment and nothing else, at the pace of the agents here.
        if b"\n: " not in data and not data.startswith(b": "):
            await write(data)


async def _cut_silence(server: asyncio.StreamReader, write: Write) -> None:
    await write(await server.readuntil(_HEAD_END))
    with contextlib.suppress(TimeoutError):
        while data := await asyncio.wait_for(server.read(65536), 0.15):
            await write(data)


def _line_ends(line_end: bytes) -> Fault:
    """Returns a fault that rewrites a stream to other line ends, all of which the HTML standard allows."""

    async def pass_on(server: asyncio.StreamReader, write: Write) -> None:
        await write(await server.readuntil(_HEAD_END))
        while size := int(await server.readline(), 16):
            chunk = (await server.readexactly(size + 2))[:size].replace(b"\n", line_end)
            await write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await write(b"0\r\n\r\n")

    return pass_on


async def _claim_brotli(server: asyncio.StreamReader, write: Write) -> None:
    head = await server.readuntil(_HEAD_END)
    await write(head[:-2] + b"Content-Encoding: br\r\n\r\n")
    await _pass_on(server, write)


async def _add_cors(server: asyncio.StreamReader, write: Write) -> None:
    head = await server.readuntil(_HEAD_END)
    await write(head[:-2] + b"Access-Control-Allow-Origin: *\r\n\r\n")
    await _pass_on(server, write)


async def _reflect_origin(server: asyncio.StreamReader, write: Write) -> None:
    head = await server.readuntil(_HEAD_END)
    fields = b"Access-Control-Allow-Origin: https://doctor.invalid\r\nAccess-Control-Allow-Credentials: true\r\n\r\n"
    await write(head[:-2] + fields)
    await _pass_on(server, write)


@dataclasses.dataclass(frozen=True, slots=True)
class _Refusal:
    """A response that the proxy sends by itself, to requests that begin with one of the words."""

    words: tuple[bytes, ...]
    response: bytes


def _response(status: str, *fields: str, body: str | bytes = "") -> bytes:
    content = body.encode() if isinstance(body, str) else body
    head = "\r\n".join([f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(content)}", "Connection: close"])
    return f"{head}\r\n\r\n".encode() + content


def _bomb(times: int) -> bytes:
    """Returns a response that is 16 MiB long once it is decompressed as often as it was compressed."""
    body = bytes(16 * 1024 * 1024)
    for _ in range(times):
        body = gzip.compress(body, 1)
    coding = ", ".join(["gzip"] * times)
    return _response("200 OK", "Content-Type: application/json", f"Content-Encoding: {coding}", body=body)


FAULTS: dict[str, tuple[Fault, bytes]] = {
    "sound": (_pass_on, b""),
    "hold-everything": (_hold_everything, b"/run "),
    "hold-body": (_hold_body, b"/run "),
    "delay-head": (_delay_head, b"/run "),
    "drop-comments": (_drop_comments, b"/run "),
    "cut-silence": (_cut_silence, b"/run "),
    "crlf": (_line_ends(b"\r\n"), b"/run "),
    "cr": (_line_ends(b"\r"), b"/run "),
    "claim-brotli": (_claim_brotli, b"/connect "),
    "add-cors": (_add_cors, b""),
    "reflect-origin": (_reflect_origin, b""),
}
"""Each with what the requests have in common whose responses it spoils."""

_ANY_REQUEST = (b"GET", b"POST", b"OPTIONS", b"PATCH", b"DELETE")


def _redirect(location: str, *words: bytes) -> _Refusal:
    return _Refusal(words, _response("301 Moved", f"Location: {location}"))


def _json(members: object, status: str = "200 OK", words: tuple[bytes, ...] = _ANY_REQUEST) -> _Refusal:
    return _Refusal(words, _response(status, "Content-Type: application/json", body=json.dumps(members)))


REFUSALS: dict[str, _Refusal] = {
    "redirect-all": _Refusal((b"GET", b"POST", b"OPTIONS"), _response("301 Moved", "Location: https://login.example/")),
    "refuse-preflight": _Refusal((b"OPTIONS",), _response("401 Unauthorized")),
    "slash": _Refusal(
        (b"copilotkit HTTP",), _response("307 Temporary Redirect", "Location: http://a.example/api/copilotkit/")
    ),
    "redirect-agents": _Refusal((b"/agent/",), _response("301 Moved", "Location: https://app.example/")),
    "page": _Refusal((b"GET", b"POST"), _response("200 OK", "Content-Type: text/html", body="<h1>The site</h1>")),
    "unreachable": _Refusal((b"GET", b"POST"), _response("502 Bad Gateway", "Server: nginx")),
    "failing": _json({"error": "internal_error"}, "500 Internal Server Error"),
    "csrf": _Refusal((b"POST",), _response("403 Forbidden", body="CSRF verification failed.")),
    "signed-in": _Refusal((b"GET", b"POST"), _response("401 Unauthorized")),
    "lost-stop": _Refusal(
        (b"/stop/",),
        _response("404 Not Found", "Content-Type: application/json", body='{"error": "Not found"}'),
    ),
    "two-hops": _redirect("/one-hop/api/copilotkit/info", b"GET"),
    "one-hop": _redirect("/sound/api/copilotkit/info", b"GET"),
    "loop": _redirect("/loop/api/copilotkit/info", *_ANY_REQUEST),
    "other-host": _redirect("http://localhost:$PORT/sound/api/copilotkit/info", b"GET"),
    "no-url": _redirect("http://[::1", *_ANY_REQUEST),
    "no-host": _redirect("http:///info", *_ANY_REQUEST),
    "controls": _redirect("/controls/\x1b[2Jx/info", *_ANY_REQUEST),
    "surrogates": _json({"version": "\ud800", "agents": {"\ud800": {}}}),
    "wrong-types": _json(
        {
            "version": {},
            "agents": {"default": None},
            "threadEndpoints": ["x"],
            "process": {"id": []},
            "store": "x",
            "server": 1,
            "status": [],
        }
    ),
    "large": _json(
        {"version": "1" * 100_000, "agents": {f"{number}" * 1_000: {} for number in range(300)}}, words=(b"GET",)
    ),
    "echo": _json({"error": "unknown", "message": "There is no session secret-token. \x1b[2J"}, "401 Unauthorized"),
    "no-json": _Refusal(_ANY_REQUEST, _response("200 OK", "Content-Type: application/json", body="[" * 200_000)),
    "no-http": _Refusal(_ANY_REQUEST, b"\x00\x01\r\n\r\n"),
    "no-gzip": _Refusal(_ANY_REQUEST, _response("200 OK", "Content-Encoding: gzip", body="gzip")),
    "gzip-bomb": _Refusal(_ANY_REQUEST, _bomb(1)),
    "nested-gzip-bomb": _Refusal(_ANY_REQUEST, _bomb(2)),
    "rate-limit": _Refusal((b"/connect ",), _response("429 Too Many Requests", "Retry-After: 1")),
    "rate-limit-all": _Refusal(_ANY_REQUEST, _response("429 Too Many Requests", "Retry-After: 1")),
    "overloaded": _Refusal((b"/connect ",), _response("503 Service Unavailable", "Server: nginx")),
    "endless-head": _Refusal(_ANY_REQUEST, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000),
}


class BrokenProxy:
    """The proxy, on an event loop of its own.

    Args:
        upstream: the port of the server behind it.
    """

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            head = await reader.readuntil(_HEAD_END)
            method, target, rest = head.split(b" ", 2)
            name, _, path = target.decode().removeprefix("/").partition("/")
            refusal = REFUSALS.get(name)
            first_line = head.partition(b"\r\n")[0]
            if refusal is not None and any(word in first_line for word in refusal.words):
                writer.write(refusal.response.replace(b"$PORT", b"%d" % self.port))
                await writer.drain()
                return
            server, to_server = await asyncio.open_connection("127.0.0.1", self._upstream)
            to_server.write(b"%b /%b %b" % (method, path.encode(), rest))
            upload = asyncio.create_task(_upload(reader, to_server))

            async def write(data: bytes) -> None:
                writer.write(data)
                await writer.drain()

            try:
                fault, word = FAULTS.get(name, FAULTS["sound"])
                await (fault if word in first_line else _pass_on)(server, write)
            finally:
                upload.cancel()
                to_server.close()


async def _upload(reader: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            to_server.write(data)
            await to_server.drain()
    to_server.close()  # so that the server notices that the client has left


@contextlib.contextmanager
def run_broken_proxy(upstream: int) -> Iterator[BrokenProxy]:
    """Runs the proxy before a server, for as long as the block lasts."""
    proxy = BrokenProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
