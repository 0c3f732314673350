"""What the examples with Django need before they start, and a browser that is logged in to their admin."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

from ..http_client import Client
from ..serve import ROOT
from ..servers import RunningServer

LOGIN = "/admin/login/"


def prepare(folder: str, data: Path, *names: str) -> dict[str, str]:
    """Creates an example's tables and superusers in ``data``; a password is its user's name.

    Returns the variables that the example needs in its environment.
    """
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
        env={**os.environ, **env},
        check=True,
        capture_output=True,
    )


class Browser(Client):
    """A browser at an example's admin and at its runtime, which keeps the admin's cookies."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__(server)
        self.site = Client(server, "")
        self._jar: SimpleCookie = SimpleCookie()

    def submit(self, path: str, **fields: str) -> int:
        """Submits a form, with its CSRF token; returns the status."""
        self._exchange("GET", path)
        return self._exchange("POST", path, {**fields, "csrfmiddlewaretoken": self._jar["csrftoken"].value})

    def _exchange(self, method: str, path: str, form: Mapping[str, str] | None = None) -> int:
        content_type = {"content-type": "application/x-www-form-urlencoded"} if form else {}
        response = self.site.request(method, path, urlencode(form).encode() if form else None, content_type)
        for cookie in response.headers.get_all("set-cookie"):
            self._jar.load(cookie)
        self.headers = [("cookie", "; ".join(f"{name}={morsel.value}" for name, morsel in self._jar.items()))]
        self.site.headers = self.headers
        return response.status

    def log_in(self, name: str) -> Browser:
        assert self.submit(LOGIN, username=name, password=name) == 302
        return self
