"""What sessions of pytest record of what they have run together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import ran
from tests.serve import ADAPTERS, SERVERS, ServerOptions


@pytest.fixture(autouse=True)
def only_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ran, "_noted", [])


def taken() -> set[ran.Combination]:
    """Returns what was noted, which is then no longer there for the record of this session itself."""
    noted = {*ran._noted}
    ran.forget()
    return noted


def report(nodeid: str, when: str = "call", outcome: str = "passed") -> pytest.TestReport:
    made = pytest.TestReport(nodeid, (nodeid, 1, ""), {}, outcome, None, when)  # type: ignore[arg-type]
    ran.attach(made)
    return made


def record_of(folder: Path, *reports: pytest.TestReport) -> ran.Record:
    recorder = ran.Recorder(folder)
    for each in reports:
        recorder.pytest_runtest_logreport(each)
    recorder.pytest_sessionfinish()
    [record] = ran.read(folder)
    return record


def test_ran_record_has_what_a_passed_test_and_its_fixtures_have_noted(tmp_path: Path) -> None:
    ran.note("server", "flask", "waitress")
    setup = report("tests/test_x.py::test_a", "setup")
    ran.note("store", "redis")
    record = record_of(tmp_path, setup, report("tests/test_x.py::test_a"), report("tests/flask/test_y.py::test_b"))
    assert record.passed == {("server", "flask", "waitress"), ("store", "redis"), ("tests", "flask")}
    assert record.failed == frozenset()


@pytest.mark.parametrize(("when", "outcome"), [("call", "failed"), ("teardown", "failed"), ("setup", "skipped")])
def test_ran_record_has_nothing_of_a_test_that_did_not_pass(when: str, outcome: str, tmp_path: Path) -> None:
    ran.note("store", "redis")
    reports = [report("tests/test_x.py::test_a", each) for each in ("setup", "call", "teardown") if each != when]
    record = record_of(
        tmp_path, *(reports if outcome == "failed" else ()), report("tests/test_x.py::test_a", when, outcome)
    )
    assert record.passed == frozenset()
    assert record.failed == ({("store", "redis")} if outcome == "failed" else frozenset())


def test_ran_servers_of_all_command_lines_are_known() -> None:
    for name, server in SERVERS.items():
        ran.note_server(server.command_line(ServerOptions(factory="x:y", port="1")), "flask")
        assert taken(), name


def test_ran_servers_of_adapters_are_told_apart() -> None:
    names = {name for adapter in ADAPTERS.values() for name in adapter.servers}
    for name in names:
        ran.note_server(SERVERS[name].command_line(ServerOptions(factory="x:y", port="1")), "flask")
    assert len(taken()) == len(names)


def test_ran_other_programs_are_no_servers() -> None:
    for command in (
        ["nginx", "-e", "stderr"],
        ["python", "-m", "copilot_runtime", "demo"],
        ["python", "-c", "uvicorn"],
    ):
        ran.note_server(command, "")
    assert taken() == set()
