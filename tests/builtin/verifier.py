"""AG-UI's own verifiers, from npm, for every stream that a test reads."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.http_client import Client, Event, Frame, HeaderFields, Stream, user_message
from tests.servers import RunningServer

PROGRAM = Path(__file__).with_name("verify.mjs")


class Verifier:
    """Says of a stream what AG-UI's client would stumble over."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def find_fault(self, events: Sequence[Event]) -> str | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(events), file=self._process.stdin, flush=True)
        verdict: str | None = json.loads(self._process.stdout.readline())
        return verdict


@contextlib.contextmanager
def verified_client(server: RunningServer, judge: Verifier | None) -> Iterator[RecordingClient]:
    """A client of a server: AG-UI's client must accept every stream that it has read in the block, if it is there."""
    client = RecordingClient(server)
    client.streams = []
    yield client
    if judge is not None:
        assert [judge.find_fault(events) for events in client.streams] == [None] * len(client.streams), client.streams


@contextlib.contextmanager
def run_verifier() -> Iterator[Verifier]:
    """The program that verifies, for as long as the block lasts. Needs what the client tests need."""
    pipe = subprocess.PIPE
    with subprocess.Popen(["node", str(PROGRAM)], stdin=pipe, stdout=pipe, text=True) as process:
        yield Verifier(process)
        # Leaving closes its standard input, which ends it.


class RecordingClient(Client):
    """A client that keeps what it reads of every run. ``streams`` are the runs' events, as far as they were read."""

    streams: list[list[Event]]

    def start_run(
        self, agent: str, thread: str, run: str | None = None, *, headers: HeaderFields = (), **members: Any
    ) -> Stream:
        stream = super().start_run(agent, thread, run, headers=headers, **members)
        self.streams.append(events := [])
        frames = stream.frames

        def noting() -> Iterator[Frame]:
            for frame in frames():
                events.append(frame.event)
                yield frame

        stream.frames = noting  # type: ignore[method-assign]
        return stream

    def start_chat(self, agent: str, prompt: str, *, before: Sequence[Event] = (), **members: Any) -> Stream:
        """Starts a run with a user message, after the messages ``before``, on the thread of that name."""
        return self.start_run(agent, prompt, messages=[*before, user_message(prompt)], **members)

    def chat(self, agent: str, prompt: str, *, before: Sequence[Event] = (), **members: Any) -> list[Event]:
        """Returns all events of such a run."""
        with self.start_chat(agent, prompt, before=before, **members) as stream:
            assert stream.status == 200, stream.read()
            return stream.rest()
