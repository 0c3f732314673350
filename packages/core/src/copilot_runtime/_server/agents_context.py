"""What a factory of agents is called with."""

from __future__ import annotations

import dataclasses

from .._http.types import Request
from .._users import User


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentsContext:
    """What a factory of agents is called with.

    Attributes:
        request: the request that the agents are for; for ``/info`` as well.
        user: who makes it; None if users are not identified.
    """

    request: Request
    user: User | None = None
