"""The standard library's WSGI server with a thread for each request.

    python -m tests.wsgiref_server MODULE:FACTORY PORT

That is how Flask's and Django's own development servers use it.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return str(self.client_address[0])


def threaded(app: Application) -> Application:
    """Corrects the environ for the application: the handler claims that there are no threads."""

    def corrected(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return app({**environ, "wsgi.multithread": True}, start_response)

    return corrected


def leave(*_: object) -> None:
    """On SIGTERM: end as a program does, so that what is registered with atexit runs."""
    sys.exit(0)


def main() -> None:
    target, port = sys.argv[1:]
    module, factory = target.split(":")
    signal.signal(signal.SIGTERM, leave)
    app = getattr(importlib.import_module(module), factory)()
    with Server(("127.0.0.1", int(port)), QuietHandler) as server:
        server.set_app(threaded(app))
        server.serve_forever()


if __name__ == "__main__":
    main()
