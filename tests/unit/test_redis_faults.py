"""What a Redis store does when its server fails, is full, is another one, or holds what nobody of us has written."""

from __future__ import annotations

import dataclasses
import logging
import re
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from copilot_runtime.stores import LeaseLost, MemoryStore, RedisStore, StoreError, store_from_url
from copilot_runtime.stores._redis import address
from copilot_runtime.stores._redis import store as redis_module
from copilot_runtime.stores._redis.server_check import check_server
from copilot_runtime.stores.protocol import (
    Batch,
    LeaseSignal,
    NewRun,
    RunCompletion,
    RunEnd,
    RunStarted,
    ThreadBusy,
    ThreadKey,
    ThreadQuery,
    ThreadSnapshot,
    ThreadUnreadable,
)
from copilot_runtime.testing._factories import (
    ADA,
    BOB,
    T1,
    T2,
    append_one,
    begin,
    clear_all,
    list_thread_ids,
    message_events,
    poll_signal,
    record_run,
    store_run,
)

from ..servers import free_port
from ..services.redis import RedisServer, new_prefix, redis_url, run_redis, run_sentinel, wait_until
from .store_helpers import (
    check_fork,
    check_lost_run_is_ended,
    check_only_the_run_is_lost,
    check_run_stays_with_its_process,
    lose_run,
    read_raw,
)

pytestmark = pytest.mark.requirement("REDIS-01")

LOGGER = "copilot_runtime.stores.redis"
WAIT_SECONDS = 30.0
ALL = ThreadQuery()
FIRST_PAGE = ThreadQuery(limit=20)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server that these tests may break."""
    with run_redis() as server:
        yield server


@pytest.fixture
def store(server: RedisServer) -> RedisStore:
    return RedisStore(f"redis://127.0.0.1:{server.port}", prefix=new_prefix())


@pytest.fixture
def impatient_store(server: RedisServer) -> RedisStore:
    """A store for tests of servers that do not answer: others may wait for a machine that is busy."""
    return RedisStore(f"redis://127.0.0.1:{server.port}", prefix=new_prefix(), timeout_seconds=1.0)


def client_of(store: RedisStore) -> Any:
    """Returns the client of the package ``redis`` that a store uses."""
    return store._process.get().client._redis


def key(store: RedisStore, kind: str, thread: ThreadKey) -> str:
    place = store._shards.place(thread)
    return f"{place.shard}:{kind}:{place.thread}"


def lose_one_answer(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the next call be carried out, and its connection break before the answer."""
    client = client_of(store)
    original = client.execute_command
    has_lost: list[bool] = []

    def execute_command(*args: Any, **options: Any) -> Any:
        result = original(*args, **options)
        if not has_lost:
            has_lost.append(True)
            raise redis.exceptions.ConnectionError("Connection closed by server.")
        return result

    monkeypatch.setattr(client, "execute_command", execute_command)


# --- outages ---


def test_redis_that_restarts_has_everything_that_was_acknowledged(server: RedisServer, store: RedisStore) -> None:
    frames = store_run(store)
    lease = begin(store, T2).lease
    rest, completion = record_run(lease, message_events("m2"))
    append_one(store, lease, rest[:2])
    server.restart()
    assert list(read_raw(store, T1).runs[0].raw or ()) == frames
    assert poll_signal(store, lease) is None
    store.finish(lease, rest[2:], completion)
    assert list(read_raw(store, T2).runs[0].raw or ()) == rest


def test_redis_that_does_not_answer_fails_within_timeout_seconds(
    server: RedisServer, impatient_store: RedisStore
) -> None:
    store = impatient_store
    store_run(store)
    server.pause()
    try:
        for call in (lambda: begin(store, T2), lambda: store.read(T1), lambda: store.threads(ADA, ALL)):
            with pytest.raises(StoreError, match="does not answer"):
                call()
        with pytest.raises(StoreError, match="does not answer"):
            RedisStore(f"redis://127.0.0.1:{server.port}", timeout_seconds=0.2).messages(T1)
    finally:
        server.resume()
    assert list_thread_ids(store) == ["t1"]


def test_redis_that_was_suspended_begins_no_run_that_was_given_up(server: RedisServer) -> None:
    store = RedisStore(f"redis://127.0.0.1:{server.port}", prefix=new_prefix(), timeout_seconds=0.4)
    store_run(store, ThreadKey(ADA, "before"))
    server.pause()
    try:
        with pytest.raises(StoreError):
            begin(store, T1)
        given_up = time.monotonic()
        while time.monotonic() < given_up + 0.4:
            with pytest.raises(StoreError):
                store.read(T2)
    finally:
        server.resume()
    wait_until(lambda: answers(store), "the server to answer")
    assert store.read(T1) == ThreadSnapshot()
    begin(store, T1)


def test_redis_that_was_suspended_changes_nothing_that_was_given_up(server: RedisServer) -> None:
    """Or a thread could be deleted that was created again since then, or a later run be stopped."""
    prefix = new_prefix()

    def open_store(timeout_seconds: float = 5.0) -> RedisStore:
        return RedisStore(f"redis://127.0.0.1:{server.port}", prefix=prefix, timeout_seconds=timeout_seconds)

    store, hasty, new = open_store(), open_store(0.2), open_store(0.2)
    for thread in (T1, T2):
        store_run(store, thread)
    lease = begin(store).lease
    for caller in (hasty, new):
        wait_until(lambda caller=caller: answers(caller), "the server to answer")  # type: ignore[misc]
    wait_until(lambda: learns_time(hasty), "the server to answer")
    uses: list[Callable[[RedisStore], object]] = [
        lambda store: store.delete(T2),
        lambda store: store.clear(ADA),
        lambda store: store.update(T1, name="too late"),
        lambda store: store.update(T1, archived=True),
        lambda store: store.request_stop(T1, None),
        lambda store: store.claim(lease.run, force=True),
        lambda store: begin(store, T2),
    ]
    for use in uses:
        for caller in (hasty, new):
            server.pause()
            try:
                with pytest.raises(StoreError):
                    use(caller)
            finally:
                server.resume()
            wait_until(lambda: answers(store), "the server to answer")
    infos = store.threads(ADA, ThreadQuery(include_archived=True)).threads
    assert {(info.thread_id, info.name, info.archived) for info in infos} == {("t1", None, False), ("t2", None, False)}
    assert poll_signal(store, lease) is None
    assert store.read(T2).live is None
    for caller in (store, open_store()):
        assert caller.update(T1, name="in time")
        assert caller.request_stop(T1, None) is not None
    assert open_store().delete(T2)


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_redis_clock_that_is_set_prevents_no_run(seconds: int, store: RedisStore) -> None:
    store_run(store, T2)
    clock = store._process.get().client.clock
    shard = store._shards.place(T1).shard
    clock._offsets[shard] += seconds * 1_000_000
    assert begin(store, T1)
    assert abs(clock.after(shard, 0) / 1e6 - time.time()) < 60
    assert isinstance(store.begin(NewRun(thread=T1, run_id="r", agent_id="a")), ThreadBusy)


def learns_time(store: RedisStore) -> bool:
    """Calls what has to be done in time."""
    try:
        store.delete(ThreadKey(BOB, "missing"))
    except StoreError:
        return False
    return True


def answers(store: RedisStore) -> bool:
    try:
        store.read(T2)
    except StoreError:
        return False
    return True


def test_redis_connections_that_were_cut_are_not_noticed(server: RedisServer, store: RedisStore) -> None:
    lease = begin(store).lease
    frames, completion = record_run(lease, message_events())
    server.command("CLIENT", "KILL", "TYPE", "normal")
    assert append_one(store, lease, frames[:2]) is None
    server.command("CLIENT", "KILL", "TYPE", "normal")
    store.write_runs([RunEnd(lease, frames[2:], completion), NewRun(thread=T2, run_id="r", agent_id="a")])
    assert list(read_raw(store, T1).runs[0].raw or ()) == frames


def test_redis_begin_whose_answer_is_lost_begins_once(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_one_answer(store, monkeypatch)
    lease = begin(store).lease
    assert poll_signal(store, lease) is None
    assert isinstance(store.begin(NewRun(thread=T1, run_id="r", agent_id="a")), ThreadBusy)


def test_redis_finish_whose_answer_is_lost_ends_once(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = begin(store).lease
    frames, completion = record_run(lease, message_events())
    lose_one_answer(store, monkeypatch)
    store.finish(lease, frames, completion)
    assert list(read_raw(store, T1).runs[0].raw or ()) == frames
    with pytest.raises(LeaseLost):
        store.finish(lease, frames, completion)


def test_redis_finish_that_timed_out_may_be_called_again(server: RedisServer, impatient_store: RedisStore) -> None:
    """The server carries out what it has received while it was paused."""
    store = impatient_store
    lease = begin(store).lease
    frames, completion = record_run(lease, message_events())
    server.pause()
    try:
        with pytest.raises(StoreError):
            store.finish(lease, frames, completion)
    finally:
        server.resume()
    wait_until(lambda: store.read(T1).live is None, "the first call to be carried out")
    store.finish(lease, frames, completion)
    assert len(store.read(T1).runs) == 1


def test_redis_scripts_that_the_server_has_forgotten_are_sent_again(server: RedisServer, store: RedisStore) -> None:
    store_run(store)
    server.command("SCRIPT", "FLUSH")
    results = store.write_runs([NewRun(thread=ThreadKey(ADA, name), run_id="r", agent_id="a") for name in "abc"])
    assert [type(result) for result in results] == [RunStarted] * 3


def test_redis_watch_calls_back_after_a_restart(server: RedisServer, store: RedisStore) -> None:
    run = begin(store).lease.run
    second = RedisStore(f"redis://127.0.0.1:{server.port}", prefix=store._prefix)
    changed = threading.Event()
    stop = second.watch(run, changed.set)
    assert changed.wait(WAIT_SECONDS)
    changed.clear()
    server.restart()
    assert changed.wait(WAIT_SECONDS)
    stop()


def test_redis_with_maxmemory_reached_refuses_and_changes_nothing(server: RedisServer, store: RedisStore) -> None:
    lease = begin(store).lease
    frames, completion = record_run(lease, message_events())
    append_one(store, lease, frames[:1])
    store_run(store, T2)
    server.command("CONFIG", "SET", "maxmemory", "1")
    try:
        for call in (
            lambda: begin(store, ThreadKey(ADA, "new")),
            lambda: begin(store, T2),
            lambda: append_one(store, lease, frames[1:2]),
        ):
            with pytest.raises(StoreError, match="maxmemory"):
                call()
        assert list(store.follow(lease.run, 0).frames) == frames[:1]
        assert set(list_thread_ids(store)) == {"t2"}
        for is_use in (False, True):
            snapshot = store.read(T2, touch=is_use)
            assert (len(snapshot.runs), snapshot.live) == (1, None)
        # What was accepted can end, and what there is can be deleted.
        store.finish(lease, frames[1:], completion)
        assert list(read_raw(store, T1).runs[0].raw or ()) == frames
        assert store.delete(T1)
    finally:
        server.command("CONFIG", "SET", "maxmemory", "0")
    store_run(store, T1)


@pytest.mark.parametrize("state", ["maxmemory", "min-replicas-to-write"])
def test_redis_that_takes_no_writes_can_be_read(state: str, server: RedisServer, store: RedisStore) -> None:
    lease = begin(store, T1).lease
    frames, _ = record_run(lease, message_events())
    append_one(store, lease, frames[:1])
    store_run(store, T2)
    other = RedisStore(f"redis://127.0.0.1:{server.port}", prefix=store._prefix)
    server.command("CONFIG", "SET", state, "1")
    try:
        assert store.read(T2, touch=True).runs
        assert list(other.follow(lease.run, 0).frames) == frames[:1]
        assert store.poll_signals([lease]) == {}
        assert list_thread_ids(store) == ["t2"]
    finally:
        server.command("CONFIG", "SET", state, "0")


def test_redis_with_maxmemory_reached_keeps_leases_and_stops_runs(server: RedisServer, store: RedisStore) -> None:
    leasing = RedisStore(f"redis://127.0.0.1:{server.port}", prefix=store._prefix, lease_seconds=0.2)
    lease, dead = begin(leasing, T1).lease, begin(leasing, T2).lease
    server.command("CONFIG", "SET", "maxmemory", "1")
    try:
        wait_until(lambda: leasing.follow(dead.run, 0).expired, "the lease to expire")
        store.renew([lease])
        assert not store.follow(lease.run, 0).expired
        assert store.request_stop(T1, None)
        assert poll_signal(store, lease) is LeaseSignal.STOP
        claimed = store.claim(dead.run)
        assert claimed
        store.finish(claimed.lease, (), RunCompletion(persist=False))
        assert store.read(T2).live is None
    finally:
        server.command("CONFIG", "SET", "maxmemory", "0")


def test_redis_sentinel_fails_over_to_the_new_master() -> None:
    with run_sentinel(sentinels=1) as sentinel:
        store = store_from_url(f"{sentinel.url}&timeout_seconds=2")
        store_run(store)
        lease = begin(store, T2).lease
        sentinel.servers[0].command("WAIT", "1", "5000")
        sentinel.master.kill()

        def works() -> bool:
            try:
                store.renew([lease])
            except StoreError:
                return False
            return True

        wait_until(works, "the new master")
        frames, completion = record_run(lease, message_events("m2"))
        store.finish(lease, frames, completion)
        assert set(list_thread_ids(store)) == {"t1", "t2"}


# --- settings and addresses ---


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ()),
        (("--appendonly", "no"), ("appendonly yes",)),
        (("--maxmemory-policy", "allkeys-lru"), ("noeviction",)),
        (("--maxmemory", "100mb"), ("max_bytes",)),
    ],
    ids=["recommended", "appendonly", "maxmemory-policy", "maxmemory"],
)
def test_redis_settings_that_threaten_threads_are_logged_once(
    options: tuple[str, ...], expected: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    with run_redis(*options) as server, caplog.at_level(logging.WARNING, LOGGER):
        store = RedisStore(f"redis://127.0.0.1:{server.port}")
        for _ in range(3):
            store_run(store)
        wait_until(lambda: store._process.get().client.is_checked, "the check")
        assert [text for record in caplog.records for text in expected if text in record.message] == list(expected)
        assert len(caplog.records) == len(expected)


def test_redis_version_that_is_too_old_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Old:
        def info(self, section: str) -> dict[str, Any]:
            return {"redis_version": "6.0.16", "aof_enabled": 1}

    check_server(Old(), "redis://host", 0, is_cluster=False)
    assert [record.message for record in caplog.records] == ["redis://host: Redis is too old: 6.2 or newer is required"]


def test_redis_url_of_the_wrong_kind_of_server_is_explained(server: RedisServer) -> None:
    with pytest.raises(StoreError, match=r"requires a URL with redis://"):
        RedisStore(f"redis+cluster://127.0.0.1:{server.port}", timeout_seconds=1).read(T1)


def test_redis_errors_do_not_show_the_address_or_the_password(caplog: pytest.LogCaptureFixture) -> None:
    with run_redis("--requirepass", "right") as server:
        for url in (f"redis://:wrong@127.0.0.1:{server.port}", f"redis://:wrong@127.0.0.1:{free_port()}"):
            with caplog.at_level(logging.DEBUG, LOGGER), pytest.raises(StoreError) as raised:
                RedisStore(url).read(T1)
            assert "127.0.0.1" not in str(raised.value)
            assert "wrong" not in str(raised.value)
        store_run(RedisStore(f"redis://:right@127.0.0.1:{server.port}"))
        store_run(RedisStore(f"redis://default:right@127.0.0.1:{server.port}"))
    assert "wrong" not in caplog.text


def test_redis_user_with_the_documented_rights(server: RedisServer, store: RedisStore) -> None:
    page = (Path(__file__).parents[2] / "docs/stores.md").read_text("utf-8")
    [(keys, channels)] = re.findall(r"Keys `(~\S+)` and channels `(&\S+)`", page)
    [commands] = re.findall(r"subscribe and `INFO`: `([^`]+)`", page)
    rights = [text.replace("PREFIX", store._prefix) for text in (keys, channels, *commands.split())]
    assert server.command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rights) == "+OK"
    url = f"redis://app:pw@127.0.0.1:{server.port}"
    mine, second = (RedisStore(url, prefix=store._prefix) for _ in range(2))
    lease = begin(mine).lease
    changed = threading.Event()
    stop = second.watch(lease.run, changed.set)
    assert changed.wait(WAIT_SECONDS)
    wait_until(lambda: mine._process.get().client.is_checked, "the check of the server's settings")
    changed.clear()
    frames, completion = record_run(lease, message_events())
    append_one(mine, lease, frames[:2])
    assert changed.wait(WAIT_SECONDS)
    stop()
    mine.finish(lease, frames[2:], completion)
    second.update(T1, name="x", archived=False)
    second.read(T1, touch=True, raw_ordinal=lease.run.ordinal)
    assert list_thread_ids(second) == ["t1"]
    assert second.messages(T1)
    clear_all(second)
    mine.sweep()
    with pytest.raises(StoreError, match="refuses"):
        begin(RedisStore(url, prefix="other"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_redis_over_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    create = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*create, *subject], check=True, capture_output=True)
    port = free_port()
    tls = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-auth-clients", "no")
    with run_redis("--tls-port", str(port), *tls):
        store_run(store_from_url(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}"))
        for url in (f"rediss://127.0.0.1:{port}", f"redis://127.0.0.1:{port}"):
            with pytest.raises(StoreError):
                store_run(store_from_url(url))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://host/x", "database must be a number"),
        ("rediss://host?ssl_cert_reqs=maybe", "ssl_cert_reqs must be one of required, optional, none"),
        ("redis://host:99999", "is not a host and a port"),
        ("redis://one:1,two:2", r"redis\+sentinel://"),
        ("redis://host?ssl_ca_certs=x", "rediss://"),
        ("redis://host?max_thread=1", "unknown option 'max_thread'"),
        ("redis://host?max_threads=x", "max_threads must be an integer"),
        ("redis://host?max_threads=-1", "max_threads"),
        ("redis://host?lease_seconds=0", "lease_seconds"),
        ("redis://host?prefix=a%20b", "prefix"),
        ("redis://host?prefix=", "prefix"),
        ("redis+sentinel://one:1", "name of the service"),
        ("redis+sentinel://one:1/main/x", "database must be a number"),
        ("redis+cluster://one:1/3", "only database 0"),
        ("redis://host/1/2", "database"),
        ("redis://host#x", "%23"),
    ],
)
def test_redis_urls_that_are_invalid(url: str, text: str) -> None:
    with_password = url.replace("://", "://user:hidden@", 1)
    with pytest.raises(ValueError, match=text) as raised:
        store_from_url(with_password)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("create", [store_from_url, RedisStore])
@pytest.mark.parametrize("password", ["pa\u2100secret", "p[secret", "p[secret]x", "secret#x", "p/secret", "p?secret"])
def test_redis_passwords_that_are_not_encoded_are_not_shown(password: str, create: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match=r"redis://:\*\*\*@host") as raised:
        create(f"redis://:{password}@host/0")
    assert "secret" not in "".join(traceback.format_exception_only(raised.value))
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_redis_urls_are_parsed() -> None:
    parse = address.Address.from_url
    plain = parse("redis://ada:p%40ss@[::1]:7000/3")
    assert (plain.hosts, plain.database, plain.username, plain.password) == ((("::1", 7000),), 3, "ada", "p@ss")
    assert "p@ss" not in repr(plain)
    assert parse("redis://host").hosts == (("host", 6379),)
    tls = parse("rediss://host?ssl_ca_certs=/ca.pem")
    assert (tls.has_tls, tls.tls_options) == (True, {"ssl_ca_certs": "/ca.pem"})
    sentinel = parse("redis+sentinel://one,two:2/main/1?sentinel_password=x")
    assert (sentinel.hosts, sentinel.service, sentinel.database) == ((("one", 26379), ("two", 2)), "main", 1)
    assert parse("redis+cluster://one,two:2").hosts == (("one", 6379), ("two", 2))


def test_redis_package_that_is_missing_is_named_at_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    text = """RedisStore requires the "redis" package: pip install 'copilot-runtime[redis]'"""
    with pytest.raises(ImportError, match=f"^{re.escape(text)}$"):
        store_from_url("redis://localhost")


# --- what is stored ---


def test_redis_keys_have_the_prefix_and_one_hash_tag(store: RedisStore, server: RedisServer) -> None:
    lease = begin(store, T2).lease
    append_one(store, lease, record_run(lease, message_events("m2"))[0][:2])
    store_run(store)
    names = [name.decode() for name in redis.Redis(port=server.port).keys(f"*{store._prefix}*")]
    assert names
    assert all(name.startswith(f"{{{store._prefix}}}") for name in names)
    clear_all(store)
    store.delete(T2)
    left = redis.Redis(port=server.port).keys(f"*{store._prefix}*")
    assert [name.decode() for name in left] == [f"{{{store._prefix}}}"], "only the totals are left"


def test_redis_never_scans_its_keys_and_a_run_costs_the_same_in_a_full_store(server: RedisServer) -> None:
    store = RedisStore(f"redis://127.0.0.1:{server.port}", prefix=new_prefix(), max_threads=10_000)

    def commands(use: Callable[[], object]) -> dict[str, int]:
        server.command("CONFIG", "RESETSTAT")
        use()
        stats = server.info("commandstats")
        return {name.removeprefix("cmdstat_"): int(line.split(",")[0][6:]) for name, line in stats.items()}

    def use() -> None:
        thread = ThreadKey(ADA, "used")
        store_run(store, thread)
        store.read(thread, touch=True)
        store.threads(ADA, FIRST_PAGE)
        store.delete(thread)

    def fill(first: int, last: int) -> None:
        for number in range(first, last):
            store_run(store, ThreadKey(ADA, f"t{number}"))

    fill(0, 25)  # more than the page has
    wait_until(lambda: store._process.get().client.is_checked, "the check of the server's settings")
    few = commands(use)
    fill(25, 125)
    store.sweep()
    many = commands(use)
    assert not {"keys", "scan", "sscan", "hscan", "zscan"} & (few.keys() | many.keys())
    assert many == few


def test_redis_max_age_seconds_deletes_all_that_have_expired(store: RedisStore, server: RedisServer) -> None:
    """Beside the run that begins, and in pieces."""
    for number in range(130):
        store_run(store, ThreadKey(ADA, f"t{number}"))
    active = begin(store, ThreadKey(ADA, "active")).lease
    aging = RedisStore(f"redis://127.0.0.1:{server.port}", prefix=store._prefix, max_age_seconds=0.001)
    keeping = RedisStore(f"redis://127.0.0.1:{server.port}", prefix=store._prefix, max_age_seconds=1000)
    store_run(keeping, ThreadKey(BOB, "new"))
    assert len(list_thread_ids(store)) == 130
    begin(aging, ThreadKey(BOB, "newer"))
    wait_until(lambda: list_thread_ids(store) == [], "the threads to be deleted")
    assert poll_signal(store, active) is None


def test_redis_raw_frames_that_have_expired_are_no_reason_to_delete_threads(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module.p, "RAW_RETENTION_SECONDS", 0.001)
    store = RedisStore(f"redis://127.0.0.1:{server.port}", prefix=new_prefix(), max_bytes=100_000)
    for number in range(20):
        lease = begin(store, ThreadKey(ADA, f"t{number}")).lease
        frames, _ = record_run(lease, message_events("m", "x" * 20_000))
        _, completion = record_run(lease, message_events())
        store.finish(lease, frames, completion)
    assert len(list_thread_ids(store)) == 20


def test_redis_begin_takes_one_round_trip(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store_run(store)
    wait_until(lambda: store._process.get().client.is_checked, "the check of the server's settings")
    client = client_of(store)
    calls: list[str] = []
    original = client.execute_command

    def execute_command(*args: Any, **options: Any) -> Any:
        calls.append(args[0])
        return original(*args, **options)

    monkeypatch.setattr(client, "execute_command", execute_command)
    begin(store)
    assert calls == ["EVALSHA"]
    store.read_with_messages(T1)
    assert calls == ["EVALSHA"] * 2


@pytest.mark.parametrize("size", [10, 3000], ids=["short", "long"])
def test_redis_max_bytes_is_about_the_memory_of_the_server(size: int) -> None:
    with run_redis() as server:  # of its own: others free at some time what earlier tests have used
        client: Any = redis.Redis(port=server.port)
        store = RedisStore(f"redis://127.0.0.1:{server.port}", prefix=new_prefix())
        store_run(store)
        before = client.info("memory")["used_memory"]
        for number in range(160):
            lease = begin(store, ThreadKey(ADA, f"thread-{number // 4}")).lease
            store.finish(lease, *record_run(lease, message_events(f"m{number}", "x" * size)))
        used = client.info("memory")["used_memory"] - before
        counted = int(client.hget(f"{{{store._prefix}}}", "bytes"))
    assert used / 1.5 < counted < used * 1.5


_READS: dict[str, Callable[[RedisStore], object]] = {
    "t": lambda store: store.read(T1),
    "l": lambda store: store.begin(NewRun(thread=T1, run_id="r", agent_id="a")),
    "r": lambda store: store.read(T1),
    "m": lambda store: store.messages(T1),
    "e": lambda store: store.begin(NewRun(thread=T1, run_id="r", agent_id="a")),
    "i": lambda store: store.begin(NewRun(thread=T1, run_id="r", agent_id="a")),
}


@pytest.mark.parametrize("kind", _READS)
def test_redis_thread_that_is_damaged_concerns_no_other_and_can_be_deleted(kind: str, store: RedisStore) -> None:
    store_run(store, T1)
    store_run(store, T2)
    lease = begin(store, T2).lease
    frames = record_run(lease, message_events("m2"))[0]
    client_of(store).delete(key(store, kind, T1))
    client_of(store).set(key(store, kind, T1), "something else")
    with pytest.raises(ThreadUnreadable):
        _READS[kind](store)
    if kind in "trm":
        with pytest.raises(ThreadUnreadable):
            store.read_with_messages(T1)
    if kind in "ei":
        assert store.read(T1).live is None
    assert append_one(store, lease, frames[:2]) is None
    store.finish(lease, frames[2:], RunCompletion(persist=True))
    assert "t2" in list_thread_ids(store)
    store.sweep()
    assert store.delete(T1)
    assert not store.read(T1).runs
    store_run(store, T1)
    assert set(list_thread_ids(store)) == {"t1", "t2"}


def test_redis_lease_of_lost_data_is_not_valid_for_what_replaces_it(store: RedisStore, server: RedisServer) -> None:
    """As after a failover to a replica that has not received the last writes."""
    lost = begin(store).lease
    server.command("FLUSHALL")
    new = begin(store).lease
    frames, completion = record_run(lost, message_events())
    assert isinstance(append_one(store, lost, frames), LeaseLost)
    with pytest.raises(LeaseLost):
        store.finish(lost, frames, completion)
    assert poll_signal(store, new) is None


def test_redis_append_that_comes_late_changes_nothing(store: RedisStore) -> None:
    """A server that was paused carries it out after the one that has replaced it."""
    lease = begin(store).lease
    frames, _ = record_run(lease, message_events())
    late = Batch(lease, frames[:2], frozenset(), 2)
    assert not store.append([Batch(lease, frames[:3], {3}, 3)])
    assert not store.append([late])
    update = store.follow(lease.run, 0)
    assert (list(update.frames), update.duplicates) == (frames[:3], {3})


@pytest.mark.parametrize("kind", [*"rmei", "frames", "count", "bytes"])
def test_redis_lost_run_of_a_damaged_thread_is_ended(kind: str, store: RedisStore) -> None:
    lease = lose_run(store)
    client = client_of(store)
    client.hset(key(store, "l", T1), "expires", 1)
    if kind in ("count", "bytes"):
        client.hset(key(store, "l", T1), kind, "x")
    else:
        name = f"{key(store, 'f', T1)}:{lease.run.ordinal}" if kind == "frames" else key(store, kind, T1)
        assert client.delete(name)
        client.set(name, "something else")
    check_lost_run_is_ended(store, lease)


def test_redis_thread_goes_on_if_only_a_lost_run_is_damaged(store: RedisStore) -> None:
    lease = lose_run(store)
    client = client_of(store)
    client.hset(key(store, "l", T1), "expires", 1)
    client.lset(f"{key(store, 'f', T1)}:{lease.run.ordinal}", 0, "x")
    check_only_the_run_is_lost(store, lease)


@pytest.mark.parametrize("kind", [*"rmei", "frames", "a message", "a frame"])
def test_redis_run_of_a_damaged_thread_is_not_taken_from_its_process(kind: str, store: RedisStore) -> None:
    lease = lose_run(store)
    client, frames = client_of(store), f"{key(store, 'f', T1)}:{lease.run.ordinal}"
    if kind == "a message":
        client.lset(key(store, "m", T1), 0, "x")
    elif kind == "a frame":
        client.lset(frames, 0, "x")
    else:
        name = frames if kind == "frames" else key(store, kind, T1)
        assert client.delete(name)
        client.set(name, "something else")
    check_run_stays_with_its_process(store, lease)


def test_redis_finish_of_a_thread_that_is_damaged_changes_nothing(store: RedisStore) -> None:
    lease = begin(store, T1).lease
    frames, completion = record_run(lease, message_events())
    client_of(store).set(key(store, "m", T1), "something else")
    with pytest.raises(ThreadUnreadable):
        store.finish(lease, frames, completion)
    assert poll_signal(store, lease) is None
    assert not store.read(T1).runs
    client_of(store).delete(key(store, "m", T1))
    store.finish(lease, frames, completion)
    assert list(read_raw(store, T1).runs[0].raw or ()) == frames


def test_redis_clear_deletes_threads_of_which_keys_are_missing(store: RedisStore) -> None:
    """As where the server's maxmemory-policy has deleted some."""
    for number in range(130):
        store_run(store, ThreadKey(ADA, f"t{number}"))
        client_of(store).delete(key(store, "t", ThreadKey(ADA, f"t{number}")))
    without_lease, without_thread = begin(store, T1).lease, begin(store, T2).lease
    client_of(store).delete(key(store, "l", T1), key(store, "t", T2))
    store_run(store, ThreadKey(ADA, "intact"))
    cursor = store.clear(ADA)
    for _ in range(3):
        cursor = cursor and store.clear(ADA, cursor)
    assert cursor is None
    assert list_thread_ids(store) == []
    assert poll_signal(store, without_lease) is poll_signal(store, without_thread) is LeaseSignal.LOST
    assert client_of(store).hget(f"{{{store._prefix}}}", "threads") == b"0"
    store_run(store, T1)
    assert list_thread_ids(store) == ["t1"]


def test_redis_clock_that_is_set_back_a_little_ends_no_lease(store: RedisStore) -> None:
    """As after a failover to a server whose clock is behind."""
    lease = begin(store).lease
    client = client_of(store)

    def shift(microseconds: int) -> None:
        client.hincrby(key(store, "l", T1), "expires", microseconds)

    shift(3_000_000)
    assert not store.follow(lease.run, 0).expired
    assert store.claim(lease.run) is None
    shift(100_000_000)
    assert store.follow(lease.run, 0).expired


def test_redis_append_of_many_runs_deletes_a_bounded_number_of_threads(server: RedisServer, store: RedisStore) -> None:
    """No other call is served meanwhile."""
    for number in range(130):
        store_run(store, ThreadKey(ADA, f"t{number}"))
    leases = [begin(store, ThreadKey(BOB, f"t{number}")).lease for number in range(3)]
    limited = RedisStore(f"redis://127.0.0.1:{server.port}", prefix=store._prefix, max_bytes=1000)
    limited.append([Batch(lease, record_run(lease, message_events())[0][:1]) for lease in leases])
    assert len(list_thread_ids(store)) == 30


def test_redis_cost_of_times_that_are_equal(server: RedisServer, store: RedisStore) -> None:
    """As of threads that were copied from a store that keeps seconds."""
    source = MemoryStore()

    def calls_per_copy(count: int) -> float:
        server.command("CONFIG", "RESETSTAT")
        for number in range(count):
            thread = ThreadKey(ADA, f"{count}-{number}")
            store_run(source, thread)
            exported = source.export_thread(thread)
            assert exported
            store.import_thread(dataclasses.replace(exported, updated_at=1_000_000.0))
        return int(server.info("commandstats")["cmdstat_zcount"].split(",")[0][6:]) / count

    few = calls_per_copy(40)
    many = calls_per_copy(160)  # five times as many in all, of which a search looks at two or three more
    assert many <= 2 * few


# --- processes ---


def test_redis_after_fork_connections_are_not_shared(store: RedisStore) -> None:
    check_fork(store)


GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys, threading
from copilot_runtime.stores import store_from_url
from copilot_runtime.testing._factories import T1, append_one, begin, message_events, record_run
store, second = store_from_url(sys.argv[1]), store_from_url(sys.argv[1])
lease = begin(store).lease
changed = threading.Event()
stop = second.watch(lease.run, changed.set)
assert changed.wait(30)
changed.clear()
frames, completion = record_run(lease, message_events())
append_one(store, lease, frames[:2])
assert changed.wait(30)
store.finish(lease, frames[2:], completion)
print(len(second.read(T1).runs))
"""


def test_redis_under_gevent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GEVENT, redis_url()],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.stdout.strip() == "1", done.stderr
