"""The real CopilotKit client, from npm, against the server of every adapter.

``run.mjs`` plays the scenarios, once for each adapter; here each gets a verdict of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.serve import ADAPTERS
from tests.servers import serve_config

pytestmark = pytest.mark.client

HERE = Path(__file__).parent
INSTALL = "cd tests/client && npm ci"
PLAY_SECONDS = 600
"""Longer than all scenarios take even if each hangs until its own timeout."""

BOTH = ("rest", "single")
SCENARIOS: Mapping[str, tuple[str, ...]] = {
    "info": BOTH,
    "run": BOTH,
    "frontend-tool": BOTH,
    "shared-state": BOTH,
    "stop": BOTH,
    "error": BOTH,
    "replay": BOTH,
    "join": BOTH,
    "lost-connection": BOTH,
    "busy": BOTH,
    "suggestions": BOTH,
    "threads": BOTH,
    "thread-changes": BOTH,
    "plain-ag-ui": ("rest",),
}
"""The scenarios of ``scenarios.mjs``, each with the client's transports that it is played over."""
NAMES = [f"{scenario}/{transport}" for scenario, transports in SCENARIOS.items() for transport in transports]

Verdicts = Mapping[str, str | None]
"""By scenario and transport: what went wrong, or None."""


def missing_requirement() -> str | None:
    """What has to be done before the client can run here, or None."""
    if shutil.which("node") is None:
        return f"the client needs Node 20.19 or newer; install it, then run: {INSTALL}"
    if not (HERE / "node_modules" / "@copilotkit" / "core" / "package.json").is_file():
        return f"the client is not installed; run: {INSTALL}"
    return None


def play(base_url: str) -> Verdicts:
    """Plays all scenarios against a runtime; raises AssertionError when the player itself fails."""
    done = subprocess.run(
        ["node", str(HERE / "run.mjs"), base_url],
        env={**os.environ, "COPILOTKIT_TELEMETRY_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=PLAY_SECONDS,
        check=False,
    )
    verdicts = {line["name"]: line["error"] for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == int(any(verdicts.values())), f"{done.stdout}\n{done.stderr}"
    return verdicts


@pytest.fixture(scope="module", params=ADAPTERS)
def verdicts(request: pytest.FixtureRequest) -> Verdicts:
    if missing := missing_requirement():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with serve_config(request.param, "client") as server:
        played = play(server.base_url)
        return {name: error and f"{error}\n{server.log_tail()}" for name, error in played.items()}


@pytest.mark.requirement("CLIENT-01")
@pytest.mark.parametrize("name", NAMES)
def test_scenario(verdicts: Verdicts, name: str) -> None:
    assert verdicts[name] is None, verdicts[name]


def test_every_scenario_has_a_test(verdicts: Verdicts) -> None:
    assert list(verdicts) == NAMES
