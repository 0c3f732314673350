"""Users and their threads, through the whole runtime, against a model that is a few lists; over each store."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ag_ui.core import RunAgentInput
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from copilot_runtime import CopilotRuntime, Request, User
from copilot_runtime.stores import MemoryStore, RunStore, SqliteStore
from copilot_runtime.testing import ClientResponse, TestClient

from ..fixtures.agui_events import (
    Event,
    run_finished,
    run_started,
    state_snapshot,
    text,
    text_delta,
    text_end,
    text_start,
)
from ..fixtures.events import PATIENCE_SECONDS, named_event
from ..http_client import run_input

USERS = ("ada", "bob", "ada@work")
THREADS = ("t", "größe/1 %", "u")
HISTORY_OF_SAY = 6
"""Events of a run of `say`, and of one of `waits`, once they have ended."""
HISTORY_OF_WAITS = 5


async def say(input: RunAgentInput) -> AsyncIterator[Event]:
    yield run_started(input)
    for event in text(f"{input.run_id}-m", f"said in {input.run_id}"):
        yield event
    yield state_snapshot({"by": input.run_id})
    yield run_finished(input)


async def waits(input: RunAgentInput) -> AsyncIterator[Event]:
    """Waits for the event named after its run."""
    yield run_started(input)
    yield text_start(f"{input.run_id}-m")
    yield text_delta(f"{input.run_id}-m", f"waiting in {input.run_id}")
    await named_event(input.run_id).wait_async(PATIENCE_SECONDS)
    yield text_end(f"{input.run_id}-m")
    yield run_finished(input)


def identify(request: Request) -> User:
    name, _, tenant = request.headers["x-user"].partition("@")
    return User(id=name, tenant=tenant or None)


@dataclasses.dataclass
class ModelRun:
    run_id: str
    agent: str
    last_event_id: str


@dataclasses.dataclass
class ModelThread:
    """What one user knows of a thread. ``used`` orders threads, by the end of their last run."""

    runs: list[ModelRun] = dataclasses.field(default_factory=list)
    messages: list[Event] = dataclasses.field(default_factory=list)
    name: str | None = None
    archived: bool = False
    used: int = 0
    live: tuple[str, Any] | None = None
    """The active run and its open stream."""

    @property
    def state(self) -> Any:
        said = [run.run_id for run in self.runs if run.agent == "say"]
        return {"by": said[-1]} if said else None


run_numbers = itertools.count(1)
users = st.sampled_from(USERS)
threads = st.sampled_from(THREADS)


class UsersMachine(RuleBasedStateMachine):
    """The requests. Every answer is compared with the model of the user who asks."""

    def make_store(self) -> RunStore:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.model: dict[str, dict[str, ModelThread]] = {user: {} for user in USERS}
        self.moments = itertools.count(1)
        agents = {"say": say, "waits": waits}
        runtime = CopilotRuntime(agents=agents, store=self.make_store(), identify_user=identify, debug=True)
        self.client = TestClient(runtime)

    def teardown(self) -> None:
        if hasattr(self, "client"):
            for user in USERS:
                for thread in list(self.model[user]):
                    self.finish(user, thread)
            self.client.__exit__(None, None, None)

    def send(self, user: str, method: str, path: str, body: Any = None, *, status: int = 200) -> ClientResponse:
        response = self.client.request(method, path, body, headers={"x-user": user}, check=False)
        assert response.status == status, response
        self.shows_nothing_of_others(user, response.body)
        return response

    def shows_nothing_of_others(self, user: str, body: bytes) -> None:
        for other in set(USERS) - {user}:
            assert f"<{other}>".encode() not in body

    def path(self, thread: str, view: str = "") -> str:
        return f"/threads/{quote(thread, safe='')}{view}"

    def known(self, user: str, thread: str) -> ModelThread | None:
        """Returns a thread that has runs which have ended."""
        found = self.model[user].get(thread)
        return found if found is not None and found.runs else None

    # --- runs ---

    def input(self, user: str, thread: str, run_id: str) -> dict[str, Any]:
        known = self.model[user].get(thread) or ModelThread()
        new = {"id": f"{run_id}-u", "role": "user", "content": f"<{user}> asks"}
        return {"thread_id": thread, "run_id": run_id, "messages": [*known.messages, new]}

    def ended(self, user: str, thread: str, run: ModelRun, sent: list[Event], content: str) -> None:
        found = self.model[user].setdefault(thread, ModelThread())
        found.runs.append(run)
        found.messages = [*sent, {"id": f"{run.run_id}-m", "role": "assistant", "content": content}]
        found.used, found.live = next(self.moments), None

    @rule(user=users, thread=threads)
    def run_to_its_end(self, user: str, thread: str) -> None:
        run_id = f"run-{next(run_numbers)}"
        options = self.input(user, thread, run_id)
        messages = options.pop("messages")
        busy = thread in self.model[user] and self.model[user][thread].live is not None
        result = self.client.run("say", messages, headers={"x-user": user}, check=False, **options)
        assert result.status == (409 if busy else 200)
        self.shows_nothing_of_others(user, result.body)
        if not busy:
            assert len(result.events) == HISTORY_OF_SAY
            run = ModelRun(run_id, "say", str(result.last_event_id))
            self.ended(user, thread, run, messages, f"said in {run_id}")

    @rule(user=users, thread=threads)
    def run_that_waits(self, user: str, thread: str) -> None:
        found = self.model[user].setdefault(thread, ModelThread())
        if found.live is None:
            run_id = f"run-{next(run_numbers)}"
            options = self.input(user, thread, run_id)
            stream = self.client.stream("waits", options.pop("messages"), headers={"x-user": user}, **options)
            for event in stream:
                if event["type"] == "TEXT_MESSAGE_CONTENT":
                    break
            found.live = (run_id, stream)

    def end_live(self, user: str, thread: str, *, kept: bool = True) -> str | None:
        """Reads the rest of a live run's stream; returns its last event's type."""
        found = self.model[user].get(thread)
        if found is None or found.live is None:
            return None
        run_id, stream = found.live
        found.live = None
        *_, last = stream
        result = stream.result()
        if kept:
            sent = [message for message in result.messages if message["id"] != f"{run_id}-m"]
            run = ModelRun(run_id, "waits", str(result.last_event_id))
            self.ended(user, thread, run, sent, f"waiting in {run_id}")
        kind: str = last["type"]
        return kind

    @rule(user=users, thread=threads)
    def finish(self, user: str, thread: str) -> None:
        found = self.model[user].get(thread)
        if found is not None and found.live is not None:
            named_event(found.live[0]).set()
            assert self.end_live(user, thread) == "RUN_FINISHED"

    @rule(user=users, thread=threads, by_name=st.booleans())
    def stop(self, user: str, thread: str, by_name: bool) -> None:
        found = self.model[user].get(thread)
        live = None if found is None else found.live
        body = {"runId": live[0] if live is not None else "none"} if by_name else None
        stopped = self.send(user, "POST", f"/agent/waits/stop/{quote(thread, safe='')}", body).json()["stopped"]
        assert stopped is (live is not None)
        assert self.end_live(user, thread) == (None if live is None else "RUN_FINISHED")

    @rule(user=users, thread=threads)
    def stop_another_run(self, user: str, thread: str) -> None:
        path = f"/agent/waits/stop/{quote(thread, safe='')}"
        assert self.send(user, "POST", path, {"runId": "another"}).json()["stopped"] is False

    # --- reading ---

    @rule(user=users, thread=threads, at=st.integers(0, 30))
    def connect(self, user: str, thread: str, at: int) -> None:
        """Without a cursor, or after any event of any run that the user has seen."""
        found = self.model[user].get(thread)
        if found is not None and found.live is not None:
            return  # it would wait for the end of the run
        runs = [] if found is None else found.runs
        index, position = divmod(at, HISTORY_OF_WAITS)
        if not runs or index >= len(runs):
            cursor, expected = None, runs
        else:
            ordinal, _, last = runs[index].last_event_id.partition(".")
            cursor, expected = f"{ordinal}.{position + 1}", runs[index + 1 :]
            assert position + 1 <= int(last)
        result = self.client.connect("say", thread, last_event_id=cursor, headers={"x-user": user})
        self.shows_nothing_of_others(user, result.body)
        started = [event["runId"] for event in result.events if event["type"] == "RUN_STARTED"]
        assert started == [run.run_id for run in expected]
        if expected or (cursor is not None and cursor != runs[index].last_event_id):
            assert result.last_event_id == runs[-1].last_event_id

    @rule(user=users, thread=threads)
    def read(self, user: str, thread: str) -> None:
        found = self.known(user, thread)
        messages = self.send(user, "GET", self.path(thread, "/messages")).json()["messages"]
        assert messages == ([] if found is None else found.messages)
        assert self.send(user, "GET", self.path(thread, "/state")).json()["state"] == (found.state if found else None)
        events = self.send(user, "GET", self.path(thread, "/events")).json()["events"]
        started = [event["runId"] for event in events if event["type"] == "RUN_STARTED"]
        assert started == ([run.run_id for run in found.runs] if found else [])

    def listed(self, user: str, *, archived: bool) -> list[str]:
        found = [
            (item.used, name)
            for name, item in self.model[user].items()
            if item.runs and (archived or not item.archived)
        ]
        return [name for _, name in sorted(found, reverse=True)]

    @rule(user=users, size=st.integers(1, 2), archived=st.booleans())
    def list_in_pages(self, user: str, size: int, archived: bool) -> None:
        names: list[str] = []
        cursor = ""
        while True:
            query = f"limit={size}&includeArchived={str(archived).lower()}{cursor}"
            page = self.send(user, "GET", f"/threads?{query}").json()
            assert len(page["threads"]) <= size
            names += [info["id"] for info in page["threads"]]
            if page["nextCursor"] is None:
                break
            cursor = f"&cursor={quote(page['nextCursor'])}"
        assert names == self.listed(user, archived=archived)

    @invariant()
    def lists_are_right(self) -> None:
        for user in USERS if hasattr(self, "model") else ():
            infos = self.send(user, "GET", "/threads?includeArchived=true").json()["threads"]
            assert [info["id"] for info in infos] == self.listed(user, archived=True)
            for info in infos:
                found = self.model[user][info["id"]]
                assert (info["name"], info["archived"]) == (found.name, found.archived)

    # --- changing ---

    @rule(user=users, thread=threads, name=st.sampled_from(("", "a name", "\u2028é")))
    def rename(self, user: str, thread: str, name: str) -> None:
        found = self.known(user, thread)
        self.send(user, "PATCH", self.path(thread), {"name": name}, status=404 if found is None else 200)
        if found is not None:
            found.name = name

    @rule(user=users, thread=threads, archived=st.booleans(), by_patch=st.booleans())
    def archive(self, user: str, thread: str, archived: bool, by_patch: bool) -> None:
        found = self.known(user, thread)
        status = 404 if found is None else 200
        if archived and not by_patch:
            self.send(user, "POST", self.path(thread, "/archive"), status=status)
        else:
            self.send(user, "PATCH", self.path(thread), {"archived": archived}, status=status)
        if found is not None:
            found.archived = archived

    @rule(user=users, thread=threads)
    def delete(self, user: str, thread: str) -> None:
        found = self.model[user].get(thread)
        exists = found is not None and (bool(found.runs) or found.live is not None)
        self.send(user, "DELETE", self.path(thread), status=204 if exists else 404)
        assert self.end_live(user, thread, kept=False) in (None, "RUN_ERROR")
        self.model[user].pop(thread, None)

    @rule(user=users)
    def clear(self, user: str) -> None:
        """Active runs go on, on threads that are new otherwise."""
        self.send(user, "POST", "/threads/clear", status=204)
        live = {name: found.live for name, found in self.model[user].items() if found.live is not None}
        self.model[user] = {name: ModelThread(live=stream) for name, stream in live.items()}

    @rule(user=users, body=st.sampled_from((None, [], {"threadId": 1}, {"messages": []})))
    def send_invalid_input(self, user: str, body: Any) -> None:
        self.send(user, "POST", "/agent/say/run", body, status=400)
        self.send(user, "POST", "/agent/nobody/run", run_input("t"), status=404)


class MemoryMachine(UsersMachine):
    def make_store(self) -> RunStore:
        return MemoryStore()


class SqliteMachine(UsersMachine):
    def make_store(self) -> RunStore:
        self.folder = tempfile.TemporaryDirectory()
        return SqliteStore(Path(self.folder.name, "threads.db"), poll_seconds=0.01)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


SETTINGS = settings(
    max_examples=15,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

TestUsersOverMemory = pytest.mark.requirement("USER-02")(MemoryMachine.TestCase)
TestUsersOverMemory.settings = SETTINGS
TestUsersOverSqlite = pytest.mark.requirement("USER-02")(SqliteMachine.TestCase)
TestUsersOverSqlite.settings = SETTINGS
