"""Counts the function calls for a streamed event and for a run, in process and without a clock.

    python -m benchmarks.calls

The counts are the same on a fast machine and on a busy one, so a test can enforce a budget for them. They include
calls of Python functions (resuming a generator or coroutine is one) and of functions written in C, on the event loop's
thread, from the request to the end of its stream. The agent's own calls are included, and also reported separately.
Calls in asyncio are included; their number depends on the Python version.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ag_ui.core import RunAgentInput
from pydantic_core import to_json

from copilot_runtime import (
    CopilotRuntime,
    EventStream,
    Headers,
    Request,
    Response,
    create_copilot_runtime_handler,
)
from tests.fixtures.configs import CONFIGURATIONS

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
CALLS = frozenset(("call", "c_call"))


class Counter:
    """Counts the calls made on this thread inside its ``with`` block."""

    def __init__(self) -> None:
        self.calls = 0

    def _count(self, frame: object, event: str, argument: object) -> None:
        if event in CALLS:
            self.calls += 1

    def __enter__(self) -> Counter:
        # Garbage collection could run finalizers and callbacks at any time, which would be counted too.
        gc.collect()
        gc.disable()
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """Numbers of function calls.

    ``per_event`` is for an event of a burst, and ``agent_per_event`` the agent's own share of it. ``per_ticked_event``
    is for an event after which the agent gives the event loop a turn, and ``per_run`` for a run of ten deltas.
    """

    per_event: float
    per_ticked_event: float
    per_run: float
    agent_per_event: float


class Client:
    """Sends runs to a handler, each in a new thread, and reads their streams to the end."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.request_count = 0

    def request(self, agent: str, properties: Mapping[str, Any]) -> Request:
        self.request_count += 1
        body = {
            "threadId": f"thread-{self.request_count}",
            "runId": f"run-{self.request_count}",
            "messages": [{"id": f"user-{self.request_count}", "role": "user", "content": "hi"}],
            "state": {},
            "tools": [],
            "context": [],
            "forwardedProps": properties,
        }
        return Request(
            method="POST",
            path=f"/api/copilotkit/agent/{agent}/run",
            headers=Headers((("content-type", "application/json"), ("host", "127.0.0.1"))),
            body=to_json(body),
        )

    async def read(self, request: Request) -> bytes:
        """Returns the whole stream. Raises RuntimeError if the run did not finish."""
        response = await self.handler(request)
        if not isinstance(response.body, EventStream):
            raise RuntimeError(f"not a stream: {response.status} {response.body[:200]!r}")
        chunks = [chunk async for chunk in response.body]
        stream = b"".join(chunks)
        if b'"RUN_FINISHED"' not in stream[-400:]:
            raise RuntimeError(f"the run did not finish: {stream[-400:]!r}")
        return stream

    async def count(self, agent: str, properties: Mapping[str, Any], runs: int = 1) -> int:
        """Returns the calls for ``runs`` runs, one after the other. Creating the requests is not counted."""
        requests = [self.request(agent, properties) for _ in range(runs)]
        with Counter() as counter:
            for request in requests:
                await self.read(request)
        return counter.calls

    async def per_event(self, events: int, **properties: Any) -> float:
        """Returns the calls for each further event, from a run of ``events`` events and one of twice as many."""
        short = await self.count("burst", {**properties, "n": events})
        long = await self.count("burst", {**properties, "n": 2 * events})
        return (long - short) / events


async def _agent_per_event(agent: Any, events: int) -> float:
    """Returns the agent's own calls for each further event, when nothing is done with its events."""

    async def count(number: int) -> int:
        run_input = RunAgentInput(
            thread_id="t", run_id="r", messages=[], tools=[], context=[], state={}, forwarded_props={"n": number}
        )
        with Counter() as counter:
            async for _ in agent.run(run_input):
                pass
        return counter.calls

    return (await count(2 * events) - await count(events)) / events


async def _measure(config: str, events: int, runs: int) -> Figures:
    configuration = CONFIGURATIONS[config]
    runtime = CopilotRuntime(**configuration.runtime_arguments())
    handler = create_copilot_runtime_handler(runtime=runtime, **configuration.handler_arguments())
    client = Client(handler)
    # What is built only once (tables, caches, the timer) must not count.
    await client.count("short", {}, runs=5)
    # Nor must CPython specialise code meanwhile: it reports fewer calls of functions in C then.
    for properties in ({}, {"tick": True}):
        await client.count("burst", {**properties, "n": events}, runs=10)
    return Figures(
        per_event=await client.per_event(events),
        per_ticked_event=await client.per_event(events, tick=True),
        per_run=await client.count("short", {}, runs=runs) / runs,
        agent_per_event=await _agent_per_event(configuration.runtime["agents"]["burst"], events),
    )


def measure(config: str = "bench", *, events: int = 1000, runs: int = 50) -> Figures:
    """Returns the figures for a configuration with the benchmark's agents (``bench``, ``bench-model``).

    Args:
        config: the name of the configuration.
        events: the number of events in the shorter of the two runs that are compared.
        runs: the number of short runs to average.
    """
    return asyncio.run(_measure(config, events, runs))


def main() -> None:
    print(f"{'calls per':12} {'event':>8} {'(agent)':>12} {'ticked event':>14} {'run':>8}")
    for config in ("bench", "bench-model"):
        figures = measure(config)
        print(
            f"{config:12} {figures.per_event:8.2f} {figures.agent_per_event:12.2f} "
            f"{figures.per_ticked_event:14.2f} {figures.per_run:8.1f}"
        )


if __name__ == "__main__":
    main()
