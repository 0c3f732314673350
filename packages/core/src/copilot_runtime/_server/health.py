"""``GET {mount}/healthz``: whether this process can serve, for the probes of load balancers and orchestrators."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

from .._concurrency import driver, loops
from .._concurrency.loop_lag import LoopLag
from .._concurrency.process_local import ProcessLocal
from .._concurrency.waiters import Waiters
from .._engine.endings import describe_error
from .._engine.store_kinds import store_kind
from .._http.types import Request, Response
from ..stores.protocol import RunStore, ThreadKey
from .runtime import CopilotRuntime

logger = logging.getLogger("copilot_runtime.handler")

PATH = ("healthz",)
"""The segments of the path below the mount."""

STORE_SECONDS = 2.0
"""How long the store may take to answer until it counts as failing."""

FRESH_SECONDS = 1.0
"""For how long the store's last answer is reported again: many probes must not be a load for it."""

STUCK_SECONDS = 5.0
"""How late the background loop may be until the process counts as failing."""

_PROBE = ThreadKey("healthz", "healthz")
"""A thread that does not exist. No user has this owner key: theirs are JSON."""


class HealthCheck:
    """Looks at this process, its store and its event loop.

    Args:
        runtime: the runtime whose process it is.
    """

    def __init__(self, runtime: CopilotRuntime) -> None:
        self._runtime = runtime
        self._lag = LoopLag()
        self._process = ProcessLocal(_ProcessState)

    async def respond(self, request: Request) -> Response:
        """Returns the response: 200 if the process can serve, else 503."""
        runtime = self._runtime
        process = self._process.get()
        store = await self._check_store(process)
        lag = await self._read_lag()
        is_stuck = loops.in_sync_driver() and lag is not None and lag >= STUCK_SECONDS
        is_shutting_down = runtime.engine.refuses_runs
        is_ok = store["status"] == "ok" and not is_stuck and not is_shutting_down
        status = runtime.engine.status()
        body = {
            "status": "ok" if is_ok else "failing",
            "process": {
                "id": process.id,
                "threads": threading.active_count(),
                "shuttingDown": is_shutting_down,
            },
            "server": _describe_server(request.native),
            "store": store,
            "loop": {"lagMs": None if lag is None else round(lag * 1000, 1)},
            "runs": {"live": status.live_runs, "max": status.max_runs},
            "streams": {"open": status.open_streams, "max": status.max_streams},
            "agentThreads": {"busy": status.busy_agent_threads, "max": status.max_agent_threads},
        }
        return Response.json(body, status=200 if is_ok else 503, headers={"cache-control": "no-store"})

    async def _check_store(self, process: _ProcessState) -> dict[str, Any]:
        store = self._runtime.store
        check = process.check_of(store)
        check.start_if_due(store)
        await check.wait()
        return {"kind": store_kind(store).name, "shared": store.poll_seconds is not None, **check.result()}

    async def _read_lag(self) -> float | None:
        """Returns how late the loop of this request's runs has been recently, in seconds; None if there is none."""
        if loops.in_sync_driver():
            background = loops.running_background_loop()
            return None if background is None else self._lag.read(background)
        lag = self._lag.read(asyncio.get_running_loop())
        began_at = time.monotonic()
        await asyncio.sleep(0)
        return max(lag, time.monotonic() - began_at)


class _ProcessState:
    """What is known of one process."""

    def __init__(self) -> None:
        # Not the process's number, which is 1 in every container.
        self.id = secrets.token_hex(8)
        self._check: StoreCheck | None = None

    def check_of(self, store: RunStore) -> StoreCheck:
        """Returns the check of a store: another one where a test has replaced the store."""
        check = self._check
        if check is None or check.store_id != id(store):
            check = self._check = StoreCheck(id(store))
        return check


class StoreCheck:
    """The last answer of a store, and a call that has not returned yet: there is never more than one.

    A call belongs to no request: one that ends meanwhile, or a server without an event loop, leaves it on its thread.
    """

    def __init__(self, store_id: int) -> None:
        self.store_id = store_id
        self._lock = threading.Lock()
        self._waiters = Waiters()
        self._called_at: float | None = None
        self._checked_at: float | None = None
        self._seconds = 0.0
        self._has_failed = False

    def start_if_due(self, store: RunStore) -> None:
        """Calls the store, unless it is being called, or has just answered."""
        with self._lock:
            now = time.monotonic()
            if self._called_at is not None or (
                self._checked_at is not None and now - self._checked_at <= FRESH_SECONDS
            ):
                return
            self._called_at = now
        if not store.blocking:
            self.run(store)
            return
        try:
            driver.start_blocking(self.run, store)
        except RuntimeError as error:  # the interpreter exits, and starts no more threads
            self._end(describe_error(error))

    def run(self, store: RunStore) -> None:
        """Calls the store, on any thread."""
        try:
            store.read(_PROBE)
        except BaseException as error:
            self._end(describe_error(error))
        else:
            self._end()

    async def wait(self) -> None:
        """Waits for the answer, if the store is being called, for as long as it may take."""
        called_at = self._called_at
        if called_at is None:
            return
        await driver.wait_while(lambda: self._called_at == called_at, self._waiters.add, called_at + STORE_SECONDS)
        with self._lock:
            if self._called_at == called_at:
                self._fail(f"it did not answer within {STORE_SECONDS:g} s")

    def result(self) -> dict[str, Any]:
        """Returns what is known, for the response."""
        if self._has_failed:
            return {"status": "failing", "latencyMs": None}
        return {"status": "ok", "latencyMs": round(self._seconds * 1000, 1)}

    def _end(self, reason: str = "") -> None:
        with self._lock:
            now = self._checked_at = time.monotonic()
            self._seconds, self._called_at = now - (self._called_at or now), None
            if reason:
                self._fail(reason)
            elif self._has_failed:
                logger.warning("healthz: the store answers again")
                self._has_failed = False
        self._waiters.notify()

    def _fail(self, reason: str) -> None:
        if not self._has_failed:
            logger.warning("healthz: the store does not answer: %s", reason)
        self._has_failed = True


def _describe_server(native: Any) -> dict[str, Any]:
    """Returns what a request says about its server, without versions."""
    if not loops.in_sync_driver():
        return {"interface": "asgi"}
    environ = native if isinstance(native, Mapping) else getattr(native, "environ", {})
    return {
        "interface": "wsgi",
        "name": str(environ.get("SERVER_SOFTWARE", "")).partition("/")[0] or None,
        "multithread": bool(environ.get("wsgi.multithread", True)),
        "multiprocess": bool(environ.get("wsgi.multiprocess", False)),
    }
