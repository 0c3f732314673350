"""Which request headers reach an agent (docs/protocol.md, section 12)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from .. import _validation as validation
from .headers import Headers

# What proxies and platforms add on the way; none of it is the caller's to say to an agent.
_DEFAULT_DENYLIST = frozenset(
    (
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-server",
        "x-real-ip",
        "x-amzn-trace-id",
        "x-amz-cf-id",
        "x-cloud-trace-context",
        "x-cache",
        "x-served-by",
        "x-request-id",
        "x-copilotcloud-public-api-key",
    )
)
_DENIED_PREFIXES = ("x-amz-", "x-azure-", "x-fastly-", "x-vercel-", "x-middleware-", "x-copilotcloud-")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ForwardHeaders:
    """A rule for headers. Names are compared without case; blank ones are ignored.

    Without ``allow``, ``authorization`` and all names that begin with ``x-`` are forwarded,
    less a list of what proxies add (``use_default_denylist``). With it, exactly these are.
    ``deny`` and ``deny_prefixes`` take away in both cases. Raises TypeError for anything
    but lists of names, a single string included.
    """

    allow: Sequence[str] = ()
    deny: Sequence[str] = ()
    deny_prefixes: Sequence[str] = ()
    use_default_denylist: bool = True

    def __post_init__(self) -> None:
        for field in ("allow", "deny", "deny_prefixes"):
            given = validation.check_names(f"ForwardHeaders: {field}", getattr(self, field))
            object.__setattr__(self, field, _clean(given))
        validation.check_bool("ForwardHeaders: use_default_denylist", self.use_default_denylist)

    def select(self, headers: Headers) -> dict[str, str]:
        """The headers to forward, by lower-case name."""
        return {name: value for name, value in headers.items() if self._is_forwarded(name)}

    def _is_forwarded(self, name: str) -> bool:
        candidate = name in self.allow if self.allow else self._is_default(name)
        return candidate and name not in self.deny and not name.startswith(tuple(self.deny_prefixes))

    def _is_default(self, name: str) -> bool:
        if name != "authorization" and not name.startswith("x-"):
            return False
        return not self.use_default_denylist or not (name in _DEFAULT_DENYLIST or name.startswith(_DENIED_PREFIXES))


def _clean(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in names if name.strip())


def merge_headers(forwarded: Mapping[str, str], own: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Forwarded headers and the server's own, which win; of two spellings of one name the first stays."""
    result: dict[str, str] = {}
    taken: set[str] = set()
    for name, value in own:
        if name.lower() not in taken:
            taken.add(name.lower())
            result[name] = value
    result.update((name, value) for name, value in forwarded.items() if name not in taken)
    return result
