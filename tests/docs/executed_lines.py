"""Which statements of the documentation's Python have been executed.

Each statement is compiled with a call before it that notes its line. Unlike a trace function this sees every thread,
greenlet and Python version, and costs nothing elsewhere.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Sequence
from typing import Any, TypeVar

from .blocks import Block

NOTE = "_note_line"
"""The name that noting a line has in the blocks."""

Node = TypeVar("Node", bound=ast.AST)


class ExecutedLines:
    """The statements of some blocks, and which of them have been executed."""

    def __init__(self) -> None:
        self._statements: dict[str, set[int]] = {}
        self._executed: set[tuple[str, int]] = set()

    @property
    def names(self) -> dict[str, Any]:
        """What the globals of compiled code need."""
        return {NOTE: self._note}

    def _note(self, place: str, line: int) -> None:
        self._executed.add((place, line))

    def compile(self, block: Block, filename: str, flags: int = 0) -> types.CodeType:
        """Compiles a block so that each of its statements is noted when it is executed, and forgets earlier ones."""
        self._executed = {each for each in self._executed if each[0] != block.place}
        noting = _Noting(block.place)
        tree = ast.fix_missing_locations(noting.visit(ast.parse(block.code, filename)))
        self._statements[block.place] = noting.lines
        code = compile(tree, filename, "exec", flags, dont_inherit=True)
        assert isinstance(code, types.CodeType)
        return code

    def missed(self, block: Block) -> list[str]:
        """Returns the lines of a compiled block that have not been executed."""
        missed = [line for line in self._statements[block.place] if (block.place, line) not in self._executed]
        lines = block.code.splitlines()
        return [lines[line - 1].strip() for line in sorted(missed)]


class _Noting(ast.NodeTransformer):
    """Puts a call before each statement, and into each lambda."""

    def __init__(self, place: str) -> None:
        self._place = place
        self.lines: set[int] = set()

    def _call(self, line: int) -> ast.Call:
        self.lines.add(line)
        return ast.Call(ast.Name(NOTE, ast.Load()), [ast.Constant(self._place), ast.Constant(line)], [])

    def generic_visit(self, node: Node) -> Node:  # type: ignore[override]
        super().generic_visit(node)
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, [each for statement in statements for each in self._noted(statement)])
        return node

    def _noted(self, statement: ast.stmt) -> Sequence[ast.stmt]:
        is_docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if is_docstring or (isinstance(statement, ast.ImportFrom) and statement.module == "__future__"):
            return [statement]
        return [ast.copy_location(ast.Expr(self._call(statement.lineno)), statement), statement]

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        self.generic_visit(node)
        body = ast.Tuple([self._call(node.body.lineno), node.body], ast.Load())
        node.body = ast.copy_location(ast.Subscript(body, ast.Constant(1), ast.Load()), node.body)
        return node
