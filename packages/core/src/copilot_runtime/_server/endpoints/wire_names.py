"""Refuses members of a run input that are named as in Python, such as ``thread_id`` for ``threadId``.

AG-UI's models accept both names. Whoever looks at the body (a hook, a proxy, an agent behind a URL) knows those of the
wire, so a member under another name would slip past them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ag_ui.core
from pydantic import BaseModel

from ..errors import InvalidRunInput


@functools.cache
def _wire_names(model: type[BaseModel]) -> Mapping[str, str]:
    """Returns the wire names of a model's members by their names in Python, where the two differ."""
    aliases = {name: field.alias for name, field in model.model_fields.items()}
    return {name: alias for name, alias in aliases.items() if alias is not None and alias != name}


def _all_names() -> Iterator[str]:
    for value in vars(ag_ui.core).values():
        if isinstance(value, type) and issubclass(value, BaseModel):
            yield from _wire_names(value)


def _pattern(names: Iterable[str]) -> re.Pattern[bytes]:
    """Returns a pattern that finds one of the names in quotation marks.

    It begins with the first underscore, so that only the places of this byte are looked at, which takes a twentieth of
    trying each name at each quotation mark. What comes after it is compared before what comes before it: a body of
    nothing but underscores takes a fifth of the other way round.
    """
    parts = [name.partition("_") for name in names]
    ends = "|".join(f'{rest}"(?<="{first}_{rest}")' for first, underscore, rest in parts if underscore)
    others = [f'"{name}"' for name, underscore, _ in parts if not underscore]
    return re.compile("|".join([f"_(?:{ends})", *others]).encode())


@functools.cache
def _any_name() -> re.Pattern[bytes]:
    """Returns the pattern for all names. Made when it is needed first: a plain input needs none, and starts sooner."""
    return _pattern(sorted(set(_all_names())))


def _may_occur(body: bytes) -> bool:
    """Whether a name may be in a body; in most none is, and then no message is looked at."""
    # ASCII may be escaped in JSON. To look for one byte first takes a tenth of looking for four.
    return _any_name().search(body) is not None or (b"\\" in body and b"\\u00" in body)


def refuse_python_names(body: bytes, model: Any, members: Iterable[str]) -> None:
    """Raises InvalidRunInput if a model within a run input has a member that is named as in Python.

    Args:
        body: the body, which the run input was read from.
        model: the run input.
        members: its members with models in them, if it has them. What is no model may have members of any name.
    """
    if not _may_occur(body):
        return
    for member in members:
        for place, name, wire_name in _find(getattr(model, member, None), f"{member}."):
            raise InvalidRunInput(f"{place}{name}: send it as {wire_name}")


def refuse_python_names_of(model: type[BaseModel], wire: Any) -> None:
    """Raises InvalidRunInput if an object has a member of a model that is named as in Python."""
    for name, wire_name in _wire_names(model).items() if isinstance(wire, dict) else ():
        if name in wire:
            raise InvalidRunInput(f"{name}: send it as {wire_name}")


def _find(value: Any, place: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, BaseModel):
        names = _wire_names(type(value))
        for name in names.keys() & (value.model_extra or {}).keys():
            yield place, name, names[name]
        for name, member in value:
            if isinstance(member, BaseModel | list):
                yield from _find(member, f"{place}{names.get(name, name)}.")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, BaseModel | list):
                yield from _find(item, f"{place}{index}.")
