"""Middleware around functions, `BuiltInAgent` and `HttpAgent`, on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.middleware_agents import KINDS
from tests.http_client import Client
from tests.middleware_cases import CASES, play_fake_model
from tests.servers import RunningServer, serve_config

from .fake_provider import run_fake_provider
from .test_mcp import run_mcp_server
from .verifier import Verifier, verified_client

pytestmark = pytest.mark.requirement("MIDDLEWARE-02", "MIDDLEWARE-03", "MIDDLEWARE-05")


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with run_fake_provider(play_fake_model) as model, run_mcp_server() as mcp:
        env = {"BUILTIN_FAKE_URL": model.url, "MCP_URL": mcp.at("/mcp").url}
        with serve_config(request.param, "middleware", env=env) as running:
            yield running


@pytest.fixture
def client(server: RunningServer, judge: Verifier | None) -> Iterator[Client]:
    """A client of the server; AG-UI's client must accept every stream that it has read."""
    with verified_client(server, judge) as verified:
        yield verified


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("check_"))
def test_middleware_around_agents_of_every_kind(case: object, kind: str, client: Client) -> None:
    assert callable(case)
    case(client, kind)
