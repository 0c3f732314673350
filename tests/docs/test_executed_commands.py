"""Every command of a shell block is executed by something, or has a reason why it is not.

`test_shell` says of all that they exist, and accept what is written behind them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..examples.launch import environment
from ..serve import ROOT
from ..servers import RunningServer, free_port, run_server
from .blocks import Block, all_blocks
from .shell import commands_of

pytestmark = pytest.mark.requirement("DOCS-01")

QUICKSTARTS = "nox -s quickstarts, which takes packages from PyPI and npm"
EXAMPLES = "tests/examples starts each by the command of its README"
HERE = "below"

EXECUTED = (
    # page, command, and what executes it
    (r"docs/quickstart-\w+\.md", r"flask|fastapi|uvicorn|gunicorn|python manage.py runserver", "test_quickstarts"),
    (r"docs/quickstart-\w+\.md", r".*", QUICKSTARTS),
    (r"docs/(command-line|doctor)\.md", r"copilot-runtime (init|serve|doctor|demo)\b", HERE),
    (r"docs/playground\.md|examples/react_frontend/README\.md", r"copilot-runtime demo", HERE),
    (
        r"docs/(command-line|stores)\.md",
        r"copilot-runtime (copy-threads|migrate)",
        "tests/test_copy_threads.py, tests/unit",
    ),
    (r"docs/init\.md", r"pipx run", "nox -s build"),
    (r"docs/init\.md", r"pytest|flask run|npm run dev", "tests/test_init.py, tests/examples/test_init.py"),
    (r"docs/django\.md|examples/\w+/README\.md", r"python manage\.py", "tests/examples, tests/django"),
    (r"examples/compose/README\.md", r"docker|curl", "no Docker in CI: tests/examples/test_compose.py has its parts"),
    (r"examples/\w+/README\.md", r"flask|fastapi|uvicorn|gunicorn|waitress-serve|curl", EXAMPLES),
    (r"examples/\w+/README\.md", r"npm run (dev|build)", "tests/examples build and serve each page by Vite"),
    (r"README\.md", r"pip wheel", "nox -s build builds the same wheels"),
    (r".*", r"python3? dev\.py|\.ci/run", "CI itself"),
    (
        r"CONTRIBUTING\.md",
        r"python -m (benchmarks|tests\.fuzz)",
        "tests/unit/test_benchmarks.py, tests/fuzz: with less",
    ),
    (r"tests/client/README\.md", r"python -m tests\.serve|node tests/client", "tests/client"),
    (r".*", r"npm (ci|install)|pip install|python3 -m venv", "waits for an index; CI installs the same packages"),
)
"""By the first that fits."""


def executed_by(block: Block, command: str) -> str | None:
    for page, pattern, by in EXECUTED:
        if re.fullmatch(page, block.page) and re.match(pattern, command):
            return by
    return None


def commands() -> Iterator[tuple[Block, str]]:
    for block in all_blocks("sh"):
        for words in commands_of(block.code):
            yield block, shlex.join(words)


def test_every_command_of_the_docs_is_executed_or_has_a_reason() -> None:
    assert [f"{block.place}: {text}" for block, text in commands() if executed_by(block, text) is None] == []


def test_every_reason_for_commands_of_the_docs_is_needed() -> None:
    used = {executed_by(block, text) for block, text in commands()}
    assert {by for _, _, by in EXECUTED} <= used


def test_servers_of_the_examples_are_started_by_the_tests_of_examples() -> None:
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests/examples").glob("*.py"))
    lines = {
        line.partition("  #")[0].removesuffix(" &").rstrip()
        for block in all_blocks("sh")
        for line in block.code.splitlines()
    }
    servers = {
        line
        for block, text in commands()
        if executed_by(block, text) == EXAMPLES and not text.startswith("curl")
        for line in lines
        if shlex.join(shlex.split(line, comments=True)) == text
    }
    assert servers
    assert sorted(line for line in servers if line not in sources) == []


def own_commands() -> list[str]:
    return sorted({text.partition(" --port ")[0] for block, text in commands() if executed_by(block, text) == HERE})


MAIN = """
from copilot_runtime import CopilotRuntime


async def probe(input):
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **ids}
    yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "Hello."}
    yield {"type": "RUN_FINISHED", **ids}


runtime = CopilotRuntime(agents={"default": probe, "probe": probe}, single_user=True)
"""


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    arguments = [sys.executable, "-m", "copilot_runtime", *shlex.split(command)[1:]]
    return subprocess.run(
        arguments, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )


def serve(command: str, folder: Path, port: int) -> contextlib.AbstractContextManager[RunningServer]:
    return run_server(
        [sys.executable, "-m", "copilot_runtime", *shlex.split(command)[1:], "--port", str(port)],
        port,
        mount="/api/copilotkit",
        env=environment(),
        folder=folder,
    )


def test_own_commands_of_the_docs_work(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(MAIN, encoding="utf-8")
    done = set()
    server = next(command for command in own_commands() if command.startswith("copilot-runtime serve"))
    with serve(server, tmp_path, free_port()) as running:
        for command in own_commands():
            if command.startswith("copilot-runtime doctor"):
                result = run(command.replace("https://app.example/api/copilotkit", running.base_url), tmp_path)
                assert result.returncode == 0, result.stdout + result.stderr
                if "--json" in command:
                    assert json.loads(result.stdout)
            elif command.startswith("copilot-runtime init"):
                result = run(command, tmp_path)
                assert result.returncode == 0, result.stderr
            elif command.startswith("copilot-runtime demo"):
                with serve(command, tmp_path, free_port()):
                    pass
            elif command != server:
                continue
            done.add(command)
    assert done == {*own_commands()}
