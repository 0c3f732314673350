"""`JSONFormatter`: log records as lines of JSON, with their fields."""

from __future__ import annotations

import datetime
import logging
import traceback
from typing import Any

from pydantic_core import to_json

_OWN_ATTRIBUTES = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"asctime", "message", "taskName"}
"""What every record has. Everything else was passed as ``extra``."""
_FOR_TERMINALS = frozenset(("color_message",))
"""Of uvicorn's records: the message again, with codes for colours."""


class JSONFormatter(logging.Formatter):
    """Formats each record as one line of JSON (RFC 8259).

    The members are ``time`` (RFC 3339, in UTC), ``level``, ``logger``, ``message``, then whatever was passed as
    ``extra``, and ``exception`` and ``stack`` if the record has them. ``copilot-runtime serve --log-format json`` uses
    it; elsewhere, name it in the configuration of `logging.config`:
    ``"formatters": {"json": {"()": "copilot_runtime.log_format.JSONFormatter"}}``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line of a record."""
        created = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        left_out = _OWN_ATTRIBUTES | _FOR_TERMINALS | line.keys()
        line.update((name, value) for name, value in vars(record).items() if name not in left_out)
        if record.exc_text:  # with controls escaped
            line["exception"] = record.exc_text
        elif record.exc_info:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        if record.stack_info:
            line["stack"] = record.stack_info
        return _encode(line)


def _encode(line: dict[str, Any]) -> str:
    try:
        return to_json(line, serialize_unknown=True, inf_nan_mode="null").decode()
    except Exception:  # half a character, a cycle, or an object that cannot be shown
        return to_json({name: _as_text(value) for name, value in line.items()}, inf_nan_mode="null").decode()


def _as_text(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    try:
        return str(value).encode("utf-8", "backslashreplace").decode()
    except Exception:
        return f"<{type(value).__name__}>"
