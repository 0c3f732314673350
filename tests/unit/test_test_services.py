"""The services that tests start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..services.postgres import missing_postgres
from ..services.redis import require_redis

BOUND_SECONDS = 60
ROOT = Path(__file__).parents[2]

REDIS = """
import sys, time
from tests.services.redis import run_redis
with run_redis() as server:
    print(server.process.pid, server.folder, flush=True)
    time.sleep(600)
"""
POSTGRES = """
import sys, time
from tests.services.postgres import run_postgres
with run_postgres() as server:
    server.pause()
    print(server.pids()[0], server.folder, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("script", [REDIS, POSTGRES], ids=["redis", "postgres that is suspended"])
def test_a_service_ends_with_the_test_process_that_is_killed(script: str) -> None:
    require_redis()
    if script is POSTGRES and missing_postgres():
        pytest.skip(missing_postgres() or "")
    tests = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert tests.stdout is not None
        pid, folder = tests.stdout.readline().split()
    finally:
        os.killpg(tests.pid, signal.SIGKILL)
        tests.communicate()
    deadline = time.monotonic() + BOUND_SECONDS
    while Path(folder).exists() or Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
