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

_TOOL_CHOICE = "toolchoice"

_READ_BY_THE_RUNTIME = frozenset(("a2uiaction", "a2uicatalogavailable"))
"""Members that frontends send for the runtime, as they are compared: agents do not miss them."""

_MAX_REPORTED = 20
_MAX_NAME_CHARACTERS = 60
_reported: set[str] = set()
"""The names that have been logged as not allowed, by all agents: they may be constructed for each request."""


@dataclasses.dataclass(frozen=True, slots=True)
class AllowedProps:
    """The members that are passed on.

    Names are compared without case and underscores: frameworks read both ``nodeName`` and ``node_name``, and some also
    ``NodeName``.
    """

    names: Mapping[str, str] | None
    """The members that are passed on, as they are compared and as the application spells them, which is how they are
    passed on: what checks them must find them. None for all but ``denied``."""
    denied: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, agent: str, names: Iterable[str] | None, *, denied: Iterable[str] = ()) -> AllowedProps:
        """Returns the value of an option ``allowed_forwarded_props``. Raises TypeError for anything but a list."""
        allowed = None if names is None else validation.check_names(f"{agent}: allowed_forwarded_props", names)
        return cls(
            None if allowed is None else {_fold(name): name for name in allowed},
            frozenset(map(_fold, denied)),
        )

    def select(self, agent: str, props: Any) -> dict[str, Any]:
        """Returns the members of ``forwardedProps`` that are passed on; empty if they are not an object."""
        if not isinstance(props, Mapping):
            return {}
        selected = {passed: value for name, value in props.items() if (passed := self._passed_name(name)) is not None}
        omitted = next((name for name in props if self._is_missed(name)), None)
        if omitted is not None:
            _report(agent, omitted)
        return selected

    def _is_missed(self, name: str) -> bool:
        return self._passed_name(name) is None and _fold(name) not in _READ_BY_THE_RUNTIME

    def _passed_name(self, name: str) -> str | None:
        """Returns the name under which a member is passed on; None if it is not."""
        folded = _fold(name)
        if self.names is not None:
            return self.names.get(folded)
        return None if folded in self.denied else name


def has_tool_choice(props: Any) -> bool:
    """Returns whether ``forwardedProps`` say which tool the model is to call, or that it is to call one or none.

    Under any name that an agent may read, as with `AllowedProps`: a remote one decides for itself.
    """
    return isinstance(props, Mapping) and any(
        value not in (None, "auto") for name, value in props.items() if _fold(name) == _TOOL_CHOICE
    )


def _fold(name: str) -> str:
    return name.replace("_", "").lower()


def _report(agent: str, name: str) -> None:
    """Logs once that a member was left out. The client decides how many there are."""
    name = name[:_MAX_NAME_CHARACTERS]
    if name not in _reported and len(_reported) < _MAX_REPORTED:
        _reported.add(name)
        logger.warning(
            "forwardedProps.%s does not reach the agent: see allowed_forwarded_props of %s", one_line(name), agent
        )
