"""The wire, held to the recordings of the shared contract, on every adapter's real server.

The cases and their checker live beside this repository (``../shared/contract`` from its
root), not in it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from .fixtures.configs import CONFIGURATIONS
from .serve import ADAPTERS, ROOT
from .servers import running

pytestmark = pytest.mark.contract

CONTRACT = ROOT.parent / "shared" / "contract"
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


@dataclasses.dataclass(frozen=True)
class Replay:
    """What the checker said: its exit status, all its output, and the failing cases as it names them."""

    status: int
    output: str

    @property
    def failed(self) -> set[str]:
        return set(re.findall(r"^FAIL (.+)$", self.output, re.MULTILINE))


@pytest.fixture(scope="module", autouse=True)
def contract() -> Path:
    if not CONTRACT.is_dir():
        said = f"the shared contract is not at {CONTRACT}: its cases cannot be replayed"
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    return CONTRACT


def replay(base_url: str, *configs: str, groups: Sequence[str] = ()) -> Replay:
    """Replays the cases of these configurations, or of some groups of them, against a server."""
    arguments = [sys.executable, str(CONTRACT / "check.py"), "--base-url", base_url]
    for config in configs:
        arguments += ["--config", config]
    for group in groups:
        arguments += ["--group", group]
    done = subprocess.run(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=CHECK_SECONDS, check=False
    )
    return Replay(done.returncode, done.stdout)


@pytest.mark.parametrize("config", COVERED)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_recorded_cases(adapter: str, config: str) -> None:
    with running(adapter, config) as server:
        result = replay(server.base_url, config)
        assert result.status == 0, result.output


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("config", ["default", "supersede"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_recorded_cases_that_touch_the_store(adapter: str, config: str, workers: int, tmp_path: Path) -> None:
    with running(adapter, config, store=f"sqlite:///{tmp_path}/threads.db", workers=workers) as server:
        result = replay(server.base_url, config, groups=STORED)
        assert result.status == 0, result.output


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_debug_feed_over_a_shared_store(adapter: str, tmp_path: Path) -> None:
    """With one worker: it shows the runs of its own process."""
    with running(adapter, "debug", store=f"sqlite:///{tmp_path}/threads.db") as server:
        result = replay(server.base_url, "debug")
        assert result.status == 0, result.output


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_auto_answers_both_modes(adapter: str) -> None:
    with running(adapter, "auto") as server:
        result = replay(server.base_url, "default", "single")
        # A stale entry is as wrong as a missing one: the list is what the documentation relies on.
        assert result.failed == set(EXPECTED_DIFFERENCES), result.output


def test_every_configuration_of_the_cases_is_served() -> None:
    files = sorted((CONTRACT / "cases").glob("*.json"))
    used = {case["config"] for file in files for case in json.loads(file.read_text(encoding="utf-8"))}
    assert {name for name in used if not name.startswith("middleware")} == set(COVERED)
