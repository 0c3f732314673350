"""`HttpAgent`: an agent behind an AG-UI endpoint."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .. import _validation as validation
from .._concurrency.driver import call_user_function
from .._log_text import one_line
from ._forwarded_props import NODE_NAME, AllowedProps
from ._history import is_history_function
from ._http import request as http_request
from ._http.clients import AsyncHTTPClient, loop_local_http_client
from ._http.errors import to_upstream_error
from ._http.response import EventDecoder, raise_for_status
from ._http.upstream_call import UpstreamCall
from ._http.urls import parse_http_url, redact_url
from ._json_body import JSONBody
from ._wire_input import input_in_wire_form

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

    from .._users import User
    from ._context import RunContext

logger = logging.getLogger("copilot_runtime.agents.http")

_THREADS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:copilot-runtime:threads")


class HttpAgent:
    """Runs the agent behind an AG-UI endpoint: a POST whose response is a stream of server-sent events.

    A run has no total time limit; `CopilotRuntime` has one, ``run_timeout_seconds``.

    Args:
        url: the endpoint.
        headers: sent with every run; they take precedence over forwarded headers.
        client: an ``httpx2.AsyncClient`` or ``httpx.AsyncClient``, which its owner closes and which must not be shared
            between event loops; or a function that creates one for each loop. Default clients keep no cookies.
        description: reported by ``/info``.
        connect_timeout_seconds: limit for connecting.
        read_timeout_seconds: limit for each silence of the remote agent; None for no limit.
        allowed_forwarded_props: the members of the frontend's ``forwardedProps`` that are sent; None for all but
            ``nodeName``, with which a client enters a LangGraph graph wherever it likes.
        scope_thread_ids: whether, for a user, the thread's id is sent as `remote_thread_id` has it. Clients choose
            thread ids: with False, a user who knows another user's continues that thread at the remote agent.
        history: a plain or coroutine function of the remote agent's id of a thread (see `remote_thread_id`) and the
            `RunContext` that returns the messages that the remote agent has of the thread, or a `ThreadHistory`. Called
            when a client connects to a thread that the store does not have.
        max_event_bytes: limit for the size of one event.
        debug: adds the causes of failures, which are always logged, to the messages that clients receive;
            ``CopilotRuntime(debug=True)`` does so for all agents.

    Raises:
        ValueError: for an unusable URL, header, timeout or limit.
        TypeError: for an unusable client, and for options of the wrong type.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        client: AsyncHTTPClient | Callable[[], AsyncHTTPClient] | None = None,
        description: str = "",
        connect_timeout_seconds: float = 10.0,
        read_timeout_seconds: float | None = 600.0,
        allowed_forwarded_props: Iterable[str] | None = None,
        scope_thread_ids: bool = True,
        history: Callable[[str, RunContext], Any] | None = None,
        max_event_bytes: int = 32 * 1024 * 1024,
        debug: bool = False,
    ) -> None:
        if connect_timeout_seconds <= 0 or (read_timeout_seconds is not None and read_timeout_seconds <= 0):
            raise ValueError("HttpAgent: timeouts must be above 0 seconds (read_timeout_seconds=None for no timeout)")
        if max_event_bytes <= 0:
            raise ValueError("HttpAgent: max_event_bytes must be above 0")
        validation.check_bool("HttpAgent: scope_thread_ids", scope_thread_ids)
        if history is not None and not is_history_function(history):
            raise TypeError(f"HttpAgent: history={history!r} must be a function of (thread_id, context)")
        self._allowed_props = AllowedProps.parse("HttpAgent", allowed_forwarded_props, denied=[NODE_NAME])
        self._scope_thread_ids = scope_thread_ids
        self._history = history
        self.url = url
        self.headers: http_request.HeaderPairs = http_request.validate_headers(headers)
        self.description = description
        invalid_url = f"HttpAgent: url={url!r} must be an absolute URL, such as 'https://agents.example/run'"
        self._redacted_url = redact_url(parse_http_url(url, invalid_url))
        self._client = loop_local_http_client(client)
        self._timeout = (connect_timeout_seconds, read_timeout_seconds, read_timeout_seconds, connect_timeout_seconds)
        self._max_event_bytes = max_event_bytes
        self._debug = debug

    async def run(self, input: RunAgentInput, context: RunContext | None = None) -> AsyncGenerator[dict[str, Any]]:
        """Yields the remote agent's events, on the wire, as they arrive.

        The request's body is ``input``, without activity messages and ``forwardedProps`` that are not allowed, and with
        the remote agent's id of the thread. A failure is reported by a final ``RUN_ERROR`` whose code starts with
        ``UPSTREAM_``. Closing the iterator, or cancelling the task that awaits it, closes the connection.
        """
        decoder = EventDecoder(self._max_event_bytes)
        upstream = UpstreamCall(self._redacted_url)
        thread_id = input.thread_id
        remote_id = self.remote_thread_id(thread_id, None if context is None else context.user)
        try:
            client = await self._client.get()
            headers = http_request.build_headers(self.headers, {} if context is None else context.headers)
            headers = upstream.add_trace(headers)
            async with client.stream(
                "POST",
                self.url,
                content=self._encode_body(input, context, remote_id),
                headers=headers,
                timeout=self._timeout,
            ) as response:
                upstream.note_status(response.status_code)
                await raise_for_status(response)
                async for chunk in response.aiter_bytes():
                    for event in decoder.feed(chunk):
                        if "threadId" in event and remote_id != thread_id:
                            _replace_thread_id(event, remote_id, thread_id)
                        yield event
            decoder.finish()
            return
        except Exception as error:
            failure = to_upstream_error(error)
            upstream.note_error(type(error).__name__ if failure is None else failure.code)
            if failure is None:
                raise
        finally:
            upstream.end()
        if decoder.run_ended:
            # The client has the end of the run already: how the connection closed changes nothing.
            logger.info("%s, after the end of a run: %s", self._redacted_url, one_line(failure))
            return
        logger.warning("%s: %s", self._redacted_url, one_line(failure))
        with_detail = self._debug or (context is not None and context.debug)
        yield failure.at(self._redacted_url).to_event(with_detail=with_detail)

    @property
    def history(self) -> Callable[[str, RunContext], Coroutine[Any, Any, Any]] | None:
        """Returns what the remote agent has of a thread; None without the option of that name."""
        function = self._history
        if function is None:
            return None

        async def load(thread_id: str, context: RunContext) -> Any:
            return await call_user_function(function, self.remote_thread_id(thread_id, context.user), context)

        return load

    def remote_thread_id(self, thread_id: str, user: User | None) -> str:
        """Returns the id that the remote agent receives for a thread: for a user a UUID that no other user's has."""
        if user is None or not self._scope_thread_ids:
            return thread_id
        return str(uuid.uuid5(_THREADS, f"{user.owner_key}/{thread_id}"))

    async def aclose(self) -> None:
        """Closes the running event loop's idle connections; the next run opens new ones.

        Not needed at shutdown: an event loop closes its own connections when it shuts down.
        """
        await self._client.aclose()

    def _encode_body(self, input: RunAgentInput, context: RunContext | None, thread_id: str) -> bytes:
        body: Mapping[str, Any]
        is_called_first = context is not None and context._control.agent is self and "run" not in vars(self)
        if context is not None and is_called_first and type(self).run is HttpAgent.run:
            # Nobody can have changed the input. The body is what the client has sent, such as parts of messages in
            # their own version of AG-UI.
            body = context.body
        else:
            body = input_in_wire_form(input)
        props = self._allowed_props.select("HttpAgent", body.get("forwardedProps"))
        encoded = http_request.encode_body({**body, "threadId": thread_id, "forwardedProps": props})
        if isinstance(body, JSONBody):
            body.forget()
        return encoded


def _replace_thread_id(event: dict[str, Any], remote_id: str, thread_id: str) -> None:
    """Replaces the remote agent's id of the thread by the client's, in an event and in the input that it repeats."""
    for members in (event, event.get("input")):
        if isinstance(members, dict) and members.get("threadId") == remote_id:
            members["threadId"] = thread_id
