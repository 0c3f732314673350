"""One campaign: a server, sessions until enough requests are sent, and what was found."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from ..fixtures.fuzz_app import FOLDER, STORES
from ..http_client import Client, hello_input
from ..servers import RunningServer, serve_app
from .client import Answer, FuzzClient
from .corpus import read_corpus
from .oracle import ALICE_MARK, find_fault, find_tracebacks, resident_bytes
from .requests import Exchange
from .sessions import Session, make_session

KEPT_FAULTS = 50
ALICE = {"x-user": "alice-5b1c7d"}
"""The honest user, whose name no fuzzer knows."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a campaign is.

    Attributes:
        requests: how many requests to send, besides the corpus and those of the honest user.
        seed: makes the sessions, together with their numbers.
        first: the number of the first session.
        adapter: the adapter, as in `serve.ADAPTERS`.
        server: its server; the adapter's first by default.
        store: which store's runtimes to attack.
        connections: how many sessions take place at the same time.
        deadline: how many seconds an exchange may take.
        only: the one kind of session to play, if not all.
        check_every: how many sessions pass between two looks at the honest user's thread.
    """

    requests: int
    adapter: str
    store: str
    seed: int = 0
    first: int = 0
    server: str | None = None
    connections: int = 16
    deadline: float = 60.0
    only: str | None = None
    check_every: int = 500


@dataclasses.dataclass(slots=True)
class Result:
    """What a campaign has found."""

    requests: int = 0
    statuses: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    hangs: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)
    fault_count: int = 0
    tracebacks: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    memory: list[int] = dataclasses.field(default_factory=list)
    """Resident bytes of the server: at first, and later, as the campaign went on."""

    def add_fault(self, text: str) -> None:
        self.fault_count += 1
        if len(self.faults) < KEPT_FAULTS:
            self.faults.append(text)

    def merge(self, other: Result) -> None:
        self.requests += other.requests
        self.statuses += other.statuses
        self.hangs += other.hangs
        self.fault_count += other.fault_count
        self.faults += other.faults[: KEPT_FAULTS - len(self.faults)]
        self.tracebacks += other.tracebacks
        self.seconds += other.seconds

    @property
    def is_clean(self) -> bool:
        return not (self.fault_count or self.tracebacks or self.hangs)

    def summary(self) -> str:
        """Returns the counts in one line."""
        statuses = ", ".join(f"{name}: {count:,}" for name, count in sorted(self.statuses.items()))
        rate = self.requests / self.seconds if self.seconds else 0
        parts = [
            f"{self.requests:,} requests in {self.seconds:.0f} s ({rate:.0f}/s)",
            statuses,
            f"hangs: {self.hangs}",
            f"tracebacks: {len(self.tracebacks)}",
            f"faults: {self.fault_count}",
        ]
        if self.memory:
            begin, *_, end = self.memory if len(self.memory) > 1 else self.memory * 2
            parts.append(f"memory: {begin / 2**20:.0f} MiB at the beginning, {end / 2**20:.0f} MiB at the end")
        return "; ".join(parts)


class HonestUser:
    """Has a thread that must stay as it is, and must always be served."""

    def __init__(self, server: RunningServer, store: str) -> None:
        self._client = Client(server, f"/{store}-auto", ALICE)
        self._runs = 0
        words = [{"id": "u1", "role": "user", "content": ALICE_MARK}]
        self._client.run("echo", "alices", "first", messages=words, state={"own": ALICE_MARK})
        self._before = self._thread()

    def _thread(self) -> dict[str, Any]:
        views = ("messages", "events", "state")
        seen = {view: self._client.request("GET", f"/threads/alices/{view}").json() for view in views}
        # Listed, too, but only by its own user.
        listed = self._client.request("GET", "/threads").json()["threads"]
        return {**seen, "replay": self._client.replay("echo", "alices"), "listed": [info["id"] for info in listed]}

    def find_fault(self) -> str | None:
        """Returns what another user has done to this one, or None."""
        self._runs += 1
        info = self._client.request("GET", "/info")
        if info.status != 200:
            return f"the honest user's /info was answered with {info.status}"
        events = self._client.run("hello", "honest", f"run-{self._runs}", messages=hello_input("t")["messages"])
        if events[-1]["type"] != "RUN_FINISHED" or len(events) != 6:
            return f"an honest run was {events}"
        self._client.request("DELETE", "/threads/honest")
        now = self._thread()
        return None if now == self._before else f"the honest user's thread became {now}"


class Campaign:
    """Sends the sessions to a server that is running."""

    def __init__(self, server: RunningServer, options: Options) -> None:
        self._server = server
        self._options = options
        self._client = FuzzClient(server.port, options.deadline)
        self._next = options.first
        self._honest = HonestUser(server, options.store)
        self._checking = asyncio.Lock()
        self.result = Result()

    async def run(self) -> None:
        begin = time.monotonic()
        self._note_memory()
        try:
            await self._replay_corpus()
            await self._check()
            self._note_memory()
            await asyncio.gather(*(self._work() for _ in range(self._options.connections)))
            await self._check()
            self._note_memory()
        finally:
            self._client.close()
        self.result.seconds = time.monotonic() - begin

    def _note_memory(self) -> None:
        self.result.memory.append(resident_bytes(self._server.process.pid))

    async def _check(self) -> None:
        async with self._checking:
            try:
                fault = await asyncio.to_thread(self._honest.find_fault)
            except Exception as error:
                fault = f"the honest user's requests failed: {error!r}"
            if fault is not None:
                self.result.add_fault(fault)

    async def _replay_corpus(self) -> None:
        for name, exchange in read_corpus(self._options.store):
            await self._send(exchange, f"corpus: {name}")

    async def _work(self) -> None:
        while self.result.requests < self._options.requests:
            number = self._next
            self._next += 1
            if number and number % self._options.check_every == 0:
                await self._check()
                self._note_memory()
            kind, session = make_session(self._options.seed, number, self._options.store, self._options.only)
            # Counted at the beginning, so that which sessions there are does not depend on how fast each is.
            self.result.requests += kind.requests
            await self._play(session, f"session {number} ({kind.make.__name__})")

    async def _play(self, session: Session, name: str) -> None:
        answers: list[Answer] | None = None
        while True:
            try:
                exchanges = next(session) if answers is None else session.send(answers)
            except StopIteration as end:
                if end.value is not None:
                    self.result.add_fault(f"{name}: {end.value}")
                return
            if len(exchanges) == 1:
                answers = await self._send(exchanges[0], name)
            else:
                found = await asyncio.gather(*(self._send(exchange, name) for exchange in exchanges))
                answers = [answer for some in found for answer in some]

    async def _send(self, exchange: Exchange, name: str) -> list[Answer]:
        answers = await self._client.send(exchange)
        for method, answer in zip(exchange.methods, answers, strict=False):
            self.result.statuses[_class(answer)] += 1
            self.result.hangs += answer.outcome == "hung"
            fault = find_fault(exchange, method, answer, self._options.adapter)
            if fault is not None:
                self.result.add_fault(f"{name}: {fault}: {_shown(exchange)} -> {answer}")
        return answers


def _class(answer: Answer) -> str:
    if answer.status:
        return f"{answer.status // 100}xx"
    return "left" if answer.outcome == "answered" else answer.outcome


def _shown(exchange: Exchange) -> str:
    return " + ".join(repr(part if len(part) < 1500 else part[:1500] + b"...") for part in exchange.parts)


@contextlib.contextmanager
def serve(adapter: str, server: str | None = None) -> Iterator[RunningServer]:
    """Serves what the fuzzer attacks."""
    with tempfile.TemporaryDirectory(prefix="copilot-fuzz-") as folder:
        mount = f"/{STORES[0]}-auto"
        with serve_app(
            adapter, "tests.fixtures.fuzz_app:application", server=server, mount=mount, env={FOLDER: folder}
        ) as running:
            yield running


def attack(server: RunningServer, options: Options) -> Result:
    """Attacks a server, and returns what was found."""
    read = len(server.log())
    campaign = Campaign(server, options)
    _run(campaign)
    campaign.result.tracebacks = find_tracebacks(server.log()[read:])
    if server.process.poll() is not None:
        campaign.result.add_fault(f"the server has ended: {server.log_tail()}")
    return campaign.result


def _run(campaign: Campaign) -> None:
    try:
        from uvloop import new_event_loop  # what uvicorn uses where it is installed
    except ImportError:
        new_event_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(campaign.run())
