"""Every other block of the README files and the documentation is read by what would read it."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from ..nginx import server_block
from .blocks import Block, all_blocks, blocks_of, pages
from .component_pages import JAVASCRIPT
from .test_python import LANGUAGES

pytestmark = pytest.mark.requirement("DOCS-01")


def parse_ini(text: str) -> None:
    configparser.ConfigParser(interpolation=None).read_string(text)


def parse_dockerfile(text: str) -> None:
    known = {"ARG", "CMD", "COPY", "ENV", "EXPOSE", "FROM", "RUN", "STOPSIGNAL", "USER", "WORKDIR"}
    used = {line.split()[0] for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")}
    assert used <= known


class _Elements(HTMLParser):
    """Raises AssertionError where an element ends that is not open."""

    VOID = ("br", "img", "input", "link", "meta")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parse_html(text: str) -> None:
    elements = _Elements()
    elements.feed(text)
    elements.close()
    assert elements.open == []


PARSERS: dict[str, Callable[[str], object]] = {
    "dockerfile": parse_dockerfile,
    "html": parse_html,
    "ini": parse_ini,
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
}
"""By language."""
OUTPUT = ("", "text")
"""What is shown and not written: drawings, and what a command prints."""
TESTED = {*LANGUAGES, *JAVASCRIPT, *PARSERS, *OUTPUT, "nginx", "sh"}


def test_docs_have_only_languages_that_are_tested() -> None:
    assert [block.place for page in pages() for block in blocks_of(page) if block.language not in TESTED] == []


def test_docs_show_no_commands_in_blocks_without_a_language() -> None:
    commands = re.compile(
        r"^(\$ )?(pip|python3?|npm|curl|copilot-runtime|gunicorn|uvicorn|flask|docker) ", re.MULTILINE
    )
    assert [block.place for block in all_blocks(*OUTPUT) if commands.search(block.code)] == []


@pytest.mark.parametrize("block", all_blocks(*PARSERS), ids=lambda block: block.place)
def test_configuration_in_the_docs_can_be_parsed(block: Block) -> None:
    PARSERS[block.language](block.code)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@pytest.mark.parametrize("block", all_blocks("nginx"), ids=lambda block: block.place)
def test_nginx_accepts_the_configuration_in_the_docs(block: Block, tmp_path: Path) -> None:
    upstreams: list[str] = []
    locations: list[str] = []
    for directive in re.findall(r"^\w.*?^}$|^\w[^{]*?;$", block.code, re.MULTILINE | re.DOTALL):
        (upstreams if re.match(r"upstream|map", directive) else locations).append(directive)
    assert locations
    server = server_block(1, "\n".join(locations))
    file = tmp_path / "nginx.conf"
    upstreams.append(f"access_log off; client_body_temp_path {tmp_path};")
    file.write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n{chr(10).join(upstreams)}\n{server}}}\n")
    command = ["nginx", "-e", "stderr", "-t", "-q", "-c", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
