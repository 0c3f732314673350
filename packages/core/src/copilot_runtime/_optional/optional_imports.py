"""Packages that are needed by some and installed by an extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def import_optional(module: str, *, by: str, extra: str) -> Any:
    """A module of an optional package. Raises ImportError, which names the extra, where it cannot be imported."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{by} needs a package that is not there: pip install 'copilot-runtime[{extra}]'") from error
