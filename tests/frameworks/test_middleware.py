"""Middleware around agents of frameworks, on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builtin.test_mcp import run_mcp_server
from tests.http_client import Client
from tests.middleware_cases import CASES
from tests.servers import serve_config

from .helpers import import_framework

pytestmark = pytest.mark.requirement("MIDDLEWARE-02", "MIDDLEWARE-03", "MIDDLEWARE-05")

for name in ("pydantic_ai.ui.ag_ui", "langchain.agents", "ag_ui_langgraph"):
    import_framework(name)


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with run_mcp_server() as mcp:
        env = {"MCP_URL": mcp.at("/mcp").url}
        with serve_config(request.param, "frameworks-middleware", env=env) as server:
            yield Client(server)


@pytest.mark.parametrize("kind", ["pydantic-ai", "langchain"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("check_"))
def test_middleware_around_agents_of_frameworks(case: object, kind: str, client: Client) -> None:
    assert callable(case)
    case(client, kind)
