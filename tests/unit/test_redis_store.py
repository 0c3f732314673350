"""Redis against the public suite of stores (copilot_runtime.testing), and what it guarantees in addition."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from copilot_runtime.stores import RedisStore, RunStore, store_from_url
from copilot_runtime.stores import protocol as p
from copilot_runtime.testing import RunStoreSuite
from copilot_runtime.testing._factories import (
    append_one,
    begin,
    clear_all,
    list_thread_ids,
    message_events,
    race,
    record_run,
    store_run,
)

from ..services.redis import (
    RedisCluster,
    RedisServer,
    cluster_is_up,
    new_prefix,
    run_cluster,
    shared_redis,
    wait_until,
)
from ..shared_stores import repetitions

pytestmark = pytest.mark.requirement("STORE-01")


class TestRedisStore(RunStoreSuite):
    limits = ("max_threads", "max_runs_per_thread", "max_bytes")

    @pytest.fixture(autouse=True)
    def _place(self) -> None:
        self.url = f"redis://127.0.0.1:{shared_redis().port}/0"
        self.prefix = new_prefix()

    def make_store(self) -> RunStore:
        return RedisStore(self.url, prefix=self.prefix)

    def make_limited(self, **limits: int) -> RunStore:
        return RedisStore(self.url, prefix=self.prefix, **limits)

    def make_leasing(self, lease_seconds: float) -> RunStore:
        # Shorter, since these tests wait for it.
        return RedisStore(self.url, prefix=self.prefix, lease_seconds=lease_seconds / 3)

    def open_second(self, store: RunStore) -> RunStore:
        return RedisStore(self.url, prefix=self.prefix)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with run_cluster() as cluster:
        yield cluster


class TestRedisCluster(TestRedisStore):
    __test__ = bool(repetitions(0, 1))

    @pytest.fixture(autouse=True)
    def _place(self, cluster: RedisCluster) -> None:  # type: ignore[override]
        self.url = cluster.url.partition("?")[0]
        self.prefix = new_prefix()


def test_redis_cluster_has_the_threads_of_all_owners_in_one_list_each(cluster: RedisCluster) -> None:
    """Those without an owner are spread over the nodes."""
    store = store_from_url(cluster.url)
    before = [int(master.command("DBSIZE")[1:]) for master in cluster.masters]
    owners = ["", *(f"user{number}" for number in range(10))]
    for owner in owners:
        for number in range(5):
            store_run(store, p.ThreadKey(owner, f"t{number}"))
    sizes = [int(master.command("DBSIZE")[1:]) - size for master, size in zip(cluster.masters, before, strict=True)]
    assert min(sizes) > sum(sizes) / 10
    for owner in owners:
        assert list_thread_ids(store, owner) == ["t4", "t3", "t2", "t1", "t0"]
        page = store.threads(owner, p.ThreadQuery(limit=2))
        rest = store.threads(owner, p.ThreadQuery(cursor=page.next_cursor))
        assert [info.thread_id for info in (*page.threads, *rest.threads)] == ["t4", "t3", "t2", "t1", "t0"]
    assert clear_all(store, "") > 1
    assert list_thread_ids(store, "") == []
    assert list_thread_ids(store, "user1") != []


def test_redis_cluster_requires_a_url_of_its_own(cluster: RedisCluster) -> None:
    stores = [RedisStore(f"redis://127.0.0.1:{master.port}") for master in cluster.masters]
    results = race(len(stores), lambda number: stores[number].read(p.ThreadKey("", "t")))
    refused = [str(result) for result in results if isinstance(result, p.StoreError)]
    assert len(refused) == len(stores) - 1
    assert all("redis+cluster://" in text for text in refused)


def test_redis_cluster_calls_of_several_nodes_at_once(cluster: RedisCluster) -> None:
    store: Any = store_from_url(cluster.url)
    keys = [p.ThreadKey(f"user{number}", "t") for number in range(12)]
    leases = [
        started.lease for started in store.write_runs([p.NewRun(thread=k, run_id="r", agent_id="a") for k in keys])
    ]
    frames, completion = record_run(leases[0], message_events())
    assert not store.append([p.Batch(lease, frames[:2]) for lease in leases])
    store.renew(leases)
    store.request_stop(keys[3], None)
    assert store.poll_signals(leases) == {leases[3]: p.LeaseSignal.STOP}
    assert store.write_runs([p.RunEnd(lease, frames[2:], completion) for lease in leases]) == [None] * 12
    changed = threading.Event()
    lease = begin(store, keys[0]).lease
    stop = store_from_url(f"{cluster.url.partition('?')[0]}?prefix={store._prefix}").watch(lease.run, changed.set)  # type: ignore[attr-defined]
    assert changed.wait(30)
    changed.clear()
    append_one(store, lease, frames[:1])
    assert changed.wait(30)
    stop()


def test_redis_cluster_limits_are_those_of_all_nodes(cluster: RedisCluster) -> None:
    store = store_from_url(f"{cluster.url}&max_threads=6")
    store_run(store, p.ThreadKey("light", "t"))
    for number in range(10):
        store_run(store, p.ThreadKey("heavy", f"t{number}"))
    clear_all(store, "nobody")
    time_out = time.monotonic() + 30
    while len(list_thread_ids(store, "heavy")) > 5:  # others learn after a while what a node has
        store_run(store, p.ThreadKey("heavy", "last"))
        assert time.monotonic() < time_out
    assert list_thread_ids(store, "light") == ["t"]
    assert "last" in list_thread_ids(store, "heavy") or "t9" in list_thread_ids(store, "heavy")


def test_redis_cluster_pages_end_with_the_last_thread(cluster: RedisCluster) -> None:
    """Also where all that is left of a list is on the node with the last thread of the page before."""
    store: Any = store_from_url(cluster.url)
    keys = [
        key
        for number in range(200)
        if store._shards.place(key := p.ThreadKey("", f"t{number}")).shard == store._shards.names[0]
    ][:4]
    for key in keys:
        store_run(store, key)
    found: list[str] = []
    cursor = None
    while cursor is not None or not found:
        page = store.threads("", p.ThreadQuery(limit=1, cursor=cursor))
        found += [info.thread_id for info in page.threads]
        cursor = page.next_cursor
    assert found == [key.thread_id for key in reversed(keys)]


def test_redis_cluster_looks_at_few_nodes_when_its_limits_are_exceeded(
    cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Any = store_from_url(f"{cluster.url}&max_threads=3")
    for number in range(3):
        store_run(store, p.ThreadKey("heavy", f"t{number}"))
    client = store._process.get().client
    store._totals._refresh(client)
    calls: list[str] = []
    original = client._evaluate

    def evaluate(command: str, text: str, shard: str, operation: str, *rest: Any) -> Any:
        calls.append(operation)
        return original(command, text, shard, operation, *rest)

    monkeypatch.setattr(client, "_evaluate", evaluate)
    light = next(
        key
        for number in range(100)
        if store._shards.place(key := p.ThreadKey(f"user{number}", "t")).shard
        != store._shards.place(p.ThreadKey("heavy", "t")).shard
    )
    begin(store, light)
    assert list_thread_ids(store, "heavy") == ["t2", "t1"]
    assert len(calls) < 50


def test_redis_cluster_that_moves_a_slot_loses_no_run(cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile each node has some of the keys of the slot's threads, and would take those of the other for missing."""
    monkeypatch.setattr(redis.RedisCluster, "RedisClusterRequestTTL", 2)  # how often it tries again
    store: Any = store_from_url(cluster.url)
    key, other = p.ThreadKey("ada", "t"), p.ThreadKey("ada", "other")
    lease = begin(store, key).lease
    frames, completion = record_run(lease, message_events())
    store_run(store, other)
    place = store._shards.place(key)
    slot = str(key_slot(place.shard.encode()))
    client = store._process.get().client._redis
    port = client.get_node_from_key(place.shard).port
    source = next(master for master in cluster.masters if master.port == port)
    target = next(master for master in cluster.masters if master is not source)
    ids = {master.port: _cluster_id(master) for master in (source, target)}
    target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
    source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])

    def move(name: str) -> None:
        assert source.command("MIGRATE", "127.0.0.1", str(target.port), name, "0", "5000") == "+OK"

    def check_refused() -> None:
        for call in (
            lambda: begin(store, other),
            lambda: begin(store, p.ThreadKey("ada", "new")),
            lambda: append_one(store, lease, frames[:1]),
            lambda: store.finish(lease, frames, completion),
            lambda: store.poll_signals([lease]),
            lambda: store.read(other),
        ):
            with pytest.raises(p.StoreError, match="moves"):
                call()

    check_refused()
    for kind in ("l", "t"):
        move(f"{place.shard}:{kind}:{place.thread}")
    check_refused()
    move(place.shard)
    check_refused()
    left: Any = redis.Redis(port=source.port, decode_responses=True)
    for name in left.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
        move(name)
    for master in (target, source, *cluster.masters):
        master.command("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])
    assert append_one(store, lease, frames[:1]) is None
    store.finish(lease, frames[1:], completion)
    assert [run.run_id for run in store.read(key).runs] == [lease.run_id]
    assert set(list_thread_ids(store, "ada")) == {"t", "other"}


@pytest.mark.requirement("REDIS-01")
def test_redis_cluster_notifications_come_from_another_node_if_theirs_has_died(cluster: RedisCluster) -> None:
    """A process that calls other nodes does not learn that the node has been replaced."""
    first: Any = store_from_url(cluster.url)
    second: Any = store_from_url(f"{cluster.url.partition('?')[0]}?prefix={first._prefix}")
    nodes = {master.port: master for master in cluster.masters}
    for master in cluster.masters:
        master.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
    clusters = [store._process.get().client._redis for store in (first, second)]

    def listens(master: RedisServer) -> bool:
        return master.command("PUBSUB", "CHANNELS", f"{first._prefix}:changes:*") != "*0"

    leases = [begin(first, p.ThreadKey(f"user{number}", "t")).lease for number in range(12)]
    changed = threading.Event()
    stops = [second.watch(lease.run, changed.set) for lease in leases]
    wait_until(lambda: any(map(listens, cluster.masters)), "the subscription")
    dead = next(filter(listens, cluster.masters))
    alive = [
        lease
        for lease in leases
        if nodes[clusters[0].get_node_from_key(first._shards.place(lease.run.thread).shard).port] is not dead
    ]
    dead.kill()
    try:
        wait_until(lambda: any(listens(master) for master in nodes.values() if master is not dead), "another node")
        changed.clear()
        append_one(first, alive[0], [b"id: 1\ndata: {}\n\n"])
        assert changed.wait(30)
    finally:
        for stop in stops:
            stop()
        dead.start()
        for master in cluster.masters:
            master.command("CONFIG", "SET", "cluster-require-full-coverage", "yes")
        wait_until(lambda: all(map(cluster_is_up, cluster.masters)), "the cluster")


def _cluster_id(master: RedisServer) -> str:
    client: Any = redis.Redis(port=master.port, decode_responses=True)
    return str(client.execute_command("CLUSTER MYID"))


@pytest.mark.requirement("STORE-13")
def test_the_cost_of_a_list_does_not_depend_on_how_many_threads_there_are() -> None:
    server = shared_redis()
    store = RedisStore(f"redis://127.0.0.1:{server.port}/0", prefix=new_prefix())
    for number in range(3):
        store_run(store, p.ThreadKey("ada", f"rare{number}"), agent="rare")

    def add(count: int) -> None:
        for number in range(count):
            key = p.ThreadKey("ada", f"{count}-{number}")
            store_run(store, key, agent="often")
            store.update(key, archived=number > 4)

    def looked_at(**query: Any) -> int:
        """Returns how many threads a list looks at."""
        before = _calls(server.info("commandstats"), "hmget")
        assert len(store.threads("ada", p.ThreadQuery(**query)).threads) == 3
        return _calls(server.info("commandstats"), "hmget") - before

    queries: list[dict[str, Any]] = [
        {"limit": 3},
        {"limit": 3, "include_archived": True},
        {"limit": 10, "agent_id": "rare", "include_archived": True},
        {"limit": 3, "agent_id": "often"},
    ]
    add(10)
    few = [looked_at(**query) for query in queries]
    add(40)
    assert [looked_at(**query) for query in queries] == few


def test_list_of_an_agent_has_the_threads_whose_last_run_was_its_own() -> None:
    store = RedisStore(f"redis://127.0.0.1:{shared_redis().port}/0", prefix=new_prefix())
    key = p.ThreadKey("ada", "t")
    for agent, archived in (("a", True), ("b", False), ("a", True), ("b", True)):
        store_run(store, key, agent=agent)
        store.update(key, archived=archived)
        for other in ("a", "b"):
            listed = ["t"] if other == agent else []
            assert list_thread_ids(store, "ada", agent_id=other, include_archived=True) == listed
            assert list_thread_ids(store, "ada", agent_id=other) == ([] if archived else listed)
    store.delete(key)
    assert list_thread_ids(store, "ada", agent_id="b", include_archived=True) == []


def _calls(stats: dict[str, str], command: str) -> int:
    """Returns how often a command was executed, scripts included."""
    return int(stats[f"cmdstat_{command}"].partition("calls=")[2].partition(",")[0])
