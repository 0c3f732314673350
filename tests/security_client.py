"""One server for all runtimes of `fixtures/security_apps.py`, and how its responses are judged."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Any

from .fixtures.apps import ADAPTERS
from .fixtures.events import CONTROL
from .fixtures.security_apps import SECRET, STORES
from .http_client import Client, Response
from .servers import RunningServer, serve_app


class SecurityClient(Client):
    """A client of all the runtimes: paths begin with the name of one."""

    def __init__(self, server: RunningServer, adapter: str) -> None:
        super().__init__(server, "")
        self.adapter = adapter

    @property
    def on_wsgi(self) -> bool:
        return ADAPTERS[self.adapter].stack == "wsgi"

    def control(self, verb: str, name: str) -> Any:
        return self.request("GET", f"/{CONTROL}/{verb}/{name}").json()

    def set_event(self, name: str) -> None:
        self.control("set", name)

    def notes(self, name: str) -> list[Any]:
        """Returns what was noted under a name so far."""
        notes: list[Any] = self.control("read", name)
        return notes

    def wait_for_notes(self, name: str) -> list[Any]:
        """Returns what was noted under a name, once there is something."""
        notes: list[Any] = self.control("wait", name)
        assert notes, f"nothing was ever noted under {name}"
        return notes


def find_fault(response: Response | None, *statuses: int) -> str | None:
    """Returns what is wrong with a response that should be a clear refusal, or None.

    It must have one of ``statuses``, or any 4xx, and a JSON object with an error.
    """
    if response is None:
        return "no response"
    shown = f"{response.status} {response.headers.get('content-type')} {response.body[:300]!r}"
    if response.status not in (statuses or range(400, 500)):
        return f"wrong status: {shown}"
    if response.headers.get("content-type", "").partition(";")[0] != "application/json":
        return f"not JSON: {shown}"
    try:
        error = response.json().get("error")
    except (ValueError, AttributeError):
        return f"no JSON object: {shown}"
    if not isinstance(error, str) or not error:
        return f"no error member: {shown}"
    return find_leak(response)


def find_leak(response: Response) -> str | None:
    """Returns what a response reveals that it must not, or None."""
    leaked = [word for word in (SECRET.encode(), b"Traceback", b".py", b"RuntimeError") if word in response.body]
    return f"reveals {leaked}: {response.body[:300]!r}" if leaked else None


@contextlib.contextmanager
def serve_security_apps(adapter: str, store: str = "memory") -> Iterator[SecurityClient]:
    """Serves all security runtimes, over memory or ``sqlite``, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="copilot-stores-") as folder:
        env = {STORES: folder} if store == "sqlite" else {}
        with serve_app(adapter, "tests.fixtures.security_apps:application", mount="/auto", env=env) as server:
            yield SecurityClient(server, adapter)
