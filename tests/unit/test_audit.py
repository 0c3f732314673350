"""``nox -s audit``, with a program in the place of pip-audit."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

pytest.importorskip("nox")

ROOT = Path(__file__).parents[2]
FOUND = {"name": "flask", "version": "3.1.3", "vulns": [{"id": "CVE-1", "fix_versions": ["3.1.9"]}]}
UNFIXED = {"name": "django", "version": "5.2", "vulns": [{"id": "CVE-2", "fix_versions": []}]}
CLEAN = {"name": "werkzeug", "version": "3.1.9", "vulns": []}
SKIPPED = {"name": "httpx2", "skip_reason": "not found"}


class SessionFailed(Exception):
    pass


class FakeSession:
    """What the check uses of a session of nox."""

    def __init__(self, folder: Path) -> None:
        self.bin = str(folder)
        self.warnings: list[str] = []

    def install(self, *requirements: str) -> None:
        pass

    def create_tmp(self) -> str:
        return self.bin

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def error(self, text: str) -> None:
        raise SessionFailed(text)


@functools.cache
def noxfile() -> Any:
    spec = importlib.util.spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    with mock.patch.dict(os.environ):  # which it changes for pyenv
        spec.loader.exec_module(module)
    return module


def audit(folder: Path, output: str, errors: str = "") -> list[str]:
    """Runs the check; returns its warnings."""
    (folder / "output").write_text(output)
    (folder / "errors").write_text(errors)
    program = folder / "pip-audit"
    program.write_text(f"#!/bin/sh\ncat {folder}/output\ncat {folder}/errors >&2\nexit 1\n")
    program.chmod(0o755)
    session = FakeSession(folder)
    noxfile().audit.func(session)
    return session.warnings


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_audit_fails_for_a_known_vulnerability_and_names_the_version(tmp_path: Path) -> None:
    with pytest.raises(
        SessionFailed, match=r"flask 3\.1\.3: CVE-1, fixed in 3\.1\.9; django 5\.2: CVE-2, .*no version"
    ):
        audit(tmp_path, json.dumps({"dependencies": [CLEAN, FOUND, UNFIXED, SKIPPED]}))


def test_audit_names_what_it_has_no_data_for(tmp_path: Path) -> None:
    assert audit(tmp_path, json.dumps({"dependencies": [CLEAN]})) == []
    (warning,) = audit(tmp_path, json.dumps({"dependencies": [CLEAN, SKIPPED]}))
    assert warning == "skipped: pip-audit has no data for httpx2"


@pytest.mark.parametrize("output", ["", "<html>", "[]", "{}"])
def test_audit_says_so_where_its_data_cannot_be_reached(tmp_path: Path, output: str) -> None:
    (warning,) = audit(tmp_path, output, "WARNING: x\nConnectionError: no route\n")
    assert warning == "skipped: the data of pip-audit cannot be reached: ConnectionError: no route"


def test_audit_is_of_the_oldest_versions(tmp_path: Path) -> None:
    audit(tmp_path, json.dumps({"dependencies": []}))
    floors = (tmp_path / "floors.txt").read_text().splitlines()
    assert any(line.startswith("werkzeug==") for line in floors)
    assert len(floors) == len({line.partition("==")[0] for line in floors})
