"""What a command raises if it cannot be carried out."""

from __future__ import annotations


class CommandError(Exception):
    """A command cannot be carried out. The text is a message for the user."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code
