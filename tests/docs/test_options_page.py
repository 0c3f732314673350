"""docs/options.md has a row for each option."""

from __future__ import annotations

import inspect
import re

import pytest

from copilot_runtime import CopilotRuntime, create_copilot_runtime_handler

from .blocks import text_of

pytestmark = pytest.mark.requirement("DOCS-01")


@pytest.mark.parametrize(
    ("title", "function"), [("CopilotRuntime", CopilotRuntime), ("The handler", create_copilot_runtime_handler)]
)
def test_options_page_has_every_option(title: str, function: object) -> None:
    section = text_of("docs/options.md").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert callable(function)
    options = inspect.signature(function).parameters.keys() - {"runtime"}
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == options
