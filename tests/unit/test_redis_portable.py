"""Threads that are moved to and from Redis, in addition to what the suite tests of every store."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from copilot_runtime._cli.main import main
from copilot_runtime.stores import MemoryStore, RedisStore, SqliteStore, StoreError, copy_threads, store_from_url
from copilot_runtime.stores._redis import portable_threads
from copilot_runtime.stores._redis.client import Client
from copilot_runtime.stores.portable import ImportOutcome, NoRoomError, PortableStore
from copilot_runtime.stores.protocol import ThreadKey, ThreadQuery
from copilot_runtime.testing._factories import ADA, T1, begin, message_events, record_run, store_run

from ..services.redis import RedisCluster, redis_url, run_cluster, run_redis, shared_redis

pytestmark = pytest.mark.requirement("COPY-01")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with run_cluster() as cluster:
        yield cluster


def open_portable(url: str) -> PortableStore:
    store = store_from_url(url)
    assert isinstance(store, RedisStore)
    return store


def all_keys(store: PortableStore, limit: int) -> list[ThreadKey]:
    keys: list[ThreadKey] = []
    cursor = None
    while True:
        page = store.thread_keys(cursor, limit)
        keys += page.keys
        if (cursor := page.next_cursor) is None:
            return keys


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_thread_keys_of_many_owners(limit: int) -> None:
    """More owners than Redis returns at once, threads of owners on several pages, and threads without an owner."""
    store = open_portable(redis_url())
    keys = [ThreadKey(f"owner{number}", "t") for number in range(300)]
    keys += [ThreadKey(owner, f"t{number}") for owner in ("", "many") for number in range(20)]
    for key in keys:
        begin(store, key)  # those with active runs are there as well
    assert sorted(all_keys(store, limit)) == sorted(keys)


def test_copy_threads_through_a_cluster(cluster: RedisCluster) -> None:
    source, back = MemoryStore(), MemoryStore()
    owners = ("", *(f"owner{number}" for number in range(20)))
    for owner in owners:
        for number in range(4):
            store_run(source, ThreadKey(owner, f"t{number}"))
    store = open_portable(cluster.url)
    assert copy_threads(source, store).outcomes == {ImportOutcome.CREATED: 4 * len(owners)}
    assert copy_threads(store, back).outcomes == {ImportOutcome.CREATED: 4 * len(owners)}
    for owner in owners:
        names = {info.thread_id for info in back.threads(owner, ThreadQuery()).threads}
        assert names == {f"t{number}" for number in range(4)}


def test_copy_threads_by_urls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = SqliteStore(tmp_path / "from.db")
    for number in range(3):
        store_run(source, ThreadKey(ADA, f"t{number}"))
    url, other_prefix = redis_url(), redis_url()
    files = [f"sqlite:///{tmp_path}/{name}.db" for name in ("from", "to")]
    for pair in ([files[0], url], [url, other_prefix], [other_prefix, files[1]]):
        assert main(["copy-threads", *pair]) == 0
        assert capsys.readouterr().out == "3 threads copied\nIn total 3 runs and 6 messages copied\n"
    for number in range(3):
        key = ThreadKey(ADA, f"t{number}")
        assert SqliteStore(tmp_path / "to.db").read(key).runs == source.read(key).runs


def test_imported_threads_are_counted_like_others() -> None:
    url = redis_url()
    store = open_portable(url)
    [prefix] = re.findall(r"prefix=(\S+)", url)

    def totals() -> dict[str, str]:
        return {name: shared_redis().command("HINCRBY", f"{{{prefix}}}", name, "0") for name in ("threads", "bytes")}

    for _ in range(2):
        lease = begin(store).lease
        _, completion = record_run(lease, message_events(), [{"id": "q", "role": "user", "content": "?"}])
        store.finish(lease, (), completion)
    store.update(T1, name="a name")
    before, exported = totals(), store.export_thread(T1)
    assert exported is not None
    store.delete(T1)
    assert store.import_thread(exported) is ImportOutcome.CREATED
    assert totals() == before
    assert store.import_thread(dataclasses.replace(exported, name="another")) is ImportOutcome.REPLACED
    store.delete(T1)
    assert totals() == {"threads": ":0", "bytes": ":0"}


def prefixed_keys(url: str) -> list[str]:
    [prefix] = re.findall(r"prefix=(\S+)", url)
    client = redis.Redis(port=shared_redis().port)
    return sorted(key.decode() for key in client.scan_iter(f"{{{prefix}}}*"))


@pytest.mark.parametrize("kind", "trmei")
def test_copy_threads_goes_on_after_a_damaged_key(kind: str) -> None:
    """Something else has been stored under one key of a thread."""
    url = redis_url()
    store = open_portable(url)
    for number in range(3):
        store_run(store, ThreadKey(ADA, f"t{number}"))
    [damaged, *_] = [key for key in prefixed_keys(url) if f":{kind}:" in key]
    redis.Redis(port=shared_redis().port).set(damaged, "junk")
    report = copy_threads(store, MemoryStore())
    assert (report.outcomes, report.unreadable) == ({ImportOutcome.CREATED: 2}, 1)


def test_a_large_thread_is_stored_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call keeps the server for long, and what an import that fails leaves does not stay."""
    monkeypatch.setattr(portable_threads, "PIECE_BYTES", 300)
    calls: list[int] = []
    original = Client.call_many
    monkeypatch.setattr(Client, "call_many", lambda self, each: calls.append(len(each)) or original(self, each))
    source, url = MemoryStore(), redis_url()
    store = open_portable(url)
    history = [{"id": f"q{number}", "role": "user", "content": "?" * 100} for number in range(10)]
    for number in range(5):
        lease = begin(source).lease
        source.finish(lease, *record_run(lease, message_events(f"m{number}"), history))
    exported = source.export_thread(T1)
    assert exported is not None
    assert store.import_thread(exported) is ImportOutcome.CREATED
    assert len(calls) > 5
    assert store.messages(T1) == source.messages(T1)
    copied = store.export_thread(T1)
    assert copied is not None
    assert [list(run.records) for run in copied.runs] == [list(run.records) for run in exported.runs]
    assert {text for run in copied.runs for text in run.event_messages} == {f"m{number}" for number in range(5)}
    keys = prefixed_keys(url)
    full = open_portable(f"{url}&max_threads=1")
    with pytest.raises(NoRoomError):
        full.import_thread(dataclasses.replace(exported, key=ThreadKey(ADA, "other")))
    assert prefixed_keys(url) == keys
    with monkeypatch.context() as patch:
        patch.setattr(
            portable_threads.Staging, "import_arguments", lambda self, version: [T1.thread_id, *[""] * 3, "x"]
        )
        with pytest.raises(StoreError, match="changes all the time"):
            store.import_thread(dataclasses.replace(exported, key=ThreadKey(ADA, "other")))
    left = set(prefixed_keys(url)) - set(keys)
    assert left
    client = redis.Redis(port=shared_redis().port)
    assert all(0 < client.ttl(key) <= 3600 for key in left)


def test_import_that_another_one_precedes_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commands copy the same threads at once."""
    memory, url = MemoryStore(), redis_url()
    store, other = open_portable(url), open_portable(url)
    store_run(memory)
    exported = memory.export_thread(T1)
    assert exported is not None
    original = portable_threads.Staging.store

    def store_parts(self: portable_threads.Staging, client: Client) -> None:
        original(self, client)
        monkeypatch.undo()
        assert other.import_thread(exported) is ImportOutcome.CREATED

    monkeypatch.setattr(portable_threads.Staging, "store", store_parts)
    assert store.import_thread(exported) is ImportOutcome.CREATED
    assert not [key for key in prefixed_keys(url) if "." in key]
    assert len(store.read(T1).runs) == 1


def test_import_into_redis_that_has_no_memory_left_changes_nothing() -> None:
    with run_redis() as server:
        store, memory = open_portable(server.url), MemoryStore()
        store_run(store)
        store_run(store, ThreadKey(ADA, "other"))
        copy_threads(store, memory)
        store_run(memory, T1, "m2")
        expected = store.read(T1).runs
        assert server.command("CONFIG", "SET", "maxmemory", "1") == "+OK"
        with pytest.raises(StoreError, match="maxmemory"):
            copy_threads(memory, store)
        assert store.read(T1).runs == expected
        assert server.command("CONFIG", "SET", "maxmemory", "0") == "+OK"
        report = copy_threads(memory, store)
        assert report.outcomes == {ImportOutcome.REPLACED: 1, ImportOutcome.UNCHANGED: 1}
        assert len(store.read(T1).runs) == 2
