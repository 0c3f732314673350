"""What checks are called with, and the table of all checks."""

from __future__ import annotations

import dataclasses
from typing import Any
from urllib.parse import urlsplit

from .advice import snippet
from .mount import Mount
from .options import DoctorOptions


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """A mount that answers, and what it says of itself.

    Attributes:
        mount: the mount.
        options: what the user wants to know.
        info: what ``/info`` returned.
        has_rest: whether requests reach it by paths.
        has_envelope: whether requests reach it by envelopes POSTed to the URL.
        agent: an agent that exists, for requests that run none.
    """

    mount: Mount
    options: DoctorOptions
    info: dict[str, Any]
    has_rest: bool
    has_envelope: bool
    agent: str

    @property
    def page_origin(self) -> str | None:
        """The origin of the pages, if it is another one than that of the mount."""
        origin = self.options.origin
        return None if origin is None or origin.lower() == self.mount.origin else origin

    def snippet(self, problem: str, **values: str) -> str:
        """Returns what to write against a problem."""
        return mount_snippet(self.mount, problem, **values)


def mount_snippet(mount: Mount, problem: str, **values: str) -> str:
    """Returns what to write against a problem of a mount."""
    return snippet(problem, mount.software, path=urlsplit(mount.base).path or "/", **values)
