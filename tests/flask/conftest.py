"""The fixture site on every server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..servers import RunningServer
from .servers import SERVERS, Site


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with SERVERS[request.param]() as server:
        yield server


@pytest.fixture
def site(server: RunningServer) -> Site:
    return Site(server)
