"""AG-UI events: validation, serialization to frames, and compaction of finished runs."""

from .compaction import CompactedFrame
from .completion import (
    LOST,
    NO_TERMINAL_EVENT,
    STOPPED,
    RunEnding,
    error_frame,
    is_terminal,
)
from .cursor import Cursor, resume_index
from .messages import apply_events, messages_after_run
from .recorder import RunRecorder
from .sse import (
    CONNECTED,
    KEEP_ALIVE,
    Event,
    InvalidEventError,
    decode,
    encode,
    format_frame,
)

__all__ = [
    "CONNECTED",
    "KEEP_ALIVE",
    "LOST",
    "NO_TERMINAL_EVENT",
    "STOPPED",
    "CompactedFrame",
    "Cursor",
    "Event",
    "InvalidEventError",
    "RunEnding",
    "RunRecorder",
    "apply_events",
    "decode",
    "encode",
    "error_frame",
    "format_frame",
    "is_terminal",
    "messages_after_run",
    "resume_index",
]
