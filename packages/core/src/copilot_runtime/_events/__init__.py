"""AG-UI events: validation, serialisation to frames, and compaction of finished runs."""

from .compaction import CompactedFrame, CompactedFrames, frames_of
from .completion import (
    NO_TERMINAL_EVENT,
    STOPPED,
    RunEnding,
    ends_of_open,
    error_frame,
    is_terminal,
)
from .cursor import Cursor, CursorKind, is_lost, is_reapers, joined_id, resume_index
from .input_echo import InputEcho, encode_echo
from .input_messages import InputMessages
from .messages import apply_events, messages_after_run
from .past_errors import without_past_errors
from .recorder import RecordedEnd, RunRecorder
from .repair import repair_frames
from .sse import (
    KEEP_ALIVE,
    Event,
    InvalidEventError,
    decode,
    encode,
    event_data,
    format_frame,
)

__all__ = [
    "KEEP_ALIVE",
    "NO_TERMINAL_EVENT",
    "STOPPED",
    "CompactedFrame",
    "CompactedFrames",
    "Cursor",
    "CursorKind",
    "Event",
    "InputEcho",
    "InputMessages",
    "InvalidEventError",
    "RecordedEnd",
    "RunEnding",
    "RunRecorder",
    "apply_events",
    "decode",
    "encode",
    "encode_echo",
    "ends_of_open",
    "error_frame",
    "event_data",
    "format_frame",
    "frames_of",
    "is_lost",
    "is_reapers",
    "is_terminal",
    "joined_id",
    "messages_after_run",
    "repair_frames",
    "resume_index",
    "without_past_errors",
]
