"""Why a completion ended, in the spellings of many servers.

A completion that ended for a reason that is not listed here has failed: a server that breaks off must not look like
one that is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class Finish(IntEnum):
    """How a completion ended. Of several reasons the highest counts."""

    COMPLETE = 1
    LENGTH = 2
    """The token limit was reached."""
    FILTERED = 3
    """The provider withheld the rest because of its content."""
    FAILED = 4


_SPELLINGS: Mapping[Finish, tuple[str, ...]] = {
    Finish.COMPLETE: (
        # OpenAI; Gemini and Cohere write them in capitals.
        *("stop", "tool_calls", "function_call"),
        # Anthropic, Bedrock and gateways in front of them
        *("end_turn", "tool_use", "stop_sequence"),
        # Together, Text Generation Inference, watsonx, Cohere, Qianfan
        *("eos", "eos_token", "tool_call", "complete", "completed", "normal", "end"),
    ),
    Finish.LENGTH: (
        "length",
        # Anthropic and Gemini; vLLM's and others' names of the parameter
        *("max_tokens", "max_output_tokens", "max_completion_tokens", "max_new_tokens", "max_length"),
        # Mistral; Zhipu and Anthropic; watsonx
        *("model_length", "model_context_window_exceeded", "token_limit"),
    ),
    Finish.FILTERED: (
        # OpenAI and Azure; Bedrock; Zhipu; Anthropic; Cohere
        *("content_filter", "content_filtered", "guardrail_intervened", "sensitive", "refusal", "error_toxic"),
        # Gemini
        *("safety", "recitation", "blocklist", "prohibited_content", "spii", "image_safety", "language"),
    ),
}
_BY_SPELLING: Mapping[str, Finish] = {
    spelling: finish for finish, spellings in _SPELLINGS.items() for spelling in spellings
}
_NO_REASON = frozenset(("", "null", "none", "not_finished", "finish_reason_unspecified", "continuation"))
"""What servers send in chunks that are not the last: Ollama and others, DashScope, Python's None, watsonx, Gemini."""


def parse_finish_reason(value: Any) -> Finish | None:
    """Returns how a completion ended; None if the value of a chunk's ``finish_reason`` says that it goes on."""
    if not value:
        return None
    spelling = str(value).strip().lower().replace("-", "_").rpartition(".")[2]  # "FinishReason.STOP"
    return None if spelling in _NO_REASON else _BY_SPELLING.get(spelling, Finish.FAILED)
