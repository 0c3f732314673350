"""The header fields of WSGI environs, whose names are kept from request to request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime._http import environ as environ_module
from copilot_runtime.adapters import environ_headers

NAMES = st.sampled_from(["HTTP_ACCEPT", "HTTP_X_A_B", "HTTP_", "CONTENT_TYPE", "CONTENT_LENGTH", "PATH_INFO", "https"])
VALUES = st.sampled_from(["", "a", "b"])


@given(st.lists(st.dictionaries(NAMES, VALUES), min_size=2, max_size=4))
def test_headers_of_requests_in_a_row_are_those_of_each(environs: list[dict[str, str]]) -> None:
    names = {"HTTP_ACCEPT": "accept", "HTTP_X_A_B": "x-a-b", "HTTP_": ""}
    unprefixed = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}
    for environ in environs:
        expected = []
        for name, value in environ.items():
            if name in names:
                expected.append((names[name], value))
            elif value and name in unprefixed:
                expected.append((unprefixed[name], value))
        assert environ_headers(environ) == expected


def test_names_that_clients_choose_are_kept_for_few_requests() -> None:
    for number in range(1000):
        assert environ_headers({f"HTTP_X_{number}": "a"}) == [(f"x-{number}", "a")]
        assert environ_headers({f"HTTP_X_{number}" * 1000: "a"})
    assert len(environ_module._fields) <= 64
    assert all(len("".join(names)) <= 2000 for names in environ_module._fields)
