"""Random runs of events in valid order, and a verifier of that order which shares nothing with ours."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from .recorder_helpers import FINISHED, Event, call, run_input, step, text

IDS = ("a", "b", "c")
PATCHES: tuple[list[dict[str, Any]], ...] = (
    [{"op": "add", "path": "/n", "value": 1}],
    [{"op": "replace", "path": "/n", "value": 2}],
    [{"op": "add", "path": "/list", "value": []}],
    [{"op": "add", "path": "/list/-", "value": "x"}],
    [{"op": "remove", "path": "/n"}],
    [{"op": "replace", "path": "/fromClient", "value": "changed"}],
    [{"op": "copy", "from": "/list", "path": "/other"}],
)
METADATA: tuple[dict[str, Any], ...] = ({"metadata": {"k": 1}}, {"metadata": {"k": 2, "l": None}}, {}, {}, {})

TEXT, CALL, STEP, OTHER, STATE, ERROR, FINISH = range(7)

KINDS = (*[TEXT] * 3, *[CALL] * 3, STEP, *[OTHER] * 2, *[STATE] * 2, ERROR, FINISH)
# What an agent tries next: a kind of event, which of the ids, and a number for all that is left to choose.
tries = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 20)), max_size=40)


class Agent:
    """Turns tries into events in valid order."""

    def __init__(self, state: Any = None, *, endings: int = 3) -> None:
        self.events: list[Event] = []
        self._state = state
        self._endings = endings
        self._begin()

    def _begin(self) -> None:
        members = {} if self._state is None else {"input": run_input(state=self._state)}
        self.events.append({"type": "RUN_STARTED", "threadId": "t", "runId": "r", **members})
        self._open: dict[int, set[str]] = {TEXT: set(), CALL: set(), STEP: set()}

    def attempt(self, kind: int, which: int, choice: int) -> None:
        identity = IDS[which]
        if kind in (TEXT, CALL):
            self._attempt_group(kind, identity, choice)
        elif kind == STEP:
            is_open = identity in self._open[STEP]
            (self._open[STEP].discard if is_open else self._open[STEP].add)(identity)
            self.events.append(step("FINISHED" if is_open else "STARTED", identity))
        elif kind == OTHER:
            self.events.append(self._other(identity, choice))
        elif kind == STATE:
            snapshot = {"type": "STATE_SNAPSHOT", "snapshot": {"n": choice}}
            at = choice % (len(PATCHES) + 1)
            self.events.append(snapshot if at == len(PATCHES) else {"type": "STATE_DELTA", "delta": PATCHES[at]})
        else:
            self._attempt_end(kind)

    def _attempt_group(self, kind: int, identity: str, choice: int) -> None:
        make, content = (text, "CONTENT") if kind == TEXT else (call, "ARGS")
        if identity not in self._open[kind]:
            self._open[kind].add(identity)
            self.events.append(make("START", identity, **METADATA[choice % 5]))
        elif choice % 4 == 0:
            self._open[kind].discard(identity)
            self.events.append(make("END", identity))
        else:
            self.events.append(
                make(content, identity, delta=f"{choice};" if choice % 5 else "", **METADATA[choice % 5])
            )

    def _other(self, identity: str, choice: int) -> Event:
        return (
            {"type": "CUSTOM", "name": "mark", "value": choice},
            {"type": "RAW", "event": {"n": choice}},
            call("RESULT", identity, messageId=f"answer-{choice}"),
            {"type": "REASONING_MESSAGE_CONTENT", "messageId": identity, "delta": f"{choice};"},
        )[choice % 4]

    def _attempt_end(self, kind: int) -> None:
        if self._endings == 0 or (kind == FINISH and any(self._open.values())):
            return
        self._endings -= 1
        self.events.append(FINISHED if kind == FINISH else {"type": "RUN_ERROR", "message": "no"})
        self._begin()

    def end(self) -> list[Event]:
        """All of the events, everything closed and the run finished."""
        for kind, make in ((TEXT, text), (CALL, call)):
            self.events += [make("END", identity) for identity in sorted(self._open[kind])]
        self.events += [step("FINISHED", name) for name in sorted(self._open[STEP])]
        return [*self.events, FINISHED]


@st.composite
def runs(draw: st.DrawFn, *, endings: int = 3) -> list[Event]:
    """The events of one agent, which may begin anew up to ``endings`` times."""
    agent = Agent(draw(st.sampled_from((None, {}, {"fromClient": 1}, {"n": 0, "list": ["old"]}))), endings=endings)
    for attempt in draw(tries):
        agent.attempt(*attempt)
    return agent.end()


def verify(events: list[Event]) -> None:
    """Insists on the order that clients insist on (docs/protocol.md, section 5, step 2)."""
    running, may_start, may_fail = False, True, True
    opened: set[tuple[str, str]] = set()
    for event in events:
        kind = event["type"]
        if kind == "RUN_STARTED":
            assert may_start
            assert not running
            running, may_start, opened = True, False, set()
            continue
        if kind == "RUN_ERROR":
            assert running or may_fail
            running, may_start, may_fail = False, True, False
            continue
        assert running, kind
        if kind == "RUN_FINISHED":
            assert not opened
            running, may_start, may_fail = False, True, True
        for family, member, begins, goes_on, ends in (
            ("text", "messageId", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
            ("call", "toolCallId", "TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END"),
            ("step", "stepName", "STEP_STARTED", "", "STEP_FINISHED"),
        ):
            if kind in (begins, goes_on, ends):
                key = (family, event[member])
                assert (key in opened) == (kind != begins), event
                if kind == begins:
                    opened.add(key)
                elif kind == ends:
                    opened.remove(key)
