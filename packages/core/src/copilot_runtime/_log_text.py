"""Texts of others in log lines."""

from __future__ import annotations

import re

# With them a text could pass for further lines of the log, or write over them in a terminal: C0 and C1 controls, the
# separators of lines, and the marks that reverse the direction of a line.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: object) -> str:
    """Returns a text that a client, a provider or another server wrote, in one line, with its controls escaped."""
    return _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], str(text))
