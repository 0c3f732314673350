"""What is kept of the texts that clients send is bounded, whatever they send."""

from __future__ import annotations

import pytest

from copilot_runtime._http.kept_results import KeptResults


def test_kept_results_are_found_out_once() -> None:
    calls: list[str] = []

    def upper(text: str) -> str:
        calls.append(text)
        return text.upper()

    kept = KeptResults(upper, size=len, max_kept=2, max_characters=3)
    assert [kept["a"], kept["a"], kept["long"], kept["long"]] == ["A", "A", "LONG", "LONG"]
    assert calls == ["a", "long", "long"]
    assert [kept[text] for text in "bcba"] == ["B", "C", "B", "A"]
    assert len(kept) <= 2


def test_kept_results_keep_no_failure() -> None:
    def fail(text: str) -> str:
        raise ValueError(text)

    kept = KeptResults(fail, size=len)
    for _ in range(2):
        with pytest.raises(ValueError, match="a"):
            kept["a"]
    assert not kept
