"""Which members of a run's ``forwardedProps`` reach an agent: whoever calls the runtime can write any of them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from .. import _validation as validation
from .._log_text import one_line

logger = logging.getLogger("copilot_runtime.agents")

NODE_NAME = "nodeName"
"""Where to enter a LangGraph graph, past the nodes before it."""

_MAX_REPORTED = 20
_MAX_NAME_CHARACTERS = 60
_reported: set[str] = set()
"""The names that have been logged as not allowed, by all agents: they may be constructed for each request."""


@dataclasses.dataclass(frozen=True, slots=True)
class AllowedProps:
    """The members that are passed on.

    Names are compared without case and underscores: frameworks read both ``nodeName`` and ``node_name``.
    """

    names: frozenset[str] | None
    """The members that are passed on; None for all but ``denied``."""
    denied: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, agent: str, names: Iterable[str] | None, *, denied: Iterable[str] = ()) -> AllowedProps:
        """Returns the value of an option ``allowed_forwarded_props``. Raises TypeError for anything but a list."""
        allowed = None if names is None else validation.check_names(f"{agent}: allowed_forwarded_props", names)
        return cls(None if allowed is None else frozenset(map(_folded, allowed)), frozenset(map(_folded, denied)))

    def select(self, agent: str, props: Any) -> dict[str, Any]:
        """Returns the members of ``forwardedProps`` that are passed on; empty if they are not an object."""
        if not isinstance(props, Mapping):
            return {}
        selected = {name: value for name, value in props.items() if self._is_allowed(name)}
        if len(selected) < len(props):
            _report(agent, next(name for name in props if name not in selected))
        return selected

    def _is_allowed(self, name: str) -> bool:
        folded = _folded(name)
        return folded not in self.denied if self.names is None else folded in self.names


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _report(agent: str, name: str) -> None:
    """Logs once that a member was left out. The client decides how many there are."""
    name = name[:_MAX_NAME_CHARACTERS]
    if name not in _reported and len(_reported) < _MAX_REPORTED:
        _reported.add(name)
        logger.warning(
            "forwardedProps.%s does not reach the agent: see allowed_forwarded_props of %s", one_line(name), agent
        )
