"""What a test does if this machine lacks something that it needs."""

from __future__ import annotations

import os

import pytest


def skip_unless_ci(missing: str | None) -> None:
    """Skips a test for which something is missing on this machine. In CI that is a failure."""
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
