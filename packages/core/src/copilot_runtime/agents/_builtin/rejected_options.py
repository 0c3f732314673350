"""Options that a model rejects although others of its maker have them, such as a level of `reasoning_effort`.

Which model has which values changes with each release, so that OpenAI is asked, and its error says which parameter it
was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import INVALID_REQUEST, PROVIDER_ERROR, ModelError, is_rejection
from .options import overridden_names

_OPTIONS: Mapping[str, str] = {
    "reasoning.effort": "reasoning_effort",
    "reasoning_effort": "reasoning_effort",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_output_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "stop": "stop_sequences",
    "seed": "seed",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tool_calls",
}
"""By the parameter that OpenAI's error names."""


def name_rejected_option(
    failure: ModelError, error: Exception, forwarded_props: Mapping[str, Any], overridable: frozenset[str]
) -> ModelError:
    """Returns a failure that says which option the model has rejected, and whose it is; others as they are.

    Args:
        failure: the failure.
        error: the exception of the SDK.
        forwarded_props: the ``forwardedProps`` of the run.
        overridable: the options that they may override.
    """
    param = getattr(error, "param", None)
    option = _OPTIONS.get(param) if isinstance(param, str) else None
    if option is None or failure.code != PROVIDER_ERROR or not is_rejection(error):
        return failure
    wire_name = overridden_names(forwarded_props, overridable).get(option)
    if wire_name is None:
        message = f"The model does not accept this value of the option {option}."
        return ModelError(PROVIDER_ERROR, message, failure.detail)
    message = f"The model does not accept this value of forwardedProps.{wire_name}."
    return ModelError(INVALID_REQUEST, message, failure.detail)
