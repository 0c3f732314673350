"""docs/compatibility.md is what the lists of the tests say."""

from __future__ import annotations

import pytest

from . import compatibility

pytestmark = pytest.mark.requirement("DOCS-01")


def test_compatibility_page_is_in_step_with_the_tests() -> None:
    command = "run: python -m tests.docs.compatibility"
    assert compatibility.PAGE.read_text("utf-8") == compatibility.content(), command


def test_compatibility_page_has_all_parts() -> None:
    content = compatibility.content()
    for part in ("1.57", "gevent", "Django, ASGI", "3.11", "`ag-ui-protocol` < 1", "pydantic-ai-slim", "postgres"):
        assert part in content
