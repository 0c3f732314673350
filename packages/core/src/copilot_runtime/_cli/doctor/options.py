"""What the doctor is called with."""

from __future__ import annotations

import dataclasses

DEFAULT_MESSAGE = "Hello."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """What is looked at, and how.

    Attributes:
        url: the URL of the mount, as a frontend has it in ``runtimeUrl``.
        origin: the origin of the pages that use it; None for pages of its own origin.
        headers: header fields that every request sends.
        agent: the agent to run; None to run none.
        message: what its user says.
        timeout_seconds: how long an answer may take.
        watch_seconds: how long a silent run is watched for a keep-alive.
        as_json: whether the report is JSON.
    """

    url: str
    origin: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    agent: str | None = None
    message: str = DEFAULT_MESSAGE
    timeout_seconds: float = 10
    watch_seconds: float = 20
    as_json: bool = False
