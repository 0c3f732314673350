"""Replaces the stores of runtimes while a test runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .._server.runtime import CopilotRuntime
from .._server.store_override import StoreOverride, pop_override, push_override
from ..stores import RunStore, store_from_url


@contextmanager
def override_stores(
    *runtimes: CopilotRuntime, store: str | RunStore | Callable[[], RunStore] = "memory://"
) -> Iterator[None]:
    """Gives runtimes a new, empty store for as long as the block lasts, whatever ``store`` they were created with.

    ``with override_stores():`` in a test, ``self.enterContext(override_stores())`` in ``setUp`` of a unittest test
    case. At the end, runs that are still active are stopped, and the runtimes have their own stores again.

    Args:
        *runtimes: the runtimes; by default all that exist already, and those that are created within the block with
            the URL of a SQLite file outside of the folder for temporary files.
        store: a URL, or a function that returns a store, for each runtime; or a store object, which all share.

    Raises:
        ValueError: ``store`` is none of these.
    """
    make_store: Callable[[], RunStore] = store if callable(store) else lambda: store_from_url(store)
    make_store()
    if runtimes:
        override = StoreOverride(make_store, lambda owner: owner in runtimes, lambda url: False)
    else:
        override = StoreOverride(make_store, lambda owner: not override.is_created(owner), _is_permanent)
    with _in_effect(override):
        yield


@contextmanager
def own_stores() -> Iterator[None]:
    """Lets runtimes use their own stores within a block of `override_stores`."""
    with _in_effect(StoreOverride(lambda: store_from_url("memory://"), lambda owner: False, lambda url: False)):
        yield


@contextmanager
def _in_effect(override: StoreOverride) -> Iterator[None]:
    push_override(override)
    try:
        yield
    finally:
        pop_override(override)


def _is_permanent(url: str) -> bool:
    """Returns whether a store is a file that is meant to stay."""
    parts = urlsplit(url)
    path = Path(unquote(parts.path).removeprefix("/")).resolve()
    return parts.scheme == "sqlite" and not path.is_relative_to(Path(tempfile.gettempdir()).resolve())
