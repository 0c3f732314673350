"""Creates stores from URLs: what is passed as ``store=``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ._memory import MemoryStore
from .protocol import RunStore

_OptionParsers = Mapping[str, Callable[[str], float]]

_MEMORY_OPTIONS: _OptionParsers = {
    "max_threads": int,
    "max_runs_per_thread": int,
    "max_bytes": int,
    "max_age_seconds": float,
}
_SQLITE_OPTIONS: _OptionParsers = {
    **_MEMORY_OPTIONS,
    "lease_seconds": float,
    "poll_seconds": float,
    "timeout_seconds": float,
}


def _memory(url: str, parts: SplitResult) -> RunStore:
    if parts.netloc or parts.path:
        raise ValueError(f"store={url!r}: memory:// takes no path, write memory:// or memory://?max_threads=1000")
    return MemoryStore(**_parse_options(url, parts, _MEMORY_OPTIONS))


def _sqlite(url: str, parts: SplitResult) -> RunStore:
    # As in SQLAlchemy: three slashes for a relative path, four for an absolute one.
    path = unquote(parts.path).removeprefix("/")
    is_in_memory = ":memory:" in unquote(url) or ("mode", "memory") in parse_qsl(parts.query)
    if not path or parts.netloc or is_in_memory or not url.startswith("sqlite://"):
        raise ValueError(
            f"store={url!r}: a path is required, as in sqlite:///copilot.db or sqlite:////var/lib/copilot.db; for "
            "threads in memory use store='memory://'"
        )
    from ._sqlite.store import SqliteStore  # not at import of the module: most runtimes have one store, of one kind

    return SqliteStore(path, **_parse_options(url, parts, _SQLITE_OPTIONS))


_SCHEMES: Mapping[str, Callable[[str, SplitResult], RunStore]] = {"memory": _memory, "sqlite": _sqlite}


def store_from_url(store: str | RunStore) -> RunStore:
    """Returns the store of a URL. A store object is returned as it is.

    Args:
        store: ``memory://``, ``sqlite:///relative/path`` or ``sqlite:////absolute/path``. The store's options may
            follow as a query, as in ``sqlite:///copilot.db?max_threads=1000``.

    Raises:
        ValueError: The scheme or an option is unknown, or the store refuses the path or the value of an option.
    """
    if not isinstance(store, str):
        if inspect.isclass(store) or not callable(getattr(store, "begin", None)):
            raise ValueError(f"store={store!r}: use a URL, such as 'memory://', or a store, such as MemoryStore()")
        _check_protocol(store)
        return store
    parts = urlsplit(store)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"store={store!r}: use one of {', '.join(f'{name}://' for name in _SCHEMES)}")
    if parts.fragment:
        raise ValueError(f"store={store!r}: write # in a path as %23")
    return _SCHEMES[parts.scheme](store, parts)


def _check_protocol(store: RunStore) -> None:
    """Raises ValueError if a store lacks a member of the protocol, or a parameter of one of its methods."""
    for name, method in inspect.getmembers(RunStore, inspect.isfunction):
        if name.startswith("_"):
            continue
        parameters = list(inspect.signature(method).parameters.values())[1:]
        try:
            signature = inspect.signature(getattr(store, name))
            signature.bind(
                *(parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY),
                **{parameter.name: None for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY},
            )
        except (AttributeError, TypeError) as error:
            expected = ", ".join(parameter.name for parameter in parameters)
            raise ValueError(
                f"store={store!r}: RunStore requires a method {name}({expected}), see copilot_runtime.stores.protocol"
            ) from error
    for name in inspect.get_annotations(RunStore):
        if not hasattr(store, name):
            raise ValueError(
                f"store={store!r}: RunStore requires an attribute {name}, see copilot_runtime.stores.protocol"
            )


def _parse_options(url: str, parts: SplitResult, parsers: _OptionParsers) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in parsers:
            raise ValueError(f"store={url!r}: unknown option {name!r}, must be one of {', '.join(parsers)}")
        if name in options:
            raise ValueError(f"store={url!r}: {name} must occur only once")
        try:
            value = parsers[name](text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            kind = "an integer" if parsers[name] is int else "a number"
            raise ValueError(f"store={url!r}: {name} must be {kind}, got {text!r}")
        options[name] = value
    return options
