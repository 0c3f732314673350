"""What an agent may ask of the run that it is in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .._users import User

if TYPE_CHECKING:  # the room of agents knows no requests, it only hands one on
    from .._http.types import Request


def _never() -> bool:
    return False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """A run, as its agent sees it.

    ``request`` is what began it. ``headers`` are the forwarded ones, in lower case, and
    those that the server has set on the agent, which win. ``body`` is the run's input in
    wire form, unknown members included.
    """

    request: Request | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    user: User | None = None
    body: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_stopped: Callable[[], bool] = dataclasses.field(default=_never, repr=False, compare=False)

    @property
    def stop_requested(self) -> bool:
        """Whether the run has been asked to stop; for agents that cannot be interrupted."""
        return self.is_stopped()
