"""CopilotKit's aimock, from npm, as the model server: an independent implementation.

A test sets its response to a message, and reads the requests, both over its control API. What it cannot do,
`fake_provider` does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.client.test_client import HERE, INSTALL
from tests.missing import skip_unless_ci
from tests.servers import responds
from tests.services import supervisor

PROGRAM = HERE / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
KEY = "sk-mock"
"""The only key that it takes."""
START_SECONDS = 30.0


class Aimock:
    """A running aimock. ``url`` is the base URL for clients of OpenAI's API."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}/v1"
        self._control = f"http://127.0.0.1:{port}/__aimock"

    def add_fixture(self, match: str | dict[str, Any], response: dict[str, Any], **options: Any) -> None:
        """Answers what matches (a text: within the last user message) by ``response``; the first match wins.

        ``options`` are members of aimock's fixture, such as ``chunkSize`` or ``truncateAfterChunks``.
        """
        members = {"userMessage": match} if isinstance(match, str) else match
        self._request("/fixtures", {"fixtures": [{"match": members, "response": response, **options}]})

    def requests(self, text: str) -> list[Any]:
        """The bodies of the requests whose messages hold the text, in order of arrival."""
        return [entry["body"] for entry in self._request("/journal") if text in json.dumps(entry["body"])]

    def _request(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(self._control + path, data, headers)
        with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
            return json.load(answer)


def missing_requirement() -> str | None:
    """What has to be done before aimock can run here, or None."""
    if shutil.which("node") is None:
        return f"aimock needs Node 20.15 or newer; install it, then run: {INSTALL}"
    if not PROGRAM.is_file():
        return f"aimock is not installed; run: {INSTALL}"
    return None


def needs_node() -> None:
    """Skips the test where aimock cannot run, or fails it where CI=true says that all must run."""
    skip_unless_ci(missing_requirement())


@contextlib.contextmanager
def run_aimock(port: int, folder: Path) -> Iterator[Aimock]:
    """aimock on a port, for as long as the block lasts; ``folder`` is for its files."""
    needs_node()
    # It wants to begin with something.
    first = folder / "fixtures.json"
    first.write_text(json.dumps({"fixtures": [{"match": {"userMessage": "unused"}, "response": {"content": "-"}}]}))
    options = ("--port", str(port), "--fixtures", str(first), "--journal-max", "0", "--log-level", "warn")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["node", str(PROGRAM), *options],
            env={**os.environ, "AIMOCK_API_KEYS": KEY},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    supervisor.guard(process, signal.SIGKILL)
    try:
        while not responds(port, "/health"):
            # Waiting for the process to end is the pause between two attempts.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                raise RuntimeError(f"aimock ended: {(folder / 'log').read_text()}")
        yield Aimock(port, process)
    finally:
        process.terminate()
        process.wait()
        supervisor.release(process)
