"""Clients of the ``openai`` SDK, which is an extra: one to each event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._concurrency.loop_local import LoopLocal
from .optional_imports import import_optional

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class LoopLocalOpenAIClient:
    """Gives the ``AsyncOpenAI`` to use on the running loop.

    ``given`` is a ready one to use on every loop, which stays its owner's to close.
    ``options`` are ``AsyncOpenAI``'s own, for the clients made here: ``api_key``,
    ``base_url``, ``max_retries``, ``timeout``; one that is None is left to the SDK, with
    its environment variables and defaults.

    Raises ImportError, which names the extra, where the SDK is not installed; TypeError
    for a client that is none, and for options beside a ready one.
    """

    def __init__(self, given: AsyncOpenAI | None = None, **options: Any) -> None:
        sdk = openai_sdk()
        chosen = {name: value for name, value in options.items() if value is not None}
        if given is not None and not isinstance(given, sdk.AsyncOpenAI):
            raise TypeError(f"client must be an openai.AsyncOpenAI, not {type(given).__name__}")
        if given is not None and chosen:
            raise TypeError(f"a ready client has its own {' and '.join(chosen)}: give one or the other")
        self._given = given
        self._own: LoopLocal[AsyncOpenAI] = LoopLocal(lambda: sdk.AsyncOpenAI(**chosen), _closed)

    async def get(self) -> AsyncOpenAI:
        """The running loop's client, made now if it is the first time.

        Raises ``openai.OpenAIError`` where there is no key, neither given nor in the
        SDK's environment variable.
        """
        return self._given if self._given is not None else await self._own.get()

    async def aclose(self) -> None:
        """Closes the running loop's client, unless it was given. The next `get` makes another."""
        await self._own.aclose()


def openai_sdk() -> Any:
    """The module ``openai``. Raises ImportError, which names the extra, where it is not installed."""
    return import_optional("openai", by="What asks OpenAI's API", extra="openai")


async def _closed(client: AsyncOpenAI) -> None:
    await client.close()
