"""docs/errors.md has every error that the code has, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from copilot_runtime._engine import endings
from copilot_runtime._events import RunEnding
from copilot_runtime._server import access
from copilot_runtime._server.endpoints import threads
from copilot_runtime.agents._builtin.errors import ModelError
from copilot_runtime.agents._http.errors import UpstreamError
from copilot_runtime.transcription import _errors as transcription

from .blocks import ROOT, text_of

SOURCES = sorted(ROOT.glob("packages/core/src/copilot_runtime/_server/**/*.py"))
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SENTENCE = re.compile(r"^This ")


@cache
def section(title: str) -> str:
    """Returns what stands below a heading of the page, up to the next one."""
    _, *parts = HEADING.split(text_of("docs/errors.md"))
    return dict(zip(parts[::2], parts[1::2], strict=True))[title]


def rows(title: str, cells: int) -> list[tuple[str, ...]]:
    """Returns the first cells of the rows below a heading, without the quotation marks of code."""
    lines = [
        line for line in section(title).splitlines() if line.startswith("| ") and not line.startswith("| status |")
    ]
    lines = [line for line in lines if "`" in line]
    return [tuple(cell.strip().replace("`", "") for cell in line.split("|")[1 : cells + 1]) for line in lines]


def responses() -> Iterator[tuple[int, str]]:
    """Yields the status and error of every call of `error_response` that names both."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "error_response":
                status, error = node.args[:2]
                if isinstance(status, ast.Constant) and isinstance(error, ast.Constant):
                    yield int(str(status.value)), str(error.value)


def failures_of_factories() -> Iterator[str]:
    """Yields the errors with which endpoints name what they could not do without the application's agents."""
    for file in SOURCES:
        yield from re.findall(r'(?:find_agent|resolve_agents)\(context, "(.+?)"\)', file.read_text("utf-8"))


def test_errors_page_has_every_refusal() -> None:
    documented = {
        (int(status), error.rstrip(" …"))
        for statuses, errors in rows("Requests that are refused", 2)
        for status in statuses.split(", ")
        for error in ([errors] if SENTENCE.match(errors) else errors.split(", "))
    }
    sentences = {access._CLOSED, access._READ_ONLY}
    raised = {*responses(), *((500, name) for name in failures_of_factories()), *((422, text) for text in sentences)}
    raised |= {(403, "cross_site_request"), (400, "invalid_request"), (415, "invalid_request")}
    assert {(status, error) for status, error in raised if not is_documented(status, error, documented)} == set()
    assert {row for row in documented if not any(is_documented(*each, {row}) for each in raised)} == set()


def is_documented(status: int, error: str, documented: set[tuple[int, str]]) -> bool:
    if SENTENCE.match(error):
        return any(status == each and error.startswith(text) for each, text in documented)
    return (status, error) in documented


@pytest.mark.requirement("AGENT-05")
def test_errors_page_has_every_code_of_the_runtime() -> None:
    documented = [row for row in rows("The runtime", 2) if row[0] in endings.RUN_ERROR_CODES]
    meanings = {code: text.replace("`", "") for code, text in endings.RUN_ERROR_CODES.items()}
    assert documented[: len(meanings)] == [*meanings.items()]
    remedies = {code for row in documented[len(meanings) :] for code in row[0].split(", ")}
    remedies |= {code for row in rows("The runtime", 1) for code in row[0].split(", ")}
    assert remedies == set(meanings)
    used = {ending.code for ending in vars(endings).values() if isinstance(ending, RunEnding) and not ending.stopped}
    assert used | {RunEnding().code, endings.timed_out(1).code} == set(endings.RUN_ERROR_CODES)


@pytest.mark.requirement("AGENT-01", "AGENT-05")
@pytest.mark.parametrize(
    ("title", "codes"), [("HttpAgent", UpstreamError.messages), ("BuiltInAgent", ModelError.messages)]
)
def test_errors_page_has_every_code_of_agents(title: str, codes: dict[str, str]) -> None:
    assert {code for (code,) in rows(title, 1)} == set(codes)


def test_errors_page_has_every_code_of_transcription() -> None:
    classes = [value for value in vars(transcription).values() if isinstance(value, type)]
    errors = [each for each in classes if issubclass(each, transcription.TranscriptionError)]
    assert {(int(status), code) for status, code in rows("Transcription", 2)} == {
        (each.status, each.code) for each in errors
    }


def test_errors_page_quotes_the_hosted_backend() -> None:
    assert "This request needs the hosted backend" in (ROOT / str(threads.__file__)).read_text("utf-8")
