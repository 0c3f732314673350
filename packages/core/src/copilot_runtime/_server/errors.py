"""Errors of requests, and the one table that says which response each of them becomes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from .._engine import InputTooLarge, ShuttingDown, TooManyRuns, TooManyRunsOfUser, TooManyStreams
from .._engine.endings import describe_error
from .._http.body import BodyTimeout, BodyTooLarge, TooManyBodies, TooManyBodiesOfUser, UnreadableBody
from .._http.headers import HeadersLike
from .._http.types import Response
from .._log_text import log_failure
from ..stores.protocol import StoreError, ThreadUnreadable
from ..transcription import ProviderError, TranscriptionError
from .route_table import RouteMatch

logger = logging.getLogger("copilot_runtime.handler")

_RETRY_SOON = {"retry-after": "1"}


def error_response(status: int, error: str, *, headers: HeadersLike = (), **members: object) -> Response:
    """Returns a JSON response ``{"error": error, **members}``."""
    return Response.json({"error": error, **members}, status=status, headers=headers)


SHUTTING_DOWN = error_response(
    503, "server_shutdown", headers=_RETRY_SOON, message="The server is shutting down. Send the request again."
)
"""For a run that would begin while the server shuts down, and a request that the server cancels then."""


class HTTPError(Exception):
    """Ends the handling of a request; the handler returns ``response``.

    Args:
        response: the response to send.
        route: the route of the request, if the code that raises this knows it before the handler does.
    """

    def __init__(self, response: Response, route: RouteMatch | None = None) -> None:
        super().__init__(f"respond with {response.status}")
        self.response = response
        self.route = route


class Unauthenticated(HTTPError):
    """``identify_user`` returned None for a request.

    Args:
        debug: whether the response says so.
    """

    def __init__(self, *, debug: bool) -> None:
        cause = " identify_user returned None for this request." if debug else ""
        super().__init__(error_response(401, "unauthorized", message=f"Authentication required.{cause}"))


class InvalidRunInput(Exception):
    """The body is not a RunAgentInput. The text says why, and is sent to the client."""


def response_for(error: Exception, *, debug: bool) -> Response | None:
    """Returns the response to an exception of an endpoint.

    Args:
        error: the exception.
        debug: whether the response may contain texts of exceptions, which are for the log otherwise.

    Returns:
        The response; None for an exception that no endpoint is expected to raise.
    """
    make_response = next((_RESPONSES[kind] for kind in type(error).__mro__ if kind in _RESPONSES), None)
    return None if make_response is None else make_response(error, debug)


def _invalid_run_input(error: InvalidRunInput, debug: bool) -> Response:
    return error_response(400, "Invalid request body", details=str(error))


def _too_many_streams(error: TooManyStreams, debug: bool) -> Response:
    setting = " (max_streams)" if debug else ""
    message = f"This server has as many open streams as it allows{setting}. Try again."
    return error_response(503, "too_many_streams", headers=_RETRY_SOON, message=message)


def _too_many_runs(error: TooManyRuns, debug: bool) -> Response:
    setting = f" ({error.setting})" if debug else ""
    message = f"This server has as many active runs as it allows{setting}. Try again."
    return error_response(503, "too_many_runs", headers=_RETRY_SOON, message=message)


def _too_many_runs_of_user(error: TooManyRunsOfUser, debug: bool) -> Response:
    setting = f" ({error.setting})" if debug else ""
    what = "take as much memory" if error.setting == "max_runs_bytes" else "are as many"
    message = (
        f"Your active runs {what} as this server allows{setting}. Stop one, or wait until one has ended, and try again."
    )
    return error_response(429, "too_many_runs_of_user", headers=_RETRY_SOON, message=message)


def _input_too_large(error: InputTooLarge, debug: bool) -> Response:
    setting = ", or raise the runtime's max_runs_bytes" if debug else ""
    message = f"The input takes more than {error.limit} bytes of memory once it is parsed. Send less{setting}."
    return error_response(413, "request_too_large", message=message)


def _body_too_large(error: BodyTooLarge, debug: bool) -> Response:
    return error_response(413, "request_too_large", headers=(), message=str(error))


def _too_many_bodies(error: TooManyBodies, debug: bool) -> Response:
    setting = " (max_total_body_bytes)" if debug else ""
    message = f"This server is handling request bodies of as many bytes as it allows{setting}. Try again."
    return error_response(503, "too_many_request_bodies", headers=_RETRY_SOON, message=message)


def _too_many_bodies_of_user(error: TooManyBodiesOfUser, debug: bool) -> Response:
    setting = " (max_total_body_bytes)" if debug else ""
    message = (
        f"The bodies of your requests have as many bytes as this server allows{setting}. "
        "Wait until it has answered one, and try again."
    )
    return error_response(429, "too_many_request_bodies_of_user", headers=_RETRY_SOON, message=message)


def _body_timeout(error: BodyTimeout, debug: bool) -> Response:
    setting = " (body_timeout_seconds)" if debug else ""
    message = f"The body did not arrive in time{setting}. Send it faster, or send less."
    return error_response(408, "request_timeout", headers=(), message=message)


def _unreadable_body(error: UnreadableBody, debug: bool) -> Response:
    message = "The body cannot be read. Send all of it, as its Content-Length or its chunks say."
    return error_response(400, "invalid_request", headers=(), message=message)


def _store_unavailable(error: StoreError, debug: bool) -> Response:
    log_failure(logger, error, "the store failed")
    cause = f" ({describe_error(error)})" if debug else ""
    if isinstance(error, ThreadUnreadable):
        message = f"What is stored of this thread cannot be read{cause}. The thread can be deleted."
    else:
        message = f"Threads cannot be read or written at the moment{cause}. Try again."
    return error_response(503, "store_unavailable", headers=_RETRY_SOON, message=message)


def _transcription_failed(error: TranscriptionError, debug: bool) -> Response:
    members: dict[str, object] = {"message": error.message, "retryable": error.retryable}
    if debug and error.detail:
        # The other codes have texts of their own, which the frontend may show as they are.
        members["message" if isinstance(error, ProviderError) else "details"] = error.detail
    return error_response(error.status, error.code, headers=(), **members)


def _shutting_down(error: ShuttingDown, debug: bool) -> Response:
    return SHUTTING_DOWN


_RESPONSES: Mapping[type[BaseException], Callable[[Any, bool], Response]] = {
    InvalidRunInput: _invalid_run_input,
    ShuttingDown: _shutting_down,
    TooManyStreams: _too_many_streams,
    InputTooLarge: _input_too_large,
    TooManyRuns: _too_many_runs,
    TooManyRunsOfUser: _too_many_runs_of_user,
    BodyTooLarge: _body_too_large,
    BodyTimeout: _body_timeout,
    TooManyBodies: _too_many_bodies,
    TooManyBodiesOfUser: _too_many_bodies_of_user,
    UnreadableBody: _unreadable_body,
    StoreError: _store_unavailable,
    TranscriptionError: _transcription_failed,
}
