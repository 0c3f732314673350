"""The code blocks of the README files and the documentation."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = (".", "docs", "examples", "examples/*", "packages/*", "benchmarks", "tests/client")

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S)
_FILE = re.compile(r"(?:#|//) (?P<name>[\w./-]+\.\w+)\b[^\n]*\n")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: the path of its page, from the root of the repository.
        line: the number of its first line of code.
        language: what stands behind the fence.
        code: its lines, without the indentation of the fence.
    """

    page: str
    line: int
    language: str
    code: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name in a first line such as ``# project/urls.py``, if the block is the whole of a file."""
        match = _FILE.match(self.code)
        return match["name"] if match else None


@cache
def pages() -> tuple[str, ...]:
    """The paths of all pages, from the root of the repository."""
    found = {path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md")}
    return tuple(sorted(path.relative_to(ROOT).as_posix() for path in found))


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def blocks_of(page: str) -> tuple[Block, ...]:
    return tuple(_find(page))


def all_blocks(*languages: str) -> list[Block]:
    """Returns the blocks of all pages, of some languages."""
    return [block for page in pages() for block in blocks_of(page) if block.language in languages]


def _find(page: str) -> Iterator[Block]:
    text = text_of(page)
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        yield Block(page, line, match["language"], textwrap.dedent(match["code"]))
