"""Every command of the README files and the documentation exists, and accepts what is written behind it."""

from __future__ import annotations

import re

import pytest

from .blocks import Block, all_blocks, pages
from .links import prose_of
from .shell import PROGRAMS, WrongCommand, check

pytestmark = pytest.mark.requirement("DOCS-01")

CODE_SPAN = re.compile(r"`([^`]+)`")
PLACEHOLDER = re.compile(r"\.\.\.|\b[A-Z]+\b")
SERVERS = PROGRAMS & {"copilot-runtime", "flask", "gunicorn", "pip", "python", "uvicorn", "waitress-serve"}


@pytest.mark.parametrize("block", all_blocks("sh"), ids=lambda block: block.place)
def test_shell_blocks_of_the_docs_are_commands_that_exist(block: Block) -> None:
    assert check(block.code)


def inline_commands() -> list[tuple[str, str]]:
    """Whole commands in sentences and tables, with their pages; `gunicorn --preload` alone is not one."""
    # The changelog names options, not whole commands.
    found = [(page, text) for page in pages() if page != "CHANGELOG.md" for text in CODE_SPAN.findall(prose_of(page))]
    return [
        (page, text)
        for page, text in found
        if text.split()[0] in SERVERS and len(text.split()) > 2 and not PLACEHOLDER.search(text)
    ]


def test_commands_in_sentences_of_the_docs_exist() -> None:
    commands = inline_commands()
    assert len(commands) > 20
    wrong = []
    for page, text in commands:
        try:
            check(text)
        except WrongCommand as error:
            wrong.append(f"{page}: {text}: {error}")
    assert wrong == []


@pytest.mark.parametrize(
    "command",
    [
        "pip install copilot-runtime-tornado",
        "pip install 'copilot-runtime[opnai]'",
        "copilot-runtime serv main:runtime",
        "copilot-runtime serve main:runtime --hotreload",
        "gunicorn --worker-klass gthread app:app",
        "uvicorn main:app --graceful 3",
        "waitress-serve --thread-number=64 app:app",
        "python manage.py migrat",
        "python3 dev.py tests",
        "rm -r docs",
    ],
)
def test_shell_check_refuses_a_command_that_cannot_work(command: str) -> None:
    with pytest.raises(WrongCommand):
        check(command)
