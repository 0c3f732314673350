"""The fixture site on the servers that Flask applications are run on."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from ..fixtures import flask_site
from ..fixtures.events import CONTROL
from ..http_client import Client, Stream, run_input
from ..servers import RunningServer, free_port, run_server, serve_app

FACTORY = "tests.fixtures.flask_site:create_app"


@contextlib.contextmanager
def flask_run() -> Iterator[RunningServer]:
    """``flask run``, the development server."""
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
    """A logged-in user of one runtime of the site, and what the site has noted."""

    def __init__(self, server: RunningServer, path: str = flask_site.PLAIN) -> None:
        super().__init__(server)
        self.outer = self.base.removesuffix(flask_site.PLAIN)
        self.base = self.outer + path
        self._site = Client(server, self.outer)
        with self._site.ask("POST", "/login/ada") as answer:
            self.headers = {"cookie": answer.headers["set-cookie"].partition(";")[0]}

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Stream:
        return super().ask(method, path, body, {**self.headers, **(headers or {})})

    def run_marked(self, mark: str, agent: str, thread: str, run: str, **members: Any) -> Stream:
        """Begins a run by a request of that mark."""
        return self.ask("POST", f"/agent/{agent}/run", run_input(thread, run, **members), {"x-mark": mark})

    def noted(self, name: str, verb: str = "wait") -> list[Any]:
        """What was noted under a name, once that is something; so far, by the verb ``read``."""
        with self._site.ask("GET", f"/{CONTROL}/{verb}/{name}") as answer:
            notes: list[Any] = json.loads(answer.rest())
        return notes
