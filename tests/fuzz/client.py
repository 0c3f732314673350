"""Sends exchanges over many connections from one thread, and reads what comes back.

It insists on less than HTTP clients do, keeps connections, and costs little: a campaign is as fast as its server.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Literal

from .requests import Exchange

_READ_LIMIT = 4 * 1024 * 1024

Outcome = Literal["answered", "closed", "hung"]


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A response, or what there was in place of one.

    Attributes:
        outcome: whether a response came, the server closed the connection without one, or nothing came in time.
        status: the status, 0 without a response.
        headers: the header fields by lower-case name; of repeated ones the last.
        body: the body, without its coding.
        is_whole: whether the body was read to its end.
    """

    outcome: Outcome
    status: int = 0
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    is_whole: bool = True

    def __str__(self) -> str:
        return f"{self.outcome} {self.status} {self.headers} {self.body[:400]!r}"


class _Connection:
    """A connection, and how far the response on it has come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.is_used = False
        self.partial = Answer("hung")
        """What has been read of a response that is not complete."""

    def close(self) -> None:
        self.writer.transport.abort()


class FuzzClient:
    """A client with a pool of connections.

    Args:
        port: the port of the server on the loopback interface.
        deadline: how many seconds an exchange may take.
    """

    def __init__(self, port: int, deadline: float) -> None:
        self._port = port
        self._deadline = deadline
        self._idle: list[_Connection] = []

    def close(self) -> None:
        """Closes the idle connections."""
        while self._idle:
            self._idle.pop().close()

    async def send(self, exchange: Exchange) -> list[Answer]:
        """Returns an answer for each request of an exchange."""
        answers: list[Answer] = []
        used: list[_Connection] = []
        try:
            async with asyncio.timeout(self._deadline):
                await self._send(exchange, answers, used)
        except TimeoutError:
            answers.append(used[-1].partial if used else Answer("hung"))
        except (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            answers.append(Answer("closed"))
        missing = len(exchange.methods) - len(answers)
        return [*answers, *[Answer("closed")] * missing]

    async def _send(self, exchange: Exchange, answers: list[Answer], used: list[_Connection]) -> None:
        while True:
            connection = self._idle.pop() if self._idle else await self._connect()
            used.append(connection)
            try:
                reused = connection.is_used
                connection.is_used = True
                may_reuse = await self._exchange(connection, exchange, answers)
            except BaseException as error:
                connection.close()
                # A server may close an idle connection at any time.
                if reused and not answers and _is_before_response(error):
                    continue
                raise
            if may_reuse:
                self._idle.append(connection)
            else:
                connection.close()
            return

    async def _connect(self) -> _Connection:
        return _Connection(*await asyncio.open_connection("127.0.0.1", self._port, limit=_READ_LIMIT))

    async def _exchange(self, connection: _Connection, exchange: Exchange, answers: list[Answer]) -> bool:
        """Returns whether the connection may be used again."""
        reader, writer = connection.reader, connection.writer
        first, *rest = exchange.parts
        _write(writer, first)
        if exchange.awaits_continue:
            status, _ = await _read_head(reader)
            if status != 100:
                # The server refused the request by its head; what it says of it does not matter here.
                answers.append(Answer("closed"))
                return False
        for part in rest:
            await asyncio.sleep(0)
            _write(writer, part)
        if exchange.half_close and not writer.is_closing():
            writer.write_eof()
        may_reuse = exchange.may_reuse
        for method in exchange.methods:
            if exchange.leave_after is not None:
                answers.append(await _read_some(reader, exchange.leave_after))
                return False
            answer, is_kept = await _read_answer(connection, method)
            answers.append(answer)
            may_reuse = may_reuse and is_kept
            if not is_kept:
                break
        return may_reuse and len(answers) == len(exchange.methods)


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():  # there may be a response to what was sent before
        writer.write(data)


def _is_before_response(error: BaseException) -> bool:
    return isinstance(error, OSError) or (isinstance(error, asyncio.IncompleteReadError) and not error.partial)


async def _read_some(reader: asyncio.StreamReader, size: int) -> Answer:
    if size == 0:
        return Answer("answered", is_whole=False)
    status, headers = await _read_head(reader)
    return Answer("answered", status, headers, await reader.read(size), is_whole=False)


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ConnectionError(f"no HTTP: {first!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(rest[:3]), headers


async def _read_answer(connection: _Connection, method: str) -> tuple[Answer, bool]:
    """Returns the next response that is not interim, and whether the connection stays open."""
    reader = connection.reader
    connection.partial = Answer("hung")
    status, headers = await _read_head(reader)
    while 100 <= status < 200 and status != 101:
        status, headers = await _read_head(reader)
    is_kept = headers.get("connection", "").lower() != "close" and status != 101
    if method == "HEAD" or status in (101, 204, 304):
        body = b""
    elif "chunked" in headers.get("transfer-encoding", "").lower():
        chunks: list[bytes] = []
        try:
            await _read_chunks(reader, chunks)
        except asyncio.CancelledError:
            connection.partial = Answer("hung", status, headers, b"".join(chunks), is_whole=False)
            raise
        body = b"".join(chunks)
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body, is_kept = await reader.read(-1), False
    return Answer("answered", status, headers, body), is_kept


async def _read_chunks(reader: asyncio.StreamReader, chunks: list[bytes]) -> None:
    while True:
        size = int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        chunk = await reader.readexactly(size + 2)
        if size == 0:
            return
        chunks.append(chunk[:-2])
