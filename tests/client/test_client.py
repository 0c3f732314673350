"""The real CopilotKit client, from npm, against the server of every adapter, and older releases of it against one.

``run.mjs`` plays the scenarios, once for each adapter and for each release; here each gets a verdict of its own.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests import ran
from tests.missing import skip_unless_ci
from tests.serve import ADAPTERS
from tests.servers import serve_config

pytestmark = pytest.mark.client

HERE = Path(__file__).parent
INSTALL = "cd tests/client && npm ci"
PLAY_SECONDS = 600
"""Longer than all scenarios take even if each hangs until its own timeout."""

NEWEST = "1.75"
OLDER = ("1.57", "1.63", "1.69")
"""Other releases of the client. ``copilotkit-core-1.57`` in ``package.json`` is the last one of 1.57, and so on."""

BOTH = ("rest", "single")
SCENARIOS: Mapping[str, tuple[Sequence[str], str]] = {
    "info": (BOTH, "1.75"),
    "run": (BOTH, "1.57"),
    "frontend-tool": (BOTH, "1.57"),
    "approval": (BOTH, "1.75"),
    "shared-state": (BOTH, "1.57"),
    "reasoning": (BOTH, "1.57"),
    "interrupt": (BOTH, "1.63"),
    "stop": (BOTH, "1.57"),
    "error": (BOTH, "1.57"),
    "error-in-call": (BOTH, "1.57"),
    "replay": (BOTH, "1.57"),
    "join": (BOTH, "1.57"),
    "lost-connection": (BOTH, "1.57"),
    "busy": (BOTH, "1.57"),
    "suggestions": (BOTH, "1.75"),
    "threads": (BOTH, "1.75"),
    "thread-changes": (BOTH, "1.75"),
    "plain-ag-ui": (("rest",), "1.75"),
}
"""The scenarios of ``scenarios.mjs``, each with the client's transports that it is played over, and the oldest release
that it is played with."""


def names(release: str) -> list[str]:
    """What is played with a release."""
    return [
        f"{scenario}/{transport}"
        for scenario, (transports, since) in SCENARIOS.items()
        if since <= release
        for transport in transports
    ]


Verdicts = Mapping[str, str | None]
"""By scenario and transport: what went wrong, or None."""


def missing_requirement() -> str | None:
    """What has to be done before the client can run here, or None."""
    if shutil.which("node") is None:
        return f"the client needs Node 20.19 or newer; install it, then run: {INSTALL}"
    if not (HERE / "node_modules" / "@copilotkit" / "core" / "package.json").is_file():
        return f"the client is not installed; run: {INSTALL}"
    return None


def play(base_url: str, core: str = "@copilotkit/core") -> Verdicts:
    """Plays all scenarios against a runtime; raises AssertionError when the player itself fails.

    ``core`` is the name under which the client's release is installed.
    """
    done = subprocess.run(
        ["node", str(HERE / "run.mjs"), base_url],
        env={**os.environ, "COPILOTKIT_TELEMETRY_DISABLED": "true", "COPILOTKIT_CORE": core},
        capture_output=True,
        text=True,
        timeout=PLAY_SECONDS,
        check=False,
    )
    verdicts = {line["name"]: line["error"] for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == int(any(verdicts.values())), f"{done.stdout}\n{done.stderr}"
    return verdicts


def verdicts_of(adapter: str, *core: str) -> Verdicts:
    skip_unless_ci(missing_requirement())
    with serve_config(adapter, "client") as server:
        played = play(server.base_url, *core)
        return {name: error and f"{error}\n{server.log_tail()}" for name, error in played.items()}


@pytest.fixture(scope="module", params=ADAPTERS)
def verdicts(request: pytest.FixtureRequest) -> Verdicts:
    return verdicts_of(request.param)


@pytest.fixture(scope="module")
def verdicts_of_release() -> Callable[[str], Verdicts]:
    """Plays the scenarios with a release, once."""
    return functools.cache(lambda release: verdicts_of("asgi", f"copilotkit-core-{release}"))


@pytest.mark.requirement("CLIENT-01")
@pytest.mark.parametrize("name", names(NEWEST))
def test_scenario(request: pytest.FixtureRequest, verdicts: Verdicts, name: str) -> None:
    assert verdicts[name] is None, verdicts[name]
    ran.note("frontend", NEWEST, name, request.node.callspec.params["verdicts"])


def test_every_scenario_has_a_test(verdicts: Verdicts) -> None:
    assert list(verdicts) == names(NEWEST)


@pytest.mark.requirement("CLIENT-02")
@pytest.mark.parametrize(("release", "name"), [(release, name) for release in OLDER for name in names(release)])
def test_scenario_with_an_older_client(verdicts_of_release: Callable[[str], Verdicts], release: str, name: str) -> None:
    verdict = verdicts_of_release(release)[name]
    assert verdict is None, verdict
    ran.note("frontend", release, name, "asgi")


@pytest.mark.parametrize("release", OLDER)
def test_every_scenario_has_a_test_with_an_older_client(
    verdicts_of_release: Callable[[str], Verdicts], release: str
) -> None:
    assert list(verdicts_of_release(release)) == names(release)
