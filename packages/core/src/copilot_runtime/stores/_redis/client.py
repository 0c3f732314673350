"""Calls of the script on the server that has a shard. Every failure is a StoreError, without the server's address."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..._optional.optional_imports import import_optional
from ..protocol import StoreError, ThreadUnreadable
from .address import Address
from .background import start_in_background
from .clock import ServerClock
from .scripts import script, script_digest
from .server_check import check_server

if TYPE_CHECKING:
    from redis.client import PubSub

logger = logging.getLogger("copilot_runtime.stores.redis")

T = TypeVar("T")

Arguments = Sequence[str | bytes | int | float]

Call = tuple[str, str, Arguments]
"""A shard, an operation and its arguments."""


class Client:
    """The connections of one process. Opens none until the first call.

    Args:
        address: Where the store is.
        timeout_seconds: The longest wait for an answer, connecting included.
        max_bytes: The limit of the store, which the server's memory is compared with.
        parameters: Returns, for a shard, what every call tells the script besides.
    """

    def __init__(
        self, address: Address, timeout_seconds: float, max_bytes: int, parameters: Callable[[str], str]
    ) -> None:
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._parameters = parameters
        # A call may have to connect first. A call to a cluster may have to ask for the slots as well.
        self._wait_seconds = timeout_seconds / (4 if address.kind == "cluster" else 2)
        self.clock = ServerClock()
        self._has_begun_check = False
        self.is_checked = False
        """Whether the server's settings were checked, and logged."""
        self._is_cluster = address.kind == "cluster"
        self._redis: Any = _open_client(address, timeout_seconds, self._wait_seconds)

    def call(self, shard: str, operation: str, *arguments: str | bytes | int | float, is_repeated: bool = False) -> Any:
        """Calls an operation of the script on a shard.

        If the connection breaks, it is called once more: each operation may be repeated.

        Args:
            shard: The shard.
            operation: Its name.
            *arguments: Its arguments.
            is_repeated: Whether it has been called before, and may have been carried out.

        Raises:
            StoreError: The server does not answer in time, or refuses the call.
            ThreadUnreadable: The script cannot make sense of what is stored.
        """

        def evaluate(is_again: bool) -> Any:
            repeated = is_repeated or is_again
            try:
                return self._evaluate("EVALSHA", script_digest(), shard, operation, arguments, repeated)
            except self._errors.NoScriptError:  # the server was restarted, or is another one
                return self._evaluate("EVAL", script(), shard, operation, arguments, repeated)

        def attempt(is_again: bool) -> Any:
            try:
                return evaluate(is_again)
            except self._errors.ResponseError as error:
                if not self._notes_time(shard, error):
                    raise
                return evaluate(is_again)

        return self._repeat_once(attempt)

    def call_many(self, calls: Sequence[Call], repeated: Sequence[bool] = ()) -> list[Any]:
        """Calls operations with one round trip, or one for each shard, in the given order.

        Returns, for each, its result or the StoreError that `call` raises.
        """
        flags = repeated or [False] * len(calls)
        results: list[Any] = [None] * len(calls)
        by_shard: dict[str, list[int]] = {}
        for at, (shard, _, _) in enumerate(calls):
            by_shard.setdefault(shard, []).append(at)
        for places in by_shard.values():
            of_shard = [calls[at] for at in places]
            for at, result in zip(places, self._call_shard(of_shard, [flags[at] for at in places]), strict=True):
                results[at] = result
        return results

    def _call_shard(self, calls: Sequence[Call], repeated: Sequence[bool]) -> list[Any]:
        if len(calls) == 1:
            return [self._result_of(calls[0], repeated[0])]

        def attempt(is_again: bool) -> list[Any]:
            pipeline = self._redis.pipeline(transaction=False)
            for (shard, operation, arguments), is_repeated in zip(calls, repeated, strict=True):
                header = self._header(shard, is_repeated or is_again)
                pipeline.execute_command("EVALSHA", script_digest(), *_keys(shard), operation, header, *arguments)
            results = pipeline.execute(raise_on_error=False)
            if broken := next((result for result in results if self._is_broken(result)), None):
                raise broken
            return list(results)

        try:
            results = self._repeat_once(attempt)
        except StoreError as error:
            return [error] * len(calls)
        for at, result in enumerate(results):
            if isinstance(result, self._errors.NoScriptError) or self._notes_time(calls[at][0], result):
                # The server may be another one than that of the first attempt, which may have carried it out.
                results[at] = self._result_of(calls[at], True)
            elif isinstance(result, Exception):
                results[at] = _store_error(result)
        return results

    def _result_of(self, call: Call, is_repeated: bool) -> Any:
        try:
            return self.call(call[0], call[1], *call[2], is_repeated=is_repeated)
        except StoreError as error:
            return error

    def fetch_list(self, shard: str, name: str) -> list[bytes]:
        """Returns a list that the server has under a name."""
        values: list[bytes] = self._repeat_once(lambda is_again: self._redis.lrange(f"{shard}:{name}", 0, -1))
        return values

    def pubsub(self) -> PubSub:
        """Returns a new connection for notifications. Raises what `redis` raises."""
        # Each node of a cluster has all notifications. By default it would be the one that has the slot of the channel,
        # as far as this process knows: if it has died, it learns that only by calls to this very node.
        where = {"node": random.choice(self._redis.get_primaries())} if self._is_cluster else {}
        pubsub: PubSub = self._redis.pubsub(**where)
        return pubsub

    def _evaluate(
        self, command: str, text: str, shard: str, operation: str, arguments: Arguments, is_repeated: bool
    ) -> Any:
        header = self._header(shard, is_repeated)
        return self._redis.execute_command(command, text, *_keys(shard), operation, header, *arguments)

    def _header(self, shard: str, is_repeated: bool) -> str:
        """Returns what every call tells the script."""
        return f"{int(is_repeated)} {self.clock.after(shard, self._wait_seconds)} {self._parameters(shard)}"

    def _notes_time(self, shard: str, error: object) -> bool:
        """Notes the server's time if a call was refused because it came too late. Returns whether it was.

        It was not late, since the answer is in time: the clock was not known yet, or was set, or is another server's.
        """
        too_late = _TOO_LATE.search(str(error)) if isinstance(error, self._errors.ResponseError) else None
        if too_late is None:
            return False
        self.clock.note(shard, int(too_late[1]))
        return True

    def _repeat_once(self, attempt: Callable[[bool], T]) -> T:
        if not self._has_begun_check:
            self._has_begun_check = True
            # Beside the call, which need not wait for it.
            start_in_background(self._check_server, name="copilot-runtime-redis-check")
        began_at = time.monotonic()
        try:
            return attempt(False)
        except self._failures as error:
            if not self._is_broken(error) or time.monotonic() - began_at > self._timeout_seconds / 2:
                raise _store_error(error) from error
            if isinstance(error, self._errors.ReadOnlyError) and not self._is_cluster:
                # Behind a name or a proxy that leads to another master now.
                self._redis.connection_pool.disconnect(inuse_connections=False)
        try:
            return attempt(True)
        except self._failures as error:
            raise _store_error(error) from error

    def _check_server(self) -> None:
        try:
            check_server(self._redis, self._address.shown, self._max_bytes, is_cluster=self._is_cluster)
        except Exception as error:
            logger.debug("the server's settings could not be checked", exc_info=error)
            self._has_begun_check = False
        else:
            self.is_checked = True

    @property
    def _errors(self) -> Any:
        import redis.exceptions

        return redis.exceptions

    @property
    def _failures(self) -> tuple[type[BaseException], ...]:
        return (self._errors.RedisError, self._errors.RedisClusterException, OSError, UnicodeError)

    def _is_broken(self, error: object) -> bool:
        """Whether the connection has broken, which says nothing about the next one."""
        errors = self._errors
        return (
            isinstance(error, (errors.ConnectionError, ConnectionError, errors.RedisClusterException))
            and not isinstance(error, (errors.AuthenticationError, errors.TimeoutError, errors.BusyLoadingError))
        ) or isinstance(error, errors.ReadOnlyError)


def _keys(shard: str) -> tuple[int, str, str]:
    """Returns the keys that a call names; the script finds the others, which have the same slot, by the first one.

    The second one never exists: while a cluster moves the slot from node to node, key by key, it therefore refuses
    calls of more than one key. Otherwise, the script would take keys for missing that are on the other node.
    """
    return 2, shard, f"{shard}:none"


def _store_error(error: BaseException) -> StoreError:
    import redis.exceptions as errors

    if isinstance(error, StoreError):
        return error
    text = str(error)
    if text.startswith("MOVED ") or isinstance(error, errors.MovedError):  # which of them depends on the version
        message = "the Redis server is a node of a cluster, which requires a URL with redis+cluster://"
    elif "cluster support disabled" in text or "cluster mode is not enabled" in text.lower():
        message = "the Redis server is no node of a cluster, which requires a URL with redis://"
    elif isinstance(error, errors.ClusterError):  # that of redirections without end
        message = "the Redis cluster moves the threads from one node to another"
    elif state := _STATE.search(text):
        message = f"Redis refuses the call ({state[1]}{_EXPLANATIONS.get(state[1], '')})"
    elif isinstance(error, errors.OutOfMemoryError):
        message = f"Redis refuses the call (OOM{_EXPLANATIONS['OOM']})"
    elif isinstance(error, errors.ResponseError) and ("user_script" in text or text.startswith("WRONGTYPE")):
        return _with_cause(ThreadUnreadable(f"what is stored of the thread is damaged: {text}"), error)
    elif isinstance(error, errors.ResponseError):
        message = f"Redis refuses the call ({type(error).__name__})"
    else:
        message = f"Redis does not answer ({type(error).__name__})"
    return _with_cause(StoreError(message), error)


_STATE = re.compile(
    r"(?:^|[\s-])(TOOLATE|OOM|MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|LOADING|BUSY|READONLY|TRYAGAIN|NOPERM) "
)
"""Codes of errors that are about the server, whatever the script was doing."""

_EXPLANATIONS = {"OOM": ": maxmemory is reached", "TOOLATE": ": nobody waits for it any more"}

_TOO_LATE = re.compile(r"TOOLATE (\d+)")
"""The script's answer if the caller has given up, with the server's time in microseconds."""


def _with_cause(result: StoreError, error: BaseException) -> StoreError:
    result.__cause__ = error
    return result


def _open_client(address: Address, timeout_seconds: float, wait: float) -> Any:
    retry = _redis("redis.retry").Retry
    no_backoff = _redis("redis.backoff").NoBackoff()
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_timeout": wait,
        "socket_connect_timeout": wait,
        "socket_keepalive": True,
        "protocol": 2,
    }
    if address.has_tls:
        options.update(ssl=True, **address.tls_options)
    if address.kind == "cluster":
        cluster = _redis("redis.cluster")
        return _Later(
            lambda: cluster.RedisCluster(
                startup_nodes=[cluster.ClusterNode(host, port) for host, port in address.hosts],
                retry=retry(no_backoff, 1),
                **options,
            )
        )
    options.update(db=address.database, retry=retry(no_backoff, 0))
    if address.kind == "sentinel":
        sentinel_options: dict[str, Any] = {
            "username": address.sentinel_username,
            "password": address.sentinel_password,
            "socket_timeout": timeout_seconds / 8,
            "socket_connect_timeout": timeout_seconds / 8,
            "retry": retry(no_backoff, 0),
            "protocol": 2,
        }
        if address.has_tls:
            sentinel_options.update(ssl=True, **address.tls_options)
        sentinels = _redis("redis.sentinel").Sentinel(list(address.hosts), sentinel_kwargs=sentinel_options, **options)
        return sentinels.master_for(address.service)
    [(host, port)] = address.hosts
    return _redis("redis").Redis(host=host, port=port, **options)


def _redis(module: str) -> Any:
    return import_optional(module, feature="RedisStore", extra="redis")


class _Later:
    """An object that is created once it is used: creating a client of a cluster connects to it, and may fail."""

    def __init__(self, create: Callable[[], Any]) -> None:
        self._create = create

    def __getattr__(self, name: str) -> Any:
        created = self.__dict__.setdefault("_created", None) or self._create()
        self.__dict__["_created"] = created
        return getattr(created, name)
