"""Follows quickstarts as a newcomer does: their commands and files, from an empty folder, with a chat in a browser.

    python -m tests.docs.follow WHEELS [flask ...]

WHEELS is a folder with the packages' wheels, such as ``dist`` after ``nox -s build``; all else comes from PyPI and npm.
Needs the ports 8000 and 5173, Chromium, ``npm ci`` in ``examples/react_frontend``, and a minute or two for each.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from .blocks import ROOT, Block, blocks_of, text_of

PAGES = ("flask", "django", "fastapi", "asgi", "wsgi")
SERVERS = {"flask": 8000, "fastapi": 8000, "uvicorn": 8000, "gunicorn": 8000, "python manage.py runserver": 8000}
SERVERS |= {"npx vite": 5173}
"""Commands that go on, in a terminal of their own, and the port on which each listens."""
OF_THE_PAGE = (".html", ".jsx", ".mjs")
"""Files that belong into the folder of the chat page."""
ANSWERS = {"python manage.py createsuperuser": "--noinput"}
USER = {
    "DJANGO_SUPERUSER_USERNAME": "ada",
    "DJANGO_SUPERUSER_PASSWORD": "lovelace",
    "DJANGO_SUPERUSER_EMAIL": "ada@example.com",
}
START_SECONDS = 60
DRIVER = Path(__file__).with_name("follow.mjs")


class Reader:
    """One who has an empty folder and two terminals, and does what a page says."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self._folder = folder
        self._place = folder
        paths = os.pathsep.join([str(folder / ".venv/bin"), os.environ["PATH"]])
        wanted = {"PATH": paths, "PIP_FIND_LINKS": str(wheels.resolve()), **USER}
        unwanted = ("PYTHONPATH", "VIRTUAL_ENV", "DJANGO_SETTINGS_MODULE")
        self._env: Mapping[str, str] = {k: v for k, v in {**os.environ, **wanted}.items() if k not in unwanted}
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def do(self, block: Block) -> None:
        if block.language == "sh":
            for line in block.code.splitlines():
                self._enter(line.partition("    #")[0])
            return
        name = "index.html" if block.language == "html" else block.file
        if name:
            folder = self._folder / "page" if name.endswith(OF_THE_PAGE) else self._folder
            (folder / name).write_text(block.code, encoding="utf-8")
        elif block.language == "python":  # what belongs at the end of the settings
            with (self._folder / "project/settings.py").open("a", encoding="utf-8") as file:
                file.write(block.code)

    def _enter(self, line: str) -> None:
        print(f"  $ {line}", flush=True)
        if line.startswith("cd "):
            self._place = self._place / line.removeprefix("cd ")
        elif line.startswith(("pip ", "python")):
            self._place = self._folder  # of the first terminal
        if line.startswith(("cd ", ". ")):
            return
        port = next((port for command, port in SERVERS.items() if line.startswith(f"{command}")), None)
        if port is None:
            command = " ".join(filter(None, [line, ANSWERS.get(line)]))
            done = subprocess.run(
                ["bash", "-c", command], cwd=self._place, env=self._env, capture_output=True, text=True
            )
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
        else:
            self._serve(line, port)

    def _serve(self, line: str, port: int) -> None:
        folder = self._place if port != 8000 else self._folder
        log = (self._folder / f"{port}.log").open("wb")
        process = subprocess.Popen(
            ["bash", "-c", f"exec {line}"], cwd=folder, env=self._env, stdout=log, stderr=log, start_new_session=True
        )
        self._running.callback(os.killpg, process.pid, 15)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError):
                try:
                    urllib.request.urlopen(f"http://localhost:{port}/", timeout=5).close()
                except urllib.error.HTTPError:
                    pass
                return
            time.sleep(0.1)
        sys.exit(f"{line} does not serve:\n{(self._folder / f'{port}.log').read_text()}")


def chat(page: str, folder: Path) -> None:
    """Chats as the page says it: with its login, or with its token in the frontend."""
    text = text_of(page)
    if token := re.search(r"In `main.jsx`, write `(<CopilotKit[^`]*)`", text):
        main = folder / "page/main.jsx"
        main.write_text(main.read_text("utf-8").replace('<CopilotKit runtimeUrl="/api/copilotkit">', token[1]), "utf-8")
    url = re.search(r"http://localhost:5173[\w/?=]*", text.partition("npx vite\n```")[2])
    assert url
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    subprocess.run(["node", str(DRIVER), browser, url[0]], cwd=ROOT, check=True)


def follow(name: str, wheels: Path) -> None:
    page = f"docs/quickstart-{name}.md"
    print(page, flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary, Reader(Path(temporary), wheels) as reader:
        for block in blocks_of(page):
            reader.do(block)
            if block.code == "npx vite\n":
                chat(page, Path(temporary))
                print(f"  a chat after {time.monotonic() - began:.0f} s", flush=True)
    print(f"  done after {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    for each in sys.argv[2:] or PAGES:
        follow(each, Path(sys.argv[1]))
