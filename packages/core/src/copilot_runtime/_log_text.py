"""Texts of others in log lines."""

from __future__ import annotations

import functools
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

# With them a text could pass for further lines of the log, or write over them in a terminal: C0 and C1 controls, the
# separators of lines, and the marks that reverse the direction of a line.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

LOGGERS = (
    "copilot_runtime.agents",
    "copilot_runtime.agents.builtin",
    "copilot_runtime.agents.http",
    "copilot_runtime.agents.mcp",
    "copilot_runtime.demo",
    "copilot_runtime.django",
    "copilot_runtime.endpoints",
    "copilot_runtime.engine",
    "copilot_runtime.events",
    "copilot_runtime.handler",
    "copilot_runtime.lifecycle",
    "copilot_runtime.loops",
    "copilot_runtime.middleware",
    "copilot_runtime.runs",
    "copilot_runtime.runtime",
    "copilot_runtime.stores.memory",
    "copilot_runtime.stores.postgres",
    "copilot_runtime.stores.redis",
    "copilot_runtime.stores.sqlite",
    "copilot_runtime.transcription",
    "copilot_runtime.wsgi",
)
"""The names of all loggers: a logger's filters do not apply to those below it."""


def one_line(text: object) -> str:
    """Returns a text that a client, a provider or another server wrote, in one line, with its controls escaped."""
    return _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], str(text))


def log_failure(
    logger: logging.Logger, error: BaseException, message: str, *args: object, level: int = logging.ERROR
) -> None:
    """Logs an exception of the application's code, with its traceback from that code on.

    What the runtime itself has to say about that code, such as that a hook has returned the wrong type, is one line.
    """
    trace = _traceback_of_application(error)
    if trace is None:
        logger.log(level, f"{message}: %s", *args, _describe(error), stacklevel=2)  # noqa: G004 - the message is constant
    else:
        logger.log(level, message, *args, exc_info=(type(error), error, trace), stacklevel=2)


def _describe(error: BaseException) -> str:
    try:
        text, cause = f"{type(error).__name__}: {error}", error.__cause__
        if cause is not None and str(cause) not in text:
            text += f" (caused by {type(cause).__name__}: {cause})"
        return one_line(text)
    except Exception:  # raised by the exception's own __str__
        return type(error).__name__


_GLUE = frozenset(("asyncio", "concurrent", "contextlib", "contextvars", "threading"))
"""Modules of the standard library between the runtime and the functions that it calls."""

_CALLERS = frozenset(("call_user_function", "guard_stop_iteration"))
"""Functions of the runtime that raise nothing themselves, and call functions of the application."""

_NOT_CALLABLE_SO = re.compile(r"takes (?:from )?(?:no|\d+) .*argument|missing \d+ required|unexpected keyword argument")
"""What Python says of a call that does not fit the function's parameters: it is raised where the runtime calls it."""


def _traceback_of_application(error: BaseException) -> TracebackType | None:
    """Returns the traceback without the frames of the runtime that called the application.

    None if the text of the error says all: where the runtime raises it because of what the application's code has
    returned (it has ``is_logged_without_traceback``), where a function could not be called with its arguments, and
    where a function that is not written in Python has raised it.
    """
    if getattr(type(error), "is_logged_without_traceback", False):
        return None
    trace, caller = error.__traceback__, ""
    while trace is not None and _is_ours(trace.tb_frame.f_globals.get("__name__", "")):
        caller, trace = trace.tb_frame.f_code.co_name, trace.tb_next
    if trace is None and isinstance(error.__cause__, (StopIteration, StopAsyncIteration)):
        # Python replaces one that leaves a generator or coroutine by a RuntimeError without its frames (PEP 479).
        return error.__cause__.__traceback__
    if trace is None and not (
        caller in _CALLERS or (isinstance(error, TypeError) and _NOT_CALLABLE_SO.search(_describe(error)))
    ):
        return error.__traceback__
    return trace


def _is_ours(module: str) -> bool:
    package = module.partition(".")[0]
    return package in _GLUE or package == "copilot_runtime" or package.startswith("copilot_runtime_")


def escape_log_records() -> None:
    """Has every logger escape control characters, also those in tracebacks."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_escape)


def _escape(record: logging.LogRecord) -> bool:
    try:
        text = record.getMessage()
    except Exception:  # arguments that do not fit, which handlers report
        return True
    if _CONTROLS.search(text):
        record.msg, record.args = one_line(text), ()
    if record.exc_info and record.exc_info[1] is not None and record.exc_text is None:
        record.exc_text = _format_escaped(record.exc_info[1], record.exc_info[2])
    return True


def _format_escaped(error: BaseException, trace: TracebackType | None) -> str | None:
    """Returns a traceback in which the text of each exception is one line; None if it has no controls anyway.

    Handlers use the text in place of their own. The stack, whose lines are those of source files, is left as it is.
    """
    formatted = traceback.TracebackException(type(error), error, trace, compact=True)
    has_controls = False

    def format_escaped(original: Callable[..., Iterator[str]], *arguments: Any, **options: Any) -> Iterator[str]:
        nonlocal has_controls
        text = "".join(original(*arguments, **options)).removesuffix("\n")
        has_controls = has_controls or _CONTROLS.search(text) is not None
        yield f"{one_line(text)}\n"

    for each in _all_exceptions(formatted):
        vars(each)["format_exception_only"] = functools.partial(format_escaped, each.format_exception_only)
    text = "".join(formatted.format()).removesuffix("\n")
    return text if has_controls else None


def _all_exceptions(formatted: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """Yields an exception with its causes and members."""
    found = [formatted]
    while found:
        each = found.pop()
        yield each
        found += [one for one in (each.__cause__, each.__context__, *(each.exceptions or ())) if one is not None]
