"""Reads Python source without importing it."""

from __future__ import annotations

import ast
import gc
from pathlib import Path


def parse_source(file: Path) -> ast.Module:
    """Returns the syntax tree of a file.

    Without garbage collection meanwhile: the finalisers that it calls can make CPython 3.11 lose count of its recursion
    depth, and raise SystemError or RecursionError.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(file.read_text("utf-8"))
    finally:
        if was_enabled:
            gc.enable()
