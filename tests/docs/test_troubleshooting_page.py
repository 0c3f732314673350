"""The messages in docs/troubleshooting.md are those of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from .blocks import ROOT, text_of

pytestmark = pytest.mark.requirement("DOCS-01")


def texts_of_the_code() -> Iterator[str]:
    for file in ROOT.glob("packages/*/src/**/*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_troubleshooting_page_quotes_messages_as_they_are() -> None:
    table = text_of("docs/troubleshooting.md").partition("\n## By message\n")[2]
    first_cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    quoted = {text for cell in first_cells for text in re.findall(r"`([^`]+)`", cell)}
    assert len(quoted) > 10
    code = "\n".join(texts_of_the_code())
    assert {text for text in quoted if text not in code} == set()
