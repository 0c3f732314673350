"""Which headers of a request reach an agent (docs/protocol.md, section 12)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from .. import _validation as validation
from .headers import Headers
from .kept_results import kept_by_names
from .proxy_headers import DENIED_NAMES, DENIED_PREFIXES


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ForwardHeaders:
    """Selects the request headers that are forwarded to agents.

    Names are compared without regard to case; blank ones are ignored.

    Args:
        allow: exactly these are forwarded. If empty: ``authorization``, and all whose names begin with ``x-`` except
            those that proxies add, and those that are credentials for this server, such as ``x-api-key``.
        deny: never forwarded.
        deny_prefixes: headers whose names begin with one of these are never forwarded.
        use_default_denylist: False forwards what proxies add, and credentials, as well.

    Raises:
        TypeError: an argument is not a list of names; a single string is not.
    """

    allow: Sequence[str] = ()
    deny: Sequence[str] = ()
    deny_prefixes: Sequence[str] = ()
    use_default_denylist: bool = True

    def __post_init__(self) -> None:
        for field in ("allow", "deny", "deny_prefixes"):
            names = validation.check_names(f"ForwardHeaders: {field}", getattr(self, field))
            object.__setattr__(self, field, _normalize(names))
        validation.check_bool("ForwardHeaders: use_default_denylist", self.use_default_denylist)

    def select(self, headers: Headers) -> dict[str, str]:
        """Returns the headers to forward, by lower-case name."""
        return {name: headers[name] for name in self.select_names(headers.names())}

    def select_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """Returns the names of the headers to forward.

        Args:
            names: those of a request's headers, in lower case.
        """
        if self.allow:
            allowed = [name for name in names if name in self.allow]
        else:
            allowed = [name for name in names if name[:2] == "x-" or name == "authorization"]
        return tuple([name for name in allowed if not self._is_denied(name)])

    def _is_denied(self, name: str) -> bool:
        if name in self.deny or name.startswith(tuple(self.deny_prefixes)):
            return True
        if self.allow or not self.use_default_denylist:
            return False
        return name in DENIED_NAMES or name.startswith(DENIED_PREFIXES)


def header_selector(config: ForwardHeaders) -> Callable[[Headers], dict[str, str]]:
    """Returns a function that does what `ForwardHeaders.select` does, and keeps the names from request to request."""
    if type(config).select is not ForwardHeaders.select:
        return config.select  # of a subclass, which may look at more than names
    selected = kept_by_names(config.select_names)

    def select(headers: Headers) -> dict[str, str]:
        names = selected[headers.names()]
        return {name: headers[name] for name in names} if names else {}

    return select


def _normalize(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in names if name.strip())


def merge_headers(forwarded: Mapping[str, str], own: Collection[tuple[str, str]]) -> dict[str, str]:
    """Returns the headers for an agent.

    Args:
        forwarded: headers of the request, by lower-case name.
        own: headers that the server sets for the agent. They win; of several spellings of a name the first counts.
    """
    if not own:
        return dict(forwarded)
    merged: dict[str, str] = {}
    own_names: set[str] = set()
    for name, value in own:
        if name.lower() not in own_names:
            own_names.add(name.lower())
            merged[name] = value
    merged.update((name, value) for name, value in forwarded.items() if name not in own_names)
    return merged
