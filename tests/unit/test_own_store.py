"""Stores that an application has written itself: what is missing in them is reported at construction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime
from copilot_runtime.stores import MemoryStore, RunStore
from copilot_runtime.stores.protocol import ThreadKey, ThreadSnapshot


class Wrapper:
    """Passes everything on, with parameters of its own where it does something."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def read(self, key: ThreadKey, **options: Any) -> ThreadSnapshot:
        return self._store.read(key, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def runtime(store: Any) -> CopilotRuntime:
    return CopilotRuntime(agents={"a": lambda input: []}, store=store)


def without(name: str) -> type[MemoryStore]:
    missing: Mapping[str, Any] = {name: property(lambda self: getattr(object(), name))}
    return type("Incomplete", (MemoryStore,), dict(missing))


@pytest.mark.parametrize("name", ["sweep", "follow", "after_fork", "blocking", "lease_seconds"])
def test_store_that_lacks_a_member_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"store=.*Incomplete.*: RunStore requires an? \w+ {name}"):
        runtime(without(name)())


def test_store_whose_method_lacks_a_parameter_is_refused() -> None:
    class ClearsAtOnce(MemoryStore):
        def clear(self, owner: str) -> None:  # type: ignore[override]
            pass

    with pytest.raises(ValueError, match=r"RunStore requires a method clear\(owner, cursor\)"):
        runtime(ClearsAtOnce())

    class ReadsAll(MemoryStore):
        def read(self, thread: ThreadKey) -> ThreadSnapshot:  # type: ignore[override]
            return ThreadSnapshot()

    with pytest.raises(ValueError, match=r"RunStore requires a method read\(thread, touch, raw_ordinal\)"):
        runtime(ReadsAll())


def test_wrapper_of_a_store_is_accepted() -> None:
    runtime(Wrapper(MemoryStore()))
