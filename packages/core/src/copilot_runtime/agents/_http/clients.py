"""HTTP clients for agents that live elsewhere: one to each event loop.

A client's connections belong to the loop that opened them, while one agent may run on
several: a test's, the server's, the background loop of WSGI.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Protocol

import httpx2

from ..._concurrency.loop_local import LoopLocal


class HTTPResponseLike(Protocol):
    """What is used of an ``httpx2.Response`` or ``httpx.Response``."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def aiter_bytes(self) -> AsyncIterator[bytes]: ...


class AsyncHTTPClient(Protocol):
    """What is used of an ``httpx2.AsyncClient`` or ``httpx.AsyncClient``."""

    def stream(
        self,
        method: str,
        url: str,
        *,
        content: bytes,
        headers: list[tuple[bytes, bytes]],
        timeout: tuple[float | None, float | None, float | None, float | None],
    ) -> AbstractAsyncContextManager[HTTPResponseLike]: ...

    async def aclose(self) -> None: ...


class LoopLocalHTTPClient:
    """Gives the client to use on the running loop.

    ``given`` is a client to use on every loop, which stays its owner's to close; or a
    function that makes one for each loop; or None, for clients of our own. Raises
    TypeError where it is none of these.
    """

    def __init__(self, given: Any = None) -> None:
        if given is not None and not _is_client(given) and not callable(given):
            raise TypeError(_WRONG_CLIENT.format(type(given).__name__))
        self._given: AsyncHTTPClient | None = given if _is_client(given) else None
        if given is None:
            _tls()  # now, at construction: it takes the time of some hundred events
        make = given if callable(given) else default_client
        self._own: LoopLocal[AsyncHTTPClient] = LoopLocal(functools.partial(_made, make), _closed)

    async def get(self) -> AsyncHTTPClient:
        """The running loop's client, made now if it is the first time."""
        return self._given if self._given is not None else await self._own.get()

    async def aclose(self) -> None:
        """Closes the running loop's client. The next `get` makes another one."""
        await self._own.aclose()


def _made(make: Callable[[], Any]) -> AsyncHTTPClient:
    client: AsyncHTTPClient = make()
    if not _is_client(client):
        raise TypeError(_WRONG_CLIENT.format(type(client).__name__))
    return client


async def _closed(client: AsyncHTTPClient) -> None:
    await client.aclose()


_WRONG_CLIENT = "client must be an httpx2.AsyncClient or httpx.AsyncClient, or a function that makes one, not {}"


def _is_client(value: Any) -> bool:
    return not isinstance(value, type) and hasattr(value, "stream") and hasattr(value, "aclose")


def default_client() -> httpx2.AsyncClient:
    """A client for agents: any number of streams at once, nothing remembered of users."""
    return httpx2.AsyncClient(
        verify=_tls(),
        # A shared cookie jar would send on with one user's run what another's was given.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # Idle connections go before the server's own limit (2 s in gunicorn, 5 s in
        # uvicorn): a POST on one that is just being closed fails and must not be repeated.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=1.0),
    )


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context()
