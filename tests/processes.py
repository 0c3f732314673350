"""Runs the tests in several processes, which are forked once everything is imported and collected.

Each process of pytest-xdist would collect all tests by itself: 9 s of CPU, and 21 s where nothing is compiled yet. A
file's tests run in one process, since they share its servers.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import multiprocessing
import os
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

import pytest

Numbers = Sequence[int]
"""Tests of one file, as places in the list of all."""


def add_option(parser: pytest.Parser) -> None:
    # Lower-case letters are for pytest's own options, and this is what everybody knows from pytest-xdist.
    parser.getgroup("processes")._addoption(
        "-n",
        dest="processes",
        type=int,
        default=0,
        metavar="N",
        help="fork N processes, and give each a file at a time",
    )


def run(session: pytest.Session) -> bool | None:
    """Runs all tests, unless one process is to do it, which is left to pytest."""
    option = session.config.option
    files = _files(session.items)
    count = min(option.processes, len(files)) if hasattr(os, "fork") else 0
    if count < 2 or option.collectonly or option.usepdb or session.testsfailed:
        return None
    terminal: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    terminal.showfspath = terminal.verbosity > 0  # those of several files come by turns
    terminal.flush()  # or each process would have the rest
    with contextlib.closing(_Processes(session, files)) as processes:
        processes.run(count)
    return True


def _files(items: Sequence[pytest.Item]) -> list[Numbers]:
    files: dict[Path, list[int]] = {}
    for number, item in enumerate(items):
        files.setdefault(item.path, []).append(number)
    return list(files.values())


class _Process:
    """A process that runs tests, as the first one sees it.

    Attributes:
        numbers: the tests that it was given and that have not ended yet.
    """

    def __init__(self, session: pytest.Session, others: Sequence[_Process]) -> None:
        self.channel, theirs = multiprocessing.Pipe()
        self.numbers: collections.deque[int] = collections.deque()
        self.pid = os.fork()
        if not self.pid:
            try:
                # They end when the first process closes its side, so nobody else may have it.
                for each in (self, *others):
                    each.channel.close()
                _Runner(session, theirs).run()
            finally:
                os._exit(0)
        theirs.close()

    def give(self, numbers: Numbers) -> None:
        self.numbers.extend(numbers)
        self.channel.send(numbers)

    def wait(self) -> int:
        """Waits until it has ended, and returns its exit status."""
        self.channel.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class _Processes:
    """Gives tests to processes, and reports what they say."""

    def __init__(self, session: pytest.Session, files: Sequence[Numbers]) -> None:
        self._session = session
        self._hook = session.config.hook
        self._waiting = collections.deque(files)
        self._running: dict[Connection, _Process] = {}
        self._ending: list[_Process] = []

    def run(self, count: int) -> None:
        for _ in range(count):
            self._start()
        while self._running:
            for channel in wait([*self._running]):
                self._hear(self._running[channel])
            if self._session.shouldfail:
                raise self._session.Failed(self._session.shouldfail)
            if self._session.shouldstop:
                raise self._session.Interrupted(self._session.shouldstop)

    def close(self) -> None:
        """Has all processes end after the test that they run, and waits for them."""
        for process in (*self._running.values(), *self._ending):
            process.wait()

    def _start(self) -> None:
        process = _Process(self._session, [*self._running.values()])
        self._running[process.channel] = process

    def _hear(self, process: _Process) -> None:
        kind, *values = ("lost",)
        with contextlib.suppress(EOFError, ConnectionError):
            kind, *values = process.channel.recv()
        getattr(self, f"on_{kind}")(process, *values)

    # What a process says.

    def on_lost(self, process: _Process) -> None:
        """Reports the test that a process has not survived, and has another one run what that one had left."""
        del self._running[process.channel]
        reason = f"the process that ran this test has ended with status {process.wait()}"
        if not process.numbers:
            raise RuntimeError(reason)
        item = self._session.items[process.numbers.popleft()]
        self._hook.pytest_runtest_logreport(
            report=pytest.TestReport(item.nodeid, item.location, {}, "failed", reason, "call")
        )
        if process.numbers:
            self._waiting.appendleft([*process.numbers])
        if self._waiting:
            self._start()

    def on_wants(self, process: _Process) -> None:
        process.give(self._waiting.popleft() if self._waiting else [])

    def on_report(self, process: _Process, data: Mapping[str, Any]) -> None:
        report = self._hook.pytest_report_from_serializable(config=self._session.config, data=data)
        self._hook.pytest_runtest_logreport(report=report)

    def on_finish(self, process: _Process, nodeid: str, location: tuple[str, int | None, str]) -> None:
        process.numbers.popleft()
        self._hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    def on_warning(self, process: _Process, category: str, text: str, place: Sequence[Any]) -> None:
        filename, lineno, when, nodeid, location = place
        message = warnings.WarningMessage(text, type(category, (Warning,), {}), filename, lineno)
        self._hook.pytest_warning_recorded.call_historic(
            kwargs={"warning_message": message, "when": when, "nodeid": nodeid, "location": location}
        )

    def on_done(self, process: _Process) -> None:
        self._ending.append(self._running.pop(process.channel))

    def on_error(self, process: _Process, text: str) -> NoReturn:
        raise RuntimeError(f"a process that runs tests failed:\n{text}")


class _Runner:
    """What runs in a process: the tests that it is given, until there are no more. Also a plugin, for their reports."""

    def __init__(self, session: pytest.Session, channel: Connection) -> None:
        self._session = session
        self._hook = session.config.hook
        self._channel = channel

    def run(self) -> None:
        try:
            self._separate_output()
            self._session.config.pluginmanager.register(self, "processes")
            try:
                self._run_tests()
            finally:
                self._session._setupstate.teardown_exact(None)
            self._channel.send(("done",))
        except (KeyboardInterrupt, EOFError, ConnectionError):  # the first process has ended, or ends this one
            pass
        except BaseException:
            self._channel.send(("error", traceback.format_exc()))
        finally:
            atexit._run_exitfuncs()

    def _separate_output(self) -> None:
        """Captures into files of its own, and shows nothing: the first process does."""
        capture: Any = self._session.config.pluginmanager.get_plugin("capturemanager")
        capture.stop_global_capturing()
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 1)
        capture.start_global_capturing()
        capture.suspend_global_capture()

    def _run_tests(self) -> None:
        items = self._items()
        item = next(items, None)
        while item is not None:
            # Asked for before it is needed: what two tests share is kept between them.
            following = next(items, None)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._session.shouldfail or self._session.shouldstop:
                return
            item = following

    def _items(self) -> Iterator[pytest.Item]:
        while True:
            self._channel.send(("wants",))
            numbers = self._channel.recv()
            if not numbers:
                return
            for number in numbers:
                yield self._session.items[number]

    # Hooks of pytest.

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._hook.pytest_report_to_serializable(config=self._session.config, report=report)
        self._channel.send(("report", data))

    def pytest_runtest_logfinish(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._channel.send(("finish", nodeid, location))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: Any
    ) -> None:
        place = (warning_message.filename, warning_message.lineno, when, nodeid, location)
        self._channel.send(("warning", warning_message.category.__name__, str(warning_message.message), place))
