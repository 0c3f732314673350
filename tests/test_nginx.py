"""The nginx configuration of the documentation, in front of a real server."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .http_client import Client, types, unique
from .nginx import run_nginx, server_block
from .serve import ROOT
from .servers import RunningServer, free_port, serve_runtime
from .test_streams import steps

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")

DOCS = ["docs/deployment.md", "docs/flask.md", "docs/django.md"]


def documented(page: str) -> str:
    blocks = re.findall(r"```nginx\n(.+?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


def test_nginx_block_is_the_same_in_all_documents() -> None:
    assert len({documented(page) for page in DOCS}) == 1


@contextlib.contextmanager
def nginx_before(server: RunningServer, folder: Path) -> Iterator[Client]:
    """A client of nginx, with the documentation's configuration."""
    port = free_port()
    location = documented(DOCS[0]).replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    assert str(server.port) in location
    with run_nginx(server_block(port, location), port, folder) as client:
        yield client


@pytest.mark.requirement("STOP-07")
@pytest.mark.parametrize("adapter", ["asgi", "wsgi"])
def test_nginx_passes_on_each_event_and_the_end_of_a_run_at_shutdown(adapter: str, tmp_path: Path) -> None:
    with (
        serve_runtime(adapter, "plain") as server,
        nginx_before(server, tmp_path) as client,
        client.start_run("play", unique("thread"), **steps(("say", "a"), ("wait", "never"))) as stream,
    ):
        stream.until("TEXT_MESSAGE_CONTENT")
        server.process.send_signal(signal.SIGTERM)
        assert types(stream.rest())[-1] == "RUN_ERROR"


@pytest.mark.requirement("STOP-07")
@pytest.mark.parametrize("adapter", ["asgi", "wsgi"])
def test_nginx_shows_that_a_stream_was_torn(adapter: str, tmp_path: Path) -> None:
    """The server is killed: with nginx's default, HTTP/1.0, half of the answer would look complete."""
    with (
        serve_runtime(adapter, "plain") as server,
        nginx_before(server, tmp_path) as client,
        client.start_run("play", unique("thread"), **steps(("say", "a"), ("wait", "never"))) as stream,
    ):
        stream.until("TEXT_MESSAGE_CONTENT")
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        with pytest.raises(http.client.IncompleteRead):
            stream.read()
