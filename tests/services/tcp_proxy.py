"""A TCP proxy between a client and a server, which drops, delays and freezes connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Self

PIECE = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
"""With SO_LINGER, a connection is closed with RST, as when its machine is gone."""


class TcpProxy:
    """Forwards connections to a port of this machine until it is closed, from a thread of its own.

    Args:
        target: the port.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        """How long each piece of what is sent is held back, in seconds."""
        self.connections = 0
        """How many connections were made so far."""
        self._may_pass = asyncio.Event()
        self._may_pass.set()
        self._refuses = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._call(self._start())
        self.port: int = self._server.sockets[0].getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def drop(self) -> None:
        """Cuts all connections. New ones are made."""
        self._call(self._drop())

    def refuse(self) -> None:
        """Cuts all connections, and new ones at once, until `restore`."""
        self._refuses = True
        self.drop()

    def freeze(self) -> None:
        """Forwards nothing until `restore`, as when packets are lost: connections stay open, and new ones are made."""
        self._loop.call_soon_threadsafe(self._may_pass.clear)

    def restore(self) -> None:
        """Works again. What was sent while it was frozen arrives now."""
        self._refuses, self.delay = False, 0.0
        self._loop.call_soon_threadsafe(self._may_pass.set)

    def close(self) -> None:
        """Closes everything."""
        self.refuse()
        self._loop.call_soon_threadsafe(self._may_pass.set)
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: object) -> object:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)  # type: ignore[arg-type]

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def _stop(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drop(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refuses:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)
            return
        both = {writer, far_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._forward(reader, far_writer), self._forward(far_reader, writer))
        except (OSError, asyncio.CancelledError):  # the latter at the end, which the server of asyncio would report
            pass
        finally:
            self._writers -= both
            for each in both:
                _reset(each)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            await self._may_pass.wait()
            if self.delay:
                await asyncio.sleep(self.delay)
            writer.write(piece)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and not writer.is_closing():
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()


@contextlib.contextmanager
def run_tcp_proxy(target: int) -> Iterator[TcpProxy]:
    """Runs a proxy to a port of this machine."""
    with TcpProxy(target) as proxy:
        yield proxy
