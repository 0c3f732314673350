"""Engines that take the place of a runtime's own while a test runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from weakref import WeakSet

from .._engine import Engine
from ..stores import RunStore

Applies = Callable[[Hashable], bool]
"""Whether the store of a runtime is replaced."""


class StoreOverride:
    """Other stores for runtimes.

    Args:
        make_store: creates the store of a runtime.
        applies: whether to replace the store of a runtime; where not, its own is used.
        replaces_url: whether a runtime that is created meanwhile with this URL gets another store for good, so that
            the one of the URL is never opened.
    """

    def __init__(
        self, make_store: Callable[[], RunStore], applies: Applies, replaces_url: Callable[[str], bool]
    ) -> None:
        self.make_store = make_store
        self.replaces_url = replaces_url
        self._applies = applies
        self._engines: dict[Hashable, Engine] = {}
        self._created = WeakSet[Hashable]()

    def note_created(self, owner: Hashable) -> None:
        """Notes a runtime that was created meanwhile."""
        self._created.add(owner)

    def is_created(self, owner: Hashable) -> bool:
        """Returns whether a runtime was created meanwhile."""
        return owner in self._created

    def engine_for(self, owner: Hashable, own: Engine) -> Engine:
        """Returns the engine of a runtime."""
        if not self._applies(owner):
            return own
        engine = self._engines.get(owner)
        if engine is None:
            engine = self._engines.setdefault(owner, own.with_store(self.make_store()))
        return engine

    def close(self) -> None:
        """Stops the runs that are still active."""
        for engine in self._engines.values():
            engine.close()


_overrides: list[StoreOverride] = []
"""The innermost last. For the whole process: a test's requests may come from threads and event loops of servers."""


def push_override(override: StoreOverride) -> None:
    """Puts an override into effect."""
    _overrides.append(override)


def pop_override(override: StoreOverride) -> None:
    """Ends an override."""
    _overrides.remove(override)
    override.close()


def current_engine(owner: Hashable, own: Engine) -> Engine:
    """Returns the engine to use for a runtime: its own, unless a test has replaced its store."""
    return _overrides[-1].engine_for(owner, own) if _overrides else own


def is_store_overridden() -> bool:
    """Returns whether a test replaces stores."""
    return bool(_overrides)


def store_of_new_runtime(owner: Hashable, store: str | RunStore) -> str | RunStore:
    """Returns the store to create a runtime with: the one that it asks for, unless a test replaces that."""
    for override in _overrides:
        override.note_created(owner)
    if _overrides and isinstance(store, str) and _overrides[-1].replaces_url(store):
        return _overrides[-1].make_store()
    return store


def notify_pytest_plugin() -> None:
    """Lets our pytest plugin replace stores from now on. It does not import this package itself."""
    plugin = sys.modules.get("copilot_runtime_pytest")
    if plugin is not None:
        plugin.on_import()
