"""What an application may do around every request."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._http.types import Request, Response
from .route_table import (
    RouteMatch,
)

if TYPE_CHECKING:  # hooks are handed a runtime, they need none
    from .runtime import CopilotRuntime


class RespondWith(Exception):
    """Raised by a hook to answer at once: ``raise RespondWith(Response.json({...}, status=401))``."""

    def __init__(self, response: Response) -> None:
        if not isinstance(response, Response):
            raise TypeError(f"RespondWith({response!r}): give a Response")
        super().__init__(f"answer with {response.status}")
        self.response = response


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HookContext:
    """What a hook is told.

    ``path`` is the path as it was requested, not decoded (for ``resource/request`` the
    inner one). ``route`` is None as long as it is not known, and for refusals before.
    ``response`` is there for ``on_response``, ``error`` for ``on_error``.
    """

    request: Request
    path: str
    runtime: CopilotRuntime
    route: RouteMatch | None = None
    response: Response | None = None
    error: BaseException | None = None


Hook = Callable[..., Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeHooks:
    """Functions around every request; each plain or a coroutine function.

    Each takes a `HookContext`.

    - ``on_request`` comes first. It may return a changed `Request`, or a `Response` to answer at once.
    - ``on_before_handler`` knows the route. The same.
    - ``on_response`` sees every answer, refusals included, and may return another `Response`.
    - ``on_error`` is asked when a hook or an endpoint raises, and may return a `Response`;
      without one the answer is 500 ``{"error": "internal_error"}``.

    Any of the first three may raise `RespondWith`. Preflights skip all hooks. Raises
    TypeError where something that cannot be called is given.
    """

    on_request: Hook | None = None
    on_before_handler: Hook | None = None
    on_response: Hook | None = None
    on_error: Hook | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            hook = getattr(self, field.name)
            if hook is not None and not callable(hook):
                raise TypeError(f"RuntimeHooks({field.name}={hook!r}): give a function or a coroutine function")
