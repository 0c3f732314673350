"""The quickstarts, followed from their first line to their last: files, tests and the page."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ..examples.launch import chat, environment
from ..http_client import Client
from ..servers import free_port, run_server
from .blocks import ROOT, Block, blocks_of, text_of

pytestmark = pytest.mark.requirement("DOCS-01")

NAMES = ("asgi", "django", "fastapi", "flask", "wsgi")
NODE_MODULES = ROOT / "examples/react_frontend/node_modules"


def page(name: str) -> str:
    return f"docs/quickstart-{name}.md"


def write_files(blocks: Sequence[Block], folder: Path) -> None:
    for block in blocks:
        name = block.file or ("index.html" if block.language == "html" else None)
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(block.code, encoding="utf-8")


def run(folder: Path, *command: str) -> None:
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    result = subprocess.run(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "place",
    [*map(page, NAMES), *(f"docs/{name}.md" for name in ("asgi", "command-line", "django", "flask", "init", "wsgi"))],
)
def test_pages_that_begin_with_pip_say_what_it_needs_before_the_first_release(place: str) -> None:
    """Only while there is no release, without which pip finds nothing under these names."""
    assert "Nothing has been released yet: until then, [build the packages](../README.md#mount-it)" in text_of(place)


@pytest.mark.parametrize("name", NAMES)
def test_quickstart_has_a_test_of_its_own(name: str) -> None:
    """`test_python` runs it, as it does every function of the docs that is a test."""
    assert [
        block for block in blocks_of(page(name)) if block.file and "test" in block.file and "def test_" in block.code
    ]


@pytest.fixture(scope="module")
def django_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("django")
    python = [block for block in blocks_of(page("django")) if block.language == "python"]
    [settings] = [block.code for block in python if not block.file]
    run(folder, sys.executable, "-m", "django", "startproject", "project", ".")
    write_files(python, folder)
    with (folder / "project/settings.py").open("a", encoding="utf-8") as file:
        file.write(settings)
    run(folder, sys.executable, "manage.py", "migrate", "--verbosity", "0")
    return folder


def test_quickstart_of_django_passes_its_own_test(django_project: Path) -> None:
    run(django_project, sys.executable, "manage.py", "test", "project")
    run(django_project, sys.executable, "manage.py", "check", "--fail-level", "WARNING")


SERVERS = {
    "asgi": ("uvicorn main:app ", "--port {port}", {"authorization": "Bearer ada-token"}),
    "django": ("python manage.py runserver", "{port}", {}),
    "fastapi": ("fastapi dev main.py", "--port {port}", {}),
    "flask": ("flask run ", "--port {port}", {}),
    "wsgi": ("gunicorn ", "--bind 127.0.0.1:{port}", {"authorization": "Bearer ada-token"}),
}
"""How each page's command for its server begins, how it is given another port, and the credentials of a header."""


@pytest.mark.parametrize("name", NAMES)
def test_quickstart_server_is_started_by_its_command(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    start, option, credentials = SERVERS[name]
    [line] = [line for block in blocks_of(page(name)) for line in block.code.splitlines() if line.startswith(start)]
    folder = request.getfixturevalue("django_project") if name == "django" else tmp_path
    if name != "django":
        write_files([block for block in blocks_of(page(name)) if block.language == "python"], folder)
    port = free_port()
    command = shlex.split(f"{line.replace('--port 8000', '')} {option.format(port=port)}")
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with run_server(command, port, env={**environment(), "PYTHONPATH": paths}, folder=folder) as server:
        client = Client(server)
        assert client.request("GET", "/info").status == 401
        if credentials:
            client.headers = [*credentials.items()]
            assert chat(client, "hi") == "Hello ada, you wrote: hi"


def test_quickstarts_have_the_same_chat_page() -> None:
    sections = [text_of(page(name)).partition("## The chat page")[2].partition("npx vite")[0] for name in NAMES]
    assert sections[0]
    assert len({*sections}) == 1
