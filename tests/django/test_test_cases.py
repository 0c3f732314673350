"""Django's own test cases with agents that use the ORM, as a project's tests run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..serve import ROOT

PROJECT = "tests.fixtures.tested_django"
TESTS = "tests/fixtures/tested_django/tests.py"
SECONDS = 240

RUNNERS = {
    "manage.py test": ["-m", "django", "test", "--noinput", PROJECT],
    "pytest-django": [
        *("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-p", "django"),
        *("--ds", f"{PROJECT}.settings", TESTS),
    ],
}


@pytest.mark.requirement("TESTING-03")
@pytest.mark.parametrize("database", ["", "test.sqlite3"], ids=["memory", "file"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_orm_in_agents_uses_the_connection_of_the_test(runner: str, database: str, tmp_path: Path) -> None:
    store = tmp_path / "copilot.db"
    done = subprocess.run(
        [sys.executable, *RUNNERS[runner]],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings",
            "TESTED_DJANGO_DATABASE": database and str(tmp_path / database),
            "TESTED_DJANGO_STORE": str(store),
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "7 passed" in output or "Ran 7 tests" in output
    # Nothing was left open or running.
    assert "ResourceWarning" not in output
    assert "Traceback" not in output
