"""AG-UI's model of a run input, for inputs so large that their errors would be costly.

A module of its own, since pydantic takes a while to build the model, which few processes need.
"""

from __future__ import annotations

from typing import Annotated

from ag_ui.core import Context, Message, Tool
from pydantic import FailFast, Field

from .input_models import LenientRunAgentInput


class FailFastRunAgentInput(LenientRunAgentInput):
    """Reports the first invalid item of each list only, since pydantic keeps every error and the item that it is for.

    An item's own lists cannot do the same, so `InputLimits` bounds them.
    """

    messages: Annotated[list[Message], FailFast()]
    tools: Annotated[list[Tool], FailFast()] = Field(default=[])
    context: Annotated[list[Context], FailFast()] = Field(default=[])
