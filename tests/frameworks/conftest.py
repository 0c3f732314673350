"""Servers, started at first use and shared by all tests here, and their clients."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import pytest

from tests.http_client import Client
from tests.servers import serve_config

Started = Callable[[str, str], Client]
"""A client of the server with that adapter and that configuration."""


@pytest.fixture(scope="session")
def started() -> Iterator[Started]:
    with contextlib.ExitStack() as servers:

        @functools.cache
        def start(adapter: str, config: str) -> Client:
            return Client(servers.enter_context(serve_config(adapter, f"frameworks-{config}")))

        yield start


@pytest.fixture(params=["asgi", "wsgi"])
def adapter(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
