"""Requests to a mount, each on a connection of its own, so that any process of the server may get it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal, Self, cast
from urllib.parse import quote, urljoin

import httpx2

from ..._version import __version__
from .software import Software
from .watched_stream import WatchedStream

Transport = Literal["rest", "single"]
Method = Literal["GET", "POST", "OPTIONS", "DELETE"]

_MAX_BODY_BYTES = 4 * 1024 * 1024
"""How much of an answer is read."""

_AS_CLIENT = cast("httpx2.Timeout", httpx2.USE_CLIENT_DEFAULT)

REDIRECTS = frozenset((301, 302, 303, 307, 308))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The response to a request.

    Attributes:
        status: its status.
        headers: its header fields.
        body: its body, or the beginning of a large one.
        seconds: how long it took.
        http_version: such as ``HTTP/1.1``.
    """

    status: int
    headers: httpx2.Headers
    body: bytes
    seconds: float
    http_version: str = "HTTP/1.1"

    @property
    def is_redirect(self) -> bool:
        return self.status in REDIRECTS and "location" in self.headers

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> dict[str, Any] | None:
        """Returns the body as a JSON object; None if it is something else."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def described(self) -> str:
        """Returns the status, and what the body says of it."""
        said = self.json() or {}
        texts = [said[name] for name in ("error", "message", "details", "detail") if isinstance(said.get(name), str)]
        text = ": ".join(texts) or (f"{self.content_type or 'no content type'}" if self.body else "")
        return f"{self.status} ({text[:300]})" if text else str(self.status)


class Unanswered(Exception):
    """A request got no response. The text says why."""

    def __init__(self, message: str, *, is_timeout: bool = False, is_broken_off: bool = False) -> None:
        super().__init__(message)
        self.is_timeout = is_timeout
        self.is_broken_off = is_broken_off
        """Whether the server closed the connection in place of a response."""


class Mount:
    """A URL that a frontend would use.

    Args:
        url: the URL.
        headers: header fields of every request.
        timeout_seconds: how long a response may take.

    Attributes:
        transport: how agents are addressed: with paths, or with an envelope POSTed to the URL.
        software: what the responses so far tell of the server.
    """

    def __init__(self, url: str, headers: tuple[tuple[str, str], ...], timeout_seconds: float) -> None:
        self.url = url
        self.timeout_seconds = timeout_seconds
        self.transport: Transport = "rest"
        self.software = Software()
        self._headers = headers
        self._agent = f"copilot-runtime-doctor/{__version__}"
        self._client = httpx2.AsyncClient(
            follow_redirects=False,
            timeout=timeout_seconds,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self._client.headers.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    @property
    def base(self) -> str:
        """The URL without a slash at its end, which clients drop before they add a path."""
        return self.url.rstrip("/")

    @property
    def origin(self) -> str:
        """The origin of the URL, as a browser sends it."""
        url = httpx2.URL(self.url)
        return f"{url.scheme}://{url.netloc.decode('ascii')}"

    @property
    def header_names(self) -> list[str]:
        """The names of the header fields that the user has given, in lower case."""
        return [name.lower() for name, _ in self._headers]

    async def request(
        self,
        method: Method,
        path: str = "",
        body: bytes | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        url: str | None = None,
        as_user: bool = True,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """Returns the response to a request. Raises Unanswered.

        Args:
            method: its method.
            path: what is added to the URL; for none, the URL is used as it is.
            body: bytes, or an object to send as JSON.
            headers: further header fields.
            url: another URL in place of the mount's.
            as_user: whether the user's header fields are sent, which preflights lack.
            timeout_seconds: how long the response may take, if not as long as usual.
        """
        target = url or (f"{self.base}{path}" if path else self.url)
        seconds = timeout_seconds or self.timeout_seconds
        started = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                request = self._request(method, target, body, headers or {}, as_user=as_user)
                response = await self._client.send(request, stream=True)
                try:
                    content = bytearray()
                    async for piece in response.aiter_bytes():
                        content += piece
                        if len(content) > _MAX_BODY_BYTES:
                            break
                finally:
                    await response.aclose()
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise Unanswered(f"no answer within {seconds:g} s", is_timeout=True) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise _unanswered(error) from error
        self.software = self.software.seen_in(response.headers)
        return Answer(
            status=response.status_code,
            headers=response.headers,
            body=bytes(content),
            seconds=time.monotonic() - started,
            http_version=response.http_version,
        )

    async def call_agent(
        self,
        action: Literal["run", "connect", "stop"],
        agent: str,
        body: Mapping[str, Any],
        *,
        thread: str = "",
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """Returns the whole response to a request for an agent, on the transport that the mount has."""
        path, content = self._agent_request(action, agent, body, thread)
        return await self.request("POST", path, content, headers, timeout_seconds=timeout_seconds)

    def watch(self, action: Literal["run", "connect"], agent: str, body: Mapping[str, Any]) -> WatchedStream:
        """Returns the stream of an agent, which is read in the background from now on."""
        path, content = self._agent_request(action, agent, body, "")
        target = f"{self.base}{path}" if path else self.url
        request = self._request("POST", target, content, {"accept": "text/event-stream"}, timeout=None)
        return WatchedStream(self._client, request)

    def _agent_request(
        self, action: str, agent: str, body: Mapping[str, Any], thread: str
    ) -> tuple[str, Mapping[str, Any]]:
        if self.transport == "rest":
            return agent_path(agent, action, thread), body
        params = {"agentId": agent, **({"threadId": thread} if thread else {})}
        return "", {"method": f"agent/{action}", "params": params, "body": body}

    def _request(
        self,
        method: str,
        target: str,
        body: bytes | Mapping[str, Any] | None,
        headers: Mapping[str, str],
        *,
        as_user: bool = True,
        timeout: httpx2.Timeout | None = _AS_CLIENT,
    ) -> httpx2.Request:
        own = self._headers if as_user else ()
        fields = {"accept": "application/json", "accept-encoding": "gzip, deflate", "connection": "close", **headers}
        if not any(name.lower() == "user-agent" for name, _ in own):
            fields["user-agent"] = self._agent
        if isinstance(body, Mapping):
            fields = {"content-type": "application/json", **fields}
            body = json.dumps(body).encode()
        # One that is empty here is left out: some requests of browsers have no content type.
        pairs = [*((name, value) for name, value in fields.items() if value), *own]
        return self._client.build_request(method, target, headers=pairs, content=body, timeout=timeout)


def _unanswered(error: Exception) -> Unanswered:
    text = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.WriteError):
        return Unanswered(f"the connection was closed in place of a response: {text}", is_broken_off=True)
    if isinstance(error, httpx2.ConnectError):
        return Unanswered(f"no connection: {text}")
    return Unanswered(text)


def agent_path(agent: str, action: str, thread: str = "") -> str:
    """Returns the path of an action of an agent, below the mount."""
    last = f"/{quote(thread, safe='')}" if thread else ""
    return f"/agent/{quote(agent, safe='', errors='replace')}/{action}{last}"


def members(value: object) -> dict[str, Any]:
    """Returns the members of a JSON object; none if the server has sent something else in its place."""
    return value if isinstance(value, dict) else {}


def refuses_csrf(answer: Answer) -> bool:
    """Returns whether a request was refused by a framework's check against forged requests."""
    return answer.status in (400, 403) and b"csrf" in answer.body[:20_000].lower()


def new_id(word: str) -> str:
    """Returns an id that nobody else has."""
    return f"doctor-{word}-{uuid.uuid4().hex[:12]}"


def run_input(thread: str, text: str = "") -> dict[str, Any]:
    """Returns the input of a run, with a message of the user if there is a text."""
    messages = [{"id": new_id("message"), "role": "user", "content": text}] if text else []
    lists: dict[str, Any] = {"messages": messages, "tools": [], "context": []}
    return {"threadId": thread, "runId": new_id("run"), **lists, "state": {}, "forwardedProps": {}}


def resolved(base: str, location: str) -> str:
    """Returns where a redirect leads to; its text as it is, if that is not a URL."""
    try:
        return str(httpx2.URL(urljoin(base, location)))
    except (ValueError, httpx2.InvalidURL):
        return location
