"""Worker threads and executors that a request in an event loop does without."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpRequest
from django.test import AsyncRequestFactory, RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime import CopilotRuntime, create_copilot_runtime_handler
from copilot_runtime._concurrency import driver
from copilot_runtime._http.headers import Headers
from copilot_runtime.adapters import environ_headers
from copilot_runtime_django import _framework, _views, django_context

from ..http_client import run_input
from ..unit.recorder_helpers import FINISHED, STARTED, Event, text

EVENTS = (STARTED, text("START"), text("CONTENT"), text("END"), FINISHED)


async def answers(input: Any) -> AsyncIterator[Event]:
    for event in EVENTS:
        yield {**event, "threadId": input.thread_id, "runId": input.run_id} if "threadId" in event else event


async def waits(input: Any) -> AsyncIterator[Event]:
    async for event in answers(input):
        await asyncio.sleep(0.001)
        yield event


def run_request(agent: str, **members: Any) -> HttpRequest:
    body = json.dumps(run_input("thread", **members)).encode()
    return AsyncRequestFactory().post(f"/agent/{agent}/run", body, content_type="application/json")


async def respond(request: HttpRequest) -> bytes:
    runtime = CopilotRuntime(agents={"answers": answers, "waits": waits}, single_user=True)
    view = _views.async_copilot_view(
        create_copilot_runtime_handler(runtime=runtime), path_kwarg="rest", csrf_protect=False
    )
    response = await view(request, rest=request.path)
    return b"".join([chunk async for chunk in response])


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is called on a worker thread."""
    names: list[str] = []
    run_blocking = driver.run_blocking

    async def counted(function: Callable[..., Any], *args: Any) -> Any:
        names.append(function.__name__)
        return await run_blocking(function, *args)

    def sync_to_async(function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any) -> Any:
            names.append(function.__name__)
            return function(*args)

        return call

    monkeypatch.setattr(driver, "run_blocking", counted)
    monkeypatch.setattr(_views, "sync_to_async", sync_to_async)
    monkeypatch.setattr(_views, "is_test_environment", lambda: False)
    return names


def test_django_short_run_in_a_urlconf_needs_no_worker_thread(hops: list[str]) -> None:
    stream = asyncio.run(respond(run_request("answers")))
    assert stream.count(b"data: ") == len(EVENTS)
    assert hops == []


def test_django_connections_are_closed_before_a_stream_that_waits(hops: list[str]) -> None:
    stream = asyncio.run(respond(run_request("waits")))
    assert stream.count(b"data: ") == len(EVENTS)
    assert hops == ["close_old_connections"]


def test_django_body_that_is_kept_in_a_file_is_read_on_a_worker_thread(hops: list[str]) -> None:
    padding = "x" * settings.FILE_UPLOAD_MAX_MEMORY_SIZE
    stream = asyncio.run(respond(run_request("answers", forwardedProps={"padding": padding})))
    assert stream.count(b"data: ") == len(EVENTS)
    assert hops[0] == "_read_alone"


@pytest.mark.parametrize("length", [None, "", "x", "-1", "9" * 5000])
def test_django_body_of_unknown_length_is_read_on_a_worker_thread(hops: list[str], length: str | None) -> None:
    request = run_request("answers")
    if length is None:
        del request.META["CONTENT_LENGTH"]
    else:
        request.META["CONTENT_LENGTH"] = length
    asyncio.run(respond(request))
    assert hops == ["_read_alone"]


def test_django_context_makes_no_executor_that_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    executor_class = _framework.ThreadPoolExecutor

    def counted(*args: Any, **options: Any) -> Any:
        made.append(executor_class(*args, **options))
        return made[-1]

    monkeypatch.setattr(_framework, "ThreadPoolExecutor", counted)

    async def enter(uses: int) -> None:
        async with django_context.async_agent_scope():
            for _ in range(uses):
                await django_context.run_sync_function(lambda: None)

    asyncio.run(enter(0))
    assert made == []
    asyncio.run(enter(3))
    assert len(made) == 1
    assert made[0]._shutdown


NAMES = st.sampled_from(
    ["HTTP_X_ONE", "HTTP_x_two", "HTTP_COOKIE", "CONTENT_TYPE", "CONTENT_LENGTH", "REMOTE_ADDR", "X_HTTP_A"]
)


@given(st.dictionaries(NAMES, st.sampled_from(["", "a", "1", "ä", "a, b"])))
def test_django_headers_are_read_as_django_reads_them(members: dict[str, str]) -> None:
    request = RequestFactory().get("/")
    request.META = members
    expected = {
        name.lower(): value
        for name, value in request.headers.items()
        if value or name not in ("Content-Type", "Content-Length")
    }
    assert dict(Headers(environ_headers(members))) == expected
