"""Every Python block of the README files and the documentation is executed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .blocks import ROOT, Block, blocks_of, pages
from .python_pages import documentation_folder, imported_packages, is_installed, run_blocks
from .stand_ins import OPTIONAL, names_for

pytestmark = pytest.mark.requirement("DOCS-01")

LANGUAGES = ("python", "py")
DJANGO = {"django", "copilot_runtime_django"}


def python_blocks(page: str) -> list[Block]:
    return [block for block in blocks_of(page) if block.language in LANGUAGES and can_run(block)]


def can_run(block: Block) -> bool:
    return all(is_installed(name) for name in imported_packages(block.code) & {*OPTIONAL})


def is_about_django(page: str) -> bool:
    return any(imported_packages(block.code) & DJANGO for block in blocks_of(page) if block.language in LANGUAGES)


PAGES = [page for page in pages() if any(block.language in LANGUAGES for block in blocks_of(page))]
DJANGO_PAGES = [page for page in PAGES if is_about_django(page)]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DJANGO_PAGES])
def test_python_blocks_of_the_docs_run(page: str, tmp_path: Path) -> None:
    with documentation_folder(tmp_path):
        run_blocks(python_blocks(page), tmp_path, names_for(page))


def test_python_blocks_of_the_docs_run_with_django() -> None:
    command = [sys.executable, "-m", "tests.docs.django_pages", *DJANGO_PAGES]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("code", ["misspelt", "def hook(context):\n    return misspelt(context)", "import misspelt"])
def test_docs_that_name_what_does_not_exist_fail(code: str, tmp_path: Path) -> None:
    with documentation_folder(tmp_path), pytest.raises((NameError, ModuleNotFoundError), match="misspelt"):
        run_blocks([Block("page.md", 1, "python", code)], tmp_path, {})
