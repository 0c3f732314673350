"""Listening for changes while a server is away. What is done while it works is in the tests of each store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from copilot_runtime.stores import StoreError
from copilot_runtime.stores._postgres import notifications as postgres
from copilot_runtime.stores._redis import listener as redis
from copilot_runtime.stores.protocol import RunKey, ThreadKey

BOUND_SECONDS = 30
RUN = RunKey(ThreadKey("", "t"), 1)


class Away:
    """The connections to a server that is away: a semaphore counts the attempts."""

    timeout_seconds = 1.0

    def __init__(self) -> None:
        self.attempts = threading.Semaphore(0)

    def connect(self) -> Any:
        self.attempts.release()
        raise StoreError("the server is away")

    pubsub = connect


def of_postgres(away: Any) -> Any:
    return postgres.Listener(away, 1, lambda _: None, is_enabled=True, polls=False)


def of_redis(away: Any) -> Any:
    return redis.Listener(away, "channel", lambda _: None)


@pytest.mark.parametrize("is_own", [True, False], ids=["own run", "run of another process"])
@pytest.mark.parametrize(("make", "name"), [(of_postgres, b"\1"), (of_redis, "name")], ids=["postgres", "redis"])
def test_a_listener_without_watchers_does_not_retry(
    make: Callable[[Any], Any], name: Any, is_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each process would connect once a second for as long as its server is away."""
    monkeypatch.setattr(postgres, "MAX_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(redis, "_MAX_PAUSE_SECONDS", 0.01)
    away = Away()
    before = set(threading.enumerate())
    listener = make(away)
    for _ in range(2):
        stop_watching = listener.watch(RUN, name, lambda: None, time.monotonic() if is_own else None)
        for _ in range(3):
            assert away.attempts.acquire(timeout=BOUND_SECONDS), "it retries as long as somebody watches"
        [thread] = [each for each in set(threading.enumerate()) - before if each.name.endswith("-listener")]
        stop_watching()
        thread.join(BOUND_SECONDS)
        assert not thread.is_alive()
