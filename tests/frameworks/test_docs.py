"""The documentation's blocks of code about other frameworks, which the tests without these leave out."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..docs.blocks import blocks_of, pages
from ..docs.python_pages import imported_packages
from ..docs.stand_ins import OPTIONAL
from ..docs.test_python import LANGUAGES, missed_lines, python_blocks
from .helpers import import_framework

pytestmark = pytest.mark.requirement("DOCS-01")

PAGES = [
    page
    for page in pages()
    if any(block.language in LANGUAGES and imported_packages(block.code) & {*OPTIONAL} for block in blocks_of(page))
]


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_of_the_docs_run_with_other_frameworks(page: str, tmp_path: Path) -> None:
    for framework in OPTIONAL:
        import_framework(framework)
    assert python_blocks(page) == [block for block in blocks_of(page) if block.language in LANGUAGES]
    assert missed_lines(page, tmp_path) == {}
