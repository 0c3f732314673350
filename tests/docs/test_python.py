"""Every Python block of the README files and the documentation is executed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from .blocks import ROOT, Block, blocks_of, pages
from .frontend_calls import call
from .python_pages import LINES, documentation_folder, imported_packages, is_installed, run_blocks
from .stand_ins import OPTIONAL, names_for
from .uses import END, NOT_EXECUTED, USES

pytestmark = pytest.mark.requirement("DOCS-01")

LANGUAGES = ("python", "py")
DJANGO = {"django", "copilot_runtime_django"}


def python_blocks(page: str) -> list[Block]:
    return [block for block in blocks_of(page) if block.language in LANGUAGES and can_run(block)]


def can_run(block: Block) -> bool:
    return all(is_installed(name) for name in imported_packages(block.code) & {*OPTIONAL})


def is_about_django(page: str) -> bool:
    return any(imported_packages(block.code) & DJANGO for block in blocks_of(page) if block.language in LANGUAGES)


def is_checked(block: Block) -> bool:
    return not imported_packages(block.code) & NOT_EXECUTED.keys()


def missed_lines(page: str, folder: Path) -> dict[str, list[str]]:
    """Executes the blocks of a page, uses what they define, and returns the lines that neither has executed."""
    return missed_lines_of(python_blocks(page), names_for(page), folder)


def missed_lines_of(blocks: Sequence[Block], names: dict[str, Any], folder: Path) -> dict[str, list[str]]:
    # A page that has its reader write a test does not need ours.
    has_tests = any(block.file and "test" in block.file for block in blocks)
    with documentation_folder(folder):
        for block in blocks:
            before = dict(names)
            run_blocks([block], folder, names)
            if not is_checked(block):
                continue
            for name, value in list(names.items()):
                if before.get(name) is value:
                    continue
                if (block.page, name) in USES:
                    USES[block.page, name](names)
                elif name.startswith("test_") or not has_tests:
                    call(value)
        for page in {block.page for block in blocks}:
            USES.get((page, END), id)(names)
    return {block.place: missed for block in filter(is_checked, blocks) if (missed := LINES.missed(block))}


PAGES = [page for page in pages() if any(block.language in LANGUAGES for block in blocks_of(page))]
DJANGO_PAGES = [page for page in PAGES if is_about_django(page)]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DJANGO_PAGES])
def test_python_blocks_of_the_docs_run(page: str, tmp_path: Path) -> None:
    assert missed_lines(page, tmp_path) == {}


def test_python_blocks_of_the_docs_run_with_django() -> None:
    command = [sys.executable, "-m", "tests.docs.django_pages", *DJANGO_PAGES]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("code", "missed"),
    [
        ("def hook(response):\n    return response", ["return response"]),
        ("key = lambda response: (\n    response.id\n)", ["response.id"]),
        ("def test():\n    if True:\n        return\n    assert True\n\n\ntest()", ["assert True"]),
        ("class Agent:\n    def run(self, input):\n        yield", ["yield"]),
        ("import page_file", []),
    ],
)
def test_docs_whose_functions_nothing_calls_fail(code: str, missed: list[str], tmp_path: Path) -> None:
    file = Block("page.md", 1, "python", "# page_file.py\ndef hook():\n    return 1\n\n\nassert hook()")
    found = missed_lines_of([file, Block("page.md", 9, "python", code)], {}, tmp_path)
    assert found == ({"page.md:9": missed} if missed else {})


@pytest.mark.parametrize("code", ["misspelt", "def hook(context):\n    return misspelt(context)", "import misspelt"])
def test_docs_that_name_what_does_not_exist_fail(code: str, tmp_path: Path) -> None:
    with documentation_folder(tmp_path), pytest.raises((NameError, ModuleNotFoundError), match="misspelt"):
        run_blocks([Block("page.md", 1, "python", code)], tmp_path, {})
