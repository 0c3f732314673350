"""The demo's transcription service, which needs no network and understands nothing."""

from __future__ import annotations


class DemoTranscription:
    """Returns a text about the recording in place of what was said."""

    def transcribe(self, audio: bytes, filename: str, mime_type: str, /) -> str:
        """Returns the text."""
        kind = mime_type.partition(";")[0].strip() or "audio"
        return f"Hello! (The demo cannot listen: it has received {max(1, len(audio) // 1024)} KiB of {kind}.)"
