"""Clients that do not read what they have asked for: what they cost, and when they are given up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime_asgi import create_copilot_asgi_app

from .fixtures import runtimes
from .http_client import TIMEOUT_SECONDS, Client, Stream, run_input, unique, user_message
from .serve import ADAPTERS
from .servers import RunningServer, serve_app, serve_runtime

MIB = 1024 * 1024
MESSAGE_BYTES = 8 * MIB
"""More than the kernel takes for a client that does not read."""


def start_thread(client: Client, size: int = MESSAGE_BYTES) -> str:
    """Returns a thread with one message of that size."""
    thread = unique("thread")
    client.run("good", thread, messages=[user_message("x" * size)])
    return thread


@contextlib.contextmanager
def slow_reader(client: Client, method: str, path: str, body: Any = None) -> Iterator[socket.socket]:
    """Sends a request, and reads one byte of the response, in the block that is all."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {client.base}{path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(("127.0.0.1", client.port))
        connection.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        assert connection.recv(1)
        yield connection


def until_free(client: Client, thread: str) -> Stream:
    """Connects until there is room for a stream."""
    while True:
        stream = client.connect("good", thread)
        if stream.status == 200:
            return stream
        stream.close()


def slow_replay(client: Client, thread: str) -> contextlib.AbstractContextManager[socket.socket]:
    return slow_reader(client, "POST", "/agent/good/connect", run_input(thread, unique("join")))


def read_rest(connection: socket.socket) -> int:
    """Returns how many bytes come until the connection ends, in whichever way."""
    size = 0
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(MIB):
            size += len(chunk)
    return size


# --- time ----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def impatient(adapter: str) -> Iterator[Client]:
    with serve_runtime(adapter, "impatient") as server:
        yield Client(server)


@pytest.fixture(scope="module")
def large_thread(impatient: Client) -> str:
    return start_thread(impatient)


@pytest.mark.requirement("SSE-10")
def test_send_timeout_seconds_breaks_a_stream_off_and_releases_its_place(impatient: Client, large_thread: str) -> None:
    with slow_replay(impatient, large_thread) as slow:
        with impatient.connect("good", large_thread) as refused:
            assert refused.status == 503
        with until_free(impatient, unique("empty")) as stream:
            assert stream.rest() == []
        assert read_rest(slow) < MESSAGE_BYTES


@pytest.mark.requirement("SSE-10")
def test_send_timeout_seconds_leaves_a_reader_alone_that_reads_slowly(impatient: Client) -> None:
    """For longer than that, a little at a time."""
    thread = start_thread(impatient, MIB)
    with slow_replay(impatient, thread) as slow:
        received = bytearray()
        while b"RUN_FINISHED" not in received[-2000:]:
            chunk = slow.recv(16 * 1024)
            assert chunk
            received += chunk
        assert received.count(b"x") >= MIB


@pytest.mark.requirement("SSE-10")
def test_large_json_response_is_complete(impatient: Client) -> None:
    thread = start_thread(impatient, MIB)
    response = impatient.request("GET", f"/threads/{thread}/messages")
    assert response.status == 200
    assert int(response.headers["content-length"]) == len(response.body) > MIB
    assert response.json()["messages"][0]["content"] == "x" * MIB
    head = impatient.request("HEAD", f"/threads/{thread}/messages")
    assert head.body == b""


@pytest.mark.requirement("SSE-10")
@pytest.mark.skipif(not hasattr(select, "poll"), reason="waits with poll")
def test_send_timeout_seconds_resets_the_connection_of_a_large_json_response(
    impatient: Client, adapter: str, large_thread: str
) -> None:
    if "asgi" in adapter:
        pytest.skip("an ASGI application cannot close its connection")
    with slow_reader(impatient, "GET", f"/threads/{large_thread}/messages") as slow:
        poll = select.poll()
        poll.register(slow, 0)
        assert poll.poll(TIMEOUT_SECONDS * 1000), "its worker thread still waits"
        assert read_rest(slow) < MESSAGE_BYTES


@pytest.mark.requirement("SSE-10")
def test_asgi_send_timeout_seconds_ends_a_send_that_waits() -> None:
    async def scenario() -> None:
        app = create_copilot_asgi_app(runtime=runtimes.runtime(send_timeout_seconds=1)(), base_path="/api")
        run = run_input("t", "r", messages=[user_message("x" * MIB)])
        await QuietServer(1000).request(app, "POST", "/api/agent/good/run", run)
        await asyncio.gather(
            QuietServer(1000, waits=True).request(app, "POST", "/api/agent/good/connect", run_input("t", "join")),
            QuietServer(1000, waits=True).request(app, "GET", "/api/threads/t/messages"),
        )

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_SECONDS))


def test_asgi_large_json_response_is_evicted_from_another_thread() -> None:
    """Such as that of another event loop, in an application that has several."""

    async def scenario() -> None:
        runtime = runtimes.runtime()()
        app = create_copilot_asgi_app(runtime=runtime, base_path="/api")
        run = run_input("t", "r", messages=[user_message("x" * MIB)])
        await QuietServer(1000).request(app, "POST", "/api/agent/good/run", run)
        request = QuietServer(1000, waits=True).request(app, "GET", "/api/threads/t/messages")
        task = asyncio.ensure_future(request)
        held = runtime.engine._subscribers._held
        while not held._of_reader:  # noqa: ASYNC110 - a turn of the loop
            await asyncio.sleep(0)
        [reader] = held._of_reader
        await asyncio.to_thread(reader.evict)
        await task
        assert held.size == 0

    # In debug mode, a loop refuses what is not safe from another thread.
    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_SECONDS), debug=True)


# --- memory --------------------------------------------------------------------------


def memory(server: RunningServer) -> int:
    """Returns the bytes of memory of a server and its workers."""
    pages = 0
    pids = [server.process.pid]
    for pid in pids:
        pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.requirement("SSE-11")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize(("adapter", "name"), [("asgi", "database"), ("wsgi", "plain")])
def test_slow_readers_of_a_thread_share_it(adapter: str, name: str, tmp_path: Path) -> None:
    """Each of them had a copy, of its largest message in what the server was to write, and of all of it with SQLite."""
    environment = {runtimes.RUNTIME: name, runtimes.DATABASE: str(tmp_path / "threads.db")}
    environment["MALLOC_ARENA_MAX"] = "1"  # what glibc keeps for each thread is no copy
    with serve_app(adapter, "tests.fixtures.runtimes:application", env=environment) as server:
        client = Client(server)
        thread = start_thread(client)
        with contextlib.ExitStack() as stack:
            stack.enter_context(slow_replay(client, thread))
            before = memory(server)
            for _ in range(20):
                stack.enter_context(slow_replay(client, thread))
            assert memory(server) - before < 8 * MESSAGE_BYTES
            assert len(client.replay("good", thread)) >= 2


# --- an ASGI server whose `send` never fails -----------------------------------------


class QuietServer:
    """Sends to a client that reads ``chunks`` chunks and disconnects. From then on, ``send`` returns at once.

    ``waits`` is for a client that reads nothing, and does not disconnect either.
    """

    def __init__(self, chunks: int, *, waits: bool = False) -> None:
        self._waits = waits
        self.sent: list[int] = []
        self.after_disconnect = 0
        self._chunks = chunks
        self._messages: asyncio.Queue[Any] = asyncio.Queue()

    async def request(self, app: Any, method: str, path: str, body: Any = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self._messages.put_nowait({"type": "http.request", "body": content, "more_body": False})
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
        await app(scope, self._messages.get, self._send)

    async def _send(self, message: Any) -> None:
        if len(self.sent) == self._chunks:
            self.after_disconnect += 1
            return
        if self._waits:
            await asyncio.Event().wait()
        if message.get("body"):
            self.sent.append(len(message["body"]))
        if len(self.sent) == self._chunks:
            self._messages.put_nowait({"type": "http.disconnect"})


@pytest.mark.requirement("SSE-11")
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/agent/good/connect", run_input("t", "join")),
        ("GET", "/api/threads/t/messages", None),
        ("GET", "/api/threads/t/events", None),
    ],
    ids=["connect", "messages", "events"],
)
def test_asgi_large_response_is_sent_in_slices_until_its_client_disconnects(method: str, path: str, body: Any) -> None:
    async def scenario() -> None:
        app = create_copilot_asgi_app(runtime=runtimes.runtime()(), base_path="/api")
        run = run_input("t", "r", messages=[user_message("x" * 4 * MIB)])
        await QuietServer(1000).request(app, "POST", "/api/agent/good/run", run)
        whole, leaving = QuietServer(1000), QuietServer(3)
        await whole.request(app, method, path, body)
        assert sum(whole.sent) > 4 * MIB
        assert max(whole.sent) <= 64 * 1024
        await leaving.request(app, method, path, body)
        assert leaving.after_disconnect <= 4

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_SECONDS))
