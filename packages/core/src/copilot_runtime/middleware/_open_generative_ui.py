"""The middlewares of Open Generative UI: one shows pages, the other says that none are shown."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ..agents._context import RunContext
from ..agents._tools.tool import Tool
from ._generative_ui_names import SANDBOXED_PAGE_TOOL
from ._input import change_input
from ._sandboxed_pages import SandboxedPages
from ._server_tools import run_with_tools

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

    from ._types import Next

logger = logging.getLogger("copilot_runtime.middleware")

Event = Mapping[str, Any]

MAX_ROUNDS = 3
"""How often an agent is run again because it has called a tool that is not available."""


async def show_pages(input: RunAgentInput, next: Next, context: RunContext) -> AsyncGenerator[Event]:
    """Shows the pages that an agent writes, while it writes them."""
    pages = SandboxedPages()
    async with aclosing(next(input)) as events:
        try:
            async for event in events:
                if not pages.concerns(event):
                    yield event
                    continue
                for each in pages.feed(event):
                    yield each
        except (Exception, asyncio.CancelledError):
            for each in pages.close():
                yield each
            raise
    for each in pages.close():
        yield each


async def refuse_pages(input: RunAgentInput, next: Next, context: RunContext) -> AsyncGenerator[Event]:
    """Tells an agent that no pages are shown, although the frontend offers it the tool.

    The frontend would answer each call that its page has been shown, so calls are answered here.
    """
    _warn()
    tools = [tool for tool in input.tools or () if tool.name != SANDBOXED_PAGE_TOOL]
    context_without_guides = [
        entry for entry in input.context or () if not any(name in entry.description for name in _NAMES_IN_GUIDES)
    ]
    input = change_input(input, tools=tools, context=context_without_guides)
    async with aclosing(run_with_tools([_NOT_AVAILABLE_TOOL], input, next, context, max_rounds=MAX_ROUNDS)) as events:
        async for event in events:
            yield event


def _refuse(arguments: Mapping[str, Any], context: RunContext | None) -> str:
    return _RESULT


_NAMES_IN_GUIDES = (SANDBOXED_PAGE_TOOL, "generated sandboxed UI")
"""What the frontend calls pages in its descriptions of how to write them, and of the functions that they may call."""

_NOT_AVAILABLE = f"The tool {SANDBOXED_PAGE_TOOL} is not available in this application"
_RESULT = f"{_NOT_AVAILABLE}: nothing has been shown. Answer in text, without it."
_NOT_AVAILABLE_TOOL = Tool(
    name=SANDBOXED_PAGE_TOOL,
    description=f"{_NOT_AVAILABLE}. Do not call it.",
    parameters={"type": "object"},
    call=_refuse,
)


@functools.cache
def _warn() -> None:
    """Warns once in a process: the frontend offers the tool with every run."""
    logger.warning(
        "the frontend offers the tool %s, but this runtime does not show its pages: pass open_generative_ui=True to "
        "CopilotRuntime, or remove the openGenerativeUI property of the frontend's provider",
        SANDBOXED_PAGE_TOOL,
    )
