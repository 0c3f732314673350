"""A2UI around the runs of an agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from ..._events.sse import Event
from .._generative_ui_names import SANDBOXED_PAGE_TOOL
from .._open_calls import OpenCalls
from .options import A2UI
from .run_input import AgentOffer, action_messages, catalog_id
from .surfaces import SurfaceOptions, Surfaces
from .toolkit import toolkit

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

    from .._types import Next


class A2UIMiddleware:
    """Offers an agent what it needs to make surfaces, and turns what it makes into activities.

    Args:
        a2ui: the application's options.
        inject_tool: whether the agent gets the tool, or its name.
    """

    def __init__(self, a2ui: A2UI, inject_tool: bool | str) -> None:
        default_name: str = toolkit().RENDER_A2UI_TOOL_DEF["function"]["name"]
        tool_name = inject_tool if isinstance(inject_tool, str) else default_name
        self._a2ui = a2ui
        self._offer = AgentOffer(schema=a2ui.schema_json, inject_tool=inject_tool, tool_name=tool_name)
        self._tool_names = frozenset((*a2ui.tool_names, *((tool_name,) if inject_tool else ())))

    async def run(self, input: RunAgentInput, next: Next) -> AsyncGenerator[Event]:
        """Yields the events of a run."""
        events = next(self._changed(input))
        surfaces = Surfaces(self._surface_options(input), lambda: events.messages, OpenCalls(input))
        try:
            async for event in events:
                for each in surfaces.process(event):
                    yield each
        except (Exception, asyncio.CancelledError):
            for each in surfaces.fail_unfinished():
                yield each
            raise
        for each in surfaces.fail_unfinished():
            yield each

    def _surface_options(self, input: RunAgentInput) -> SurfaceOptions:
        return SurfaceOptions(
            tool_names=self._tool_names,
            catalog_id=self._a2ui.default_catalog_id or catalog_id(input),
            catalog=self._a2ui.catalog,
            recovery=self._a2ui.recovery,
            frontend_tools=frozenset((SANDBOXED_PAGE_TOOL, *(tool.name for tool in input.tools or ()))),
        )

    def _changed(self, input: RunAgentInput) -> RunAgentInput:
        from .._input import change_input

        changes = self._offer.changes(input)
        messages = action_messages(input)
        if messages:
            changes["messages"] = [*input.messages, *messages]
        return change_input(input, **changes) if changes else input
