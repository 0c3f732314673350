"""Access to threads: what the runtime's ``thread_access`` allows of ``/threads``."""

from __future__ import annotations

from typing import Literal

from .errors import HTTPError, error_response
from .route_table import RequiredAccess

ThreadAccess = Literal["none", "read", "manage"]
"""What a user may do with the list of their threads: nothing, read it, or rename, archive and delete threads, too."""

_CLOSED = (
    "This runtime does not give access to threads. Configure identify_user, or single_user=True, and a thread_access "
    "other than 'none'."
)
_READ_ONLY = "This runtime gives read-only access to threads: its thread_access is not 'manage'."


def require_thread_access(allowed: ThreadAccess, required: RequiredAccess) -> None:
    """Raises HTTPError (422) if a runtime's ``thread_access`` does not allow what a route requires."""
    if allowed in (required, "manage"):
        return
    raise HTTPError(error_response(422, _CLOSED if allowed == "none" else _READ_ONLY))
