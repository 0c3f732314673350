"""PostgreSQL servers for tests."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import psycopg

from ..missing import skip_unless_ci
from ..servers import free_port
from . import supervisor
from .processes import account, end, find_program, service_folder, signal_all, with_children

DEBIAN = "/usr/lib/postgresql/*/bin"
START_SECONDS = 60.0

_schemas = itertools.count(1)


def missing_postgres() -> str | None:
    """Returns why no server can be started here, or None."""
    return None if find_program("initdb", DEBIAN) else "PostgreSQL is not installed (Debian: postgresql)"


class PostgresServer:
    """A server in a folder, which survives restarts. Any user and password are accepted."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._settings = settings
        self._user = account("postgres")
        self._process: subprocess.Popen[bytes] | None = None
        command = [_program("initdb"), "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run(
            [*command, "--locale=C", "--no-sync", "--no-instructions"],
            check=True,
            user=self._user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )

    def url(self, schema: str = "", *, database: str = "postgres", port: int | None = None, **options: object) -> str:
        """Returns a store's URL, with options as its query.

        Args:
            schema: The store's schema; a new one by default.
            database: The database.
            port: The port of something in between, such as a proxy.
            **options: Options of the store or of libpq.
        """
        query = urlencode({"schema": schema or new_schema(), **options})
        return f"postgresql://postgres:secret@127.0.0.1:{port or self.port}/{database}?{query}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Returns a connection, in autocommit mode."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=10
        )

    def start(self) -> None:
        """Starts the server, and waits until it accepts connections."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",  # whose path may be too long: temporary folders can be deep
            "max_connections": 300,
            "log_min_messages": "warning",
        }
        values = [f"{name}={value}" for name, value in settings.items()]
        options = [part for value in [*values, *self._settings] for part in ("-c", value)]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", self.folder / "data", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self.folder,
                start_new_session=True,
            )
        supervisor.guard(self._process, signal.SIGQUIT, self.folder)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_up():
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(0.05)
                raise RuntimeError(f"PostgreSQL ended with status {status}: {self.log()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not accept connections: {self.log()}")

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stops the server: SIGINT cuts all connections, SIGQUIT is a crash, from which it recovers."""
        if self._process is not None:
            self.resume()
            end(self._process, how)
            supervisor.release(self._process)
            self._process = None

    def restart(self, how: int = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def pause(self) -> None:
        """Stops all of its processes with SIGSTOP, until `resume`."""
        signal_all(self.pids(), signal.SIGSTOP)

    def resume(self) -> None:
        signal_all(self.pids(), signal.SIGCONT)

    def pids(self) -> list[int]:
        """Returns the ids of its processes."""
        return [] if self._process is None else with_children(self._process.pid)

    def cpu_seconds(self) -> float:
        """Returns the CPU time that its processes have taken, ended ones included."""
        assert self._process is not None
        ticks = sum(sum(map(int, _stat(pid)[13 : 17 if index == 0 else 15])) for index, pid in enumerate(self.pids()))
        return ticks / os.sysconf("SC_CLK_TCK")

    def log(self) -> str:
        """Returns what the server has logged so far."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def terminate_backends(self) -> int:
        """Ends all other connections with ``pg_terminate_backend``. Returns how many."""
        with self.connect() as db:
            return len(
                db.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                ).fetchall()
            )

    def _is_up(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


@contextlib.contextmanager
def run_postgres(*settings: str) -> Iterator[PostgresServer]:
    """Runs a server of its own, such as for tests that stop it.

    Args:
        *settings: Settings of PostgreSQL, such as ``max_connections=20``.
    """
    skip_unless_ci(missing_postgres())
    with service_folder("postgres", account("postgres")) as folder:
        server = PostgresServer(folder, *settings)
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)


@functools.cache
def shared_postgres() -> PostgresServer:
    """Returns the server that all tests of this process share, each with a schema of its own. It ends at exit."""
    skip_unless_ci(missing_postgres())
    return _exit_stack().enter_context(run_postgres("fsync=off", "synchronous_commit=off", "full_page_writes=off"))


def new_schema() -> str:
    """Returns the name of a schema that no other test uses."""
    return f"test_{os.getpid()}_{next(_schemas)}"


@functools.cache
def _exit_stack() -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    owner = os.getpid()
    # Not in children of this process, which inherit what is to be called at exit.
    atexit.register(lambda: stack.close() if os.getpid() == owner else None)
    return stack


def _program(name: str) -> str:
    found = find_program(name, DEBIAN)
    assert found is not None, missing_postgres()
    return found


def _stat(pid: int) -> list[str]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ["0"] * 52
    return ["0", "0", *fields.rpartition(")")[2].split()]
