"""AG-UI on the wire: events in, frames out, and what a finished run is folded into."""

from .compaction import Record
from .completion import (
    LOST,
    RETURNED,
    STOPPED,
    Ending,
    error_frame,
    is_terminal,
)
from .cursor import Cursor, resume_after
from .messages import conversation, conversation_of
from .recorder import Recorder
from .sse import (
    CONNECTED,
    KEEP_ALIVE,
    BadEvent,
    Event,
    decode,
    encode,
    frame,
)

__all__ = [
    "CONNECTED",
    "KEEP_ALIVE",
    "LOST",
    "RETURNED",
    "STOPPED",
    "BadEvent",
    "Cursor",
    "Ending",
    "Event",
    "Record",
    "Recorder",
    "conversation",
    "conversation_of",
    "decode",
    "encode",
    "error_frame",
    "frame",
    "is_terminal",
    "resume_after",
]
