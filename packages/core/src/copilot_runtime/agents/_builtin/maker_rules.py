"""What makers of models refuse: of tools, and of histories."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from .providers import Model


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MakerRules:
    """What one maker accepts."""

    call_id: re.Pattern[str] = re.compile(r".{1,40}", re.DOTALL)
    """The ids of tool calls."""
    max_tools: int | None = None
    max_description: int | None = None
    """How many characters the description of a tool may have."""
    property_name: re.Pattern[str] | None = None
    """The names of a tool's parameters."""
    has_google_schemas: bool = False
    needs_called_tools: bool = False
    """Whether a request with tool calls in its history must define their tools."""
    refuses_blanks: bool = False
    """Whether texts must have more than spaces."""
    refuses_last_reasoning: bool = False
    """Whether a response of the model must not end with reasoning. Chat Completions have no place for it in between."""
    starts_with_user: bool = False
    """Whether the messages of the application must be at the beginning, and the first of the others a user's."""
    ends_with_user: bool = False
    """Whether the last message must be a user's, or the result of a tool."""
    media_in_results: frozenset[str] = frozenset()
    """The kinds of media that the result of a tool may contain. Others follow the results, in a message of a user."""
    takes_turns: bool = False
    """Whether two messages of a user, or of the model, must not follow each other, nor a user's a result."""


_COMPATIBLE = MakerRules()
_OPENAI = MakerRules(max_tools=128, max_description=1024)
_ANTHROPIC = MakerRules(
    call_id=re.compile(r"[A-Za-z0-9_-]{1,64}"),
    property_name=re.compile(r"[A-Za-z0-9_.-]{1,64}"),
    needs_called_tools=True,
    refuses_blanks=True,
    refuses_last_reasoning=True,
    starts_with_user=True,
    ends_with_user=True,
    media_in_results=frozenset(("image", "document")),
)
_GOOGLE = MakerRules(
    max_tools=512,
    has_google_schemas=True,
    refuses_blanks=True,
    refuses_last_reasoning=True,
    starts_with_user=True,
    ends_with_user=True,
)
_MISTRAL = MakerRules(
    call_id=re.compile(r"[A-Za-z0-9]{9}"),
    refuses_blanks=True,
    starts_with_user=True,
    ends_with_user=True,
    takes_turns=True,
)

_BY_PROVIDER: Mapping[str, MakerRules] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "google": _GOOGLE,
    "vertex": _GOOGLE,
}
_BY_API: Mapping[str, MakerRules] = {
    "responses": MakerRules(
        call_id=re.compile(r".{1,64}", re.DOTALL),
        max_tools=128,
        refuses_last_reasoning=True,
        media_in_results=frozenset(("image", "document")),
    ),
    "messages": _ANTHROPIC,
    "generate_content": _GOOGLE,
}
"""The rules of the makers' own APIs, whoever serves them."""
_MISTRAL_MODEL = re.compile(r"(.*/)?(open-)?(mistral|ministral|mixtral|magistral|codestral|devstral|pixtral|voxtral)")


def rules_for(model: Model, api: str = "chat") -> MakerRules:
    """Returns the rules for a model. Those for Mistral's go with its name: its servers are compatible ones.

    Args:
        model: the model.
        api: the name of the API by which it is called.
    """
    rules = _BY_API.get(api) or _BY_PROVIDER.get(model.provider.name)
    if rules is None:
        rules = _MISTRAL if _MISTRAL_MODEL.match(model.name.lower()) else _COMPATIBLE
    return rules
