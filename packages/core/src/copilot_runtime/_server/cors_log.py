"""One log line for each origin that CORS does not let in, since a browser says nothing about it to the server."""

from __future__ import annotations

import logging

from .._http.cors import CorsConfig, CorsDecision, is_cross_origin, is_origin
from .._http.types import Request

logger = logging.getLogger("copilot_runtime.handler")

MAX_ORIGINS = 20
"""Origins to log at most: any client can send as many as it likes."""


class RefusedOrigins:
    """Logs each refused origin once, and the setting that would allow it.

    Args:
        cors: the configuration; None if CORS is off.
    """

    def __init__(self, cors: CorsConfig | None) -> None:
        self._cors = cors
        self._logged: dict[str, object] = {}

    def check(self, request: Request, decision: CorsDecision, *, is_refused: bool = False) -> None:
        """Logs the origin of a request if a page of that origin cannot read the response.

        Args:
            request: the request.
            decision: whether its origin is allowed.
            is_refused: whether it was refused as a request from another site.
        """
        # Without CORS, the middleware around the runtime may have an answer for all but the preflights that it lets
        # through.
        if self._cors is None and not is_refused and not _is_preflight(request):
            return
        origin = request.headers.get("origin")
        if origin is None or (decision.allow in ("*", origin) and not is_refused):
            return
        if not is_origin(origin) or not is_cross_origin(request):
            return
        # One atomic step, and no lock: requests come from several threads.
        mine = object()
        if len(self._logged) < MAX_ORIGINS and self._logged.setdefault(origin, mine) is mine:
            self._log(origin)

    def _log(self, origin: str) -> None:
        if origin == "null":
            logger.warning(
                "CORS does not allow a page without an origin of its own (a file, or a sandboxed frame). Open the page "
                "over http, and allow its origin in the runtime's cors setting"
            )
        else:
            others = "" if self._cors is None else "..., "
            logger.warning(
                "CORS does not allow the origin %s: browsers keep the runtime's responses from its pages. If your "
                "frontend is there, allow it: cors=CorsConfig(allow_origins=[%s%r])",
                origin,
                others,
                origin,
            )
        if len(self._logged) >= MAX_ORIGINS:
            logger.warning("CORS has refused %d origins; further ones are not logged", MAX_ORIGINS)


def _is_preflight(request: Request) -> bool:
    return request.method == "OPTIONS" and "access-control-request-method" in request.headers
