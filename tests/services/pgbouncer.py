"""PgBouncer in transaction mode, in front of a PostgreSQL server."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator

import psycopg

from ..missing import skip_unless_ci
from ..servers import free_port
from . import supervisor
from .postgres import PostgresServer
from .processes import account, end, find_program, service_folder

START_SECONDS = 20.0

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {pool_size}
max_client_conn = 300
admin_users = postgres
server_login_retry = 1
ignore_startup_parameters = extra_float_digits
"""


def missing_pgbouncer() -> str | None:
    """Returns why PgBouncer cannot be started here, or None."""
    return None if find_program("pgbouncer", "/usr/sbin") else "PgBouncer is not installed (Debian: pgbouncer)"


@contextlib.contextmanager
def run_pgbouncer(server: PostgresServer, mode: str = "transaction", pool_size: int = 5) -> Iterator[int]:
    """Runs PgBouncer in front of a server. Yields its port, for `PostgresServer.url`."""
    skip_unless_ci(missing_pgbouncer())
    program = find_program("pgbouncer", "/usr/sbin")
    assert program is not None
    user, port = account("postgres"), free_port()
    with service_folder("pgbouncer", user) as folder:
        file = folder / "pgbouncer.ini"
        # All clients become one user of the server with auth_type = any, which needs one in the connection string.
        text = CONFIGURATION.format(server=f"{server.port} user=postgres", port=port, mode=mode, pool_size=pool_size)
        file.write_text(text)
        file.chmod(0o644)
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(
                [program, str(file)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=user, cwd=folder
            )
        supervisor.guard(process, signal.SIGTERM, folder)
        try:
            _wait_until_up(port, process)
            yield port
        finally:
            end(process)
            supervisor.release(process)


def _wait_until_up(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres", connect_timeout=10).close()
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise RuntimeError(f"PgBouncer ended with status {process.wait(0.05)}")
        if time.monotonic() > deadline:
            raise RuntimeError("PgBouncer does not accept connections")
