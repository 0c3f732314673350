"""`HttpAgent`: an agent that lives behind an AG-UI endpoint elsewhere."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ._http import request as http_request
from ._http.clients import AsyncHTTPClient, LoopLocalHTTPClient
from ._http.errors import to_upstream_error
from ._http.response import EventDecoder, raise_for_status
from ._http.urls import parse_http_url, redact_url

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

    from ._context import RunContext

logger = logging.getLogger("copilot_runtime.agents.http")


class HttpAgent:
    """Runs the agent behind an AG-UI endpoint: a POST answered by server-sent events.

    ``url`` is the endpoint, ``headers`` what is sent with every run, winning over the
    caller's forwarded headers. ``client`` is an ``httpx2.AsyncClient`` or
    ``httpx.AsyncClient`` to use (its owner closes it, and it must not be shared between
    event loops), or a function that makes one for each loop; clients of our own keep no
    cookies. ``connect_timeout_seconds`` bounds the wait for a connection,
    ``read_timeout_seconds`` each silence of the remote; a run as a whole may take as long
    as it likes. ``max_event_bytes`` bounds one event. ``debug`` adds the causes of
    failures, which otherwise only the log has, to what clients are told.

    Raises ValueError and TypeError for what could never work.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        client: AsyncHTTPClient | Callable[[], AsyncHTTPClient] | None = None,
        description: str = "",
        connect_timeout_seconds: float = 10.0,
        read_timeout_seconds: float | None = None,
        max_event_bytes: int = 32 * 1024 * 1024,
        debug: bool = False,
    ) -> None:
        if connect_timeout_seconds <= 0 or (read_timeout_seconds is not None and read_timeout_seconds <= 0):
            raise ValueError("HttpAgent needs timeouts above 0 seconds (read_timeout_seconds=None is for none)")
        if max_event_bytes <= 0:
            raise ValueError("HttpAgent needs max_event_bytes above 0")
        self.url = url
        self.headers = http_request.validate_headers(headers)
        self.description = description
        wrong = f"HttpAgent needs an absolute URL, such as 'https://agents.example/run', not {url!r}"
        self._shown = redact_url(parse_http_url(url, wrong))
        self._clients = LoopLocalHTTPClient(client)
        self._timeout = (connect_timeout_seconds, read_timeout_seconds, read_timeout_seconds, connect_timeout_seconds)
        self._max_event_bytes = max_event_bytes
        self._debug = debug

    async def run(self, input: RunAgentInput, context: RunContext | None = None) -> AsyncGenerator[dict[str, Any]]:
        """The remote's events, as they arrive, in wire form.

        What is sent is ``context.body`` (``input``, where that is not given) less the
        activity messages. Whatever goes wrong is said by one ``RUN_ERROR`` at the end,
        whose code starts with ``UPSTREAM_``. Closing the iterator, or cancelling the task
        that waits for it, closes the connection.
        """
        events = EventDecoder(self._max_event_bytes)
        try:
            client = await self._clients.get()
            async with client.stream(
                "POST", self.url, content=_body(input, context), headers=self._fields(context), timeout=self._timeout
            ) as answer:
                await raise_for_status(answer)
                async for chunk in answer.aiter_bytes():
                    for event in events.feed(chunk):
                        yield event
            events.finish()
            return
        except Exception as error:
            failure = to_upstream_error(error)
            if failure is None:
                raise
        if events.run_ended:
            # The run is over for the client: how the connection ended changes nothing.
            logger.info("%s, after the end of a run: %s", self._shown, failure)
            return
        logger.warning("%s: %s", self._shown, failure)
        yield failure.event(detailed=self._debug)

    async def aclose(self) -> None:
        """Closes the running event loop's idle connections; the next run opens new ones.

        Not needed at shutdown: an event loop that is shut down closes its own.
        """
        await self._clients.aclose()

    def _fields(self, context: RunContext | None) -> list[tuple[bytes, bytes]]:
        return http_request.build_headers(self.headers, {} if context is None else context.headers)


def _body(input: RunAgentInput, context: RunContext | None) -> bytes:
    if context is not None and context.body:
        return http_request.encode_body(context.body)
    return http_request.encode_body(input.model_dump(mode="json", by_alias=True, exclude_none=True))
