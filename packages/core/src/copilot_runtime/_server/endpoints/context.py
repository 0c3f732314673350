"""What an endpoint is given."""

from __future__ import annotations

import dataclasses

from ..._http.types import Request, Response
from ..._users import User
from ...stores.protocol import ThreadKey
from ..hooks import RuntimeHooks
from ..route_table import (
    RouteMatch,
)
from ..runtime import CopilotRuntime, owner_of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EndpointContext:
    """A request whose route is known. For an envelope, ``request`` is the inner request."""

    request: Request
    runtime: CopilotRuntime
    route: RouteMatch
    user: User | None
    hooks: RuntimeHooks
    single_route: bool

    @property
    def body(self) -> bytes:
        return self.request.body

    @property
    def owner(self) -> str:
        return owner_of(self.user)

    @property
    def agent_id(self) -> str:
        return self.route.agent_id or ""

    @property
    def thread(self) -> ThreadKey:
        """The thread that the path names, as this caller's."""
        return ThreadKey(self.owner, self.route.thread_id or "")


def error_response(status: int, error: str, **members: object) -> Response:
    """A JSON answer that says whose fault it is: ``{"error": ..., ...}``."""
    return Response.json({"error": error, **members}, status=status)
