"""The wire, held to the recorded cases of ``tests/contract``, on every adapter's real server."""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from .contract import check
from .fixtures.configs import CONFIGURATIONS, select
from .fixtures.generative_ui import MCP_APPS_URL
from .serve import ADAPTERS
from .servers import RunningServer, serve_config
from .shared_stores import STORES, repetitions

pytestmark = pytest.mark.contract

SERVED = "the case holds multi-route mode to refusing an envelope, which auto serves"
JUDGED = "auto treats whatever is POSTed to the base path as an envelope, and reports what is wrong with this one"

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

STORED = ("run", "connect", "stop", "threads", "concurrency", "suggest", "a2ui")
"""The groups of cases that depend on where threads live."""

COVERED = [name for name, configuration in CONFIGURATIONS.items() if configuration.contract]
ALONE = ("root", "no-base-path")
"""Each has the whole of a site; all others are served together."""
LISTS = ("threads", "single-route")
"""Groups whose cases list all threads, or clear them: each comes by itself, after all others."""
GROUPED = ("default", "auto")
"""Those with most of the cases: each group of these is replayed by itself."""
AT_ONCE = 3
"""Concurrent replays: a checker mostly waits."""


@dataclasses.dataclass(frozen=True)
class Replay:
    """What a replay has found: the differences of each failing case, by the case's name and configuration."""

    differences: Mapping[str, Sequence[str]]


CASES = check.load(check.CASES)


def groups_of(*configs: str) -> list[str]:
    return sorted({case["group"] for case in CASES if case["config"] in configs})


@dataclasses.dataclass(frozen=True)
class Selection:
    """Cases for a served configuration: those of ``configs``, or of a ``group`` of them."""

    served: str
    configs: tuple[str, ...]
    group: str | None = None

    @property
    def round(self) -> int:
        """The round in which it is replayed."""
        return 1 + LISTS.index(self.group) if self.group in LISTS else 0

    def replay(self, base_url: str) -> Replay:
        cases = check.choose(CASES, self.configs, (self.group,) if self.group else ())
        assert cases, f"no case for {self}"
        replayed = check.replay(cases, base_url)
        return Replay(
            {f"{case['group']}/{case['name']} ({case['config']})": found for case, found in replayed if found}
        )


def replay_all(server: RunningServer, names: Sequence[str], selections: Sequence[Selection]) -> dict[str, list[Replay]]:
    """Replays selections against a server of these configurations; returns the replays by the one that was served."""
    mounts = {name: configuration.mount for name, configuration in select(",".join(names)).items()}

    def replay(selection: Selection) -> tuple[str, Replay]:
        return selection.served, selection.replay(f"http://127.0.0.1:{server.port}{mounts[selection.served]}")

    replays: defaultdict[str, list[Replay]] = defaultdict(list)
    rounds = [[selection for selection in selections if selection.round == number] for number in range(1 + len(LISTS))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, result in itertools.chain.from_iterable(pool.map(replay, selected) for selected in rounds):
            replays[name].append(result)
    return replays


def check_passed(replays: Sequence[Replay]) -> None:
    assert replays
    assert [replay.differences for replay in replays if replay.differences] == []


@pytest.fixture(scope="module", params=ADAPTERS)
def replays(request: pytest.FixtureRequest, clock_url: str) -> Mapping[str, list[Replay]]:
    """Every case, replayed against few servers: one for each configuration would cost most of the time."""
    together = [name for name in (*COVERED, "auto") if name not in ALONE]
    # The largest first, so that none of them is left alone at the end.
    selections = [Selection("default", ("default",), group) for group in groups_of("default")]
    selections += [Selection("auto", ("default", "single"), group) for group in groups_of("default", "single")]
    selections += [Selection(name, (name,)) for name in together if name not in GROUPED]
    with serve_config(request.param, ",".join(together), env={MCP_APPS_URL: clock_url}) as server:
        replays = replay_all(server, together, selections)
    for name in ALONE:
        with serve_config(request.param, name) as server:
            replays |= replay_all(server, [name], [Selection(name, (name,))])
    return replays


@pytest.mark.parametrize("config", COVERED)
def test_recorded_cases(replays: Mapping[str, list[Replay]], config: str) -> None:
    check_passed(replays[config])


@pytest.mark.requirement("SINGLE-02")
def test_auto_answers_both_modes(replays: Mapping[str, list[Replay]]) -> None:
    failed = {case: found for replay in replays["auto"] for case, found in replay.differences.items()}
    # A stale entry is as wrong as a missing one: the list is what the documentation relies on.
    assert set(failed) == set(EXPECTED_DIFFERENCES), failed


SHARED: Mapping[int, Sequence[str]] = {
    1: ("default", "supersede", "debug"),
    4: ("default", "supersede", "a2ui-frontend", "mcp-apps", "open-generative-ui"),
}
"""What is held to its cases over a shared store, by the number of workers; the debug feed shows the runs of its own
process."""

ON_SHARED_STORES = [
    *(("sqlite", name, 4) for name, adapter in ADAPTERS.items() if adapter.workers),
    *(("sqlite", name, 1) for name in ("asgi", "wsgi")),
    *(("postgres", name, 4) for name in ("asgi", "wsgi")[: repetitions(1, 2)]),
    *(("redis", name, 4) for name in ("wsgi", "asgi")[: repetitions(1, 2)]),
]
"""Stores, adapters, and workers of each: with SQLite, several are tried on all adapters, one alone on the two that the
others are made of."""


@pytest.fixture(
    scope="module",
    params=ON_SHARED_STORES,
    ids=lambda param: "-".join(map(str, param)),
)
def stored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clock_url: str
) -> Mapping[str, list[Replay]]:
    """The cases that touch the store, over one for each configuration."""
    kind, adapter, workers = request.param
    names = SHARED[workers]
    with (
        STORES[kind](tmp_path_factory.mktemp("stores")) as store,
        serve_config(
            adapter,
            ",".join(names),
            store=store.url_of("{config}"),
            workers=workers,
            env={MCP_APPS_URL: clock_url},
        ) as server,
    ):
        selections = [
            Selection(name, (name,), group) for name in names for group in groups_of(name) if group in (*STORED, name)
        ]
        return replay_all(server, names, selections)


def test_recorded_cases_that_touch_the_store(stored: Mapping[str, list[Replay]]) -> None:
    for replays in stored.values():
        check_passed(replays)


def test_every_configuration_of_the_cases_is_served() -> None:
    used = {case["config"] for case in CASES}
    assert {name for name in used if not name.startswith("middleware")} == set(COVERED)
