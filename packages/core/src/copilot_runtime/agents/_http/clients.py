"""HTTP clients for remote agents, one per event loop.

A client's connections belong to the loop that opened them, and an agent may run on several: a test's, the server's,
the background loop under WSGI.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Protocol, TypeGuard

import httpx2

from ..._concurrency.loop_local import LoopLocal, SharedValue


class HTTPResponseLike(Protocol):
    """The part of ``httpx2.Response`` and ``httpx.Response`` that is used."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def aiter_bytes(self) -> AsyncIterator[bytes]: ...


class AsyncHTTPClient(Protocol):
    """The part of ``httpx2.AsyncClient`` and ``httpx.AsyncClient`` that is used."""

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


def loop_local_http_client(
    source: AsyncHTTPClient | Callable[[], AsyncHTTPClient] | None = None,
) -> LoopLocal[AsyncHTTPClient]:
    """Returns the client to use, per event loop.

    Args:
        source: a client for all loops, which its owner closes; or a function that creates one for each loop; or None
            for default clients.

    Raises TypeError for any other source.
    """
    if source is None:
        _ssl_context()  # at construction: it takes as long as some hundred events
        return LoopLocal(default_client, _close)
    if _is_client(source):
        return SharedValue(source)
    if callable(source):
        return LoopLocal(functools.partial(_create_client, source), _close)
    raise TypeError(_WRONG_CLIENT.format(type(source).__name__))


_WRONG_CLIENT = "client must be an httpx2.AsyncClient or httpx.AsyncClient, or a function that returns one, not {}"


def _create_client(factory: Callable[[], AsyncHTTPClient]) -> AsyncHTTPClient:
    client = factory()
    if not _is_client(client):
        raise TypeError(_WRONG_CLIENT.format(type(client).__name__))
    return client


def _is_client(value: Any) -> TypeGuard[AsyncHTTPClient]:
    return not isinstance(value, type) and hasattr(value, "stream") and hasattr(value, "aclose")


async def _close(client: AsyncHTTPClient) -> None:
    await client.aclose()


def default_client() -> httpx2.AsyncClient:
    """Returns a client that limits no streams and keeps no cookies."""
    return httpx2.AsyncClient(
        verify=_ssl_context(),
        # A cookie jar is shared by all runs: it would send cookies set for one user with another user's run.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # Shorter than servers keep idle connections (gunicorn 2 s, uvicorn 5 s): a POST on a connection that the server
        # is just closing fails, and must not be retried.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=1.0),
    )


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    return httpx2.create_ssl_context()
