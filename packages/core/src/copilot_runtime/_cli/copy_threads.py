"""The command ``copilot-runtime copy-threads``."""

from __future__ import annotations

import argparse
import os
import sys
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from .._log_text import one_line
from ..stores import CopyReport, RunStore, StoreError, store_from_url
from ..stores._copying import CopiedThread, copy_each
from ..stores._passwords import split_url
from ..stores.migrations import MigrationRequired
from ..stores.portable import ImportOutcome, NoRoomError
from .errors import CommandError

INTERRUPTED = 130
"""The exit code of a command that Ctrl+C has ended, as shells have it."""

_AGAIN = "What was copied is complete; run the same command again to go on."

_OTHER_OPTIONS = ("max_", "lease_", "poll_", "timeout_", "migrate", "notifications")
"""How the names of options begin that do not say where a store is, unlike a schema or a prefix."""

_TIMEOUT_SECONDS = 30
"""How long to wait for a store: longer than requests may, for a thread that is large or a server that restarts."""

_PROGRESS_INTERVAL = 100
"""After how many threads to show how far the command is."""


def copy_threads(options: argparse.Namespace) -> int:
    """Copies threads.

    Returns:
        The exit code: 0 if the target has all threads of the source, otherwise 1.
    """
    report = CopyReport()
    try:
        source, target = _open_stores(options.source, options.target)
        for thread in copy_each(source, target):
            report.add(thread)
            _show(thread, report)
    except NoRoomError as error:
        return _end(report, f"TO has no room for more threads: {error}. Raise that limit in the URL. {_AGAIN}")
    except MigrationRequired as error:
        return _end(report, one_line(error))
    except StoreError as error:
        return _end(report, f"A store is not working: {one_line(error)}. {_AGAIN}")
    except ValueError as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        _end(report, f"Interrupted. {_AGAIN}")
        return INTERRUPTED
    return _end(report, None if report.is_complete else "TO does not have everything that FROM has, see above.")


def _open_stores(source: str, target: str) -> tuple[RunStore, RunStore]:
    for name, url in (("FROM", source), ("TO", target)):
        try:
            scheme = split_url(url).scheme
        except ValueError as error:
            raise CommandError(f"{name}: {error}") from error
        if scheme == "memory":
            raise CommandError(f"{name}: the threads of memory:// are in the process that serves them, and in no other")
    if _place(source) == _place(target):
        raise CommandError("FROM and TO are the same store.")
    parts = urlsplit(source)
    path = unquote(parts.path).removeprefix("/")
    if parts.scheme == "sqlite" and not os.path.exists(path):  # or it would be created
        raise CommandError(f"FROM: there is no file {path}")
    try:
        # Where tables are missing, the URL is wrong: to create them would show an empty store.
        untouched = {"migrate": "false"} if parts.scheme in ("postgresql", "postgres") else {}
        return store_from_url(_with_options(source, **untouched)), store_from_url(_with_options(target))
    except (ImportError, ValueError) as error:
        raise CommandError(str(error)) from error


def _with_options(url: str, **options: str) -> str:
    """Returns a URL with options of this command, unless the URL has them itself."""
    given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    options = {"timeout_seconds": str(_TIMEOUT_SECONDS), **options}
    added = urlencode({name: value for name, value in options.items() if name not in given})
    return f"{url}{'&' if '?' in url else '?'}{added}" if added else url


def _place(url: str) -> tuple[str, list[tuple[str, str]]]:
    """Returns a URL without the options that do not say where the threads are."""
    base, _, query = url.partition("?")
    return base, sorted(option for option in parse_qsl(query) if not option[0].startswith(_OTHER_OPTIONS))


def _show(thread: CopiedThread, report: CopyReport) -> None:
    """Prints, on stderr, what is not copied and why, and on a terminal now and then how many threads are done."""
    if sys.stderr.isatty() and sum(report.outcomes.values()) % _PROGRESS_INTERVAL == 0:
        print(f"\r{sum(report.outcomes.values()):,} threads ", end="", file=sys.stderr, flush=True)
    reasons: list[str] = []
    if thread.is_unreadable:
        reasons.append("not copied: what is stored of it is damaged")
    if thread.active_run is not None:
        reasons.append(f"its active run {thread.active_run} was left out")
    if thread.outcome in (ImportOutcome.BUSY, ImportOutcome.DIVERGED):
        reasons.append(thread.outcome.value)
    if reasons:
        print(one_line(f"{_name(thread)}: {'; '.join(reasons)}"), file=sys.stderr)


def _name(thread: CopiedThread) -> str:
    if thread.key is None:
        return "a thread with a damaged name"
    return f"thread {thread.key.thread_id}" + (f" of {thread.key.owner}" if thread.key.owner else "")


def _end(report: CopyReport, problem: str | None) -> int:
    """Prints what was done, and returns the exit code."""
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr, flush=True)
    for outcome in ImportOutcome:
        if report.outcomes[outcome]:
            print(f"{_count(report.outcomes[outcome], 'thread')} {outcome.value}")
    for number, text in (
        (report.unreadable, f"{_count(report.unreadable, 'thread')} not copied: damaged"),
        (report.active_runs, f"{_count(report.active_runs, 'active run')} left out: repeat this once they have ended"),
    ):
        if number:
            print(text)
    if problem is None and report == CopyReport():
        print("FROM has no threads")
    print(f"In total {_count(report.runs, 'run')} and {_count(report.messages, 'message')} copied")
    if problem is not None:
        print(f"copilot-runtime: {problem}", file=sys.stderr)
    return 0 if problem is None else 1


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
