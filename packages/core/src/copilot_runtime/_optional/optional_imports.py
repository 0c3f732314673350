"""Imports of packages that are installed by an extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def import_optional(module: str, *, feature: str, extra: str = "", requirement: str = "") -> Any:
    """Imports a module of an optional package.

    Args:
        module: the name of the module.
        feature: what requires it, for the error.
        extra: the extra that installs it.
        requirement: what to install, if there is no extra for it.

    Raises ImportError with the command that installs the package.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        install = requirement or f"copilot-runtime[{extra}]"
        raise ImportError(f"{feature} requires the \"{package}\" package: pip install '{install}'") from error
