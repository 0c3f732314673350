"""Applies JSON Patches (RFC 6902), within bounds, and with or without leaving half of one behind."""

from __future__ import annotations

from typing import Any

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
        if self._remaining >= 0:
            self._remaining -= len(to_json(value))
        if self._remaining < 0:
            raise ValueError(f"its copies have more than {MAX_COPIED_BYTES} bytes")


def apply_json_patch(document: Any, patch: list[Any], budget: CopyBudget) -> Any:
    """Returns ``document`` with a JSON Patch applied, in place where possible.

    Raises ValueError if the patch does not apply, or if it copies more than ``budget`` has left.
    """
    import jsonpatch  # at the first delta: few agents send any

    try:
        if not _copies(patch):
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
    import jsonpatch

    try:
        # A copy, since later patches may change what this one adds.
        patch = from_json(to_json(patch))
        if not _copies(patch):
            return jsonpatch.apply_patch(document, patch, in_place=True, atomic=True)
        # Applied one by one, operations cannot be undone together.
        budget.take(document)
        document = from_json(to_json(document))
    except Exception as error:
        raise ValueError(f"the patch does not apply: {error}") from error
    return apply_json_patch(document, patch, budget)


def _copies(patch: list[Any]) -> bool:
    return any(operation["op"] == "copy" for operation in patch)
