"""Counts the round trips between a store and its server, as a proxy between the two sees them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

PIECE = 64 * 1024


class CountingProxy:
    """Forwards connections to a port of this machine.

    Args:
        target: the port.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listening.getsockname()[1]
        self.round_trips = 0
        """How often a connection has got an answer, or several at once, to what it had sent before."""
        self._start(self._accept)

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waits = threading.Event()
                self._start(self._forward, client, server, waits, True)
                self._start(self._forward, server, client, waits, False)

    def _forward(self, source: socket.socket, sink: socket.socket, waits: threading.Event, asks: bool) -> None:
        with contextlib.suppress(OSError), contextlib.closing(source), contextlib.closing(sink):
            while data := source.recv(PIECE):
                if asks:
                    waits.set()
                elif waits.is_set():
                    waits.clear()
                    self.round_trips += 1
                sink.sendall(data)

    @staticmethod
    def _start(target: object, *args: object) -> None:
        threading.Thread(target=target, args=args, daemon=True).start()  # type: ignore[arg-type] - a method of this class


@contextlib.contextmanager
def counting_proxy(target: int) -> Iterator[CountingProxy]:
    """Runs a proxy in front of a port of this machine."""
    proxy = CountingProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
