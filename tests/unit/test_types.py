"""What a type checker says to an application's calls: nothing to those that are right, an error to each wrong one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.requirement("TYPES-01")

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "typing_cases"
MARK = "# error"
TIMEOUT_SECONDS = 300

Errors = dict[str, dict[int, str]]
"""What a type checker finds: by file name and line."""


def run_checker(*arguments: str, env: dict[str, str] | None = None) -> str:
    command = [sys.executable, "-m", *arguments, *(str(file) for file in sorted(CASES.glob("*.py")))]
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, env=environment
    )
    assert done.returncode in (0, 1), done.stderr + done.stdout
    return done.stdout


def pyright_errors() -> Errors:
    report: dict[str, Any] = json.loads(run_checker("pyright", "--outputjson", "--pythonpath", sys.executable))
    found: Errors = {file.name: {} for file in CASES.glob("*.py")}
    assert report["summary"]["filesAnalyzed"] == len(found)
    for diagnostic in report["generalDiagnostics"]:
        line = diagnostic["range"]["start"]["line"] + 1
        found[Path(diagnostic["file"]).name][line] = diagnostic["message"]
    return found


def mypy_errors() -> Errors:
    # Installed editable or not, it is the sources of this repository that are checked.
    sources = os.pathsep.join(str(folder) for folder in sorted(ROOT.glob("packages/*/src")))
    # With the configuration of this repository, which is strict, so that it finds the cache of the session's own mypy.
    output = run_checker("mypy", env={"MYPYPATH": sources})
    found: Errors = {file.name: {} for file in CASES.glob("*.py")}
    for line in output.splitlines():
        if match := re.match(r"(.*?):(\d+): error: (.*)", line):
            found[Path(match[1]).name][int(match[2])] = match[3]
    return found


CHECKERS: dict[str, Callable[[], Errors]] = {"pyright": pyright_errors, "mypy": mypy_errors}


@pytest.fixture(scope="module", params=CHECKERS)
def errors(request: pytest.FixtureRequest) -> Errors:
    pytest.importorskip(request.param, reason=f"{request.param} is not installed: the nox session `types` has it")
    return CHECKERS[request.param]()


def marked_lines(name: str) -> set[int]:
    lines = (CASES / name).read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith(MARK)}


def test_right_calls_have_no_type_errors(errors: Errors) -> None:
    assert errors["accepted.py"] == {}


def test_wrong_calls_are_type_errors(errors: Errors) -> None:
    assert set(errors["rejected.py"]) == marked_lines("rejected.py"), errors["rejected.py"]
