"""The body of a request, which is read once, when it is first needed."""

from __future__ import annotations

import asyncio
import json
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from copilot_runtime import (
    CopilotRuntime,
    HookContext,
    Request,
    Response,
    RuntimeHooks,
    User,
    create_copilot_runtime_handler,
)
from copilot_runtime._concurrency import driver
from copilot_runtime._http.body import (
    BodyError,
    BodyTimeout,
    BodyTooLarge,
    TooManyBodies,
    TooManyBodiesOfUser,
    UnreadableBody,
)
from copilot_runtime._http.body_limits import BodyBudget, BodyLimits
from copilot_runtime._http.body_readers import AsyncBody, SyncBody
from copilot_runtime.adapters import run_sync
from copilot_runtime.testing import AsyncTestClient, HTTPStatusError, TestClient

pytestmark = pytest.mark.requirement("BODY-09")


def limits(max_bytes: int = 100, total: int = 1000, timeout_seconds: float | None = 30) -> BodyLimits:
    return BodyLimits(max_bytes=max_bytes, timeout_seconds=timeout_seconds, budget=BodyBudget(total))


def received(*chunks: bytes) -> Callable[[], Awaitable[bytes]]:
    """Returns a source of these chunks that never ends if the last one is not empty."""
    left = list(chunks)

    async def receive() -> bytes:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


class Disconnected:
    def __iter__(self) -> Iterator[bytes]:
        yield b"half"
        raise UnreadableBody("the client disconnected")


def read(body: AsyncBody | SyncBody) -> bytes:
    return run_sync(body.read())


def test_request_body_is_not_touched_by_copies_and_comparisons() -> None:
    def chunks() -> Iterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    request = Request(method="POST", path="/", body=SyncBody(limits(), chunks()))
    copy = request.replace(path="/other").replace(path="/")
    assert (copy == request, copy.is_body_read, copy.form) == (True, False, None)
    assert "/" in repr(copy)


def test_request_body_is_read_once_for_all_copies() -> None:
    request = Request(method="POST", path="/", body=SyncBody(limits(), iter((b'{"a"', b":1}"))))
    copy = request.replace(path="/other")
    assert copy.json() == {"a": 1}
    assert request.is_body_read
    assert run_sync(request.read()) == b'{"a":1}' == request.body
    assert request.replace(body=b"2").json() == 2


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([b"x" * 101], BodyTooLarge),
        ([b"x" * 60] * 2, BodyTooLarge),
        (Disconnected(), UnreadableBody),
    ],
    ids=["one chunk", "two chunks", "disconnected"],
)
def test_request_body_that_cannot_be_read_fails_for_every_reader(chunks: Any, expected: type[BodyError]) -> None:
    body = SyncBody(limits(), chunks)
    for _ in range(2):
        with pytest.raises(expected):
            read(body)
    assert not body.is_read


def test_max_total_body_bytes_are_given_back_when_requests_have_been_handled() -> None:
    shared = limits(total=150)
    first, second = SyncBody(shared, [b"x" * 100]), SyncBody(shared, [b"x" * 40, b"x" * 40])
    read(first)
    with pytest.raises(TooManyBodies):
        read(second)
    assert shared.budget.held == 140
    for body in (first, second, first):
        body.close()
    assert shared.budget.held == 0


def of_user(shared: BodyLimits, user: str | None, size: int) -> SyncBody:
    body = SyncBody(shared, [b"x" * size])
    if user is not None:
        body.set_owner(user)
    return body


@pytest.mark.requirement("BODY-10")
@pytest.mark.parametrize(("user", "expected"), [("ada", TooManyBodiesOfUser), (None, TooManyBodies)])
def test_max_total_body_bytes_one_user_holds_no_more_than_a_share(user: str | None, expected: type[BodyError]) -> None:
    """Nor do those together whose user is not known yet."""
    shared = BodyLimits(max_bytes=100, timeout_seconds=30, budget=BodyBudget(400, 200))
    held = [of_user(shared, user, 100) for _ in range(2)]
    for body in held:
        read(body)
    refused = of_user(shared, user, 1)
    for _ in range(2):
        with pytest.raises(expected):
            read(refused)
    others = [of_user(shared, "bob", 100), of_user(shared, "eve", 100)]
    for body in others:
        read(body)
    with pytest.raises(expected):  # it makes no difference to them that there is no room for others either
        read(of_user(shared, user, 1))
    with pytest.raises(TooManyBodies):
        read(of_user(shared, "joe", 1))
    held.pop().close()
    read(of_user(shared, user, 100))
    assert shared.budget.held == 400


@pytest.mark.requirement("BODY-10")
def test_max_total_body_bytes_counts_a_body_for_the_user_who_was_known_when_it_was_read() -> None:
    shared = BodyLimits(max_bytes=100, timeout_seconds=30, budget=BodyBudget(400, 200))
    bodies = [SyncBody(shared, [b"x" * 100]) for _ in range(2)]
    for body in bodies:
        read(body)
        body.set_owner("ada")
    bodies += [of_user(shared, "ada", 100), of_user(shared, "ada", 100)]
    for body in bodies[2:]:
        read(body)
    for body in bodies * 2:
        body.close()
    assert shared.budget.held == 0
    assert not shared.budget._held.get().sizes


@pytest.mark.requirement("BODY-10")
@pytest.mark.parametrize(
    ("max_total", "possible"), [(100, 100), (150, 100), (199, 100), (200, 100), (250, 125), (800, 400), (None, 400)]
)
def test_max_total_body_bytes_share_of_a_user_has_room_for_one_body(max_total: int | None, possible: int) -> None:
    runtime = CopilotRuntime(
        agents={"a": agent}, identify_user=anonymous, max_body_bytes=100, max_total_body_bytes=max_total
    )
    budget = runtime.body_limits.budget
    budget.take(possible, "ada")
    with pytest.raises(TooManyBodies if max_total == 100 else TooManyBodiesOfUser):
        budget.take(1, "ada")


@pytest.mark.requirement("BODY-10")
@pytest.mark.parametrize("users", [{}, {"single_user": True}], ids=["no users", "one user"])
def test_max_total_body_bytes_has_no_shares_without_identify_user(users: dict[str, Any]) -> None:
    budget = CopilotRuntime(agents={"a": agent}, max_body_bytes=100, **users).body_limits.budget
    budget.take(800, None)
    with pytest.raises(TooManyBodies):
        budget.take(1, None)


@pytest.mark.requirement("BODY-10")
@pytest.mark.parametrize("reader", ["handler", "identify_user", "on_request"])
def test_max_total_body_bytes_429_for_a_user_and_503_before_the_user_is_known(reader: str) -> None:
    async def identify(request: Request) -> User:
        if reader == "identify_user":
            await request.read()
        return User(id=request.headers["x-user"])

    async def on_request(context: HookContext) -> None:
        if reader == "on_request":
            await context.request.read()

    runtime = CopilotRuntime(
        agents={"a": agent}, identify_user=identify, max_body_bytes=1000, max_total_body_bytes=2000
    )
    handler = create_copilot_runtime_handler(runtime=runtime, hooks=RuntimeHooks(on_request=on_request))
    runtime.body_limits.budget.take(1000, User(id="ada").owner_key if reader == "handler" else None)

    async def send(user: str) -> Response:
        body = AsyncBody(runtime.body_limits, received(b"{}", b""))
        headers = {"x-user": user, "content-type": "application/json"}
        return await handler(Request(method="POST", path="/agent/a/run", headers=headers, body=body))

    async def check() -> tuple[Response, Response]:
        return await send("ada"), await send("bob")

    hers, his = asyncio.run(check())
    if reader == "handler":
        assert (hers.status, hers.headers["retry-after"]) == (429, "1")
        assert isinstance(hers.body, bytes)
        assert json.loads(hers.body)["error"] == "too_many_request_bodies_of_user"
        assert his.status == 400, "the bytes that ada holds are hers"
    else:
        assert hers.status == his.status == 503
    assert runtime.body_limits.budget.held == 1000


def test_body_timeout_seconds_on_an_event_loop() -> None:
    async def check() -> None:
        body = AsyncBody(limits(timeout_seconds=0.01), received(b"half"))
        with pytest.raises(BodyTimeout):
            await body.read()

    asyncio.run(check())


def test_body_timeout_seconds_on_a_worker_thread() -> None:
    """Also where nothing can end the wait itself."""
    arrived = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield b"half"
        assert not arrived.wait(0.05)
        yield b"the other half"

    with pytest.raises(BodyTimeout):
        read(SyncBody(limits(timeout_seconds=0.01), chunks()))


def test_body_timeout_seconds_needs_no_timer_for_a_body_that_has_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> bytes:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_at", lambda *args, **options: pytest.fail("a timer was started"))
        return await AsyncBody(limits(), received(b"all", b"")).read()

    assert asyncio.run(check()) == b"all"


def test_request_body_that_was_read_does_not_keep_its_connection() -> None:
    """A run keeps its request, and may take much longer than its connection."""

    async def check() -> bool:
        receive = received(b"all", b"")
        connection = weakref.ref(receive)
        request = Request(method="POST", path="/", body=AsyncBody(limits(), receive))
        del receive
        await request.read()
        return connection() is None

    assert asyncio.run(check())


class ClosedMeanwhile(SyncBody):
    """The body of a request that another thread closes between two looks at it."""

    request: Request | None = None

    @property  # which `isinstance` looks at
    def __class__(self) -> Any:
        request, self.request = self.request, None
        if request is not None:
            request.close()
        return ClosedMeanwhile


@pytest.mark.parametrize(
    "look",
    [
        lambda request: request.body == b"{}",
        lambda request: run_sync(request.read()) == b"{}",
        lambda request: request.json() == {},
        lambda request: request.is_body_read,
        lambda request: request.form is None,
        lambda request: request.replace(path="/other").body == b"{}",
    ],
    ids=["body", "read", "json", "is_body_read", "form", "replace"],
)
def test_request_body_of_a_request_that_is_closed_meanwhile(look: Callable[[Request], bool]) -> None:
    """As a synchronous agent may look at it, on its thread, when the head of the response leaves."""
    body = ClosedMeanwhile(limits(), (b"{}",))
    read(body)
    body.request = request = Request(method="POST", path="/", body=body)
    assert look(request)


class Clock:
    """A client that sends 32 KiB at a time, after waiting for a number of seconds."""

    def __init__(self, *seconds: float) -> None:
        self._seconds = seconds
        self.now = 1000.0

    def __iter__(self) -> Iterator[bytes]:
        for seconds in self._seconds:
            self.now += seconds
            yield b"x" * 32 * 1024


@pytest.mark.parametrize(
    ("seconds", "is_in_time"),
    [
        ((1,) * 320, True),
        ((0,) * 100 + (29,), True),
        ((0,) * 100 + (31,), False),
        ((2,) * 28, True),
        ((2,) * 40, False),
        ((29,) + (1,) * 100, True),
    ],
    ids=["slow", "pause", "long pause", "too slow, but short", "too slow", "late"],
)
def test_body_timeout_seconds_is_how_late_a_body_may_be(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, ...], is_in_time: bool
) -> None:
    """However much of it has arrived: a body that stops arriving is not held for long."""
    client = Clock(*seconds)
    monkeypatch.setattr("copilot_runtime._http.body_readers.time.monotonic", lambda: client.now)
    size = len(seconds) * 32 * 1024
    body = SyncBody(limits(size, size), client)
    if is_in_time:
        assert len(read(body)) == size
    else:
        with pytest.raises(BodyTimeout):
            read(body)


def test_request_body_read_that_is_cancelled_goes_on_with_the_next_one() -> None:
    async def check() -> None:
        left: asyncio.Queue[bytes] = asyncio.Queue()
        body = AsyncBody(limits(), left.get)
        await left.put(b"half, ")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(body.read(), 0.01)
        await left.put(b"and half")
        await left.put(b"")
        assert await asyncio.gather(body.read(), body.read()) == [b"half, and half"] * 2

    asyncio.run(check())


@pytest.mark.parametrize("is_in_memory", [False, True])
def test_request_body_that_is_here_already_is_read_once_by_threads_that_read_at_once(is_in_memory: bool) -> None:
    """As a large one of Django's under ASGI, which is in a file that a pool thread reads."""
    turn = threading.Event()

    def chunks() -> Iterator[bytes]:
        for number in range(50):
            turn.wait(0.001)  # gives the others theirs
            yield b"%d " % number

    async def check() -> None:
        body = SyncBody(limits(1000), chunks(), is_local=True, is_in_memory=is_in_memory)
        reads = [asyncio.to_thread(body.read_blocking) for _ in range(4)]
        results = await asyncio.gather(*reads, body.read(), body.read(), return_exceptions=True)
        assert [type(result) for result in results] == [bytes] * 6
        assert len({id(result) for result in results}) == 1

    asyncio.run(check())


# --- functions of the application ----------------------------------------------------


async def agent(input: Any) -> Any:
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


def plain(request: Request) -> User:
    return User(id=request.json()["threadId"])


async def later(request: Request) -> User:
    await request.read()
    return plain(request)


async def on_a_thread(request: Request) -> User:
    return await asyncio.to_thread(plain, request)


async def unread(request: Request) -> User:
    return plain(request)


@pytest.mark.parametrize("identify_user", [plain, later, on_a_thread])
def test_identify_user_reads_the_body_in_any_kind_of_function(identify_user: Any) -> None:
    def run_client() -> str:
        with TestClient(CopilotRuntime(agents={"a": agent}, identify_user=identify_user)) as client:
            return client.run("a").events[-1]["type"]

    async def run_async_client() -> str:
        async with AsyncTestClient(CopilotRuntime(agents={"a": agent}, identify_user=identify_user)) as client:
            return (await client.run("a")).events[-1]["type"]

    assert run_client() == asyncio.run(run_async_client()) == "RUN_FINISHED"


def test_identify_user_that_does_not_await_the_body_fails_in_tests_too() -> None:
    runtime = CopilotRuntime(agents={"a": agent}, identify_user=unread, debug=True)
    with TestClient(runtime) as client, pytest.raises(HTTPStatusError, match=r"await request\.read"):
        client.run("a")


def test_on_request_that_replaces_the_body_is_followed_by_that_body() -> None:
    def on_request(context: HookContext) -> Request:
        return context.request.replace(body=context.request.body.replace(b'"old"', b'"new"'))

    handler = create_copilot_runtime_handler(
        runtime=CopilotRuntime(agents={"a": agent}), hooks=RuntimeHooks(on_request=on_request)
    )
    with TestClient(handler) as client:
        assert client.run("a", thread_id="old").events[0]["threadId"] == "new"


def test_on_before_handler_has_the_body_in_any_kind_of_function() -> None:
    seen: list[int] = []

    async def on_before_handler(context: HookContext) -> None:
        seen.append(len(context.request.body))

    handler = create_copilot_runtime_handler(
        runtime=CopilotRuntime(agents={"a": agent}), hooks=RuntimeHooks(on_before_handler=on_before_handler)
    )
    with TestClient(handler) as client:
        client.run("a")
        client.info()
        client.request("POST", "/threads/t/archive", json={"a": 1}, check=False)
    assert [size > 0 for size in seen] == [True, False, True]


async def read_first(context: HookContext) -> int:
    return len(await context.request.read())


async def read_at_once(context: HookContext) -> int:
    return len(context.request.body)


def read_plainly(context: HookContext) -> int:
    return len(context.request.body)


def anonymous(request: Request) -> User | None:
    return User(id="ada") if "x-user" in request.headers else None


@pytest.mark.parametrize("size_of_body", [read_plainly, read_at_once, read_first])
def test_on_response_and_on_error_find_the_body_empty_if_it_was_not_read(size_of_body: Any) -> None:
    """They neither wait for it nor turn a refusal into a failure."""
    seen: list[tuple[int, int]] = []

    def identify(request: Request) -> User | None:
        if "x-fail" in request.headers:
            raise ValueError("fail")
        return anonymous(request)

    async def note(context: HookContext) -> None:
        size = size_of_body(context)
        status = 500 if context.response is None else context.response.status
        seen.append((status, size if isinstance(size, int) else await size))

    handler = create_copilot_runtime_handler(
        runtime=CopilotRuntime(agents={"a": agent}, identify_user=identify, max_body_bytes=1000),
        hooks=RuntimeHooks(on_response=note, on_error=note),
    )

    async def check() -> None:
        async with AsyncTestClient(handler) as client:
            for headers, size in (({}, 10), ({"x-user": "a"}, 2000), ({"x-fail": "a"}, 10), ({"x-user": "a"}, 10)):
                body = {"padding": "x" * size}
                await client.request("POST", "/threads/t/archive", json=body, headers=headers, check=False)

    asyncio.run(check())
    sizes = dict(seen)
    assert sizes.pop(404) > 0, "the body of a request whose user is known"
    assert sizes == {401: 0, 413: 0, 500: 0}


@pytest.mark.parametrize("path", ["/memories", "/memories/recall"])
def test_memory_routes_that_are_not_exposed_are_not_found(path: str) -> None:
    async def check() -> int:
        async with AsyncTestClient(CopilotRuntime(agents={"a": agent})) as client:
            return (await client.request("POST", path, json={"query": "{ a }"}, check=False)).status

    assert asyncio.run(check()) == 404


def test_request_thread_that_stops_waiting_refuses_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is submitted at that moment, which would never be called."""
    thread = driver._RequestThread()
    put = thread._queue.put

    def end_first(function: Any) -> None:
        monkeypatch.undo()
        thread.end(None, None)
        put(function)

    monkeypatch.setattr(thread, "_queue", SimpleNamespace(put=end_first, get=thread._queue.get))
    with pytest.raises(RuntimeError, match="has been answered"):
        thread.submit(print)


def test_max_total_body_bytes_below_max_body_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="max_total_body_bytes"):
        CopilotRuntime(agents={"a": agent}, max_body_bytes=100, max_total_body_bytes=99)
