"""The core's imports go one way: no cycles, and no import against the order of CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

from .source_helpers import parse_source

ROOT = Path(__file__).parents[2]
CORE = ROOT / "packages/core/src/copilot_runtime"
PACKAGES = sorted(folder for folder in ROOT.glob("packages/*/src/*") if (folder / "__init__.py").exists())


def module_name(file: Path, package: Path) -> str:
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def source_files(package: Path) -> dict[str, Path]:
    return {module_name(file, package): file for file in package.rglob("*.py")}


def imported_modules(module: str, file: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yields the modules of ours that a module imports: at once, in a function, lazily, or for type checkers alone."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    source = parse_source(file)
    yield from (resolve_name(name, package) for name in lazy_names(source))
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                imported = f"{source}.{alias.name}" if f"{source}.{alias.name}" in modules else source
                if imported in modules and imported != module:
                    yield imported


def lazy_names(source: ast.Module) -> dict[str, tuple[str, ...]]:
    """Returns what a module passes to `lazy_exports`: names by relative module."""
    calls = (node for node in ast.walk(source) if isinstance(node, ast.Call))
    tables = [ast.literal_eval(call.args[1]) for call in calls if getattr(call.func, "id", "") == "lazy_exports"]
    return {name: names for table in tables for name, names in table.items()}


def import_graph(package: Path) -> dict[str, set[str]]:
    modules = source_files(package)
    return {module: set(imported_modules(module, file, modules)) for module, file in modules.items()}


def order_of_contributing() -> list[str]:
    """Returns the core's packages in the order of CONTRIBUTING.md, lowest first."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = text.partition("in import order")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+?) \|", section, re.MULTILINE)
    return [name.removesuffix(".py").rstrip("/") for row in rows for name in re.findall(r"`([\w./]+)`", row)]


def package_of(module: str, packages: list[str]) -> str:
    """Returns the package of a module in the order: the longest one that it lies in."""
    path = module.removeprefix("copilot_runtime").lstrip(".").replace(".", "/")
    return max((name for name in packages if path == name or path.startswith(f"{name}/")), key=len, default="")


@pytest.mark.requirement("ARCH-01")
@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_no_import_cycles(package: Path) -> None:
    try:
        TopologicalSorter(import_graph(package)).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.requirement("ARCH-01")
def test_imports_follow_the_order_of_contributing() -> None:
    packages = order_of_contributing()
    assert len(packages) > 8
    graph = import_graph(CORE)
    top = {"copilot_runtime", "copilot_runtime.__main__"}
    assert {module for module in graph if not package_of(module, packages)} == top
    against = [
        f"{module} imports {imported}"
        for module, imports in sorted(graph.items())
        for imported in sorted(imports)
        if not top & {module, imported}
        if packages.index(package_of(imported, packages)) > packages.index(package_of(module, packages))
    ]
    assert against == []


@pytest.mark.requirement("ARCH-01")
@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_lazy_exports_are_those_that_type_checkers_see(package: Path) -> None:
    for file in package.rglob("*.py"):
        source = parse_source(file)
        lazy = lazy_names(source)
        blocks = [
            node.body for node in source.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ]
        typed = [node for block in blocks for node in block if isinstance(node, ast.ImportFrom)]
        if lazy:
            assert {f".{node.module}": tuple(each.name for each in node.names) for node in typed} == lazy, file


@pytest.mark.requirement("ARCH-01")
@pytest.mark.parametrize(
    ("document", "begin", "end", "package"),
    [
        ("CONTRIBUTING.md", "Modules of `_engine`:", "\n\nThe pytest plugin", "_engine"),
        ("docs/architecture.md", "| `_concurrency/` |", "\n", "_concurrency"),
    ],
    ids=["engine", "concurrency"],
)
def test_the_docs_list_every_module(document: str, begin: str, end: str, package: str) -> None:
    text = (ROOT / document).read_text("utf-8").partition(begin)[2].partition(end)[0]
    listed = set(re.findall(r"`(\w+)`", text))
    assert {file.stem for file in (CORE / package).glob("*.py")} - {"__init__"} <= listed


def test_value_objects_import_no_event_loop() -> None:
    """`Wake` is what a worker thread waits for."""
    graph = import_graph(CORE)
    for module in ("headers", "types", "streaming", "target", "body"):
        imported = graph[f"copilot_runtime._http.{module}"]
        concurrency = {name for name in imported if name.startswith("copilot_runtime._concurrency")}
        assert concurrency <= {"copilot_runtime._concurrency.wake"}
