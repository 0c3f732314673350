"""docs/compatibility.md is what the lists of the tests say."""

from __future__ import annotations

import pytest

from ..ran import Combination, Record
from . import compatibility
from .compatibility_claims import claims, differences

pytestmark = pytest.mark.requirement("DOCS-01")


def test_compatibility_page_is_in_step_with_the_tests() -> None:
    command = "run: python -m tests.docs.compatibility"
    assert compatibility.PAGE.read_text("utf-8") == compatibility.content(), command


def test_compatibility_page_has_all_parts() -> None:
    content = compatibility.content()
    for part in ("1.57", "gevent", "Django, ASGI", "3.11", "`ag-ui-protocol` < 1", "pydantic-ai-slim", "postgres"):
        assert part in content


MATRIX_VERSIONS = {"3.1": "3.1.9", "newest": "3.2.0", "5.2": "5.2.30", "6.0": "6.0.1", "6.1": "6.1.0"}
FRAMEWORK_TESTS = {("tests", "flask"), ("tests", "django")}


def records_of_a_run(*, without: Combination = (), extra: Combination = ()) -> list[Record]:
    """Returns the records of a run of CI that is as the page says, but for one combination."""
    ran = {each for each in claims() if each[0] in ("frontend", "server", "store")} | ({extra} if extra else set())
    records = [Record("", "3.11.7", {"ag-ui-protocol": "1.0.0"}, frozenset(ran - {without}), frozenset())]
    for row in compatibility.sessions()["MATRIX"]:
        python, flask, django, _ = row
        versions = {"flask": MATRIX_VERSIONS[flask], "django": MATRIX_VERSIONS[django], "ag-ui-protocol": "1.0.0"}
        passed = frozenset(FRAMEWORK_TESTS if ("row", *row) != without else ())
        records.append(Record(f"matrix({python})", f"{python}.4", versions, passed, frozenset()))
    for version, line in (("0.1.22", "< 1"), ("1.0.0", ">= 1")):
        agents = {
            ("agents", module)
            for package, module in compatibility.AGENTS.items()
            if ("agents", package, line) != without
        }
        records.append(Record("frameworks", "3.11.7", {"ag-ui-protocol": version}, frozenset(agents), frozenset()))
    return records


def test_compatibility_page_has_what_a_run_has() -> None:
    assert differences(records_of_a_run()) == []


@pytest.mark.parametrize("kind", ["frontend", "server", "store", "row", "agents"])
def test_compatibility_page_claims_what_did_not_run(kind: str) -> None:
    missing = max(each for each in claims() if each[0] == kind)
    [sentence] = differences(records_of_a_run(without=missing))
    assert sentence == f"the page says {kind} {', '.join(missing[1:])}, and no test ran that"


@pytest.mark.parametrize(
    "extra", [("frontend", "1.80", "run/rest", "asgi"), ("server", "asgi", "robyn"), ("store", "x")]
)
def test_compatibility_page_lacks_what_ran(extra: Combination) -> None:
    [sentence] = differences(records_of_a_run(extra=extra))
    assert sentence == f"tests ran {extra[0]} {', '.join(extra[1:])}, and the page does not have it"


def test_compatibility_page_and_a_test_that_failed() -> None:
    [failed] = [Record("", "3.11.7", {}, frozenset(), frozenset({("server", "flask", "gunicorn gevent")}))]
    records = [*records_of_a_run(without=("server", "flask", "gunicorn gevent")), failed]
    assert len(differences(records)) == 2
    assert differences([*records_of_a_run(), failed]) == []  # it has passed when it was run once more
