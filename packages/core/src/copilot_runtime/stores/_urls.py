"""Creates stores from URLs: what is passed as ``store=``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote

from ._memory import MemoryStore
from ._passwords import split_url, without_password
from .protocol import RunStore

_OptionParsers = Mapping[str, Callable[[str], Any]]


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text]


_KINDS: Mapping[Callable[[str], Any], str] = {int: "an integer", _boolean: "true or false"}

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
_POSTGRES_OPTIONS: _OptionParsers = {
    **_SQLITE_OPTIONS,
    "schema": str,
    "migrate": _boolean,
    "notifications": _boolean,
    "max_connections": int,
}
_REDIS_OPTIONS: _OptionParsers = {**_SQLITE_OPTIONS, "prefix": str}


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


def _postgres(url: str, parts: SplitResult) -> RunStore:
    options, address = _split_options(url, parts, _POSTGRES_OPTIONS)
    from ._postgres.store import PostgresStore

    return PostgresStore(address, **options)


def _redis(url: str, parts: SplitResult) -> RunStore:
    options, address = _split_options(url, parts, _REDIS_OPTIONS)
    from ._redis.store import RedisStore

    return RedisStore(address, **options)


def _split_options(url: str, parts: SplitResult, parsers: _OptionParsers) -> tuple[dict[str, Any], str]:
    """Returns the store's options, and the URL without them: the others are for the library that connects."""
    own: list[str] = []
    theirs: list[str] = []
    # The text as it is: + is a space only for some, and `urlunsplit` drops the slashes of postgresql:///database.
    base, _, query = url.partition("?")
    for option in query.split("&"):
        (own if unquote(option.partition("=")[0]) in parsers else theirs).append(option)
    options = _parse_options(url, parts._replace(query="&".join(own)), parsers)
    return options, "?".join(filter(None, (base, "&".join(theirs))))


_SCHEMES: Mapping[str, Callable[[str, SplitResult], RunStore]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "postgresql": _postgres,
    "postgres": _postgres,
    **{f"{tls}{kind}": _redis for tls in ("redis", "rediss") for kind in ("", "+sentinel", "+cluster")},
}


def store_from_url(store: str | RunStore) -> RunStore:
    """Returns the store of a URL. A store object is returned as it is.

    Args:
        store: ``memory://``, ``sqlite:///relative/path``, ``sqlite:////absolute/path``,
            ``postgresql://user:password@host/database``, ``redis://user:password@host:6379/0`` or another form that
            `RedisStore` accepts. The store's options may follow as a query, as in
            ``sqlite:///copilot.db?max_threads=1000``.

    Raises:
        ValueError: The scheme or an option is unknown, or the store refuses the path or the value of an option.
    """
    if not isinstance(store, str):
        if inspect.isclass(store) or not callable(getattr(store, "begin", None)):
            raise ValueError(f"store={store!r}: use a URL, such as 'memory://', or a store, such as MemoryStore()")
        _check_protocol(store)
        return store
    parts = split_url(store)
    if parts.scheme not in _SCHEMES:
        allowed = ", ".join(f"{name}://" for name in _SCHEMES)
        raise ValueError(f"store={without_password(store)!r}: use one of {allowed}")
    if parts.fragment:
        raise ValueError(f"store={without_password(store)!r}: write # in a path as %23, and so in a password")
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
    shown = without_password(url)
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in parsers:
            raise ValueError(f"store={shown!r}: unknown option {name!r}, must be one of {', '.join(parsers)}")
        if name in options:
            raise ValueError(f"store={shown!r}: {name} must occur only once")
        try:
            value = parsers[name](text)
            is_valid = isinstance(value, str) or math.isfinite(value)
        except (ValueError, LookupError):
            is_valid = False
        if not is_valid:
            raise ValueError(f"store={shown!r}: {name} must be {_KINDS.get(parsers[name], 'a number')}, got {text!r}")
        options[name] = value
    return options
