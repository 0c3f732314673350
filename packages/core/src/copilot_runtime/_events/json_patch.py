"""Applies JSON Patches (RFC 6902), within bounds, and with or without leaving half of one behind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jsonpatch
from pydantic_core import from_json, to_json

MAX_COPIED_BYTES = 1024 * 1024
"""How much JSON the ``copy`` operations of a run's deltas may add. A few of them can double a document each, while what
the other operations add is part of the delta."""


class CopyBudget:
    """What ``copy`` operations may still add."""

    __slots__ = ("_remaining",)

    def __init__(self) -> None:
        self._remaining = MAX_COPIED_BYTES

    def take(self, value: Any) -> None:
        """Counts a value that is to be copied. Raises ValueError if it is too large."""
        self._remaining -= len(to_json(value))
        if self._remaining < 0:
            raise ValueError(f"its copies have more than {MAX_COPIED_BYTES} bytes")


def apply_json_patch(document: Any, patch: list[Any], budget: CopyBudget) -> Any:
    """Returns ``document`` with a JSON Patch applied, in place where possible.

    Raises ValueError if the patch does not apply, or if it copies more than ``budget`` has left.
    """
    try:
        if not any(operation["op"] == "copy" for operation in patch):
            return jsonpatch.apply_patch(document, patch, in_place=True)
        for operation in patch:
            if operation["op"] == "copy":
                budget.take(jsonpatch.JsonPointer(operation["from"]).resolve(document))
            document = jsonpatch.apply_patch(document, [operation], in_place=True)
        return document
    except Exception as error:  # the library raises half a dozen unrelated types
        raise ValueError(f"the patch does not apply: {error}") from error


def patch_or_restore(document: Any, patch: list[Any], budget: CopyBudget) -> Any:
    """Returns ``document`` with a JSON Patch applied, in place where possible. ``patch`` is not changed.

    Takes time for what the patch changes, and not for the rest of the document. Raises ValueError if the patch does not
    apply, or if it copies more than ``budget`` has left; then ``document`` is as it was.
    """
    undo: list[Callable[[], object]] = []
    try:
        # A copy, since later patches may change what this one adds.
        for operation in from_json(to_json(patch)):
            for step in _steps(document, operation):
                inverse = _inverse(document, step)
                document = apply_json_patch(document, [step], budget)
                undo.append(inverse)
    except Exception as error:
        for inverse in reversed(undo):
            inverse()
        raise ValueError(f"the patch does not apply: {error}") from error
    return document


def _steps(document: Any, operation: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns operations of which each changes all that it changes, or fails: a move may fail after it has removed."""
    if operation["op"] != "move":
        return [operation]
    source, target = jsonpatch.JsonPointer(operation["from"]), jsonpatch.JsonPointer(operation["path"])
    container, key = source.to_last(document)
    value = document if key is None else container[key]
    if source.parts == target.parts:
        return []
    if source.parts == target.parts[: len(source.parts)]:
        raise ValueError("a value cannot be moved into itself")
    return [{"op": "remove", "path": operation["from"]}, {"op": "add", "path": operation["path"], "value": value}]


def _inverse(document: Any, step: dict[str, Any]) -> Callable[[], object]:
    """Returns a function that undoes an operation, if it succeeds, in the container that it changes."""
    container, key = jsonpatch.JsonPointer(step["path"]).to_last(document)
    if step["op"] == "test" or key is None:  # the whole document is replaced, and remains as it was
        return lambda: None
    if isinstance(container, dict):
        if key in container:
            return partial(container.__setitem__, key, container[key])
        return partial(container.pop, key, None)
    if step["op"] in ("add", "copy"):
        return partial(container.pop, -1 if key == "-" else key)
    value = container[key]
    return partial(container.insert if step["op"] == "remove" else container.__setitem__, key, value)
