"""The services and servers that tests start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..fork_server import ForkServer
from ..services.postgres import missing_postgres
from ..services.redis import require_redis

BOUND_SECONDS = 60
ROOT = Path(__file__).parents[2]

REDIS = """
import sys, time
from tests.services.redis import run_redis
with run_redis() as server:
    print(server.folder, server.process.pid, flush=True)
    time.sleep(600)
"""
POSTGRES = """
import sys, time
from tests.services.postgres import run_postgres
with run_postgres() as server:
    server.pause()
    print(server.folder, *server.pids(), flush=True)
    time.sleep(600)
"""
WEB = """
import time
from tests.servers import serve_config
from tests.services.processes import with_children
with serve_config("wsgi", "default", server="{server}") as server:
    print(server.log_path.parent, *with_children(server.process.pid), flush=True)
    time.sleep(600)
"""
AIMOCK = """
import tempfile, time
from pathlib import Path
from tests.builtin.aimock import run_aimock
from tests.servers import free_port
with tempfile.TemporaryDirectory() as folder, run_aimock(free_port(), Path(folder)) as aimock:
    print(folder + "/missing", aimock.process.pid, flush=True)
    time.sleep(600)
"""
COMMAND = """
import time
from tests.services.processes import with_children
from tests.test_demo import run_cli
with run_cli("demo") as command:
    print("/missing", *with_children(command.process.pid), flush=True)
    time.sleep(600)
"""


SCRIPTS = {
    "redis": REDIS,
    "postgres that is suspended": POSTGRES,
    "forked server": WEB.format(server="gthread"),
    "started server": WEB.format(server="gevent"),
    "command": COMMAND,
}


@pytest.mark.parametrize(
    "script", [*SCRIPTS.values(), pytest.param(AIMOCK, marks=pytest.mark.client)], ids=[*SCRIPTS, "aimock"]
)
def test_a_service_ends_with_the_test_process_that_is_killed(script: str) -> None:
    if script is REDIS:
        require_redis()
    if script is POSTGRES and missing_postgres():
        pytest.skip(missing_postgres() or "")
    tests = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert tests.stdout is not None
        folder, *pids = tests.stdout.readline().split()
    finally:
        tests.kill()  # and not its group, which may be what ends the others
        tests.wait()
    deadline = time.monotonic() + BOUND_SECONDS
    while Path(folder).exists() or any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_many_processes_that_are_forked_may_end_at_the_same_time(tmp_path: Path) -> None:
    server = ForkServer(["platform"])
    try:
        with (tmp_path / "log").open("wb") as log:
            for _ in range(4):
                processes = [server.start(["platform"], os.environ, tmp_path, log) for _ in range(60)]
                assert {process.wait(BOUND_SECONDS) for process in processes} == {0}
    finally:
        server.close()
