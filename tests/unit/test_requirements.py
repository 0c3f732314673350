"""The manifest of requirements, ``tests/requirements.toml``, and the tests that name them."""

from __future__ import annotations

import ast
import fnmatch
import functools
import inspect
import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_runtime import CopilotRuntime, RuntimeHooks, create_copilot_runtime_handler

from ..fixtures.configs import CONFIGURATIONS
from .source_helpers import parse_source

TESTS = Path(__file__).parents[1]
REQUIREMENTS = tomllib.loads((TESTS / "requirements.toml").read_text(encoding="utf-8"))
PYTEST = tomllib.loads((TESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
HIDDEN = ("node_modules", ".venv")

CONFIGURABLE = (CopilotRuntime, create_copilot_runtime_handler, RuntimeHooks)
ENDPOINTS = (
    *("info", "run", "connect", "stop", "suggest", "transcribe", "debug_events"),
    *("threads_list", "threads_messages", "events", "state", "archive", "threads_clear", "threads_update"),
)


def marked_ids(decorators: list[ast.expr]) -> Iterator[str]:
    """Yields the arguments of all ``pytest.mark.requirement(...)`` in some expressions."""
    for decorator in decorators:
        for node in ast.walk(decorator):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.requirement":
                yield from (ast.literal_eval(argument) for argument in node.args)


def files_of_tests(pattern: str = "test_*.py") -> Iterator[Path]:
    """Yields all test files. Does not enter folders of npm, which may be installing something."""
    for folder, subfolders, names in os.walk(TESTS):
        subfolders[:] = [name for name in subfolders if name not in HIDDEN]
        yield from (Path(folder, name) for name in fnmatch.filter(names, pattern))


def ids_and_names_of(path: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Returns the tests of a file that name each id, and the names of its functions; nothing is imported."""
    file, ids, names = str(path.relative_to(TESTS)), dict[str, list[str]](), list[str]()
    for node in ast.walk(parse_source(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(node.name)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            marked, test = marked_ids(node.decorator_list), f"{file}::{node.name}"
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            marked, test = marked_ids([node.value]), file
        else:
            continue
        for id in marked:
            ids.setdefault(id, []).append(test)
    return ids, names


@functools.cache
def files_with_ids() -> list[tuple[dict[str, list[str]], list[str]]]:
    """Returns that of all test files. The trees are not kept: the collector would look at a million nodes each time."""
    return [ids_and_names_of(path) for path in sorted(files_of_tests())]


@functools.cache
def ids_of_tests() -> dict[str, list[str]]:
    """Returns the tests that name each id."""
    tests: dict[str, list[str]] = {}
    for ids, _ in files_with_ids():
        for id, named in ids.items():
            tests.setdefault(id, []).extend(named)
    return tests


@functools.cache
def replayed_cases() -> list[str]:
    """Returns the recorded cases that `test_contract` replays, as ``group/name``."""
    covered = {name for name, configuration in CONFIGURATIONS.items() if configuration.contract}
    files = sorted((TESTS / "contract" / "cases").glob("*.json"))
    cases = [(file.stem, case) for file in files for case in json.loads(file.read_text(encoding="utf-8"))]
    return [f"{group}/{case['name']}" for group, case in cases if case["config"] in covered]


@pytest.mark.parametrize("id", REQUIREMENTS)
def test_requirement_has_a_sentence_a_source_and_a_proof(id: str) -> None:
    requirement = REQUIREMENTS[id]
    assert set(requirement) <= {"text", "source", "cases"}
    assert requirement["text"].endswith(".")
    assert requirement["source"]
    assert id in ids_of_tests() or requirement.get("cases"), f"no test is marked with {id}"


@pytest.mark.parametrize("id", [id for id, requirement in REQUIREMENTS.items() if "cases" in requirement])
def test_requirement_names_recorded_cases(id: str) -> None:
    cases = replayed_cases()
    unknown = [pattern for pattern in REQUIREMENTS[id]["cases"] if not fnmatch.filter(cases, pattern)]
    assert unknown == [], f"no recorded case that is replayed fits {unknown}"


def test_requirement_markers_name_known_requirements() -> None:
    unknown = {id: tests for id, tests in ids_of_tests().items() if id not in REQUIREMENTS}
    assert unknown == {}


def test_requirement_sources_are_files_of_this_repository() -> None:
    root = TESTS.parent
    named = {word.rstrip(",;") for entry in REQUIREMENTS.values() for word in entry["source"].split()}
    missing = [name for name in sorted(named) if name.endswith(".md") and not (root / name).is_file()]
    assert missing == []


def test_requirement_ids_in_the_promises_of_security_md_are_known() -> None:
    text = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b[A-Z]+-\d\d\b", text))
    assert named
    assert named <= REQUIREMENTS.keys()


def test_options_hooks_and_endpoints_are_in_the_names_of_tests() -> None:
    names = " ".join(name for _, found in files_with_ids() for name in found if name.startswith("test_"))
    options = [name for configurable in CONFIGURABLE for name in inspect.signature(configurable).parameters]
    assert [word for word in (*options, *ENDPOINTS) if word not in names] == []


def test_markers_are_written_out_in_the_files_of_their_tests() -> None:
    # tests/conftest.py does not look into the others for the tests with a marker.
    markers = {line.partition(":")[0].partition("(")[0] for line in PYTEST["markers"]}
    others = set(files_of_tests("*.py")) - set(files_of_tests())
    found = {
        path.name: markers & set(re.findall(r"\bmark\.(\w+)", path.read_text(encoding="utf-8"))) for path in others
    }
    assert {name for name, used in found.items() if used} == set()
