"""What a session of pytest has run together, for docs/compatibility.md.

With ``CI_RECORDS`` in the environment, which names a folder, each session writes a file of JSON there: its versions,
and the combinations that its tests have noted while they ran. `tests.docs.compatibility_claims` compares the page.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FOLDER = "CI_RECORDS"
PROPERTY = "ran"
PACKAGES = (
    *("ag-ui-protocol", "flask", "django", "fastapi", "starlette", "pydantic-ai-slim", "ag-ui-langgraph", "langgraph"),
    *("uvicorn", "gunicorn", "gevent", "waitress", "daphne", "hypercorn", "granian"),
)
"""Whose versions are recorded, where they are installed."""

FRAMEWORKS = ("flask", "django")
"""Folders of tests, each of which is about one framework."""

Combination = tuple[str, ...]
"""Its kind, and what was run together: ``("server", "flask", "gevent")``."""

_noted: list[Combination] = []


def note(*combination: str) -> None:
    """Notes that the test that runs, or the fixture that is made for it, runs these together."""
    _noted.append(combination)


def forget() -> None:
    """Forgets what was noted outside of tests."""
    _noted.clear()


def note_server(arguments: Sequence[str], adapter: str) -> None:
    """Notes the server of a command line of ``python -m``, and the adapter that it serves."""
    module = arguments[2].removeprefix("tests.").removesuffix("_server") if [*arguments[1:2]] == ["-m"] else ""
    development = {"flask": ("flask", "flask run"), "django": ("django-wsgi", "runserver")}
    if module == "gunicorn" and "--worker-class" in arguments:
        worker_class = arguments[arguments.index("--worker-class") + 1].rpartition(".")[2]
        note("server", adapter, f"gunicorn {worker_class}")
    elif module in ("uvicorn", "daphne", "waitress", "wsgiref", "hypercorn", "granian"):
        note("server", adapter, module)
    elif module in development:
        note("server", *development[module])


@dataclass(frozen=True)
class Record:
    """What a session of pytest has run.

    Attributes:
        session: the session of nox; empty outside of one.
        python: its version.
        versions: those of packages that are installed.
        passed: what tests have noted that passed.
        failed: what others have noted.
    """

    session: str
    python: str
    versions: Mapping[str, str]
    passed: frozenset[Combination]
    failed: frozenset[Combination]


class Recorder:
    """A plugin of pytest that writes the record."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._noted: dict[str, set[Combination]] = {}
        self._failed: set[str] = set()
        self._passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        noted = {tuple(value) for name, value in report.user_properties if name == PROPERTY and isinstance(value, list)}
        noted |= {("tests", folder) for folder in FRAMEWORKS if report.nodeid.startswith(f"tests/{folder}/")}
        self._noted.setdefault(report.nodeid, set()).update(noted)
        if report.failed:
            self._failed.add(report.nodeid)
        elif report.passed and report.when == "call":
            self._passed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        record = {
            "session": os.environ.get("NOX_CURRENT_SESSION", ""),
            "python": platform.python_version(),
            "versions": dict(_installed()),
            "passed": sorted(self._combinations(self._passed - self._failed)),
            "failed": sorted(self._combinations(self._failed)),
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{uuid.uuid4()}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")

    def _combinations(self, tests: Iterable[str]) -> set[Combination]:
        return {combination for test in tests for combination in self._noted[test]}


def _installed() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def attach(report: pytest.TestReport) -> None:
    """Puts what was noted into a report, which workers of pytest-xdist send on as JSON."""
    if _noted:
        report.user_properties.extend((PROPERTY, list(each)) for each in _noted)
        _noted.clear()


def configure(config: pytest.Config) -> None:
    """Records what runs, in the process that all reports reach."""
    folder: Any = os.environ.get(FOLDER)
    if folder and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(folder)), "ran")


def read(folder: Path) -> list[Record]:
    """Returns the records of all sessions of a run."""
    found = []
    for file in sorted(folder.glob("*.json")):
        data = json.loads(file.read_text(encoding="utf-8"))
        for name in ("passed", "failed"):
            data[name] = frozenset(map(tuple, data[name]))
        found.append(Record(**data))
    return found
