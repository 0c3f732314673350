"""Clients of the ``openai`` SDK, an optional package: one per event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._concurrency.loop_local import LoopLocal, SharedValue
from .optional_imports import import_optional

if TYPE_CHECKING:
    from openai import AsyncOpenAI


def loop_local_openai_client(feature: str, client: AsyncOpenAI | None = None, **options: Any) -> LoopLocal[AsyncOpenAI]:
    """Returns the client to use, per event loop.

    `LoopLocal.get` raises ``openai.OpenAIError`` if there is no key, neither in the options nor in the SDK's
    environment variable.

    Args:
        feature: what requires the SDK, for errors.
        client: a client for all loops, which its owner closes.
        options: options of ``AsyncOpenAI`` for the clients created here. One that is None is left to the SDK, with its
            environment variables and defaults.

    Raises:
        ImportError: if the SDK is not installed; it names the extra.
        TypeError: for a client that is not an ``AsyncOpenAI``, and for a client together with options.
    """
    sdk = import_optional("openai", feature=feature, extra="openai")
    explicit = {name: value for name, value in options.items() if value is not None}
    if client is None:
        return LoopLocal(lambda: sdk.AsyncOpenAI(**explicit), _close)
    if not isinstance(client, sdk.AsyncOpenAI):
        raise TypeError(f"{feature}: client must be an openai.AsyncOpenAI, not {type(client).__name__}")
    if explicit:
        raise TypeError(f"{feature}: a client has its own {' and '.join(explicit)}, so these cannot be set as well")
    return SharedValue(client)


async def _close(client: AsyncOpenAI) -> None:
    await client.close()
