"""What all tests share."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from . import ran

if TYPE_CHECKING:
    from .shared_stores import SharedStore

# How long an example takes depends on what else the machine does. All else is as Hypothesis has it, in CI as well.
hypothesis.settings.register_profile("tests", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("tests")

LONGEST = (
    "test_workers.py",
    "test_servers.py",
    "test_contract.py",
    "test_playground.py",
    "client/test_client.py",
    "frameworks/test_approvals_in_browser.py",
    "test_misbehaving_agents.py",
    "test_input_validation.py",
    "test_users.py",
    "test_graceful_end.py",
    "test_store_outages.py",
    "test_streams.py",
    "fuzz/test_campaign.py",
    "test_store_faults.py",
    "test_csrf_and_cors.py",
    "test_demo.py",
)
"""Files that take the longest, the longest first: one that starts last would be waited for at the end."""

OTHER_ADAPTERS = frozenset(("flask", "django-wsgi", "django-asgi"))
"""Those that are made of one of the two others: WSGI's or ASGI's."""


# A shell that starts the tests in the background has them ignore SIGINT, and so would every server that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Where no bytecode may be written, each of the hundreds of servers would compile all modules that it imports, which
# takes a quarter of its start. Beside the sources there still is none.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(Path(__file__).parents[1] / ".pytest_cache/bytecode"))


# Whatever the machine trusts: each client of an SDK would read all of it, which takes 26 ms, and the tests and their
# servers make thousands. None of them needs it.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "fixtures/authority.pem")


def pytest_configure(config: pytest.Config) -> None:
    ran.configure(config)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skips files without the marker that ``-m`` names: to collect all tests takes each process 10 s of CPU."""
    marker: str = config.option.markexpr
    if marker.isidentifier() and collection_path.match("test_*.py"):
        return f"pytest.mark.{marker}" not in collection_path.read_text(encoding="utf-8") or None
    return None


def is_repetition(item: pytest.Item) -> bool:
    """Whether a test that one adapter of each stack has to pass is for another one."""
    if item.get_closest_marker("one_of_each_stack") is None:
        return False
    assert isinstance(item, pytest.Function)
    places = (value if isinstance(value, tuple) else (value,) for value in item.callspec.params.values())
    return any(word in OTHER_ADAPTERS for place in places for word in place if isinstance(word, str))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keeps all that is imported and collected from the collector: many tests call it, and it took 1 s each time.

    No test calls `gc.unfreeze`, which would thaw all of it for those that follow.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "FULL_REPETITIONS" not in os.environ:
        repetitions = {item for item in items if is_repetition(item)}
        config.hook.pytest_deselected(items=list(repetitions))
        items[:] = [item for item in items if item not in repetitions]
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))


def pytest_collection_finish() -> None:
    ran.forget()  # what modules do when they are imported is no test


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "shared_store" in metafunc.fixturenames:
        from .shared_stores import kinds

        marker = metafunc.definition.get_closest_marker("stores")
        metafunc.parametrize("shared_store", kinds(marker.args if marker else ("sqlite",)), indirect=True)


@pytest.fixture
def shared_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SharedStore]:
    """A store for the processes of one test, of the kinds that the marker ``stores`` names."""
    from .shared_stores import STORES

    ran.note("store", request.param)
    with STORES[request.param](tmp_path) as store:
        yield store


@pytest.fixture(scope="session")
def clock_url() -> Iterator[str]:
    """The URL of an MCP server with an app (`fixtures/clock_server.py`)."""
    from .mcp_apps import run_clock_server

    with run_clock_server() as url:
        yield url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Some tests log invalid text on purpose; reports travel between processes as UTF-8."""
    report = yield
    ran.attach(report)
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    return report
