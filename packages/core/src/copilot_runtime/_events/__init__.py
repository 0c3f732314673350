"""AG-UI events: validation, serialisation to frames, and compaction of finished runs."""

from .bursts import pack_frames, pack_pieces, split_packed
from .compacted_frames import CompactedFrame, CompactedFrames, frames_of
from .completion import (
    NO_TERMINAL_EVENT,
    STOPPED,
    RunEnding,
    ends_of_open,
    error_frame,
    is_terminal,
)
from .cursor import Cursor, CursorKind, is_lost, is_reapers, joined_id, resume_index
from .frames import (
    Burst,
    Frames,
    Piece,
    as_frames,
    count_frames,
    find_frame,
    frames_after,
    join_frames,
    join_pieces,
    last_frame,
    pieces_of_frames,
    split_frames,
    split_pieces,
)
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
    "Burst",
    "CompactedFrame",
    "CompactedFrames",
    "Cursor",
    "CursorKind",
    "Event",
    "Frames",
    "InputEcho",
    "InputMessages",
    "InvalidEventError",
    "Piece",
    "RecordedEnd",
    "RunEnding",
    "RunRecorder",
    "apply_events",
    "as_frames",
    "count_frames",
    "decode",
    "encode",
    "encode_echo",
    "ends_of_open",
    "error_frame",
    "event_data",
    "find_frame",
    "format_frame",
    "frames_after",
    "frames_of",
    "is_lost",
    "is_reapers",
    "is_terminal",
    "join_frames",
    "join_pieces",
    "joined_id",
    "last_frame",
    "messages_after_run",
    "pack_frames",
    "pack_pieces",
    "pieces_of_frames",
    "repair_frames",
    "resume_index",
    "split_frames",
    "split_packed",
    "split_pieces",
    "without_past_errors",
]
