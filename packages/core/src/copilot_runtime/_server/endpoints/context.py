"""What endpoints are called with."""

from __future__ import annotations

import dataclasses

from ..._engine import Engine
from ..._engine.async_store import AsyncStore
from ..._http.types import Request
from ..._users import User, owner_key
from ...stores.protocol import ThreadKey
from ..route_table import RouteMatch
from ..runtime import CopilotRuntime


@dataclasses.dataclass(slots=True)  # not frozen: to make it would take four times as long, for each request
class EndpointContext:
    """A request whose route is known.

    Attributes:
        request: the request; for an envelope, the request that it stands for.
        runtime: the runtime that handles it.
        route: the name of the route, and the ids of the path.
        user: who makes the request; None if users are not identified.
        single_route: whether the request came in an envelope.
    """

    request: Request
    runtime: CopilotRuntime
    route: RouteMatch
    user: User | None
    single_route: bool

    @property
    def body(self) -> bytes:
        return self.request.body

    @property
    def engine(self) -> Engine:
        return self.runtime.engine

    @property
    def store(self) -> AsyncStore:
        return self.runtime.engine.async_store

    @property
    def owner(self) -> str:
        """The key under which the store files the caller's threads."""
        return owner_key(self.user)

    @property
    def agent_id(self) -> str:
        return self.route.agent_id or ""

    @property
    def thread_id(self) -> str:
        return self.route.thread_id or ""

    @property
    def thread(self) -> ThreadKey:
        """The thread of the path, among those of the caller."""
        return ThreadKey(self.owner, self.thread_id)
