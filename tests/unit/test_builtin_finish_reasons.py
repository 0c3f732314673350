"""Why a completion ended, as servers of many kinds spell it."""

from __future__ import annotations

from typing import Any

import pytest

from copilot_runtime.agents._builtin.finish_reasons import Finish, parse_finish_reason

COMPLETE = ["stop", "tool_calls", "function_call", "STOP", "end_turn", "tool_use", "eos", "eos_token", "stop_sequence"]
LENGTH = ["length", "max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded"]
FILTERED = ["content_filter", "content-filter", "sensitive", "SAFETY", "refusal"]
FAILED = [
    *("error", "network_error", "abort", "aborted", "cancelled", "insufficient_system_resource", "ERROR"),
    *("function_call_filter: MALFORMED_FUNCTION_CALL", "repetition", "unknown", "something new", "time_limit", "0"),
    *(1, True, {"type": "abort"}, ["stop"]),
]
GOES_ON = [None, "", " ", "null", "None", "not_finished", False, 0, {}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, Finish.COMPLETE) for value in (*COMPLETE, " stop ", "FinishReason.STOP")),
        *((value, Finish.LENGTH) for value in LENGTH),
        *((value, Finish.FILTERED) for value in FILTERED),
        *((value, Finish.FAILED) for value in FAILED),
        *((value, None) for value in GOES_ON),
    ],
    ids=repr,
)
def test_finish_reason_of_any_server(value: Any, expected: Finish | None) -> None:
    assert parse_finish_reason(value) is expected
