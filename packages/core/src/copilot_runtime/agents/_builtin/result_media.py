"""How much of the attachments in the results of tools the requests of a run have."""

from __future__ import annotations

import logging

from .._tools.toolbox import ToolResult
from .media import from_attachment
from .messages import ToolContent

logger = logging.getLogger("copilot_runtime.agents.builtin")

_MAX_BYTES = 12_000_000
"""Of all attachments in the results of a run. In base64 that is 16 MB; makers accept requests of 20 MB and more."""


class ResultMedia:
    """The attachments in the results of one run."""

    def __init__(self) -> None:
        self._bytes_left = _MAX_BYTES

    def content(self, name: str, result: ToolResult) -> ToolContent:
        """Returns what the model receives of a result.

        Args:
            name: the name or id of the call, for the log.
            result: the result.
        """
        size = sum(len(attachment.data) for attachment in result.attachments)
        if size > self._bytes_left:
            logger.warning("the attachments of a result of %r are left out: the run has too many", name)
            return ToolContent(result.for_client)
        self._bytes_left -= size
        return ToolContent(result.for_model, tuple(map(from_attachment, result.attachments)))

    def refuse(self) -> None:
        """Has no further result contain attachments, since the model has rejected them."""
        self._bytes_left = 0
