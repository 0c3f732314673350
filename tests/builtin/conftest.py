"""One runtime for each adapter, and the model servers that its agents talk to."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import pytest

from tests.client.test_client import missing_requirement as lacking_client
from tests.servers import RunningServer, free_port, serve_config

from .aimock import KEY, Aimock, run_aimock
from .fake_provider import FakeProvider, run_fake_provider
from .scripts import Scripts
from .verifier import RecordingClient, Verifier, run_verifier, verified_client


@pytest.fixture(scope="session")
def scripts() -> Scripts:
    """The scripts of the fake provider."""
    return Scripts()


@pytest.fixture(scope="session")
def fake_model(scripts: Scripts) -> Iterator[FakeProvider]:
    with run_fake_provider(scripts.play) as running:
        yield running


@pytest.fixture(scope="session")
def mock_port() -> int:
    """The port of aimock: the runtimes need it before it is started, which only some tests do."""
    return free_port()


@pytest.fixture(scope="session")
def mock(mock_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aimock]:
    with run_aimock(mock_port, tmp_path_factory.mktemp("aimock")) as running:
        yield running


@pytest.fixture(scope="session")
def started(mock_port: int, fake_model: FakeProvider) -> Iterator[Callable[[str], RunningServer]]:
    """Starts the runtime of an adapter at its first use. With a parameter instead, each file would start its own."""
    env = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{mock_port}/v1",
        "OPENAI_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": fake_model.url,
        "ANTHROPIC_API_KEY": "sk-anthropic",
        "GOOGLE_GENERATIVE_AI_BASE_URL": fake_model.url,
        "GOOGLE_API_KEY": "sk-google",
        "MINIMAX_API_KEY": "",
        "BUILTIN_FAKE_URL": fake_model.url,
    }
    with contextlib.ExitStack() as servers:
        yield functools.cache(lambda adapter: servers.enter_context(serve_config(adapter, "builtin", env=env)))


@pytest.fixture(params=["asgi", "wsgi"])
def runtime(request: pytest.FixtureRequest, started: Callable[[str], RunningServer]) -> RunningServer:
    return started(request.param)


@pytest.fixture(scope="session")
def judge() -> Iterator[Verifier | None]:
    if lacking_client():
        yield None
        return
    with run_verifier() as running:
        yield running


@pytest.fixture
def client(runtime: RunningServer, judge: Verifier | None) -> Iterator[RecordingClient]:
    """A client of the runtime; AG-UI's client must accept every stream that it has read."""
    with verified_client(runtime, judge) as verified:
        yield verified
