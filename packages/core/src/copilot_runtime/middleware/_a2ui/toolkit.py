"""AG-UI's toolkit for A2UI, which has the tool, its guide, and the validation of components."""

from __future__ import annotations

from typing import Any

from ..._optional.optional_imports import import_optional


def toolkit() -> Any:
    """Returns the package. Raises ImportError with the command that installs it."""
    return import_optional("ag_ui_a2ui_toolkit", feature="A2UI", extra="a2ui")
