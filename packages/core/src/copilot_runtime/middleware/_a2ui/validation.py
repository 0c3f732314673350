"""Validates the components of a surface with AG-UI's toolkit, at a cost in proportion to their size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .toolkit import toolkit

Error = dict[str, str]

_MAX_ERRORS = 20
_MAX_CHARACTERS = 300
_MAX_STEPS = 200_000
"""The toolkit writes each circle of components out, of which there may be as many as references, and which may be as
long as there are components. Beyond this many steps that is not done for surfaces that have a circle."""


def find_errors(components: Any, catalog: dict[str, Any] | None) -> list[Error]:
    """Returns what is wrong with components; empty if they can be drawn. Data may be missing still."""
    in_circle = _component_in_circle(components) if isinstance(components, list) else None
    if in_circle is not None:
        errors = [
            {
                "code": "child_cycle",
                "path": f"components[id={in_circle}]",
                "message": f"The component '{in_circle}' is among its own descendants",
            }
        ]
    else:
        validation = toolkit().validate_a2ui_components(components=components, catalog=catalog, validate_bindings=False)
        errors = validation["errors"]
    # They are for a model to read, and for an event: neither has room for as many as there may be.
    return [{name: text[:_MAX_CHARACTERS] for name, text in error.items()} for error in errors[:_MAX_ERRORS]]


def _component_in_circle(components: list[Any]) -> str | None:
    """Returns a component that is its own descendant, if to have all of these written out would take too long."""
    children: dict[str, list[str]] = {}
    for component in components:
        if isinstance(component, dict) and isinstance(component.get("id"), str):
            children[component["id"]] = list(_references(component))
    if len(children) * sum(map(len, children.values())) <= _MAX_STEPS:
        return None
    on_path: dict[str, bool] = {}
    for root in children:
        if root in on_path:
            continue
        on_path[root] = True
        stack = [(root, iter(children[root]))]
        while stack:
            component_id, rest = stack[-1]
            child = next(rest, None)
            if child is None:
                on_path[component_id] = False
                stack.pop()
            elif on_path.get(child):
                return child
            elif child not in on_path and child in children:
                on_path[child] = True
                stack.append((child, iter(children[child])))
    return None


def _references(component: dict[str, Any]) -> Iterator[str]:
    children = component.get("children")
    for reference in (component.get("child"), *(children if isinstance(children, list) else (children,))):
        if isinstance(reference, dict):
            reference = reference.get("componentId")
        if isinstance(reference, str):
            yield reference
