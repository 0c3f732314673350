"""Executes the Python of a page as its reader would: one block after the other, files as modules of their own.

What a page takes for granted is in `stand_ins`; every other name has to exist, also within functions that nothing
calls.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import dis
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import linecache
import os
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from .blocks import Block
from .executed_lines import NOTE, ExecutedLines
from .stand_ins import ENVIRONMENT, NOT_CALLED, NOT_INSTALLED, modules

_EXISTING_NAMES = vars(builtins).keys() | {
    "__name__",
    "__file__",
    "__annotations__",
    "__conditional_annotations__",
    NOTE,
}

LINES = ExecutedLines()
"""Of the blocks that have been executed last."""


class StandInModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules in which every name exists, below packages that are not installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [name for name in names if not is_installed(name)]

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if not any(fullname == name or fullname.startswith(f"{name}.") for name in self._names):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _StandInModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class PageModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the blocks of a page that are files."""

    def __init__(self) -> None:
        self.codes: dict[str, types.CodeType] = {}

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.codes:
            return None
        file = Path(f"{fullname.replace('.', '/')}.py").resolve()
        return importlib.util.spec_from_file_location(fullname, file, loader=self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leaves it to the import system."""

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module).update(LINES.names)
        exec(self.codes[module.__name__], vars(module))


class _StandInModule(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandIn if name[0].isupper() else mock.MagicMock(name=name)


class _StandIn(mock.MagicMock):
    """An object of a class that is not installed, or a class that inherits from it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()


def is_installed(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of its parent
        return False


def imported_packages(code: str) -> set[str]:
    """Returns the top-level packages that a block imports."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@contextlib.contextmanager
def documentation_folder(folder: Path) -> Iterator[Path]:
    """Makes an empty folder the current one, where modules of the page and stand-ins for what is missing are found."""
    path, finders = sys.path, sys.meta_path
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(mock.patch.dict(os.environ, ENVIRONMENT))
        stand_ins = modules()
        sys.modules.update(stand_ins)
        for name in NOT_CALLED:
            stack.enter_context(mock.patch(name))
        sys.path = [str(folder), *path]
        sys.meta_path = [PageModules(), *finders, StandInModules(NOT_INSTALLED)]
        try:
            yield folder
        finally:
            sys.path, sys.meta_path = path, finders
            _forget_modules(folder, stand_ins)


def _forget_modules(folder: Path, stand_ins: Mapping[str, types.ModuleType]) -> None:
    """Forgets what the reader's own modules and missing packages were; what is installed need not be imported again."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name in stand_ins or isinstance(module, _StandInModule) or (file and Path(file).is_relative_to(folder)):
            del sys.modules[name]


def run_blocks(blocks: Sequence[Block], folder: Path, names: dict[str, Any]) -> dict[str, Any]:
    """Executes blocks, and returns all names that they have defined.

    Args:
        blocks: the blocks of one page.
        folder: an empty folder on ``sys.path``, for blocks that are files.
        names: what the page leaves to its reader.

    Raises:
        NameError: A name in a block, or in one of its functions, does not exist.
    """
    names |= LINES.names
    for block in blocks:
        code = _compile(block)
        if block.file and block.file.endswith(".py"):
            _write_module(folder, block, code)
        # Blocks of one page share their names, as pieces of the reader's one module.
        names["__name__"] = _module_name(block) if block.file else "page"
        names["__file__"] = str(folder / (block.file or "page.py"))
        names["__package__"] = names["__name__"].rpartition(".")[0]
        result = eval(code, names)
        if inspect.iscoroutine(result):
            asyncio.run(result)
        missing = sorted({name for name in _global_names(code) if name not in names and name not in _EXISTING_NAMES})
        if missing:
            raise NameError(f"{block.place}: {', '.join(missing)}")
    return names


def _compile(block: Block) -> types.CodeType:
    filename = f"<{block.place}>"
    linecache.cache[filename] = (len(block.code), None, block.code.splitlines(True), filename)
    return LINES.compile(block, filename, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def _write_module(folder: Path, block: Block, code: types.CodeType) -> None:
    file = folder / str(block.file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.code, encoding="utf-8")
    for parent in file.parents:
        if parent == folder:
            break
        parent.joinpath("__init__.py").touch()
    sys.modules.pop(_module_name(block), None)
    [modules] = [finder for finder in sys.meta_path if isinstance(finder, PageModules)]
    modules.codes[_module_name(block)] = code
    importlib.invalidate_caches()


def _module_name(block: Block) -> str:
    return str(block.file).removesuffix(".py").replace("/", ".")


def _global_names(code: types.CodeType) -> Iterator[str]:
    """Yields the global names that a block and its functions read."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and code.co_name != "<class>":
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            # A class body reads its own names with LOAD_NAME; executing it has found out whether they exist.
            yield from (name for name in _global_names(constant) if not _is_class_body(constant))


def _is_class_body(code: types.CodeType) -> bool:
    return "__qualname__" in code.co_names and "__module__" in code.co_names
