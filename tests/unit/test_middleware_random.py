"""Random layers of middleware of all styles, each of which may end early, fail, or run what is inside again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copilot_runtime.middleware import use

from .middleware_helpers import STACKS, Event, echo_events, ids, run_once

pytestmark = pytest.mark.requirement("MIDDLEWARE-01")

BEHAVIOURS = ("pass", "end", "fail", "again", "skip", "leave")


def finished(input: Any) -> Iterator[Event]:
    yield {"type": "RUN_FINISHED", **ids(input)}


class Played:
    """Code of one run. ``open`` are the generators that have begun and not ended."""

    def __init__(self) -> None:
        self.open = 0

    def steps(self, behaviour: str, input: Any, next: Any) -> Iterator[Any]:
        """Yields the events of a middleware, and iterators to take them from, with how many to take."""
        if behaviour == "skip":
            yield [{"type": "RUN_STARTED", **ids(input)}, *finished(input)], None
        elif behaviour == "again":
            yield next(input), 3
            yield next(input), None
        elif behaviour in ("end", "leave", "fail"):
            yield next(input), 2 if behaviour != "leave" else 1
            if behaviour == "fail":
                raise ValueError("no")
            yield list(finished(input)), None
        else:
            yield next(input), None

    def asynchronous(self, behaviour: str) -> Callable[..., Any]:
        async def middleware(input: Any, next: Any) -> AsyncIterator[Event]:
            self.open += 1
            try:
                for events, limit in self.steps(behaviour, input, next):
                    if isinstance(events, list):
                        for event in events:
                            yield event
                        continue
                    count = 0
                    async for event in events:
                        if limit is None or event["type"] != "RUN_FINISHED":
                            yield event
                        if (count := count + 1) == limit:
                            break
            finally:
                self.open -= 1

        return middleware

    def plain(self, behaviour: str) -> Callable[..., Any]:
        def middleware(input: Any, next: Any) -> Iterator[Event]:
            self.open += 1
            try:
                for events, limit in self.steps(behaviour, input, next):
                    count = 0
                    for event in events:
                        if limit is None or event["type"] != "RUN_FINISHED":
                            yield event
                        if (count := count + 1) == limit:
                            break
            finally:
                self.open -= 1

        return middleware

    async def async_agent(self, input: Any) -> AsyncIterator[Event]:
        self.open += 1
        try:
            for event in echo_events(input):
                await asyncio.sleep(0)
                yield event
        finally:
            self.open -= 1

    def plain_agent(self, input: Any) -> Iterator[Event]:
        self.open += 1
        try:
            yield from echo_events(input)
        finally:
            self.open -= 1


@pytest.mark.parametrize("stack", STACKS)
@settings(max_examples=60)
@given(
    layers=st.lists(st.tuples(st.sampled_from(("asynchronous", "plain")), st.sampled_from(BEHAVIOURS)), max_size=5),
    agent=st.sampled_from(("async_agent", "plain_agent")),
)
def test_middleware_of_any_layers_ends_and_leaves_nothing_open(
    layers: list[tuple[str, str]], agent: str, stack: str
) -> None:
    played = Played()
    middlewares = [getattr(played, style)(behaviour) for style, behaviour in layers]
    result = run_once(stack, use(getattr(played, agent), *middlewares))
    assert result.events[-1]["type"] in ("RUN_FINISHED", "RUN_ERROR")
    assert played.open == 0
