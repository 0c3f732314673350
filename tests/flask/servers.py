"""The fixture site on the servers that are common for Flask."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from ..fixtures import flask_site
from ..fixtures.events import CONTROL
from ..http_client import Client
from ..servers import RunningServer, free_port, run_server, serve_app

FACTORY = "tests.fixtures.flask_site:create_app"


@contextlib.contextmanager
def flask_run() -> Iterator[RunningServer]:
    """Starts ``flask run``, the development server."""
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", FACTORY, "run", "--port", str(port)]
    with run_server(command, port, mount=flask_site.PLAIN) as server:
        yield server


SERVERS: Mapping[str, Callable[[], AbstractContextManager[RunningServer]]] = {
    "gthread": functools.partial(serve_app, "flask", FACTORY, server="gthread"),
    "gevent": functools.partial(serve_app, "flask", FACTORY, server="gevent"),
    "waitress": functools.partial(serve_app, "flask", FACTORY, server="waitress"),
    "flask-run": flask_run,
    "dispatcher": functools.partial(
        serve_app, "flask", "tests.fixtures.flask_site:dispatched", mount=flask_site.OUTER + flask_site.PLAIN
    ),
}


class Site(Client):
    """A logged-in user of one of the site's runtimes, and what the site has noted."""

    def __init__(self, server: RunningServer, path: str = flask_site.PLAIN) -> None:
        super().__init__(server)
        self.outer = self.base.removesuffix(flask_site.PLAIN)
        self.base = self.outer + path
        self._site = Client(server, self.outer)
        cookie = self._site.request("POST", "/login/ada").headers["set-cookie"].partition(";")[0]
        self.headers = [("cookie", cookie)]

    def notes(self, name: str, verb: str = "wait") -> list[Any]:
        """Returns what was noted under a name, once there is something; so far, by the verb ``read``."""
        notes: list[Any] = self._site.request("GET", f"/{CONTROL}/{verb}/{name}").json()
        return notes
