"""The JavaScript and TypeScript of the README files and the documentation: types, and what a browser draws."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ..examples.test_react_frontend import BROWSERS, missing_requirement
from ..missing import skip_unless_ci
from ..servers import free_port, run_server
from .blocks import Block, all_blocks, blocks_of
from .component_pages import CLIENT_MODULES, JAVASCRIPT, Module, modules_of, write_project

pytestmark = [pytest.mark.client, pytest.mark.requirement("DOCS-01")]

QUICKSTART = "docs/quickstart-flask.md"
"""Its page is that of all quickstarts, as a test of theirs says."""
TSC = CLIENT_MODULES / "typescript/bin/tsc"
DRIVER = Path(__file__).with_name("draw_components.mjs")


def type_errors(folder: Path) -> list[str]:
    errors = []
    for configuration in ("ts.json", "js.json"):
        command = ["node", str(TSC), "--pretty", "false", "-p", configuration]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert not result.stderr, result.stderr
        errors += [line for line in result.stdout.splitlines() if "TS18003" not in line]  # there are no such files
    return errors


def project(blocks: list[Block], folder: Path) -> list[Module]:
    missing = "the compiler is not installed; run: cd tests/client && npm ci"
    skip_unless_ci(missing_requirement() or (None if TSC.is_file() else missing))
    modules = modules_of(blocks)
    write_project(folder, modules)
    return modules


def test_components_of_the_docs_have_the_types_of_the_packages(tmp_path: Path) -> None:
    project(all_blocks(*JAVASCRIPT), tmp_path)
    assert type_errors(tmp_path) == []


WRONG = (
    '<CopilotKit runtimeURL="/api/copilotkit">',
    'import { CopilotKid } from "@copilotkit/react-core/v2";',
    "<CopilotKit runtimeUrl={misspelt}>",
    'server: { prxy: { "/api": "http://127.0.0.1:8000" } }',
    'import { useFrontendTool } from "@copilotkit/react-core/v2";\nuseFrontendTool({ nam: "x" });',
)


@pytest.mark.parametrize("codes", [WRONG, ["<CopilotKit runtimeUrl="]], ids=["types", "syntax"])
def test_components_of_the_docs_with_mistakes_fail(codes: Sequence[str], tmp_path: Path) -> None:
    modules = project([Block("page.md", 1, "tsx", code) for code in codes], tmp_path)
    found = {line.partition("(")[0] for line in type_errors(tmp_path) if not line.startswith(" ")}
    assert found == {module.name for module in modules}


def test_components_of_the_docs_are_drawn_in_a_browser(tmp_path: Path) -> None:
    modules = project(all_blocks(*JAVASCRIPT), tmp_path)
    for block in blocks_of(QUICKSTART):
        name = "index.html" if block.language == "html" else block.file
        if name in ("index.html", "main.jsx"):
            (tmp_path / name).write_text(block.code, encoding="utf-8")
    # The page that several have in common is drawn once.
    once = {module.code: module for module in modules}.values()
    given = json.dumps([[module.block.place, module.name, module.components] for module in once])
    browser, port = next(filter(None, map(shutil.which, BROWSERS))), free_port()
    with run_server([sys.executable, "-m", "copilot_runtime", "demo", "--port", str(port)], port):
        command = ["node", str(DRIVER), browser, str(tmp_path), str(port), "hello", "Hello! I am a small demo agent."]
        result = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
