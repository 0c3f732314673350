"""``examples/fastapi_app``: a route, and a runtime beside it, with the same users."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..client.test_client import missing_requirement
from ..http_client import Client, unique
from ..missing import skip_unless_ci
from ..servers import RunningServer
from .launch import chat, run_example

ADA = {"authorization": "Bearer ada-token"}
BOB = {"authorization": "Bearer bob-token"}


PAGE = "http://localhost:5173"
OLD_FRONTEND = Path(__file__).parents[1] / "client" / "old_frontend.mjs"
CLIENT_SECONDS = 120


@pytest.fixture(
    scope="module",
    params=[
        "uvicorn app:app --port 8000 --timeout-graceful-shutdown 1",
        "fastapi dev app.py --port 8000",
        "fastapi run app.py --port 8000",
    ],
)
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    if request.param.startswith("fastapi") and importlib.util.find_spec("fastapi_cli") is None:
        skip_unless_ci("FastAPI's command line is not installed; run: pip install fastapi-cli")
    with run_example("fastapi_app", request.param) as server:
        yield server


def test_the_applications_own_routes_are_unchanged(server: RunningServer) -> None:
    site = Client(server, "")
    orders = site.request("GET", "/orders", headers=ADA)
    assert (orders.status, orders.json()) == (200, ["a kettle", "two cups"])
    assert site.request("GET", "/orders").status == 401
    assert site.request("GET", "/docs").status == 200


@pytest.mark.parametrize(
    ("headers", "orders"), [(ADA, "Ada, your orders are: a kettle, two cups."), (BOB, "a bicycle bell")]
)
def test_agent_knows_the_user_of_the_token(server: RunningServer, headers: dict[str, str], orders: str) -> None:
    assert orders in chat(Client(server, headers=headers), "What have I ordered?")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer mallory"}])
def test_unknown_users_get_a_401(server: RunningServer, headers: dict[str, str]) -> None:
    with Client(server, headers=headers).start_run("default", unique("thread")) as response:
        assert response.status == 401
        assert response.json()["error"]


def test_a_thread_belongs_to_its_user(server: RunningServer) -> None:
    thread = unique("thread")
    ada, bob = Client(server, headers=ADA), Client(server, headers=BOB)
    chat(ada, "What have I ordered?", thread)
    with ada.connect("default", thread) as own, bob.connect("default", thread) as other:
        assert "a kettle" in own.read().decode()
        assert "a kettle" not in other.read().decode()


# --- a page of another origin --------------------------------------------------------------

FRONTENDS = {
    "before 1.69": ("POST", "", {"method": "info"}, "authorization,content-type"),
    "since 1.69": ("GET", "/info", None, "authorization"),
}
"""What the first request of a page is, and the headers of its preflight."""


@pytest.mark.requirement("ASGI-05")
@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("origin", [PAGE, "http://localhost:5174"])
def test_cors_preflight_of_the_very_url_that_a_frontend_requests(
    server: RunningServer, frontend: str, origin: str
) -> None:
    method, path, body, names = FRONTENDS[frontend]
    asked = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": names}
    client = Client(server)
    preflight = client.request("OPTIONS", path, headers=asked)
    # A browser follows no redirect of a preflight.
    assert preflight.status == 204, preflight
    allowed = PAGE if origin == PAGE else None
    assert preflight.headers.get("access-control-allow-origin") == allowed
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    response = client.request(method, path, body, {**ADA, "origin": origin})
    assert response.status == 200
    assert response.headers.get("access-control-allow-origin") == allowed


@pytest.mark.client
@pytest.mark.requirement("ASGI-05")
def test_frontend_1_57_on_a_page_of_another_origin(server: RunningServer) -> None:
    skip_unless_ci(missing_requirement())
    done = subprocess.run(
        ["node", str(OLD_FRONTEND), server.base_url, PAGE, "What have I ordered?", json.dumps(ADA)],
        env={**os.environ, "COPILOTKIT_TELEMETRY_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "Ada, your orders are: a kettle, two cups."
