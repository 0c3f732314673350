"""The quickstarts, followed from their first line to their last: files, tests and the page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("name", NAMES)
def test_quickstart_has_a_test_of_its_own(name: str) -> None:
    """`test_python` runs it, as it does every function of the docs that is a test."""
    assert [
        block for block in blocks_of(page(name)) if block.file and "test" in block.file and "def test_" in block.code
    ]


def test_quickstart_of_django_passes_its_own_test(tmp_path: Path) -> None:
    python = [block for block in blocks_of(page("django")) if block.language == "python"]
    [settings] = [block.code for block in python if not block.file]
    run(tmp_path, sys.executable, "-m", "django", "startproject", "project", ".")
    write_files(python, tmp_path)
    with (tmp_path / "project/settings.py").open("a", encoding="utf-8") as file:
        file.write(settings)
    run(tmp_path, sys.executable, "manage.py", "test", "project")
    run(tmp_path, sys.executable, "manage.py", "check", "--fail-level", "WARNING")


def test_quickstarts_have_the_same_chat_page() -> None:
    sections = [text_of(page(name)).partition("## The chat page")[2].partition("npx vite")[0] for name in NAMES]
    assert sections[0]
    assert len({*sections}) == 1
