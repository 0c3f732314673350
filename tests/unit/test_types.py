"""What a type checker says to an application's calls: nothing to those that are right, an error to each wrong one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.requirement("TYPES-01")

CASES = Path(__file__).parent / "typing_cases"
MARK = "# error"
TIMEOUT_SECONDS = 300


@pytest.fixture(scope="module")
def errors() -> dict[str, dict[int, str]]:
    """Pyright's errors: by file name and line."""
    pytest.importorskip("pyright", reason="pyright is not installed: the nox session `types` has it")
    files = [str(file) for file in sorted(CASES.glob("*.py"))]
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    assert done.returncode in (0, 1), done.stderr + done.stdout
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(files)
    found: dict[str, dict[int, str]] = {Path(file).name: {} for file in files}
    for diagnostic in report["generalDiagnostics"]:
        line = diagnostic["range"]["start"]["line"] + 1
        found[Path(diagnostic["file"]).name][line] = diagnostic["message"]
    return found


def marked_lines(name: str) -> set[int]:
    lines = (CASES / name).read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith(MARK)}


def test_right_calls_have_no_type_errors(errors: dict[str, dict[int, str]]) -> None:
    assert errors["accepted.py"] == {}


def test_wrong_calls_are_type_errors(errors: dict[str, dict[int, str]]) -> None:
    assert set(errors["rejected.py"]) == marked_lines("rejected.py"), errors["rejected.py"]
