"""Tests that run in several processes: what the first one hears of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve import ROOT

CONFTEST = """
import os
import pytest
from tests import processes

pytest_addoption = processes.add_option
pytest_runtestloop = processes.run

@pytest.fixture(scope="session")
def shared():
    yield os.getpid()
    print("shared-end", os.getpid())

@pytest.fixture
def broken():
    yield
    raise ValueError("broken-end")
"""
FIRST = """
import atexit, os, signal, warnings
from pathlib import Path

def test_fails(shared):
    print("its-output")
    os.system("echo output-of-a-child")
    assert not shared

def test_kills(shared):
    os.kill(os.getpid(), signal.SIGKILL)

def test_warns(shared):
    atexit.register(Path("at-exit").touch)
    class Odd(UserWarning): pass
    warnings.warn(Odd("its-warning"))

def test_has_another_process(shared, broken):
    assert shared == os.getpid() != os.getppid()
"""
SECOND = """
import pytest

@pytest.mark.skip(reason="its-reason")
def test_skipped():
    pass

def test_passes(shared):
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"conftest": CONFTEST, "test_first": FIRST, "test_second": SECOND}.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "pytest.ini").touch()
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    """Returns what a session of pytest prints that runs all tests of a folder in two processes."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-ra", "-n2", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False).stdout


def test_processes_report_all_that_happens_to_tests(folder: Path) -> None:
    output = run(folder)
    assert "2 failed, 3 passed, 1 skipped, 1 warning, 1 error" in output
    for text in (
        "collected 6 items",
        "FAILED test_first.py::test_fails",
        "its-output",
        "output-of-a-child",
        "FAILED test_first.py::test_kills",
        "the process that ran this test has ended with status -9",
        "test_first.py::test_warns",
        "Odd: its-warning",
        "ERROR test_first.py::test_has_another_process - ValueError: broken-end",
        "shared-end",
        "its-reason",
    ):
        assert text in output
    assert (folder / "at-exit").exists()


def test_processes_end_after_the_failure_that_is_one_too_many(folder: Path) -> None:
    output = run(folder, "--maxfail=1", "test_first.py", "test_second.py")
    assert "1 failed" in output
    assert "stopping after 1 failures" in output
    assert "test_kills" not in output


def test_processes_run_last_failures_again(folder: Path) -> None:
    run(folder)
    output = run(folder, "--last-failed", "-n0", "--deselect=test_first.py::test_kills")
    assert "1 failed, 1 passed" in output
    assert "1 error" in output
