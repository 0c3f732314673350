"""Counts the function calls that a streamed event and a run cost, in process and without a clock.

    python -m benchmarks.calls

A guard that is no timing: the figures are the same on a fast machine and on a busy one,
so a test can hold them to a budget. Counted are calls of Python functions (resuming a
generator or coroutine is one) and of functions written in C, on the thread of the event
loop, from the request to the end of its stream. The agent's own are among them, and
are given beside. Those of asyncio count too; another Python version may make more or fewer of them.
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

    def _seen(self, frame: object, event: str, argument: object) -> None:
        if event in CALLS:
            self.calls += 1

    def __enter__(self) -> Counter:
        # A collection runs finalizers and callbacks whenever it likes; that would be counted too.
        gc.collect()
        gc.disable()
        sys.setprofile(self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """Calls per event of a burst, per event that the loop got a turn after, and per run of ten deltas.

    ``agent_per_event`` is how many of the first are the agent's own.
    """

    per_event: float
    per_ticked_event: float
    per_run: float
    agent_per_event: float


class Client:
    """Sends runs to a handler, each on a thread of its own, and reads their streams to the end."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.sent = 0

    def request(self, agent: str, properties: Mapping[str, Any]) -> Request:
        self.sent += 1
        body = {
            "threadId": f"thread-{self.sent}",
            "runId": f"run-{self.sent}",
            "messages": [{"id": f"user-{self.sent}", "role": "user", "content": "hi"}],
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
        """The whole stream. Raises RuntimeError when the run did not finish."""
        response = await self.handler(request)
        if not isinstance(response.body, EventStream):
            raise RuntimeError(f"not a stream: {response.status} {response.body[:200]!r}")
        chunks = [chunk async for chunk in response.body]
        stream = b"".join(chunks)
        if b'"RUN_FINISHED"' not in stream[-400:]:
            raise RuntimeError(f"the run did not finish: {stream[-400:]!r}")
        return stream

    async def count(self, agent: str, properties: Mapping[str, Any], runs: int = 1) -> int:
        """Calls made for ``runs`` runs, one after the other. Making the requests is not counted."""
        requests = [self.request(agent, properties) for _ in range(runs)]
        with Counter() as counter:
            for request in requests:
                await self.read(request)
        return counter.calls

    async def per_event(self, events: int, **properties: Any) -> float:
        """What each further event costs: the difference between a run of so many and one of twice as many."""
        once = await self.count("burst", {**properties, "n": events})
        twice = await self.count("burst", {**properties, "n": 2 * events})
        return (twice - once) / events


async def _agent_per_event(agent: Any, events: int) -> float:
    """What each further event costs the agent itself, when nothing is done with it."""

    async def count(number: int) -> int:
        given = RunAgentInput(
            thread_id="t", run_id="r", messages=[], tools=[], context=[], state={}, forwarded_props={"n": number}
        )
        with Counter() as counter:
            async for _ in agent.run(given):
                pass
        return counter.calls

    return (await count(2 * events) - await count(events)) / events


async def _measure(config: str, events: int, runs: int) -> Figures:
    configuration = CONFIGURATIONS[config]
    runtime = CopilotRuntime(**configuration.runtime_arguments())
    handler = create_copilot_runtime_handler(runtime=runtime, **configuration.handler_arguments())
    client = Client(handler)
    # What is built once (tables, caches, the timer) is not the price of an event or a run.
    await client.count("short", {}, runs=5)
    return Figures(
        per_event=await client.per_event(events),
        per_ticked_event=await client.per_event(events, tick=True),
        per_run=await client.count("short", {}, runs=runs) / runs,
        agent_per_event=await _agent_per_event(configuration.runtime["agents"]["burst"], events),
    )


def measure(config: str = "bench", *, events: int = 1000, runs: int = 50) -> Figures:
    """Figures of a configuration that has the benchmark's agents (``bench``, ``bench-model``).

    ``events`` is the length of the shorter of the two runs that are compared, ``runs`` the
    number of short runs that are averaged.
    """
    return asyncio.run(_measure(config, events, runs))


def main() -> None:
    print(f"{'calls per':12} {'event':>8} {'(the agent)':>12} {'ticked event':>14} {'run':>8}")
    for config in ("bench", "bench-model"):
        figures = measure(config)
        print(
            f"{config:12} {figures.per_event:8.2f} {figures.agent_per_event:12.2f} "
            f"{figures.per_ticked_event:14.2f} {figures.per_run:8.1f}"
        )


if __name__ == "__main__":
    main()
