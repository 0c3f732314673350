"""`override_stores` and the pytest plugin: tests do not write to the store of an application."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime.stores import MemoryStore, SqliteStore
from copilot_runtime.testing import TestClient, override_stores

from ..serve import ROOT

pytestmark = pytest.mark.requirement("TESTING-02")


def agent(input: Any) -> Any:
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **ids}
    yield {"type": "RUN_FINISHED", **ids}


def runtime_over(store: Any) -> CopilotRuntime:
    return CopilotRuntime(agents={"a": agent}, store=store, single_user=True)


def thread_ids(runtime: CopilotRuntime) -> list[str]:
    client = TestClient(runtime)
    return [thread["id"] for thread in client.threads()]


def test_override_stores_replaces_every_store_and_restores_it(tmp_path: Path) -> None:
    runtimes = [runtime_over(MemoryStore()), runtime_over(SqliteStore(tmp_path / "copilot.db"))]
    clients = [TestClient(runtime) for runtime in runtimes]
    for client in clients:
        client.run("a", thread_id="before")
    with override_stores():
        for runtime, client in zip(runtimes, clients, strict=True):
            assert thread_ids(runtime) == []
            client.run("a", thread_id="within")
            assert thread_ids(runtime) == ["within"]
            assert isinstance(runtime.store, MemoryStore)
        with override_stores(runtimes[0]):
            assert [thread_ids(runtime) for runtime in runtimes] == [[], ["before"]]
    assert [thread_ids(runtime) for runtime in runtimes] == [["before"], ["before"]]


def test_override_stores_of_runtimes_that_are_created_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with override_stores():
        TestClient(runtime_over("sqlite:///copilot.db")).run("a")
        TestClient(runtime_over("sqlite:///temporary/copilot.db")).run("a")
        chosen = MemoryStore()
        assert runtime_over(chosen).store is chosen
    assert [path.name for path in sorted(tmp_path.rglob("*.db"))] == ["copilot.db"]
    assert (tmp_path / "temporary" / "copilot.db").is_file()


@pytest.mark.parametrize("store", ["mysql://", 3, None])
def test_override_stores_refuses_what_is_no_store(store: Any) -> None:
    with pytest.raises(ValueError, match="store="), override_stores(store=store):
        pass


def test_override_stores_stops_runs() -> None:
    import asyncio

    ended: list[str] = []

    async def patient(input: Any) -> Any:
        yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
        await asyncio.Event().wait()

    runtime = CopilotRuntime(agents={"a": patient}, on_run_end=lambda run: ended.append(run.outcome))
    with override_stores(), TestClient(runtime).stream("a") as stream:
        next(stream)
    assert ended == ["failed"]


# --- the plugin -----------------------------------------------------------------------

APPLICATION = """
from copilot_runtime import CopilotRuntime

def agent(input):
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **ids}
    yield {"type": "RUN_FINISHED", **ids}

runtime = CopilotRuntime(agents={"default": agent}, store="sqlite:///copilot.db", single_user=True)

def create_app():
    return CopilotRuntime(agents={"default": agent}, store="sqlite:///second.db", single_user=True)
"""

TESTS = """
import os
import pytest
from copilot_runtime.testing import TestClient
from application import create_app, runtime

@pytest.fixture(scope="session", autouse=True)
def seeded():
    TestClient(runtime).run("default", thread_id="of the session")

@pytest.fixture
def app():
    return create_app()

@pytest.mark.parametrize("number", [1, 2])
def test_each_test_has_a_store_of_its_own(number, app):
    for each in (runtime, app):
        client = TestClient(each)
        assert client.threads() == []
        client.run("default", thread_id="of a test")
        assert len(client.threads()) == 1
    assert not os.path.exists("second.db")

@pytest.mark.copilot_store
def test_the_configured_store():
    client = TestClient(runtime)
    assert client.threads() == []
    client.run("default", thread_id="of the marked test")
    assert [thread["id"] for thread in client.threads()] == ["of the marked test"]
"""


LAZY_TESTS = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_an_application_that_the_first_test_imports(number):
    from application import runtime
    from copilot_runtime.testing import TestClient
    client = TestClient(runtime)
    assert client.threads() == []
    client.run("default")
"""

UNRELATED_TESTS = """
import sys

def test_of_something_else():
    assert not [name for name in sys.modules if name.split(".")[0] in ("copilot_runtime", "ag_ui", "pydantic")]
"""


def run_plugin(folder: Path, tests: str) -> str:
    (folder / "application.py").write_text(APPLICATION)
    (folder / "test_application.py").write_text(tests)
    (folder / "temporary").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-c", os.devnull, "--rootdir", "."],
        cwd=folder,
        env={
            **os.environ,
            "TMPDIR": str(folder / "temporary"),
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "copilot_runtime_pytest",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_pytest_plugin(tmp_path: Path) -> None:
    assert "3 passed" in run_plugin(tmp_path, TESTS)


def test_pytest_plugin_replaces_the_store_of_a_runtime_that_a_test_imports(tmp_path: Path) -> None:
    assert "2 passed" in run_plugin(tmp_path, LAZY_TESTS)
    assert list(tmp_path.rglob("*.db")) == []


def test_pytest_plugin_imports_nothing_for_tests_without_a_runtime(tmp_path: Path) -> None:
    assert "1 passed" in run_plugin(tmp_path, UNRELATED_TESTS)


def test_pytest_plugin_is_registered() -> None:
    text = (ROOT / "packages" / "core" / "pyproject.toml").read_text(encoding="utf-8")
    assert 'copilot_runtime = "copilot_runtime_pytest"' in text


def test_override_stores_keeps_no_runtime_alive() -> None:
    with override_stores():
        created = weakref.ref(runtime_over(MemoryStore()))
        gc.collect()
        assert created() is None
