"""JSON with a number that is too large for a float is refused like one with an infinity (RFC 8259, section 6)."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime._strict_json import loads

pytestmark = pytest.mark.requirement("BODY-02")

NUMBERS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-"]),
    st.sampled_from(["0", "1", "9" * 209, "9" * 210, "9" * 298, "1" + "0" * 308, "2" + "0" * 308, "7" * 400]),
    st.sampled_from(["", ".5", ".0" + "0" * 400]),
    st.sampled_from(["", "e9", "E99", "e+307", "E308", "e0308", "E+309", "e-999", "e1000"]),
)
TEXTS = st.sampled_from(["", "9e999", "Infinity", "0" * 400, "NaN"])


@given(NUMBERS, TEXTS)
def test_loads_refuses_exactly_the_numbers_that_a_float_cannot_hold(number: str, text: str) -> None:
    body = f'{{"text": {json.dumps(text)}, "numbers": [1, {number}]}}'
    value = json.loads(body)["numbers"][1]
    if isinstance(value, float) and math.isinf(value):
        with pytest.raises(ValueError, match=r"number|Infinity|expected"):
            loads(body.encode())
    else:
        assert loads(body.encode())["numbers"][1] == value
