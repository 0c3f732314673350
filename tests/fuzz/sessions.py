"""What is sent: sessions of one or several requests, each made from a number.

A session is a generator: it yields lists of exchanges, which are sent at the same time, each on its own connection, and
receives the lists of their responses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from random import Random
from typing import Any

from ..http_client import parse_frame
from .client import Answer
from .drafts import AGENT_IDS, ALL_THREADS, QUICK_AGENTS, THREADS, Drafts, Value, run_body
from .mutations import CURSORS, MUTATIONS, change_body
from .requests import RIGHT, WRONG, Draft, Exchange, pipelined

Session = Generator[list[Exchange], list[Answer], str | None]
"""Returns what is wrong with the responses as a whole, or None."""


def valid(drafts: Drafts) -> Session:
    """A right request."""
    draft, _ = drafts.any()
    yield [draft.build()]
    return None


def mutated(drafts: Drafts) -> Session:
    """A request with something wrong."""
    rng = drafts.rng
    draft, body = drafts.any()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(MUTATIONS)(draft, body, rng)
    yield [draft.build() if rng.random() < 0.85 else rng.choice(RIGHT)(draft, rng)]
    return None


def wrongly_framed(drafts: Drafts) -> Session:
    """What is not quite HTTP."""
    draft, _ = drafts.any()
    yield [drafts.rng.choice(WRONG)(draft, drafts.rng)]
    return None


def framed(drafts: Drafts) -> Session:
    """A right request in an unusual form."""
    draft, _ = drafts.any()
    yield [drafts.rng.choice(RIGHT)(draft, drafts.rng)]
    return None


def in_line(drafts: Drafts) -> Session:
    """Pipelined requests; the last may be a mutated one."""
    rng = drafts.rng
    made = [drafts.any() for _ in range(3)]
    if rng.random() < 0.5:
        change_body(*made[-1], rng)
    yield [pipelined([draft for draft, _ in made])]
    return None


def left(drafts: Drafts) -> Session:
    """Streams whose readers leave at once, then the same again."""
    rng = drafts.rng
    thread, run = rng.choice(THREADS), f"r{rng.randrange(10**9)}"
    agent = rng.choice(AGENT_IDS)
    mount = drafts.mount(rng.choice(("auto", "single-route", "supersede")))
    draft, body = drafts.run(agent, thread, run, mount)
    draft.leave_after = rng.choice((0, 1, 200))
    yield [draft.build()]
    again = drafts.agent_request("connect", agent, body, mount)
    again.leave_after = rng.choice((0, 300, None))
    yield [again.build()]
    return None


def _ids(answer: Answer) -> list[str]:
    frames = [parse_frame(block) for block in answer.body.decode("utf-8", "replace").split("\n\n")]
    return [frame.id for frame in frames if frame is not None and frame.id is not None]


def resumed(drafts: Drafts) -> Session:
    """A run, then connects with a cursor that it had, and with others."""
    rng = drafts.rng
    thread = drafts.user = f"own-{rng.randrange(10**12)}"  # or others might clear its threads
    mount = drafts.mount(rng.choice(("auto", "multi-route", "single-route", "cors")))
    agent = rng.choice(("hello", "plain", "echo", "asks"))
    draft, body = drafts.run(agent, thread, mount=mount)
    draft.is_stream_whole = True
    answers = yield [draft.build()]
    sent = _ids(answers[0]) if answers[0].status == 200 else []

    def connect(cursor: Any) -> Exchange:
        connecting = drafts.agent_request("connect", agent, {**body, "lastSeenEventId": cursor}, mount)
        return connecting.build()

    position = rng.randrange(1, 6)
    cursor = sent[min(position, len(sent)) - 1] if sent else "1.1"
    answers = yield [connect(cursor)]
    if sent and answers[0].status == 200:
        expected = sent[sent.index(cursor) + 1 :]
        if _ids(answers[0]) != expected:
            return f"after {cursor} of {sent} came {_ids(answers[0])}"
    ordinal, _, number = cursor.partition(".")
    mutants = (
        rng.choice(CURSORS),
        f"{ordinal}.{int(number) + rng.choice((1, 100, 10**9))}",
        f"{int(ordinal) + rng.choice((-1, 1, 10**6))}.{number}",
        f"{ordinal}.0{number}",
        f" {cursor}",
    )
    yield [connect(mutant) for mutant in rng.sample(mutants, 2)]
    resource = drafts.resource(mount, "DELETE", f"/threads/{thread}")
    answers = yield [resource.build()]
    if sent and answers[0].status != 204:
        return f"a thread with a run could not be deleted: {answers[0]}"
    return None


def stopped(drafts: Drafts) -> Session:
    """A run that waits, a reader that joins it, and what ends it, at the same time."""
    rng = drafts.rng
    mount = drafts.mount(rng.choice(("auto", "single-route", "supersede")))
    thread, run = rng.choice(THREADS), f"r{rng.randrange(10**9)}"
    draft, body = drafts.run("waits", thread, run, mount)
    connect = drafts.agent_request("connect", "waits", {**body, "runId": "join"}, mount)
    ends = (
        drafts.stop("waits", thread, None, mount),
        drafts.stop("waits", thread, {"runId": run}, mount),
        drafts.stop("waits", thread, {"runId": "another"}, mount),
        drafts.resource(mount, "DELETE", f"/threads/{thread}"),
        drafts.run("hello", thread, mount=mount)[0],
    )
    yield [item.build() for item in (draft, connect, *rng.sample(ends, 2))]
    yield [drafts.stop("waits", thread, None, mount).build()]
    return None


def managed(drafts: Drafts) -> Session:
    """A thread's life: runs, changes, lists, archive, and sometimes the end of all."""
    rng = drafts.rng
    mount = drafts.mount(rng.choice(("auto", "multi-route", "single-route")))
    thread = rng.choice(THREADS)
    draft, _ = drafts.run(rng.choice(QUICK_AGENTS), thread, mount=mount)
    yield [draft.build()]
    actions: list[tuple[str, str, Value | None]] = [
        ("PATCH", f"/threads/{thread}", {"name": f"name {rng.random()}"}),
        ("POST", f"/threads/{thread}/archive", None),
        ("GET", f"/threads/{thread}/messages", None),
        ("GET", f"/threads/{thread}/events", None),
        ("GET", f"/threads/{thread}/state", None),
        ("GET", "/threads?limit=2", None),
        ("GET", "/threads?includeArchived=true", None),
        ("DELETE", f"/threads/{thread}", None),
    ]
    chosen = rng.sample(actions, 3)
    yield [drafts.resource(mount, *action).build() for action in chosen[:2]]
    last = ("POST", "/threads/clear", None) if rng.random() < 0.1 else chosen[2]
    yield [drafts.resource(mount, *last).build()]
    return None


def answered(drafts: Drafts) -> Session:
    """A question, a mutated response to it, and the right one twice."""
    rng = drafts.rng
    mount = drafts.mount(rng.choice(("auto", "single-route")))
    drafts.user = f"own-{rng.randrange(10**12)}"
    thread, run = "questions", f"r{rng.randrange(10**9)}"
    draft, body = drafts.run("asks", thread, run, mount)
    body.pop("resume", None)
    draft = drafts.agent_request("run", "asks", body, mount)
    yield [draft.build()]
    entry: Value = {"interruptId": f"about-{run}", "status": "resolved", "payload": {"yes": True}}

    def respond(resume: Any) -> Draft:
        return drafts.agent_request(
            "run", "asks", {**body, "runId": f"{run}-{rng.randrange(10**6)}", "resume": resume}, mount
        )

    other = respond([entry])
    change_body(other, {**run_body(rng, drafts.user, thread), "resume": [entry, {**entry, "status": "cancelled"}]}, rng)
    yield [other.build()]
    yield [respond([entry]).build()]
    yield [respond([entry, entry]).build()]
    return None


def prowled(drafts: Drafts) -> Session:
    """A user who looks for another's thread under every route."""
    rng = drafts.rng
    mount = drafts.mount()
    paths = ("messages", "events", "state")
    yield [drafts.resource(mount, "GET", f"/threads/alices/{rng.choice(paths)}").build()]
    draft = drafts.agent_request("connect", "hello", run_body(rng, drafts.user, "alices"), mount)
    draft.user_is_certain = rng.random() < 0.5
    yield [draft.build(), drafts.stop("hello", rng.choice(("alices", *ALL_THREADS[:3])), None, mount).build()]
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table: how often it is chosen, how many requests it sends, and what makes it."""

    weight: int
    requests: int
    make: Callable[[Drafts], Session]


KINDS: Sequence[Kind] = (
    Kind(20, 1, valid),
    Kind(60, 1, mutated),
    Kind(14, 1, wrongly_framed),
    Kind(8, 1, framed),
    Kind(4, 3, in_line),
    Kind(3, 2, left),
    Kind(4, 5, resumed),
    Kind(1, 5, stopped),
    Kind(6, 4, managed),
    Kind(2, 4, answered),
    Kind(4, 3, prowled),
)
NAMES = tuple(kind.make.__name__ for kind in KINDS)


def make_session(seed: int, number: int, store: str, only: str | None = None) -> tuple[Kind, Session]:
    """Returns the session of a number; it is the same one in every process.

    Args:
        seed: of the campaign.
        number: of the session.
        store: the name of the store that is attacked.
        only: the name of the one kind to choose from, if any.
    """
    rng = Random(f"{seed}/{number}")
    (kind,) = rng.choices(KINDS, [kind.weight if only in (None, kind.make.__name__) else 0 for kind in KINDS])
    return kind, kind.make(Drafts(rng, store))
