"""What the examples with Django need before they start, and a user who is logged in to their admin."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Mapping
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

from ..http_client import PATIENCE, Client, fresh, run_input, types
from ..serve import ROOT
from ..servers import RunningServer

LOGIN = "/admin/login/"


def prepared(folder: str, data: Path, *names: str) -> dict[str, str]:
    """The environment of an example whose tables and superusers are in ``data``; passwords are names."""
    env = {"SECRET_KEY": "only for tests", "DATA_DIR": str(data), "DEBUG": "1"}
    _manage(folder, env, "migrate", "--verbosity=0")
    for name in names:
        _manage(folder, {**env, "DJANGO_SUPERUSER_PASSWORD": name}, "createsuperuser", f"--username={name}")
    return env


def _manage(folder: str, env: Mapping[str, str], command: str, *options: str) -> None:
    extra = ("--noinput", "--email=one@example.com") if command == "createsuperuser" else ()
    subprocess.run(
        [sys.executable, "manage.py", command, *options, *extra],
        cwd=ROOT / "examples" / folder,
        env={**os.environ, **env, "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        capture_output=True,
    )


class Browser(Client):
    """A visitor of an example's admin, who keeps its cookies."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__(server)
        self._jar: SimpleCookie = SimpleCookie()

    def headers(self) -> dict[str, str]:
        return {"cookie": "; ".join(f"{name}={one.value}" for name, one in self._jar.items())}

    def post(self, path: str, **fields: str) -> int:
        """Fills in a form, with its CSRF token; gives the status."""
        self._exchange("GET", path)
        return self._exchange("POST", path, {**fields, "csrfmiddlewaretoken": self._jar["csrftoken"].value})

    def _exchange(self, method: str, path: str, form: Mapping[str, str] | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        kind = {"content-type": "application/x-www-form-urlencoded"} if form else {}
        connection.request(method, path, urlencode(form) if form else None, {**self.headers(), **kind})
        answer = connection.getresponse()
        answer.read()
        for cookie in answer.headers.get_all("set-cookie") or []:
            self._jar.load(cookie)
        connection.close()
        return answer.status

    def log_in(self, name: str) -> Browser:
        assert self.post(LOGIN, username=name, password=name) == 302
        return self

    def say(self, text: str, thread: str | None = None) -> str:
        """What the agent answers."""
        messages = [{"id": fresh("message"), "role": "user", "content": text}]
        body = run_input(thread or fresh("thread"), fresh("run"), messages=messages)
        with self.ask("POST", "/agent/default/run", body, self.headers()) as stream:
            assert stream.status == 200, stream.rest()
            events = list(stream.events())
        assert (types(events)[0], types(events)[-1]) == ("RUN_STARTED", "RUN_FINISHED")
        return "".join(event.get("delta", "") for event in events)
