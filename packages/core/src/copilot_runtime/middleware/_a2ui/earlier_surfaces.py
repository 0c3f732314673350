"""The surfaces of a thread before the operations that update them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from .operations import OPERATIONS, read_result
from .streamed_arguments import StreamedArguments
from .toolkit import toolkit


def operations_before(
    messages: Iterable[Mapping[str, Any]],
    surface_id: str,
    tool_names: Collection[str],
    catalog_of: Callable[[StreamedArguments], str],
) -> Iterable[dict[str, Any]]:
    """Returns the operations that make a surface as the thread has it; empty if it is not known.

    Args:
        messages: the thread's messages, in wire form.
        surface_id: the surface.
        tool_names: the tools whose arguments are a surface.
        catalog_of: returns the catalog of a surface that such arguments describe.
    """
    results = list(_results(messages, surface_id, tool_names, catalog_of))
    earlier = toolkit().find_prior_surface(results, surface_id)
    if earlier is None or not earlier["components"]:
        return ()
    operations: list[dict[str, Any]] = toolkit().assemble_ops(
        intent="create",
        surface_id=surface_id,
        catalog_id=earlier["catalogId"] or catalog_of(StreamedArguments()),
        components=earlier["components"],
        data=earlier["data"],
    )
    return operations


def _results(
    messages: Iterable[Mapping[str, Any]],
    surface_id: str,
    tool_names: Collection[str],
    catalog_of: Callable[[StreamedArguments], str],
) -> Iterator[dict[str, str]]:
    """Yields results with operations as the toolkit reads them, also for calls whose arguments are a surface."""
    for message in messages:
        operations: Any = None
        if message.get("role") == "tool":
            operations = read_result(message.get("content")).get(OPERATIONS)
        for call in message.get("toolCalls") or ():
            if call["function"]["name"] in tool_names:
                arguments = StreamedArguments()
                arguments.feed(call["function"]["arguments"])
                if arguments.value("surfaceId") == surface_id:
                    operations = _operations(arguments, surface_id, catalog_of(arguments))
        if isinstance(operations, list):
            yield {"role": "tool", "content": toolkit().wrap_as_operations_envelope(operations)}


def _operations(arguments: StreamedArguments, surface_id: str, catalog_id: str) -> list[dict[str, Any]]:
    components, data = arguments.value("components"), arguments.value("data")
    operations: list[dict[str, Any]] = toolkit().assemble_ops(
        intent="create",
        surface_id=surface_id,
        catalog_id=catalog_id,
        components=components if isinstance(components, list) else [],
        data=data if isinstance(data, dict) else None,
    )
    return operations
