"""Redis for tests: one server per test process, and servers of their own for tests that break them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..missing import skip_unless_ci
from ..servers import free_port
from . import supervisor

START_SECONDS = 30.0
"""How long a server may take until it answers, and a cluster or a sentinel until it is complete."""
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--save", "")
"""The settings that the documentation recommends, with no acknowledged write lost in a crash."""


class RedisServer:
    """A Redis server that answers, with its files in a folder of its own."""

    def __init__(self, folder: Path, *options: str, program: Sequence[str] = ("redis-server",)) -> None:
        self.port = free_port()
        self.folder = folder
        self._command = [*program, *options]
        folder.mkdir(exist_ok=True)
        while True:
            try:
                self.start()
                break
            except ChildProcessError:  # another process has taken the port meanwhile
                self.port = free_port()

    @property
    def url(self) -> str:
        """A URL of the server, with a prefix of its own."""
        return f"redis://127.0.0.1:{self.port}/0?prefix={new_prefix()}"

    def start(self) -> None:
        """Starts the server, also again, with the files that it has left."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._command, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        supervisor.guard(self.process, signal.SIGKILL, self.folder)
        wait_until(self._has_started, f"redis on port {self.port} to answer")

    def _has_started(self) -> bool:
        if self.process.poll() is not None:
            log = (self.folder / "log").read_text(errors="replace")
            raise (ChildProcessError if "in use" in log.splitlines()[-2:][0] else RuntimeError)(log)
        return self._pings()

    def _pings(self) -> bool:
        try:
            return self.command("PING").startswith(("+PONG", "-NOAUTH"))
        except OSError:
            return False

    def command(self, *words: str) -> str:
        """Sends a command and returns the first line of its reply, as it is on the wire."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS) as connection,
            connection.makefile("rwb") as stream,
        ):
            stream.write(b"*%d\r\n" % len(words))
            for word in map(str.encode, words):
                stream.write(b"$%d\r\n%s\r\n" % (len(word), word))
            stream.flush()
            return stream.readline().decode().rstrip("\r\n")

    def info(self, section: str) -> dict[str, str]:
        """Returns the fields of a section of INFO."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS) as connection,
            connection.makefile("rwb") as stream,
        ):
            stream.write(f"INFO {section}\r\n".encode())
            stream.flush()
            lines = stream.read(int(stream.readline()[1:])).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def pause(self) -> None:
        """Suspends the server's process: connections are accepted, but nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends the server at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        supervisor.release(self.process)

    def restart(self) -> None:
        """Kills the server and starts it again."""
        self.kill()
        self.start()


def wait_until(condition: Callable[[], bool], description: str) -> None:
    """Calls ``condition`` until it returns true."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {START_SECONDS:g} s for {description}")
        time.sleep(0.02)


def new_prefix() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


def require_redis() -> None:
    """Skips a test where Redis is not installed."""
    skip_unless_ci(None if shutil.which("redis-server") else "redis-server is not installed (Debian: redis-server)")


@contextlib.contextmanager
def run_redis(*options: str) -> Iterator[RedisServer]:
    """Runs a server of one's own, with further options of its command line."""
    require_redis()
    with tempfile.TemporaryDirectory(prefix="copilot-redis-") as folder:
        server = RedisServer(Path(folder), *DURABLE, *options)
        try:
            yield server
        finally:
            server.kill()


@functools.cache
def _shared_server(_process: int) -> RedisServer:
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    server = stack.enter_context(run_redis("--appendfsync", "everysec"))
    stack.callback(logging.disable)  # or stores of the tests would report that it is away, after pytest's last line
    return server


def shared_redis() -> RedisServer:
    """The server of this test process: started when it is first needed, ended with the process."""
    require_redis()
    return _shared_server(os.getpid())


def redis_url() -> str:
    """The URL of an empty store on the server of this test process."""
    return shared_redis().url


class RedisCluster:
    """A cluster of masters that have divided the slots among them."""

    def __init__(self, masters: Sequence[RedisServer]) -> None:
        self.masters = masters

    @property
    def url(self) -> str:
        """A URL of the cluster, with a prefix of its own."""
        hosts = ",".join(f"127.0.0.1:{master.port}" for master in self.masters)
        return f"redis+cluster://{hosts}?prefix={new_prefix()}"


@contextlib.contextmanager
def run_cluster(size: int = 3) -> Iterator[RedisCluster]:
    """Runs a cluster of masters."""
    require_redis()
    with tempfile.TemporaryDirectory(prefix="copilot-redis-") as folder, contextlib.ExitStack() as stack:
        masters = []
        for number in range(size):
            options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "2000")
            master = RedisServer(Path(folder) / str(number), *DURABLE, *options)
            stack.callback(master.kill)
            masters.append(master)
        addresses = [f"127.0.0.1:{master.port}" for master in masters]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "0", "--cluster-yes"]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL, timeout=START_SECONDS)
        wait_until(lambda: all(map(cluster_is_up, masters)), "the cluster")
        yield RedisCluster(masters)


def cluster_is_up(master: RedisServer) -> bool:
    """Returns whether a node serves its cluster."""
    # Any key will do: the node either has it or says which one does, once the cluster is complete.
    return not master.command("GET", "any").startswith("-CLUSTERDOWN")


class RedisSentinel:
    """A master with a replica, watched by sentinels which replace the master when it does not answer."""

    SERVICE = "main"

    def __init__(self, servers: Sequence[RedisServer], sentinels: Sequence[RedisServer]) -> None:
        self.servers = servers
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        """A URL of the service, with a prefix of its own."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.SERVICE}/0?prefix={new_prefix()}"

    @property
    def master(self) -> RedisServer:
        """The server that is the master now."""
        return next(s for s in self.servers if s.process.poll() is None and s.info("replication")["role"] == "master")


@contextlib.contextmanager
def run_sentinel(sentinels: int = 3) -> Iterator[RedisSentinel]:
    """Runs a master with a replica and sentinels that take a second to notice that the master is away."""
    require_redis()
    skip_unless_ci(None if shutil.which("redis-sentinel") else "redis-sentinel is not installed")
    with tempfile.TemporaryDirectory(prefix="copilot-redis-") as folder, contextlib.ExitStack() as stack:
        base = Path(folder)
        master = RedisServer(base / "master", *DURABLE)
        stack.callback(master.kill)
        replica = RedisServer(base / "replica", *DURABLE, "--replicaof", f"127.0.0.1 {master.port}")
        stack.callback(replica.kill)
        wait_until(lambda: replica.info("replication")["master_link_status"] == "up", "the replica")
        watchers = []
        for number in range(sentinels):
            file = base / f"sentinel-{number}.conf"
            name = RedisSentinel.SERVICE
            file.write_text(
                f"sentinel monitor {name} 127.0.0.1 {master.port} {sentinels // 2 + 1}\n"
                f"sentinel down-after-milliseconds {name} 1000\n"
                f"sentinel failover-timeout {name} 3000\n"
            )
            watcher = RedisServer(base / f"sentinel-{number}", program=("redis-sentinel", str(file)))
            stack.callback(watcher.kill)
            watchers.append(watcher)
        wait_until(lambda: all(_sees(watcher, sentinels) for watcher in watchers), "the sentinels to find each other")
        yield RedisSentinel([master, replica], watchers)


def _sees(watcher: RedisServer, sentinels: int) -> bool:
    state = watcher.info("sentinel").get("master0", "")
    return "status=ok" in state and "slaves=1" in state and f"sentinels={sentinels}" in state
