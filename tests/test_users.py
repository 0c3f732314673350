"""Threads belong to users: two of them by every endpoint, and nothing crosses.

Every test that can be is done twice, once with REST paths and once with envelopes.
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


@pytest.fixture(scope="module", params=PLACES, ids="-".join)
def server(request: pytest.FixtureRequest) -> Iterator[SecurityClient]:
    with serve_security_apps(*request.param) as up:
        yield up


# --- one way to ask, two ways to send ------------------------------------------------

PATHS: Mapping[str, tuple[str, str]] = {
    name: (method, route.pattern) for route in ROUTES.routes for method, name in route.methods.items()
}
ENVELOPES = {route.envelope for route in ROUTES.routes if route.envelope is not None}


@dataclasses.dataclass(frozen=True)
class UserClient:
    """Somebody at a runtime. ``single`` says whether everything goes through one POST."""

    server: SecurityClient
    mount: str
    user: str | None
    single: bool = False

    def as_(self, user: str | None) -> UserClient:
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
        if not self.single or name == "cpk-debug-events":
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
        return self.server.request(*self._request(name, body, method, query or {}, ids), self._headers(headers))

    @contextlib.contextmanager
    def open(self, name: str, body: Any = None, *, headers: HeaderFields = (), **ids: str) -> Iterator[Stream]:
        with self.server.open(*self._request(name, body, None, {}, ids), self._headers(headers)) as stream:
            yield stream

    # --- what tests say most ---

    def run(self, thread: str, run: str | None = None, agent: str = "hello") -> list[dict[str, Any]]:
        answer = self.request("agent/run", hello_input(thread, run), agent_id=agent)
        assert answer.status == 200, answer
        return answer.events()

    def connect(self, thread: str, headers: HeaderFields = (), **more: Any) -> Response:
        return self.request("agent/connect", hello_input(thread, "reading", **more), headers=headers, agent_id="hello")

    def threads(self, **query: str) -> list[str]:
        return [one["id"] for one in self.request("threads/list", query=query).json()["threads"]]

    def shown(self, thread: str) -> dict[str, Any]:
        """Everything that a thread has to show."""
        views = {
            name: self.request(f"threads/{name}", thread_id=thread).json() for name in ("messages", "events", "state")
        }
        entry = [one for one in self.request("threads/list").json()["threads"] if one["id"] == thread]
        return {**views, "entry": entry, "replay": self.connect(thread).events()}


NOTHING = {"messages": {"messages": []}, "events": {"events": []}, "state": {"state": None}, "entry": [], "replay": []}


@pytest.fixture(params=["rest", "envelope"])
def single(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "envelope")


@pytest.fixture(params=["users", "users-later"])
def alice(server: SecurityClient, single: bool, request: pytest.FixtureRequest) -> UserClient:
    """A client of hers, where ``identify_user`` is a plain function and where it is a coroutine function."""
    return UserClient(server, request.param, ALICE, single)


@pytest.fixture
def thread(alice: UserClient) -> Iterator[str]:
    """A thread of hers, which at the end is as it was."""
    thread = unique("thread")
    alice.run(thread)
    before = alice.shown(thread)
    assert all(before.values())
    yield thread
    assert alice.shown(thread) == before


# --- reading -------------------------------------------------------------------------


@pytest.mark.parametrize("other", STRANGERS)
def test_a_thread_shows_itself_to_its_owner_alone(alice: UserClient, thread: str, other: str) -> None:
    assert alice.as_(other).shown(thread) == NOTHING
    assert alice.as_(other).shown(unique("never")) == NOTHING


def test_no_tenant_and_a_blank_one_are_the_same(alice: UserClient, thread: str) -> None:
    assert alice.as_("alice@").shown(thread) == alice.shown(thread)


@pytest.mark.parametrize("other", [BOB, NAMESAKE])
def test_each_has_a_thread_of_that_name(alice: UserClient, thread: str, other: str) -> None:
    before = alice.shown(thread)
    theirs = alice.as_(other)
    run = unique("run")
    started, *_ = theirs.run(thread, run)
    # Nothing of hers is known to be on it: all of their messages are new.
    assert [message["id"] for message in started["input"]["messages"]] == [f"{run}-u1"]
    assert {event["runId"] for event in theirs.shown(thread)["events"]["events"] if "runId" in event} == {run}
    assert alice.shown(thread) == before


def test_the_agent_is_told_who_it_is(alice: UserClient) -> None:
    for user, said in ((ALICE, "alice@None"), (NAMESAKE, "alice@other"), (BOB, "bob@None")):
        events = alice.as_(user).run(unique("who"), agent="whoami")
        assert [event["delta"] for event in events if "delta" in event] == [said]
        suggested = alice.as_(user).request("agent/suggest", hello_input("who"), agent_id="whoami").events()
        assert [event["delta"] for event in suggested if "delta" in event] == [said]


def test_a_suggestion_sees_and_leaves_nothing(alice: UserClient, thread: str) -> None:
    theirs = alice.as_(BOB)
    assert theirs.request("agent/suggest", hello_input(thread), agent_id="hello").events()[-1]["type"] == "RUN_FINISHED"
    assert theirs.shown(thread) == NOTHING


@pytest.mark.parametrize("other", [BOB, NAMESAKE])
def test_another_ones_event_ids_lead_nowhere(alice: UserClient, thread: str, other: str) -> None:
    """An id is a place on the reader's own thread, whoever it was made for."""
    seen = alice.connect(thread).ids()
    assert seen
    theirs = alice.as_(other)
    for cursor in (*seen, "1.1", "1.0", "2.1", f"{thread}.1", f"alice/{thread}/1.1"):
        for answer in (
            theirs.connect(thread, lastSeenEventId=cursor),
            theirs.connect(thread, headers={"last-event-id": cursor}),
        ):
            assert answer.status == 200
            assert answer.events() == []
    # The same with a thread of that name: they get what is theirs.
    theirs.run(thread)
    everything = theirs.connect(thread).events()
    for cursor in seen:
        rest = theirs.connect(thread, lastSeenEventId=cursor).events()
        assert all(event in everything for event in rest)


def test_a_live_run_is_joined_by_its_owner_alone(alice: UserClient) -> None:
    thread, run = unique("live"), unique("run")
    with alice.open("agent/run", hello_input(thread, run), agent_id="waits") as hers:
        (started, *_) = hers.take(3)
        cursor = hers.last_id
        for other in STRANGERS:
            theirs = alice.as_(other)
            # Were it joined, these would not end before the gate opens.
            assert theirs.connect(thread).events() == []
            assert theirs.connect(thread, lastSeenEventId=cursor).events() == []
            assert theirs.connect(thread, headers={"last-event-id": cursor}).events() == []
        with alice.open("agent/connect", hello_input(thread, "second tab"), agent_id="hello") as tab:
            assert tab.take(1) == [started]
            alice.server.set_event(run)
            assert tab.rest()[-1]["type"] == "RUN_FINISHED"
        assert hers.rest()[-1]["type"] == "RUN_FINISHED"


# --- lists ---------------------------------------------------------------------------


def test_the_list_is_ones_own(alice: UserClient, thread: str) -> None:
    for other in STRANGERS:
        theirs = alice.as_(other)
        own = unique("own")
        theirs.run(own)
        listed = theirs.threads()
        assert own in listed
        assert thread not in listed
        assert thread not in theirs.threads(includeArchived="true")
        assert thread not in theirs.threads(agentId="hello")
        assert own not in alice.threads()


def test_a_page_of_hers_leads_into_ones_own_list(alice: UserClient) -> None:
    # Pages are counted, so nobody else may have threads here.
    hers = alice.as_(f"{unique('carol')}@pages")
    bob = alice.as_(f"{unique('bob')}@pages")
    mine, theirs = [unique("mine") for _ in range(4)], [unique("theirs") for _ in range(4)]
    for one, other in zip(mine, theirs, strict=True):
        hers.run(one)
        bob.run(other)
    cursors: list[str] = []
    pages: list[list[str]] = []
    query = {"limit": "1"}
    while True:
        page = hers.request("threads/list", query=query).json()
        pages.append([one["id"] for one in page["threads"]])
        if page["nextCursor"] is None:
            break
        cursors.append(page["nextCursor"])
        query = {"limit": "1", "cursor": page["nextCursor"]}
    assert pages == [[one] for one in reversed(mine)]
    for cursor in cursors:
        assert not set(theirs) & set(json.dumps(cursor).split('"'))
        for size in ("1", "1000"):
            found = bob.threads(cursor=cursor, limit=size)
            assert set(found) <= set(theirs)


# --- changing ------------------------------------------------------------------------


@pytest.mark.parametrize("other", STRANGERS)
def test_nobody_else_can_change_a_thread(alice: UserClient, thread: str, other: str) -> None:
    theirs = alice.as_(other)
    never = unique("never")
    changes: list[tuple[str, str | None, Any]] = [
        ("threads/update", "PATCH", {"name": "taken"}),
        ("threads/update", "PATCH", {"archived": True}),
        ("threads/update", "DELETE", None),
        ("threads/archive", None, None),
    ]
    for name, method, body in changes:
        answer = theirs.request(name, body, method=method, thread_id=thread)
        assert find_fault(answer, 404) is None, find_fault(answer, 404)
        # Word for word what is said of a thread that is nobody's.
        unknown = theirs.request(name, body, method=method, thread_id=never)
        assert (unknown.status, unknown.body.replace(never.encode(), thread.encode())) == (answer.status, answer.body)


@pytest.mark.parametrize("other", [BOB, NAMESAKE])
def test_changing_ones_own_of_that_name(alice: UserClient, thread: str, other: str) -> None:
    theirs = alice.as_(other)
    theirs.run(thread)
    assert theirs.request("threads/update", {"name": "theirs"}, method="PATCH", thread_id=thread).status == 200
    assert theirs.request("threads/archive", thread_id=thread).status == 200
    (hers,) = alice.shown(thread)["entry"]
    assert (hers["name"], hers["archived"]) == (None, False)
    assert theirs.request("threads/update", method="DELETE", thread_id=thread).status == 204
    assert theirs.shown(thread) == NOTHING


@pytest.mark.parametrize("other", STRANGERS)
def test_clearing_clears_ones_own(alice: UserClient, thread: str, other: str) -> None:
    theirs = alice.as_(other)
    own = unique("own")
    theirs.run(own)
    theirs.run(thread)
    for body in (None, {}, {"userId": ALICE}, {"threadId": thread}, {"owner": ALICE}):
        assert theirs.request("threads/clear", body).status == 204
    assert theirs.shown(own) == NOTHING
    assert theirs.shown(thread) == NOTHING


# --- stopping and being busy ---------------------------------------------------------


def test_nobody_else_can_stop_a_run(alice: UserClient) -> None:
    thread, run = unique("live"), unique("run")
    with alice.open("agent/run", hello_input(thread, run), agent_id="waits") as hers:
        hers.take(3)
        for other in STRANGERS:
            theirs = alice.as_(other)
            for body in (None, {}, {"runId": run}, {"runId": "other"}):
                never = unique("never")
                said = theirs.request("agent/stop", body, agent_id="waits", thread_id=thread)
                unknown = theirs.request("agent/stop", body, agent_id="waits", thread_id=never)
                assert said.json()["stopped"] is False
                assert said.body.replace(thread.encode(), never.encode()) == unknown.body
        # A run of their own on a thread of that name: hers is not the one that is named.
        own = unique("run")
        with alice.as_(BOB).open("agent/run", hello_input(thread, own), agent_id="waits") as theirs_live:
            theirs_live.take(3)
            said = alice.as_(BOB).request("agent/stop", {"runId": run}, agent_id="waits", thread_id=thread)
            assert said.json()["stopped"] is False
            assert (
                alice.as_(BOB).request("agent/stop", {}, agent_id="waits", thread_id=thread).json()["stopped"] is True
            )
            assert theirs_live.rest()[-1]["runId"] == own
        alice.server.set_event(run)
        # It was not stopped: a stopped one does not get to end its message by itself.
        assert [event["type"] for event in hers.rest()] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    (finished,) = [
        one
        for one in alice.request("threads/messages", thread_id=thread).json()["messages"]
        if one["role"] == "assistant"
    ]
    assert finished["content"] == f"waiting in {run}"


def test_a_busy_thread_is_busy_for_its_owner_alone(alice: UserClient) -> None:
    thread, run = unique("busy"), unique("run")
    with alice.open("agent/run", hello_input(thread, run), agent_id="waits") as hers:
        hers.take(3)
        busy = alice.request("agent/run", hello_input(thread), agent_id="hello")
        assert find_fault(busy, 409) is None, find_fault(busy, 409)
        for other in STRANGERS:
            assert alice.as_(other).run(thread)[-1]["type"] == "RUN_FINISHED"
        alice.server.set_event(run)
        hers.rest()


def test_the_same_run_id_twice(alice: UserClient) -> None:
    """A run's id is the caller's to choose, so two may choose the same; it finds nobody else's run."""
    run = unique("run")
    one, other = unique("thread"), unique("thread")
    with alice.open("agent/run", hello_input(one, run), agent_id="waits") as hers:
        hers.take(3)
        with alice.as_(BOB).open("agent/run", hello_input(other, run), agent_id="waits") as theirs:
            theirs.take(3)
            stopped = alice.as_(BOB).request("agent/stop", {"runId": run}, agent_id="waits", thread_id=other)
            assert stopped.json()["stopped"] is True
            theirs.rest()
        alice.server.set_event(run)
        assert [event["type"] for event in hers.rest()] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]


# --- the debug feed ------------------------------------------------------------------


def test_the_debug_feed_shows_ones_own_runs(server: SecurityClient) -> None:
    """Hers runs from beginning to end before theirs begins, so the first thing shown tells."""
    alice = UserClient(server, "users-debug", ALICE)
    for other in STRANGERS:
        theirs = alice.as_(other)
        with theirs.open("cpk-debug-events") as feed, alice.open("cpk-debug-events") as her_feed:
            assert feed.comment()
            assert her_feed.comment()
            hers, own = unique("run"), unique("run")
            thread = unique("thread")
            count = len(alice.run(thread, hers))
            assert {one["runId"] for one in her_feed.take(count)} == {hers}
            alice.request("agent/suggest", hello_input(thread), agent_id="hello")
            count = len(theirs.run(thread, own))
            assert {one["runId"] for one in feed.take(count)} == {own}
            # And nothing of theirs came to hers: what comes next there is her own.
            again = unique("run")
            alice.run(thread, again)
            assert her_feed.take(1)[0]["runId"] == again


# --- nobody, and a failure to tell ---------------------------------------------------

EVERY = [(name, method) for route in ROUTES.routes for method, name in route.methods.items()]
IDS = {"agent_id": "hello", "thread_id": "t", "memory_id": "m"}


@pytest.mark.parametrize("mount", ["users", "users-later", "users-debug", "users-none", "users-read"])
def test_nobody_is_let_in_by_any_route(server: SecurityClient, single: bool, mount: str) -> None:
    nobody = UserClient(server, mount, None, single)
    for name, method in EVERY:
        for body in (hello_input("t"), None) if method != "GET" else (None,):
            answer = nobody.request(name, body, method=method, **IDS)
            assert find_fault(answer, 401) is None, (name, method, find_fault(answer, 401))
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        for path in ("", "/", "/nothing", "/threads/%ff"):
            answer = server.request(method, f"/{mount}{path}")
            assert find_fault(answer, 401) is None, (method, path, find_fault(answer, 401))
    for envelope in ({"method": "nothing"}, {}, {"method": "agent/run"}, []):
        assert find_fault(server.request("POST", f"/{mount}", envelope), 401) is None


def test_nobody_leaves_no_trace(alice: UserClient, thread: str) -> None:
    for name, method in EVERY:
        body = None if method == "GET" else hello_input(thread)
        alice.as_(None).request(name, body, method=method, **{**IDS, "thread_id": thread})
    # The fixture looks at the thread.


@pytest.mark.parametrize("mount", ["users", "users-later", "users-debug"])
def test_a_failure_to_identify_is_a_500_without_its_text(server: SecurityClient, single: bool, mount: str) -> None:
    broken = UserClient(server, mount, "broken", single)
    for name, method in EVERY:
        answer = broken.request(name, None if method == "GET" else hello_input("t"), method=method, **IDS)
        assert answer.status == 500, (name, answer)
        assert answer.json() == {"error": "internal_error"}
        assert find_leak(answer) is None


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


@pytest.mark.parametrize("mount", ACCESS)
def test_what_each_access_offers(server: SecurityClient, single: bool, mount: str) -> None:
    client = UserClient(server, mount, ALICE, single)
    thread = unique("thread")
    client.run(thread)
    for (name, method), statuses in ACCESS[mount].items():
        body = {"name": "new"} if method == "PATCH" else None
        answer = client.request(name, body, method=method, thread_id=thread)
        assert answer.status in statuses, (name, method, answer)
        if answer.status >= 400:
            assert find_fault(answer, *statuses) is None
    deleted = ACCESS[mount]["threads/update", "DELETE"] == (204,)
    # Replays work by id, whatever is shown of threads.
    assert bool(client.connect(thread).events()) is not deleted


@pytest.mark.parametrize("mount", ACCESS)
def test_info_says_what_each_access_offers(server: SecurityClient, single: bool, mount: str) -> None:
    info = UserClient(server, mount, ALICE, single).request("info").json()
    reads = ACCESS[mount]["threads/list", "GET"] is OPEN
    manages = ACCESS[mount]["threads/archive", "POST"] is OPEN
    offered = {"list": reads, "inspect": reads, "mutations": manages, "realtimeMetadata": False}
    nothing = dict.fromkeys(offered, False)
    if single:
        assert info["threadEndpoints"] == nothing
        assert info["singleRoute"] == {"resourceOperations": True, "threadEndpoints": offered}
    else:
        assert info["threadEndpoints"] == offered
        assert "singleRoute" not in info


@pytest.mark.parametrize(
    ("mount", "clears"), [("users", True), ("users-read", True), ("users-none", False), ("strangers", False)]
)
def test_clearing_has_an_effect_only_where_threads_are_shown(
    server: SecurityClient, single: bool, mount: str, clears: bool
) -> None:
    client = UserClient(server, mount, f"{unique('dora')}", single)
    thread = unique("thread")
    client.run(thread)
    before = client.connect(thread).events()
    assert before
    answer = client.request("threads/clear")
    assert (answer.status, answer.body) == (204, b"")
    assert client.connect(thread).events() == ([] if clears else before)


def test_without_users_everything_else_works_by_id(server: SecurityClient, single: bool) -> None:
    """As ``opaque-runner`` of docs/protocol.md, section 18: all callers are one anonymous owner."""
    one, other = (UserClient(server, "strangers", name, single) for name in (ALICE, None))
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


def test_no_two_users_have_one_owner() -> None:
    """Whatever separators an id or a tenant holds."""
    words = (None, "a", "b", "", '"', ",", '","', '["a"', "null", "a,b", "\\", '\\"', "ü", "[]", "None", "\0", " a")
    users = [(tenant, id) for tenant in words for id in words if id]
    owners = {User(id=id, tenant=tenant).owner_key for tenant, id in users}
    assert len(owners) == len(users)
    assert "" not in owners, "the nameless owner is nobody's"


@pytest.mark.parametrize("id", ["", None, 3, b"a", ["a"]])
def test_a_user_needs_an_id(id: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="id"):
        User(id=id)


@pytest.mark.parametrize("tenant", [3, b"a", ["a"]])
def test_a_tenant_is_a_string(tenant: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="tenant"):
        User(id="a", tenant=tenant)
