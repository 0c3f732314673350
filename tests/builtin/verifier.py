"""AG-UI's own verifiers, from npm, for every stream that a test reads."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.http_client import Client, Event, Frame, Stream

PROGRAM = Path(__file__).with_name("verify.mjs")


class Verifier:
    """Says of a stream what AG-UI's client would stumble over."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def objection(self, events: Sequence[Event]) -> str | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(events), file=self._process.stdin, flush=True)
        verdict: str | None = json.loads(self._process.stdout.readline())
        return verdict


@contextlib.contextmanager
def verifier() -> Iterator[Verifier]:
    """The program that verifies, for as long as the block lasts. Needs what the client tests need."""
    pipe = subprocess.PIPE
    with subprocess.Popen(["node", str(PROGRAM)], stdin=pipe, stdout=pipe, text=True) as process:
        yield Verifier(process)
        # Leaving closes its standard input, which ends it.


class NotingClient(Client):
    """A client that keeps what it reads of every run. ``streams`` are the runs' events, as far as they were read."""

    streams: list[list[Event]]

    def run(self, agent: str, thread: str, run: str | None = None, **members: Any) -> Stream:
        stream = super().run(agent, thread, run, **members)
        self.streams.append(noted := [])
        frames = stream.frames

        def noting() -> Iterator[Frame]:
            for frame in frames():
                noted.append(frame.event)
                yield frame

        stream.frames = noting  # type: ignore[method-assign]
        return stream
