"""Names for parametrised cases that are the same in every process."""

from __future__ import annotations

import re
from typing import Any


def stable_id(value: Any) -> str:
    """``repr`` without the addresses of objects: parallel test processes must agree on a test's id."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
