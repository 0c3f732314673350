"""The wire, held to the recorded cases of ``tests/contract``, on every adapter's real server."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .fixtures.configs import CONFIGURATIONS, select
from .serve import ADAPTERS, ROOT
from .servers import RunningServer, serve_config

pytestmark = pytest.mark.contract

CONTRACT = ROOT / "tests" / "contract"
CHECK_SECONDS = 900
"""Longer than any replay takes; what ends one that hangs."""

SERVED = "the case pins that multi-route mode refuses an envelope; auto is there to serve it"
JUDGED = "auto takes what is POSTed to the base path for an envelope, and says what is wrong with this one"

EXPECTED_DIFFERENCES: Mapping[str, str] = {
    "routing/envelope-to-multi-route-info (default)": SERVED,
    "routing/envelope-to-multi-route-slash (default)": SERVED,
    "routing/envelope-to-unknown-path (default)": SERVED,
    "routing/envelope-charset (default)": SERVED,
    "routing/envelope-to-multi-route-agent-stop (default)": JUDGED,
    "routing/envelope-to-multi-route-resource-request (default)": JUDGED,
    "routing/envelope-method-not-a-string (default)": JUDGED,
    "routing/envelope-null (default)": JUDGED,
    "routing/base-post-not-an-envelope (default)": JUDGED,
}
"""Cases of `default` and `single` that ``mode="auto"`` answers differently, and why it must."""

STORED = ("run", "connect", "stop", "threads", "concurrency", "suggest")
"""The groups of cases that depend on where threads live."""

COVERED = [name for name, configuration in CONFIGURATIONS.items() if configuration.contract]
ALONE = ("root", "no-base-path")
"""Each has the whole of a site; all others are served together."""
LISTS = ("threads", "single-route")
"""Groups whose cases list all threads, or clear them: each comes by itself, after all others."""
GROUPED = ("default", "auto")
"""Those with most of the cases: each group of these is replayed by itself."""
AT_ONCE = 3
"""Replays that go on at the same time: a checker mostly waits."""


@dataclasses.dataclass(frozen=True)
class Replay:
    """What the checker said: its exit status, all its output, and the failing cases as it names them."""

    status: int
    output: str

    @property
    def failed(self) -> set[str]:
        return set(re.findall(r"^FAIL (.+)$", self.output, re.MULTILINE))


def replay(base_url: str, *options: str) -> Replay:
    """Replays cases against a server; ``options`` are the checker's."""
    done = subprocess.run(
        [sys.executable, str(CONTRACT / "check.py"), "--base-url", base_url, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=CHECK_SECONDS,
        check=False,
    )
    return Replay(done.returncode, done.stdout)


def cases() -> list[dict[str, Any]]:
    """All recorded cases, each with its ``group``."""
    files = sorted((CONTRACT / "cases").glob("*.json"))
    return [{**case, "group": file.stem} for file in files for case in json.loads(file.read_text(encoding="utf-8"))]


def groups_of(*configs: str) -> list[str]:
    return sorted({case["group"] for case in cases() if case["config"] in configs})


@dataclasses.dataclass(frozen=True)
class Asked:
    """Cases for a served configuration: those of ``configs``, or of a ``group`` of them."""

    served: str
    configs: tuple[str, ...]
    group: str | None = None

    @property
    def turn(self) -> int:
        """The round it is replayed in."""
        return 1 + LISTS.index(self.group) if self.group in LISTS else 0

    def options(self) -> list[str]:
        configs = [part for config in self.configs for part in ("--config", config)]
        return [*configs, "--group", self.group] if self.group else configs


def replayed(server: RunningServer, names: Sequence[str], asked: Sequence[Asked]) -> dict[str, list[Replay]]:
    """All replays against a server of these configurations, by the one that was served."""
    mounts = {name: configuration.mount for name, configuration in select(",".join(names)).items()}

    def one(what: Asked) -> tuple[str, Replay]:
        return what.served, replay(f"http://127.0.0.1:{server.port}{mounts[what.served]}", *what.options())

    found: defaultdict[str, list[Replay]] = defaultdict(list)
    rounds = [[what for what in asked if what.turn == turn] for turn in range(1 + len(LISTS))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, result in itertools.chain.from_iterable(pool.map(one, some) for some in rounds):
            found[name].append(result)
    return found


def passed(replays: Sequence[Replay]) -> None:
    assert replays
    assert not [replay.output for replay in replays if replay.status != 0]


@pytest.fixture(scope="module", params=ADAPTERS)
def replays(request: pytest.FixtureRequest) -> Mapping[str, list[Replay]]:
    """Every case, replayed at once: a server and a checker for each configuration would cost most of the time."""
    crowd = [name for name in (*COVERED, "auto") if name not in ALONE]
    # The largest first, so that none of them is left alone at the end.
    asked = [Asked("default", ("default",), group) for group in groups_of("default")]
    asked += [Asked("auto", ("default", "single"), group) for group in groups_of("default", "single")]
    asked += [Asked(name, (name,)) for name in crowd if name not in GROUPED]
    with serve_config(request.param, ",".join(crowd)) as server:
        found = replayed(server, crowd, asked)
    for name in ALONE:
        with serve_config(request.param, name) as server:
            found |= replayed(server, [name], [Asked(name, (name,))])
    return found


@pytest.mark.parametrize("config", COVERED)
def test_recorded_cases(replays: Mapping[str, list[Replay]], config: str) -> None:
    passed(replays[config])


@pytest.mark.requirement("SINGLE-02")
def test_auto_answers_both_modes(replays: Mapping[str, list[Replay]]) -> None:
    failed = {case for replay in replays["auto"] for case in replay.failed}
    # A stale entry is as wrong as a missing one: the list is what the documentation relies on.
    assert failed == set(EXPECTED_DIFFERENCES), [replay.output for replay in replays["auto"]]


ONE_FILE: Mapping[int, Sequence[str]] = {1: ("default", "supersede", "debug"), 4: ("default", "supersede")}
"""What is held to its cases over SQLite, by the number of workers; the debug feed shows the runs of its own process."""

ON_ONE_FILE = [(name, 4) for name, adapter in ADAPTERS.items() if adapter.workers] + [("asgi", 1), ("wsgi", 1)]
"""Adapters, and workers of each: several are tried on all, one alone on the two that the others are made of."""


@pytest.fixture(
    scope="module",
    params=ON_ONE_FILE,
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Replay]]:
    """The cases that touch the store, over a file for each configuration."""
    adapter, workers = request.param
    url = f"sqlite:///{tmp_path_factory.mktemp('stores')}/{{config}}.db"
    names = ONE_FILE[workers]
    with serve_config(adapter, ",".join(names), store=url, workers=workers) as server:
        asked = [Asked(name, (name,), group) for name in names for group in groups_of(name) if group in (*STORED, name)]
        return replayed(server, names, asked)


def test_recorded_cases_that_touch_the_store(stored: Mapping[str, list[Replay]]) -> None:
    for replays in stored.values():
        passed(replays)


def test_every_configuration_of_the_cases_is_served() -> None:
    used = {case["config"] for case in cases()}
    assert {name for name in used if not name.startswith("middleware")} == set(COVERED)
