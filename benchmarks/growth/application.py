"""The application that grows: the benchmark's agents, and some whose events are many or long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ag_ui.core import RunAgentInput

from copilot_runtime import CopilotRuntime
from copilot_runtime.stores import MemoryStore, RunStore
from copilot_runtime_asgi import create_copilot_asgi_app
from tests.fixtures.bench_agents import DICT_AGENTS
from tests.fixtures.configs import MOUNT

ROOM = {"max_threads": 10_000_000, "max_runs_per_thread": 1_000_000, "max_bytes": 2**40}
"""Limits of a store that are kept, but never reached."""


def _number(input: RunAgentInput) -> int:
    properties: Any = input.forwarded_props
    return int(properties["n"])


async def _custom(input: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
    """Yields events that no replay joins."""
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    for number in range(_number(input)):
        yield {"type": "CUSTOM", "name": "progress", "value": number}
    yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


async def _long(input: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
    """Yields one long delta."""
    yield {"type": "RUN_STARTED", "threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "TEXT_MESSAGE_START", "messageId": "m1", "role": "assistant"}
    yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m1", "delta": "x" * _number(input)}
    yield {"type": "TEXT_MESSAGE_END", "messageId": "m1"}
    yield {"type": "RUN_FINISHED", "threadId": input.thread_id, "runId": input.run_id}


def application(store: RunStore | None = None) -> Any:
    """Returns an ASGI application without limits that a measurement would reach.

    Args:
        store: its store; by default, threads are kept in memory.
    """
    agents: dict[str, Any] = {**DICT_AGENTS, "custom": _custom, "long": _long}
    runtime = CopilotRuntime(agents=agents, single_user=True, max_runs=None, store=store or MemoryStore(**ROOM))
    return create_copilot_asgi_app(runtime=runtime, base_path=MOUNT)
