"""Threads belong to users: two of them by every endpoint, and nothing crosses.

Every test that can be is done with REST paths, and on one adapter of each stack once more with envelopes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from copilot_runtime import User
from copilot_runtime._server.routes import ROUTES

from .http_client import HeaderFields, Response, Stream, hello_input, unique
from .security_client import SecurityClient, find_fault, find_leak, serve_security_apps
from .serve import ADAPTERS

PLACES = [*((adapter, "memory") for adapter in ADAPTERS), ("asgi", "sqlite"), ("wsgi", "sqlite")]
"""Every adapter finds the user in its own way; what the store then does with that, none of them has a part in."""

ALICE, BOB = "alice", "bob"
NAMESAKE = "alice@other"
"""Of another tenant, with the same id."""

OTHERS = (BOB, NAMESAKE, "alice@", "ALICE", '["x","alice"]', 'null,"alice', "bob@alice")
"""Everybody who is not alice; ``alice@`` is, since a blank tenant is none."""
STRANGERS = tuple(name for name in OTHERS if name != "alice@")
EACH_STRANGER = (STRANGERS[0], *(pytest.param(name, marks=pytest.mark.one_of_each_stack) for name in STRANGERS[1:]))


@pytest.fixture(scope="module", params=PLACES, ids="-".join)
def server(request: pytest.FixtureRequest) -> Iterator[SecurityClient]:
    with serve_security_apps(*request.param) as up:
        yield up


# --- one interface for REST paths and envelopes --------------------------------------

PATHS: Mapping[str, tuple[str, str]] = {
    name: (method, route.pattern) for route in ROUTES.routes for method, name in route.methods.items()
}
ENVELOPES = {route.envelope for route in ROUTES.routes if route.envelope is not None}


@dataclasses.dataclass(frozen=True)
class UserClient:
    """A user's client of a runtime. ``single_route`` sends everything as envelopes."""

    client: SecurityClient
    mount: str
    user: str | None
    single_route: bool = False

    def as_user(self, user: str | None) -> UserClient:
        return dataclasses.replace(self, user=user)

    def at(self, mount: str) -> UserClient:
        return dataclasses.replace(self, mount=mount)

    def _request(
        self, name: str, body: Any, method: str | None, query: Mapping[str, str], ids: Mapping[str, str]
    ) -> tuple[str, str, Any]:
        usual, pattern = PATHS[name]
        method = method or usual
        for key, value in ids.items():
            pattern = pattern.replace(f"{{{key}}}", quote(value, safe=""))
        if not self.single_route or name == "cpk-debug-events":
            return method, f"/{self.mount}{pattern}" + (f"?{urlencode(query)}" if query else ""), body
        if name in ENVELOPES:
            params = {key.replace("_i", "I"): value for key, value in ids.items()}
            envelope: dict[str, Any] = {"method": name, "params": params}
        else:
            path = pattern + (f"?{urlencode(query)}" if query else "")
            envelope = {"method": "resource/request", "params": {"path": path, "httpMethod": method}}
        return "POST", f"/{self.mount}", envelope if body is None else {**envelope, "body": body}

    def _headers(self, headers: HeaderFields) -> list[tuple[str, str]]:
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        return pairs if self.user is None else [("x-user", self.user), *pairs]

    def request(
        self,
        name: str,
        body: Any = None,
        *,
        method: str | None = None,
        query: Mapping[str, str] | None = None,
        headers: HeaderFields = (),
        **ids: str,
    ) -> Response:
        """Calls a route by its hook name."""
        return self.client.request(*self._request(name, body, method, query or {}, ids), self._headers(headers))

    @contextlib.contextmanager
    def open(self, name: str, body: Any = None, *, headers: HeaderFields = (), **ids: str) -> Iterator[Stream]:
        with self.client.open(*self._request(name, body, None, {}, ids), self._headers(headers)) as stream:
            yield stream

    # --- what tests do most ---

    def run(self, thread: str, run: str | None = None, agent: str = "hello") -> list[dict[str, Any]]:
        response = self.request("agent/run", hello_input(thread, run), agent_id=agent)
        assert response.status == 200, response
        return response.events()

    def connect(self, thread: str, headers: HeaderFields = (), **more: Any) -> Response:
        return self.request("agent/connect", hello_input(thread, "reading", **more), headers=headers, agent_id="hello")

    def threads(self, **query: str) -> list[str]:
        return [thread["id"] for thread in self.request("threads/list", query=query).json()["threads"]]

    def all_views(self, thread: str) -> dict[str, Any]:
        """Returns everything that can be read of a thread."""
        views = {
            name: self.request(f"threads/{name}", thread_id=thread).json() for name in ("messages", "events", "state")
        }
        entry = [listed for listed in self.request("threads/list").json()["threads"] if listed["id"] == thread]
        return {**views, "entry": entry, "replay": self.connect(thread).events()}


NOTHING = {"messages": {"messages": []}, "events": {"events": []}, "state": {"state": None}, "entry": [], "replay": []}


@pytest.fixture(params=["rest", pytest.param("envelope", marks=pytest.mark.one_of_each_stack)])
def single_route(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "envelope")


@pytest.fixture(params=["users", "users-later"])
def alice(server: SecurityClient, single_route: bool, request: pytest.FixtureRequest) -> UserClient:
    """Her client, where ``identify_user`` is a plain function and where it is a coroutine function."""
    return UserClient(server, request.param, ALICE, single_route)


@pytest.fixture
def thread(alice: UserClient) -> Iterator[str]:
    """A thread of hers, which at the end is as it was."""
    thread = unique("thread")
    alice.run(thread)
    before = alice.all_views(thread)
    assert all(before.values())
    yield thread
    assert alice.all_views(thread) == before


# --- reading -------------------------------------------------------------------------


@pytest.mark.requirement("USER-02")
@pytest.mark.parametrize("other", EACH_STRANGER)
def test_threads_messages_events_state_are_shown_to_the_owner_only(alice: UserClient, thread: str, other: str) -> None:
    assert alice.as_user(other).all_views(thread) == NOTHING
    assert alice.as_user(other).all_views(unique("never")) == NOTHING


@pytest.mark.requirement("USER-05")
def test_user_without_a_tenant_equals_a_blank_tenant(alice: UserClient, thread: str) -> None:
    assert alice.as_user("alice@").all_views(thread) == alice.all_views(thread)


@pytest.mark.requirement("USER-02")
@pytest.mark.parametrize("other", [BOB, NAMESAKE])
def test_threads_of_two_users_may_have_the_same_id(alice: UserClient, thread: str, other: str) -> None:
    before = alice.all_views(thread)
    stranger = alice.as_user(other)
    run = unique("run")
    started, *_ = stranger.run(thread, run)
    # Nothing of hers is known to be on it: all of their messages are new.
    assert [message["id"] for message in started["input"]["messages"]] == [f"{run}-u1"]
    assert {event["runId"] for event in stranger.all_views(thread)["events"]["events"] if "runId" in event} == {run}
    assert alice.all_views(thread) == before


@pytest.mark.requirement("USER-03")
def test_identify_user_reaches_the_agent(alice: UserClient) -> None:
    for user, response in ((ALICE, "alice@None"), (NAMESAKE, "alice@other"), (BOB, "bob@None")):
        events = alice.as_user(user).run(unique("who"), agent="whoami")
        assert [event["delta"] for event in events if "delta" in event] == [response]
        suggested = alice.as_user(user).request("agent/suggest", hello_input("who"), agent_id="whoami").events()
        assert [event["delta"] for event in suggested if "delta" in event] == [response]


def test_suggest_of_another_user_sees_and_leaves_nothing(alice: UserClient, thread: str) -> None:
    stranger = alice.as_user(BOB)
    assert (
        stranger.request("agent/suggest", hello_input(thread), agent_id="hello").events()[-1]["type"] == "RUN_FINISHED"
    )
    assert stranger.all_views(thread) == NOTHING


@pytest.mark.parametrize("other", [BOB, NAMESAKE])
def test_last_seen_event_id_of_another_user_replays_nothing(alice: UserClient, thread: str, other: str) -> None:
    """An event id is a position on the reader's own thread, whoever's run it came from."""
    seen = alice.connect(thread).ids()
    assert seen
    stranger = alice.as_user(other)
    for cursor in (*seen, "1.1", "1.0", "2.1", f"{thread}.1", f"alice/{thread}/1.1"):
        for response in (
            stranger.connect(thread, lastSeenEventId=cursor),
            stranger.connect(thread, headers={"last-event-id": cursor}),
        ):
            assert response.status == 200
            assert response.events() == []
    # With a thread of the same id they get their own.
    stranger.run(thread)
    everything = stranger.connect(thread).events()
    for cursor in seen:
        rest = stranger.connect(thread, lastSeenEventId=cursor).events()
        assert all(event in everything for event in rest)


@pytest.mark.requirement("USER-02")
def test_connect_to_an_active_run_is_for_its_owner_only(alice: UserClient) -> None:
    thread, run = unique("live"), unique("run")
    with alice.open("agent/run", hello_input(thread, run), agent_id="waits") as her_stream:
        (started, *_) = her_stream.take(3)
        cursor = her_stream.last_id
        for other in STRANGERS:
            stranger = alice.as_user(other)
            # Were it joined, these would not end before the gate opens.
            assert stranger.connect(thread).events() == []
            assert stranger.connect(thread, lastSeenEventId=cursor).events() == []
            assert stranger.connect(thread, headers={"last-event-id": cursor}).events() == []
        with alice.open("agent/connect", hello_input(thread, "second tab"), agent_id="hello") as tab:
            assert tab.take(1) == [started]
            alice.client.set_event(run)
            assert tab.rest()[-1]["type"] == "RUN_FINISHED"
        assert her_stream.rest()[-1]["type"] == "RUN_FINISHED"


# --- lists ---------------------------------------------------------------------------


@pytest.mark.requirement("USER-02")
def test_threads_responses_are_kept_out_of_caches(alice: UserClient, thread: str) -> None:
    """Errors included: a 404 may be cached too."""
    requests: tuple[tuple[str, dict[str, Any]], ...] = (
        ("threads/list", {}),
        ("threads/list", {"query": {"limit": "none"}}),
        ("threads/messages", {"thread_id": thread}),
        ("threads/events", {"thread_id": thread}),
        ("threads/state", {"thread_id": thread}),
        ("threads/state", {"thread_id": unique("nothing")}),
    )
    for what, options in requests:
        assert alice.request(what, **options).headers["cache-control"] == "no-store, private", what


@pytest.mark.requirement("USER-02")
def test_threads_list_has_only_the_users_own(alice: UserClient, thread: str) -> None:
    for other in STRANGERS:
        stranger = alice.as_user(other)
        own = unique("own")
        stranger.run(own)
        listed = stranger.threads()
        assert own in listed
        assert thread not in listed
        assert thread not in stranger.threads(includeArchived="true")
        assert thread not in stranger.threads(agentId="hello")
        assert own not in alice.threads()


@pytest.mark.requirement("USER-02")
def test_threads_list_cursor_of_another_user(alice: UserClient) -> None:
    # Pages are counted, so no other user may have threads here.
    carol = alice.as_user(f"{unique('carol')}@pages")
    bob = alice.as_user(f"{unique('bob')}@pages")
    carols_threads, bobs_threads = [unique("mine") for _ in range(4)], [unique("theirs") for _ in range(4)]
    for hers, his in zip(carols_threads, bobs_threads, strict=True):
        carol.run(hers)
        bob.run(his)
    cursors: list[str] = []
    pages: list[list[str]] = []
    query = {"limit": "1"}
    while True:
        page = carol.request("threads/list", query=query).json()
        pages.append([thread["id"] for thread in page["threads"]])
        if page["nextCursor"] is None:
            break
        cursors.append(page["nextCursor"])
        query = {"limit": "1", "cursor": page["nextCursor"]}
    assert pages == [[thread] for thread in reversed(carols_threads)]
    for cursor in cursors:
        assert not set(bobs_threads) & set(json.dumps(cursor).split('"'))
        for size in ("1", "1000"):
            found = bob.threads(cursor=cursor, limit=size)
            assert set(found) <= set(bobs_threads)


# --- changing ------------------------------------------------------------------------


@pytest.mark.requirement("USER-02")
@pytest.mark.parametrize("other", EACH_STRANGER)
def test_threads_update_and_archive_of_another_user_get_404(alice: UserClient, thread: str, other: str) -> None:
    stranger = alice.as_user(other)
    never = unique("never")
    changes: list[tuple[str, str | None, Any]] = [
        ("threads/update", "PATCH", {"name": "taken"}),
        ("threads/update", "PATCH", {"archived": True}),
        ("threads/update", "DELETE", None),
        ("threads/archive", None, None),
    ]
    for name, method, body in changes:
        response = stranger.request(name, body, method=method, thread_id=thread)
        assert find_fault(response, 404) is None, find_fault(response, 404)
        # The response is that for a thread that does not exist.
        unknown = stranger.request(name, body, method=method, thread_id=never)
        assert (unknown.status, unknown.body.replace(never.encode(), thread.encode())) == (
            response.status,
            response.body,
        )


@pytest.mark.requirement("THREADS-06", "USER-02")
@pytest.mark.parametrize("other", [BOB, NAMESAKE])
def test_threads_update_and_archive_change_only_the_users_own(alice: UserClient, thread: str, other: str) -> None:
    stranger = alice.as_user(other)
    stranger.run(thread)
    assert stranger.request("threads/update", {"name": "theirs"}, method="PATCH", thread_id=thread).status == 200
    assert stranger.request("threads/archive", thread_id=thread).status == 200
    (her_stream,) = alice.all_views(thread)["entry"]
    assert (her_stream["name"], her_stream["archived"]) == (None, False)
    assert stranger.request("threads/update", method="DELETE", thread_id=thread).status == 204
    assert stranger.all_views(thread) == NOTHING


@pytest.mark.requirement("THREADS-05", "USER-02")
@pytest.mark.parametrize("other", EACH_STRANGER)
def test_threads_clear_clears_only_the_users_own(alice: UserClient, thread: str, other: str) -> None:
    stranger = alice.as_user(other)
    own = unique("own")
    stranger.run(own)
    stranger.run(thread)
    for body in (None, {}, {"userId": ALICE}, {"threadId": thread}, {"owner": ALICE}):
        assert stranger.request("threads/clear", body).status == 204
    assert stranger.all_views(own) == NOTHING
    assert stranger.all_views(thread) == NOTHING


# --- stopping and being busy ---------------------------------------------------------


@pytest.mark.requirement("USER-02")
def test_stop_of_another_users_run_does_nothing(alice: UserClient) -> None:
    thread, run = unique("live"), unique("run")
    with alice.open("agent/run", hello_input(thread, run), agent_id="waits") as her_stream:
        her_stream.take(3)
        for other in STRANGERS:
            stranger = alice.as_user(other)
            for body in (None, {}, {"runId": run}, {"runId": "other"}):
                never = unique("never")
                response = stranger.request("agent/stop", body, agent_id="waits", thread_id=thread)
                unknown = stranger.request("agent/stop", body, agent_id="waits", thread_id=never)
                assert response.json()["stopped"] is False
                assert response.body.replace(thread.encode(), never.encode()) == unknown.body
        # A run of his own on a thread of the same id.
        own = unique("run")
        with alice.as_user(BOB).open("agent/run", hello_input(thread, own), agent_id="waits") as his_stream:
            his_stream.take(3)
            response = alice.as_user(BOB).request("agent/stop", {"runId": run}, agent_id="waits", thread_id=thread)
            assert response.json()["stopped"] is False
            assert (
                alice.as_user(BOB).request("agent/stop", {}, agent_id="waits", thread_id=thread).json()["stopped"]
                is True
            )
            assert his_stream.rest()[-1]["runId"] == own
        alice.client.set_event(run)
        # It was not stopped: a stopped one does not get to end its message by itself.
        assert [event["type"] for event in her_stream.rest()] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    (finished,) = [
        message
        for message in alice.request("threads/messages", thread_id=thread).json()["messages"]
        if message["role"] == "assistant"
    ]
    assert finished["content"] == f"waiting in {run}"


def test_on_concurrent_run_409_is_for_the_owner_only(alice: UserClient) -> None:
    thread, run = unique("busy"), unique("run")
    with alice.open("agent/run", hello_input(thread, run), agent_id="waits") as her_stream:
        her_stream.take(3)
        busy = alice.request("agent/run", hello_input(thread), agent_id="hello")
        assert find_fault(busy, 409) is None, find_fault(busy, 409)
        for other in STRANGERS:
            assert alice.as_user(other).run(thread)[-1]["type"] == "RUN_FINISHED"
        alice.client.set_event(run)
        her_stream.rest()


def test_run_id_that_two_users_share(alice: UserClient) -> None:
    """A run's id is the caller's to choose, so two may choose the same; it never finds another user's run."""
    run = unique("run")
    one, other = unique("thread"), unique("thread")
    with alice.open("agent/run", hello_input(one, run), agent_id="waits") as her_stream:
        her_stream.take(3)
        with alice.as_user(BOB).open("agent/run", hello_input(other, run), agent_id="waits") as stranger:
            stranger.take(3)
            stopped = alice.as_user(BOB).request("agent/stop", {"runId": run}, agent_id="waits", thread_id=other)
            assert stopped.json()["stopped"] is True
            stranger.rest()
        alice.client.set_event(run)
        assert [event["type"] for event in her_stream.rest()] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]


# --- the debug feed ------------------------------------------------------------------


@pytest.mark.requirement("THREADS-10")
def test_debug_events_are_of_the_users_own_runs_only(server: SecurityClient) -> None:
    """Her run ends before the other one begins, so the first event of a feed shows whose it is."""
    alice = UserClient(server, "users-debug", ALICE)
    for other in STRANGERS:
        stranger = alice.as_user(other)
        with stranger.open("cpk-debug-events") as feed, alice.open("cpk-debug-events") as her_feed:
            assert feed.comment()
            assert her_feed.comment()
            her_run, their_run = unique("run"), unique("run")
            thread = unique("thread")
            count = len(alice.run(thread, her_run))
            assert {event["runId"] for event in her_feed.take(count)} == {her_run}
            alice.request("agent/suggest", hello_input(thread), agent_id="hello")
            count = len(stranger.run(thread, their_run))
            assert {event["runId"] for event in feed.take(count)} == {their_run}
            # Nothing of it came to her feed: the next event there is of her own run.
            next_run = unique("run")
            alice.run(thread, next_run)
            assert her_feed.take(1)[0]["runId"] == next_run


# --- no user, and a failure to identify ---------------------------------------------

EVERY = [(name, method) for route in ROUTES.routes for method, name in route.methods.items()]
IDS = {"agent_id": "hello", "thread_id": "t", "memory_id": "m"}


@pytest.mark.requirement("USER-01")
@pytest.mark.parametrize("mount", ["users", "users-later", "users-debug", "users-none", "users-read"])
def test_identify_user_none_gets_401_on_every_route(server: SecurityClient, single_route: bool, mount: str) -> None:
    anonymous = UserClient(server, mount, None, single_route)
    for name, method in EVERY:
        for body in (hello_input("t"), None) if method != "GET" else (None,):
            response = anonymous.request(name, body, method=method, **IDS)
            assert find_fault(response, 401) is None, (name, method, find_fault(response, 401))
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        for path in ("", "/", "/nothing", "/threads/%ff"):
            response = server.request(method, f"/{mount}{path}")
            assert find_fault(response, 401) is None, (method, path, find_fault(response, 401))
    for envelope in ({"method": "nothing"}, {}, {"method": "agent/run"}, []):
        assert find_fault(server.request("POST", f"/{mount}", envelope), 401) is None


@pytest.mark.requirement("USER-01")
def test_identify_user_none_leaves_no_trace(alice: UserClient, thread: str) -> None:
    for name, method in EVERY:
        body = None if method == "GET" else hello_input(thread)
        alice.as_user(None).request(name, body, method=method, **{**IDS, "thread_id": thread})
    # The fixture looks at the thread.


@pytest.mark.parametrize("mount", ["users", "users-later", "users-debug"])
def test_identify_user_that_raises_is_a_500_whose_cause_only_debug_shows(
    server: SecurityClient, single_route: bool, mount: str
) -> None:
    broken = UserClient(server, mount, "broken", single_route)
    for name, method in EVERY:
        response = broken.request(name, None if method == "GET" else hello_input("t"), method=method, **IDS)
        assert response.status == 500, (name, response)
        if mount == "users-debug":
            assert response.json()["message"].startswith("identify_user raised RuntimeError: "), (name, response)
            continue
        assert response.json() == {"error": "internal_error"}
        assert find_leak(response) is None


# --- thread_access -------------------------------------------------------------------

CLOSED, OPEN = (422,), (200,)

# What each setting answers to the caller's own thread, by hook name and method.
ACCESS: Mapping[str, Mapping[tuple[str, str], tuple[int, ...]]] = {
    mount: {
        ("threads/list", "GET"): reading,
        ("threads/messages", "GET"): reading,
        ("threads/events", "GET"): reading,
        ("threads/state", "GET"): reading,
        ("threads/update", "PATCH"): managing,
        ("threads/archive", "POST"): managing,
        ("threads/update", "DELETE"): (204,) if managing is OPEN else managing,
        ("threads/subscribe", "POST"): CLOSED,
    }
    for mount, reading, managing in (
        ("users", OPEN, OPEN),
        ("users-read", OPEN, CLOSED),
        ("users-none", CLOSED, CLOSED),
        ("one-person", OPEN, OPEN),
        ("strangers", CLOSED, CLOSED),
    )
}


@pytest.mark.requirement("THREADS-07")
@pytest.mark.parametrize("mount", ACCESS)
def test_thread_access_decides_which_thread_routes_work(server: SecurityClient, single_route: bool, mount: str) -> None:
    client = UserClient(server, mount, ALICE, single_route)
    thread = unique("thread")
    client.run(thread)
    for (name, method), statuses in ACCESS[mount].items():
        body = {"name": "new"} if method == "PATCH" else None
        response = client.request(name, body, method=method, thread_id=thread)
        assert response.status in statuses, (name, method, response)
        if response.status >= 400:
            assert find_fault(response, *statuses) is None
    deleted = ACCESS[mount]["threads/update", "DELETE"] == (204,)
    # Replays work by id, whatever is shown of threads.
    assert bool(client.connect(thread).events()) is not deleted


@pytest.mark.requirement("INFO-03", "THREADS-07")
@pytest.mark.parametrize("mount", ACCESS)
def test_thread_access_is_reported_by_info(server: SecurityClient, single_route: bool, mount: str) -> None:
    info = UserClient(server, mount, ALICE, single_route).request("info").json()
    reads = ACCESS[mount]["threads/list", "GET"] is OPEN
    manages = ACCESS[mount]["threads/archive", "POST"] is OPEN
    offered = {"list": reads, "inspect": reads, "mutations": manages, "realtimeMetadata": False}
    nothing = dict.fromkeys(offered, False)
    if single_route:
        assert info["threadEndpoints"] == nothing
        assert info["singleRoute"] == {"resourceOperations": True, "threadEndpoints": offered}
    else:
        assert info["threadEndpoints"] == offered
        assert "singleRoute" not in info


@pytest.mark.requirement("THREADS-07")
@pytest.mark.parametrize(
    ("mount", "clears"), [("users", True), ("users-read", True), ("users-none", False), ("strangers", False)]
)
def test_thread_access_decides_whether_threads_clear_has_an_effect(
    server: SecurityClient, single_route: bool, mount: str, clears: bool
) -> None:
    client = UserClient(server, mount, f"{unique('dora')}", single_route)
    thread = unique("thread")
    client.run(thread)
    before = client.connect(thread).events()
    assert before
    response = client.request("threads/clear")
    assert (response.status, response.body) == (204, b"")
    assert client.connect(thread).events() == ([] if clears else before)


@pytest.mark.requirement("USER-04")
def test_single_user_false_everything_else_works_by_id(server: SecurityClient, single_route: bool) -> None:
    """As ``opaque-runner`` of docs/protocol.md, section 18: all callers are one anonymous owner."""
    one, other = (UserClient(server, "strangers", name, single_route) for name in (ALICE, None))
    thread, run = unique("thread"), unique("run")
    with one.open("agent/run", hello_input(thread, run), agent_id="waits") as stream:
        stream.take(3)
        with other.open("agent/connect", hello_input(thread, "reading"), agent_id="hello") as joined:
            assert joined.take(1)[0]["type"] == "RUN_STARTED"
            assert (
                other.request("agent/stop", {"runId": run}, agent_id="waits", thread_id=thread).json()["stopped"]
                is True
            )
            assert joined.rest()[-1]["type"] == "RUN_FINISHED"
        assert stream.rest()[-1]["type"] == "RUN_FINISHED"
    assert other.connect(thread).events()


# --- owners --------------------------------------------------------------------------


@pytest.mark.requirement("USER-05")
def test_user_owner_keys_are_distinct() -> None:
    """Whatever separators an id or a tenant holds."""
    words = (None, "a", "b", "", '"', ",", '","', '["a"', "null", "a,b", "\\", '\\"', "ü", "[]", "None", "\0", " a")
    users = [(tenant, id) for tenant in words for id in words if id]
    owners = {User(id=id, tenant=tenant).owner_key for tenant, id in users}
    assert len(owners) == len(users)
    assert "" not in owners, "the nameless owner is nobody's"


@pytest.mark.requirement("USER-05")
@pytest.mark.parametrize("id", ["", None, 3, b"a", ["a"]])
def test_user_id_must_be_a_string(id: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="id"):
        User(id=id)


@pytest.mark.requirement("USER-05")
@pytest.mark.parametrize("tenant", [3, b"a", ["a"]])
def test_user_tenant_must_be_a_string(tenant: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="tenant"):
        User(id="a", tenant=tenant)
