"""Clients that call a runtime in process, for tests of agents: no server, no socket."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, ClassVar, Self, TypedDict, Unpack
from urllib.parse import quote, urlencode

from pydantic import BaseModel
from pydantic_core import to_json

from .._concurrency.driver import call_user_function, run_sync
from .._concurrency.framework import FrameworkContext, FrameworkScope
from .._concurrency.loops import in_sync_driver
from .._events.normalize import to_jsonable
from .._http.body import RequestBody
from .._http.body_readers import AsyncBody, SyncBody
from .._http.headers import Headers, HeadersLike
from .._http.stream_iterators import AsyncStreamIterator, SyncStreamIterator
from .._http.streaming import EventStream
from .._http.types import Request, Response
from .._server.handler import CopilotHandler
from .._server.handlers import coerce_handler
from .._server.runtime import CopilotRuntime
from ._results import ClientResponse, Event, EventParser, HTTPStatusError, RunResult

Messages = str | Sequence[str | Mapping[str, Any] | BaseModel]
"""The messages of a run: texts of the user, messages in wire form, or `ag_ui.core` models."""


class RequestOptions(TypedDict, total=False):
    """Options of every request.

    Attributes:
        headers: headers of the request, besides the client's.
        native: the request of the framework, for ``request.native``; the client's own unless given.
        check: whether to raise HTTPStatusError for a status that is not 2xx. The default is True.
    """

    headers: HeadersLike
    native: Any
    check: bool


class RunOptions(RequestOptions, total=False):
    """Options of a run. Values are in wire form, or `ag_ui.core` models.

    Attributes:
        thread_id: the thread; a new one unless given.
        run_id: the id of the run; a new one unless given.
        state: the shared state that the frontend sends.
        tools: the frontend's tools.
        context: the frontend's context.
        forwarded_props: the frontend's ``forwardedProps``.
        extra: further members of the input, such as ``{"resume": [...]}``.
    """

    thread_id: str
    run_id: str
    state: Any
    tools: Sequence[Mapping[str, Any] | BaseModel]
    context: Sequence[Mapping[str, Any] | BaseModel]
    forwarded_props: Any
    extra: Mapping[str, Any]


class AsyncRunStream:
    """The events of a run as they come, in wire form: an asynchronous iterator.

    `AsyncTestClient.stream` is the way to one.

    Attributes:
        thread_id: the thread.
        run_id: the run of the request.
    """

    def __init__(self, response: Response, run_input: Mapping[str, Any], timeout_seconds: float | None) -> None:
        self.thread_id: str = run_input["threadId"]
        self.run_id: str = run_input["runId"]
        self._response = response
        self._input = run_input
        self._parser = EventParser()
        self._pending: list[Event] = []
        self._timeout_seconds = timeout_seconds
        self._timed_out = False
        self._cancel_timer: Callable[[], object] = lambda: None
        self._chunks: SyncStreamIterator | AsyncStreamIterator | None = None
        if isinstance(response.body, EventStream):
            self._chunks = iter(response.body) if in_sync_driver() else aiter(response.body)
            self._start_timer()
        else:
            self._parser.received.append(response.body)

    def _start_timer(self) -> None:
        if self._timeout_seconds is None:
            return
        if in_sync_driver():
            timer = threading.Timer(self._timeout_seconds, self._expire)
            timer.daemon = True
            timer.start()
            self._cancel_timer = timer.cancel
        else:
            self._cancel_timer = asyncio.get_running_loop().call_later(self._timeout_seconds, self._expire).cancel

    def _expire(self) -> None:
        self._timed_out = True
        if self._chunks is not None:
            self._chunks.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._pending:
            chunk = await self._next_chunk()
            if chunk is None:
                self.close()
                if self._timed_out:
                    types = [event["type"] for event in self._parser.events]
                    raise TimeoutError(f"the stream did not end within {self._timeout_seconds:g} s; it sent {types}")
                raise StopAsyncIteration
            self._pending = self._parser.feed(chunk)
        return self._pending.pop(0)

    async def _next_chunk(self) -> bytes | None:
        if isinstance(self._chunks, SyncStreamIterator):
            return next(self._chunks, None)
        if isinstance(self._chunks, AsyncStreamIterator):
            return await anext(self._chunks, None)
        return None

    async def result(self) -> RunResult:
        """Reads all further events and returns the result of the run.

        Raises TimeoutError if the stream does not end in time.
        """
        try:
            async for _ in self:
                pass
        finally:
            self.close()
        return RunResult(
            status=self._response.status,
            headers=self._response.headers,
            body=self._parser.body,
            thread_id=self.thread_id,
            run_id=self.run_id,
            events=tuple(self._parser.events),
            last_event_id=self._parser.last_event_id,
            _input_messages=self._input["messages"],
            _input_state=self._input["state"],
        )

    def close(self) -> None:
        """Disconnects. Closing a stream twice is fine."""
        self._cancel_timer()
        self._response.close()


class AsyncTestClient:
    """Calls a runtime in process, on the running event loop.

    ``async with AsyncTestClient(runtime) as client`` shuts the runtime down at the end. Takes and raises what
    `TestClient` does.
    """

    __test__: ClassVar[bool] = False  # for pytest, which collects what is called Test...

    def __init__(
        self,
        source: CopilotRuntime | CopilotHandler,
        *,
        headers: HeadersLike = (),
        native: Any = None,
        framework: FrameworkContext | None = None,
        timeout_seconds: float | None = 30,
    ) -> None:
        self.handler: CopilotHandler = coerce_handler(source)
        self.runtime: CopilotRuntime = self.handler.runtime
        if self.handler.mode == "single-route":
            raise ValueError("the client sends REST paths: use a handler with mode='auto' or mode='multi-route'")
        self.runtime.startup()  # a test may have shut it down
        self._headers = Headers(headers)
        self._native = native
        self._framework = framework
        self._timeout_seconds = timeout_seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.runtime.shutdown(0)
        self.runtime.startup()

    # --- runs ---

    async def run(self, agent_id: str, messages: Messages = (), **options: Unpack[RunOptions]) -> RunResult:
        """Runs an agent and returns the result when its stream has ended. See `TestClient.run`."""
        async with self.stream(agent_id, messages, **options) as stream:
            return await stream.result()

    @asynccontextmanager
    async def stream(
        self, agent_id: str, messages: Messages = (), **options: Unpack[RunOptions]
    ) -> AsyncIterator[AsyncRunStream]:
        """Runs an agent: ``async with client.stream(...) as stream``. Disconnects at the end. See `TestClient.run`."""
        stream = await self._open(agent_id, "run", _run_input(messages, options), options)
        try:
            yield stream
        finally:
            stream.close()

    async def suggest(self, agent_id: str, messages: Messages = (), **options: Unpack[RunOptions]) -> RunResult:
        """Runs an agent for suggestions, of which nothing is stored. See `TestClient.run`."""
        stream = await self._open(agent_id, "suggest", _run_input(messages, options), options)
        return await stream.result()

    async def connect(
        self, agent_id: str, thread_id: str, *, last_event_id: str | None = None, **options: Unpack[RequestOptions]
    ) -> RunResult:
        """Replays a thread, and returns when its active run has ended. See `TestClient.connect`."""
        extra = {} if last_event_id is None else {"lastSeenEventId": last_event_id}
        run_input = _run_input((), {"thread_id": thread_id, "extra": extra})
        stream = await self._open(agent_id, "connect", run_input, options)
        return await stream.result()

    async def stop(
        self, agent_id: str, thread_id: str, run_id: str | None = None, **options: Unpack[RequestOptions]
    ) -> Any:
        """Stops the active run of a thread, and returns the JSON response. See `TestClient.stop`."""
        path = f"/agent/{_segment(agent_id)}/stop/{_segment(thread_id)}"
        body = None if run_id is None else {"runId": run_id}
        return (await self.request("POST", path, body, **options)).json()

    # --- the rest ---

    async def info(self, **options: Unpack[RequestOptions]) -> Any:
        """Returns the JSON response of ``/info``: the agents, and what the runtime supports."""
        return (await self.request("GET", "/info", **options)).json()

    async def threads(
        self, query: Mapping[str, str] | None = None, **options: Unpack[RequestOptions]
    ) -> list[dict[str, Any]]:
        """Returns the user's threads. ``query`` has parameters such as ``agentId`` and ``includeArchived``."""
        path = f"/threads?{urlencode(query)}" if query else "/threads"
        threads: list[dict[str, Any]] = (await self.request("GET", path, **options)).json()["threads"]
        return threads

    async def thread_messages(self, thread_id: str, **options: Unpack[RequestOptions]) -> list[dict[str, Any]]:
        """Returns the stored messages of a thread."""
        response = await self.request("GET", f"/threads/{_segment(thread_id)}/messages", **options)
        messages: list[dict[str, Any]] = response.json()["messages"]
        return messages

    async def delete_thread(self, thread_id: str, **options: Unpack[RequestOptions]) -> None:
        """Deletes a thread."""
        await self.request("DELETE", f"/threads/{_segment(thread_id)}", **options)

    async def request(
        self, method: str, path: str, json: Any = None, **options: Unpack[RequestOptions]
    ) -> ClientResponse:
        """Sends any other request and returns the whole response. See `TestClient.request`."""
        response = await self._send(method, path, json, options)
        if isinstance(response.body, EventStream):
            response.close()
            raise TypeError(f"{method} {path} was answered with a stream: use run(), connect() or suggest()")
        return ClientResponse(status=response.status, headers=response.headers, body=response.body)

    async def _open(
        self, agent_id: str, action: str, run_input: Mapping[str, Any], options: RequestOptions
    ) -> AsyncRunStream:
        response = await self._send("POST", f"/agent/{_segment(agent_id)}/{action}", run_input, options)
        return AsyncRunStream(response, run_input, self._timeout_seconds)

    async def _send(self, method: str, path: str, json: Any, options: RequestOptions) -> Response:
        if unknown := options.keys() - RunOptions.__optional_keys__:
            raise TypeError(
                f"unknown options: {', '.join(sorted(unknown))}; members of a run's input go into extra={{...}}"
            )
        target, _, query = path.partition("?")
        headers = self._headers if json is None else self._headers.set("content-type", "application/json")
        for name, value in Headers(options.get("headers", ())).multi_items():
            headers = headers.set(name, value)
        request = Request(
            method=method,
            path=(self.handler.base_path or "") + target,
            query_string=query,
            headers=headers,
            body=b"" if json is None else self._body(to_json(json)),
            native=options.get("native", self._native),
        )
        if self._framework is None:
            response = await self.handler(request)
        else:
            with FrameworkScope(self._framework):
                # On the test's own thread, also if this is an event loop.
                framework = await call_user_function(self._framework.for_request)
            with FrameworkScope(framework):
                response = await self.handler(request)
        if options.get("check", True) and not 200 <= response.status < 300:
            body = b"" if isinstance(response.body, EventStream) else response.body
            response.close()
            raise HTTPStatusError(
                method, path, ClientResponse(status=response.status, headers=response.headers, body=body)
            )
        return response

    def _body(self, data: bytes) -> RequestBody:
        """Returns a body that hooks can read when and how they can read one of a server."""
        if in_sync_driver():
            return SyncBody(self.handler.body_limits, (data,))
        chunks = iter((data, b""))

        async def receive() -> bytes:
            return next(chunks)

        return AsyncBody(self.handler.body_limits, receive)


class RunStream:
    """The events of a run as they come, in wire form: an iterator, and a context manager that disconnects at its end.

    `TestClient.stream` is the way to one.

    Attributes:
        thread_id: the thread.
        run_id: the run of the request.
    """

    def __init__(self, stream: AsyncRunStream) -> None:
        self.thread_id: str = stream.thread_id
        self.run_id: str = stream.run_id
        self._stream = stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = run_sync(_next_event(self._stream))
        if event is None:
            raise StopIteration
        return event

    def result(self) -> RunResult:
        """Reads all further events and returns the result of the run.

        Raises TimeoutError if the stream does not end in time.
        """
        return run_sync(self._stream.result())

    def close(self) -> None:
        """Disconnects. Closing a stream twice is fine."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


async def _next_event(stream: AsyncRunStream) -> Event | None:
    return await anext(stream, None)


class TestClient:
    """Calls a runtime in process, from a test without an event loop.

    ``with TestClient(runtime) as client`` shuts the runtime down at the end.

    Args:
        source: a runtime; or a handler, for a runtime with hooks, CORS or a base path.
        headers: headers of every request.
        native: the ``native`` of every `Request`, for an ``identify_user`` that needs the framework's own.
        framework: the framework whose contexts and connections hooks and agents use, such as
            `copilot_runtime_django.django_context`. None if they use none.
        timeout_seconds: how long a stream may take; None for no limit.

    Raises:
        TypeError: ``source`` is neither a runtime nor a handler.
        ValueError: the handler serves single-route envelopes only.
    """

    __test__: ClassVar[bool] = False  # for pytest, which collects what is called Test...

    def __init__(
        self,
        source: CopilotRuntime | CopilotHandler,
        *,
        headers: HeadersLike = (),
        native: Any = None,
        framework: FrameworkContext | None = None,
        timeout_seconds: float | None = 30,
    ) -> None:
        self._client = AsyncTestClient(
            source, headers=headers, native=native, framework=framework, timeout_seconds=timeout_seconds
        )
        self.handler: CopilotHandler = self._client.handler
        self.runtime: CopilotRuntime = self._client.runtime

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run_sync(self.runtime.shutdown(0))
        self.runtime.startup()

    def run(self, agent_id: str, messages: Messages = (), **options: Unpack[RunOptions]) -> RunResult:
        """Runs an agent and returns the result when its stream has ended.

        Args:
            agent_id: the agent.
            messages: the messages to send: a text of the user; or a list of texts and messages. Like a frontend, send
                all messages of a thread: ``[*result.messages, "And then?"]``.
            **options: see `RunOptions`.

        Raises:
            HTTPStatusError: the status is not 2xx, unless ``check=False``.
            TimeoutError: the stream did not end in time.
        """
        return run_sync(self._client.run(agent_id, messages, **options))

    def stream(self, agent_id: str, messages: Messages = (), **options: Unpack[RunOptions]) -> RunStream:
        """Runs an agent: ``with client.stream(...) as stream``. Takes and raises what `run` does."""
        return RunStream(run_sync(self._client._open(agent_id, "run", _run_input(messages, options), options)))

    def suggest(self, agent_id: str, messages: Messages = (), **options: Unpack[RunOptions]) -> RunResult:
        """Runs an agent for suggestions, of which nothing is stored. Takes and raises what `run` does."""
        return run_sync(self._client.suggest(agent_id, messages, **options))

    def connect(
        self, agent_id: str, thread_id: str, *, last_event_id: str | None = None, **options: Unpack[RequestOptions]
    ) -> RunResult:
        """Replays a thread, as a frontend does on loading a page, and returns when its active run has ended.

        Args:
            agent_id: an agent.
            thread_id: the thread.
            last_event_id: resume after this event: `RunResult.last_event_id`.
            **options: see `RequestOptions`.

        Raises:
            HTTPStatusError: the status is not 2xx, unless ``check=False``.
            TimeoutError: the stream did not end in time.
        """
        return run_sync(self._client.connect(agent_id, thread_id, last_event_id=last_event_id, **options))

    def stop(self, agent_id: str, thread_id: str, run_id: str | None = None, **options: Unpack[RequestOptions]) -> Any:
        """Stops the active run of a thread, and returns the JSON response, such as ``{"stopped": True, ...}``.

        Args:
            agent_id: the agent.
            thread_id: the thread.
            run_id: stop only this run.
            **options: see `RequestOptions`.
        """
        return run_sync(self._client.stop(agent_id, thread_id, run_id, **options))

    def info(self, **options: Unpack[RequestOptions]) -> Any:
        """Returns the JSON response of ``/info``: the agents, and what the runtime supports."""
        return run_sync(self._client.info(**options))

    def threads(
        self, query: Mapping[str, str] | None = None, **options: Unpack[RequestOptions]
    ) -> list[dict[str, Any]]:
        """Returns the user's threads. ``query`` has parameters such as ``agentId`` and ``includeArchived``."""
        return run_sync(self._client.threads(query, **options))

    def thread_messages(self, thread_id: str, **options: Unpack[RequestOptions]) -> list[dict[str, Any]]:
        """Returns the stored messages of a thread."""
        return run_sync(self._client.thread_messages(thread_id, **options))

    def delete_thread(self, thread_id: str, **options: Unpack[RequestOptions]) -> None:
        """Deletes a thread."""
        run_sync(self._client.delete_thread(thread_id, **options))

    def request(self, method: str, path: str, json: Any = None, **options: Unpack[RequestOptions]) -> ClientResponse:
        """Sends any other request and returns the whole response.

        Args:
            method: the HTTP method.
            path: the path below the base path, percent-encoded, with the query string if there is one.
            json: the body, as a value of JSON; None for no body.
            **options: see `RequestOptions`.

        Raises:
            HTTPStatusError: the status is not 2xx, unless ``check=False``.
        """
        return run_sync(self._client.request(method, path, json, **options))


def _run_input(messages: Messages, options: RunOptions) -> dict[str, Any]:
    """Returns a RunAgentInput in wire form."""
    items = [messages] if isinstance(messages, str) else messages
    return {
        "threadId": options.get("thread_id") or _new_id("thread"),
        "runId": options.get("run_id") or _new_id("run"),
        "messages": [_user_message(item) if isinstance(item, str) else to_jsonable(item) for item in items],
        "state": to_jsonable(options.get("state")),
        "tools": to_jsonable(list(options.get("tools", ()))),
        "context": to_jsonable(list(options.get("context", ()))),
        "forwardedProps": to_jsonable(options.get("forwarded_props", {})),
        **to_jsonable(dict(options.get("extra", {}))),
    }


def _user_message(text: str) -> dict[str, Any]:
    return {"id": _new_id("user"), "role": "user", "content": text}


def _new_id(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:12]}"


def _segment(identifier: str) -> str:
    return quote(identifier, safe="")
