"""``examples/compose``: the file, and its processes without containers."""

from __future__ import annotations

import contextlib
import copy
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ..http_client import Client, Stream, text_of, types, unique, user_message
from ..missing import skip_unless_ci
from ..nginx import run_nginx
from ..serve import ROOT
from ..servers import RunningServer, free_port, run_server
from ..services.postgres import shared_postgres
from ..services.redis import run_redis
from .compose import default_value, dockerfile_command, problems

yaml = pytest.importorskip("yaml")

pytestmark = pytest.mark.requirement("DEPLOY-01")

FOLDER = ROOT / "examples/compose"
README = (FOLDER / "README.md").read_text("utf-8")
WEB = ("web1", "web2")
ENDLESS = 10**6
"""A count that no run reaches."""


@pytest.fixture(scope="module")
def document() -> Any:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))


# --- the file ---


def test_compose_file_is_valid(document: Any) -> None:
    assert list(problems(document, FOLDER)) == []


def test_compose_accepts_the_file() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("docker compose is not installed")
    subprocess.run(["docker", "compose", "config", "--quiet"], cwd=FOLDER, check=True)


MISTAKES: dict[str, Callable[[Any], object]] = {
    "services.web1": lambda services: services["web1"].update(helthcheck={}),
    "web1.depends_on: db": lambda services: services["web1"]["depends_on"].update(db={"condition": "service_healthy"}),
    "web1.environment": lambda services: services["web1"]["environment"].update(STORE="${STORE"),
    "nginx.ports": lambda services: services["nginx"].update(ports=["8080:80"]),
    "nginx: either": lambda services: services["nginx"].pop("image"),
    "redis.volumes: cache": lambda services: services["redis"].update(volumes=["cache:/data"]),
    "redis.image": lambda services: services["redis"].update(image="redis"),
    "nginx.volumes: there is no": lambda services: services["nginx"].update(volumes=["./missing.conf:/etc/x:ro"]),
}


@pytest.mark.parametrize("problem", MISTAKES)
def test_mistakes_in_a_compose_file_are_found(problem: str, document: Any) -> None:
    wrong = copy.deepcopy(document)
    MISTAKES[problem](wrong["services"])
    assert any(found.startswith(problem.removeprefix("services.")) for found in problems(wrong, FOLDER))


def test_compose_waits_longer_than_the_server(document: Any) -> None:
    command = dockerfile_command(FOLDER / "Dockerfile")
    seconds = int(command[command.index("--timeout-graceful-shutdown") + 1])
    for name in WEB:
        assert int(document["services"][name]["stop_grace_period"].removesuffix("s")) > seconds


# --- the processes ---


class Site:
    """The processes of the file: web servers by the names of their containers, and nginx, whose client ``client`` is.

    Args:
        store: What STORE is for the web servers.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._running: dict[str, contextlib.ExitStack] = {}
        self.web: dict[str, RunningServer] = {}
        for name in WEB:
            self._start(name, free_port())

    def _start(self, name: str, port: int) -> None:
        self._running[name] = contextlib.ExitStack()
        self.web[name] = self._running[name].enter_context(web_server(self._store, port))

    def restart(self, name: str) -> None:
        """Ends a web server as `docker compose up` does with an old container, and starts another one."""
        self._running[name].close()
        self._start(name, self.web[name].port)

    def close(self) -> None:
        for running in self._running.values():
            running.close()

    def streams(self, name: str) -> int:
        """Returns how many runs and connects a web server has answered, by its log."""
        return len(re.findall(r"POST /api/copilotkit/agent/default/(?:run|connect)", self.web[name].log()))


@contextlib.contextmanager
def postgres_store(document: Any) -> Iterator[str]:
    """Yields STORE as the web containers have it by default."""
    server = shared_postgres()
    with server.connect() as db:
        db.execute("DROP DATABASE IF EXISTS copilot WITH (FORCE)")
        db.execute("DROP ROLE IF EXISTS copilot")
        environment = document["services"]["postgres"]["environment"]
        db.execute(f"CREATE ROLE {environment['POSTGRES_USER']} LOGIN")
        db.execute(f"CREATE DATABASE {environment['POSTGRES_DB']} OWNER {environment['POSTGRES_USER']}")
    url = default_value(document["services"]["web1"]["environment"]["STORE"])
    assert "@postgres/" in url
    yield url.replace("@postgres/", f"@127.0.0.1:{server.port}/")


@contextlib.contextmanager
def redis_store(document: Any) -> Iterator[str]:
    """Yields STORE as the README has it for Redis."""
    program, *options = document["services"]["redis"]["command"]
    assert program == "redis-server"
    [url] = re.findall(r"^STORE=(\S+) docker compose up", README, re.MULTILINE)
    assert url == "redis://redis"
    with run_redis(*options) as server:
        yield f"redis://127.0.0.1:{server.port}"


STORES = {"postgres": postgres_store, "redis": redis_store}


@contextlib.contextmanager
def web_server(store: str, port: int) -> Iterator[RunningServer]:
    """Runs the command of the Dockerfile."""
    program, *arguments = dockerfile_command(FOLDER / "Dockerfile")
    replaced = {"0.0.0.0": "127.0.0.1", "8000": str(port)}
    command = [sys.executable, "-m", program, *(replaced.get(word, word) for word in arguments)]
    environment = {"STORE": store, "PGPASSWORD": "copilot"}
    with run_server(command, port, env=environment, folder=FOLDER) as server:
        yield server


@contextlib.contextmanager
def nginx(web: Mapping[str, RunningServer]) -> Iterator[Client]:
    """Runs nginx with the example's configuration."""
    skip_unless_ci(None if shutil.which("nginx") else "nginx is not installed")
    port = free_port()
    site = (FOLDER / "nginx.conf").read_text("utf-8")
    for before, after in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        *((f"server {name}:8000 ", f"server 127.0.0.1:{server.port} ") for name, server in web.items()),
    ):
        assert site.count(before) == 1
        site = site.replace(before, after)
    with tempfile.TemporaryDirectory(prefix="copilot-nginx-") as name:
        (Path(name) / "site.conf").write_text(site)
        with run_nginx(f"include {name}/site.conf;", port, Path(name)) as client:
            yield client


@pytest.fixture(scope="module", params=STORES)
def site(request: pytest.FixtureRequest, document: Any) -> Iterator[Site]:
    with STORES[request.param](document) as store, contextlib.closing(Site(store)) as site:
        yield site


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[Client]:
    with nginx(site.web) as client:
        yield client


def count_to(client: Client, number: int, thread: str) -> Stream:
    return client.start_run("default", thread, messages=[user_message(str(number))])


def replayed(client: Client, thread: str) -> str:
    return text_of(frame.event for frame in client.replay("default", thread))


def test_any_container_reaches_any_thread(site: Site, client: Client) -> None:
    threads = [unique("thread") for _ in range(6)]
    for thread in threads:
        with count_to(client, 2, thread) as stream:
            assert text_of(stream.rest()) == "1 2 "
    assert [replayed(client, thread) for thread in threads] == ["1 2 "] * 6
    assert all(site.streams(name) for name in WEB), "nginx asks both"
    for server in site.web.values():
        assert not re.search("appendonly|maxmemory", server.log()), "the settings are those that the store needs"


def test_a_run_is_stopped_and_followed_through_either_container(client: Client) -> None:
    thread = unique("thread")
    with count_to(client, ENDLESS, thread) as stream:
        stream.until("TEXT_MESSAGE_CONTENT")
        with client.connect("default", thread) as first, client.connect("default", thread) as second:
            for reader in (first, second):
                reader.until("TEXT_MESSAGE_CONTENT")
            client.stop("default", thread)
            ends = [types(reader.rest())[-1] for reader in (stream, first, second)]
    assert len(set(ends)) == 1


@pytest.mark.parametrize("site", ["postgres"], indirect=True)
def test_containers_are_replaced_one_at_a_time(site: Site, client: Client) -> None:
    threads = [unique("thread") for _ in range(4)]
    with contextlib.ExitStack() as stack:
        for name in WEB:
            streams = [stack.enter_context(count_to(client, 15, thread)) for thread in threads]
            for stream in streams:
                stream.until("TEXT_MESSAGE_CONTENT")
            site.restart(name)
            assert [types(stream.rest())[-1] for stream in streams] == ["RUN_FINISHED"] * len(threads)
            with count_to(client, 1, unique("thread")) as stream:
                assert types(stream.rest())[-1] == "RUN_FINISHED", "the other one answers"
    expected = " ".join(map(str, range(1, 16))) + " "
    assert [replayed(client, thread) for thread in threads] == [expected * 2] * len(threads)
