"""The reference shows what has a docstring, so every public name needs one."""

from __future__ import annotations

import ast
import importlib
import re
from itertools import pairwise

import pytest

from .blocks import ROOT, text_of

pytestmark = pytest.mark.requirement("DOCS-01")

MODULES = re.findall(r"^::: (\S+)$", text_of("docs/reference.md"), re.MULTILINE)


def documented_names() -> set[str]:
    """The names that the sources of our packages define with a docstring, as the generator of the site reads them."""
    found = set()
    for file in ROOT.glob("packages/*/src/**/*.py"):
        module = ast.parse(file.read_text(encoding="utf-8"))
        for body in [module.body, *(node.body for node in module.body if isinstance(node, ast.Try))]:
            for node, following in pairwise([*body, ast.Pass()]):
                match node, following:
                    case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name), _:
                        found |= {name} if ast.get_docstring(node) else set()
                    case (
                        ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str())),
                    ):
                        found.add(name)
    return found


def test_reference_has_every_public_name() -> None:
    documented = documented_names()
    public = {(module, name) for module in MODULES for name in getattr(importlib.import_module(module), "__all__", [])}
    assert len(public) > 100
    assert sorted(f"{module}.{name}" for module, name in public if name not in documented) == []
