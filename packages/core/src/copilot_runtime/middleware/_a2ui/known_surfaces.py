"""The surfaces of a thread, as the operations in its messages have made them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from .operations import OPERATIONS, read_result, surface_of
from .streamed_arguments import StreamedArguments
from .toolkit import toolkit
from .validation import find_errors

Operation = dict[str, Any]

_VERSION = "v0.9"
"""The version of operations that name none."""


class KnownSurfaces:
    """What operations have made of surfaces, merged as frontends merge them: components by id, and data by path.

    The toolkit's own search of messages takes the last update of each kind for all of it.
    """

    __slots__ = ("_surfaces",)

    def __init__(self) -> None:
        self._surfaces: dict[str, _Surface] = {}

    def note(self, operations: Iterable[Any]) -> None:
        """Applies operations."""
        for operation in operations:
            surface_id = surface_of(operation) if isinstance(operation, dict) else None
            if surface_id is None:
                continue
            if "createSurface" in operation or "deleteSurface" in operation:
                self._surfaces.pop(surface_id, None)
            self._surfaces.setdefault(surface_id, _Surface()).apply(operation)

    def operations(self, surface_id: str, catalog_id: str) -> list[Operation]:
        """Returns the operations that make a surface as it is; empty if it is not known.

        Args:
            surface_id: the surface.
            catalog_id: its catalog, if the operation that has created it is not known.
        """
        surface = self._surfaces.get(surface_id)
        if surface is None or not surface.components:
            return []
        return [
            surface.created or toolkit().create_surface(surface_id, catalog_id),
            toolkit().update_components(surface_id, list(surface.components.values())),
            *surface.data.values(),
        ]


class _Surface:
    """The operations that are not superseded."""

    __slots__ = ("components", "created", "data")

    def __init__(self) -> None:
        self.created: Operation | None = None
        self.components: dict[str, dict[str, Any]] = {}
        """By their ids."""
        self.data: dict[str, Operation] = {}
        """By their paths, in the order in which they apply."""

    def apply(self, operation: Operation) -> None:
        match operation:
            case {"createSurface": _}:
                self.created = {"version": _VERSION, **operation}
            case {"updateComponents": {"components": list(components)}}:
                for component in components:
                    if isinstance(component, dict) and isinstance(component_id := component.get("id"), str):
                        kind = self.components.get(component_id, {}).get("component")
                        self.components[component_id] = {**({} if kind is None else {"component": kind}), **component}
            case {"updateDataModel": dict(members)}:
                path = members.get("path")
                path = path.strip("/") if isinstance(path, str) else ""
                below = f"{path}/" if path else ""
                self.data = {other: each for other, each in self.data.items() if not f"{other}/".startswith(below)}
                self.data[path] = {"version": _VERSION, **operation, "updateDataModel": {"path": "/", **members}}


def operations_in(
    message: Mapping[str, Any],
    tool_names: Collection[str],
    catalog: dict[str, Any] | None,
    catalog_of: Callable[[StreamedArguments], str],
) -> Iterable[Any]:
    """Returns the operations in a message: in the result of a tool, or as calls whose arguments are a valid surface.

    Args:
        message: the message, in wire form.
        tool_names: the tools whose arguments are a surface.
        catalog: by which components are validated, if it is known.
        catalog_of: returns the id of the catalog of a surface that such arguments describe.
    """
    if message.get("role") == "tool":
        operations = read_result(message.get("content")).get(OPERATIONS)
        return operations if isinstance(operations, list) else ()
    operations = []
    for call in message.get("toolCalls") or ():
        if call["function"]["name"] in tool_names:
            arguments = StreamedArguments()
            arguments.feed(call["function"]["arguments"])
            if not find_errors(arguments.value("components"), catalog):
                operations += _operations(arguments, catalog_of(arguments))
    return operations


def _operations(arguments: StreamedArguments, catalog_id: str) -> list[Operation]:
    surface_id, data = arguments.value("surfaceId"), arguments.value("data")
    operations: list[Operation] = toolkit().assemble_ops(
        intent="create",
        surface_id=surface_id if surface_id and isinstance(surface_id, str) else toolkit().DEFAULT_SURFACE_ID,
        catalog_id=catalog_id,
        components=arguments.value("components"),
        data=data if isinstance(data, dict) else None,
    )
    return operations
