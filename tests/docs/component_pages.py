"""The JavaScript and TypeScript of the documentation as modules of one project, to be checked and bundled together.

A block with imports is a module of its own. What is only a part of one, elements or members of an object, is put into a
module: the page's reader has the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .blocks import ROOT, Block

JAVASCRIPT = ("js", "jsx", "ts", "tsx")
CLIENT_MODULES = ROOT / "tests/client/node_modules"
MODULES = ROOT / "examples/react_frontend/node_modules"

READERS_NAMES = {
    "CopilotChat": 'import { CopilotChat } from "@copilotkit/react-core/v2";',
    "CopilotKit": 'import { CopilotKit } from "@copilotkit/react-core/v2";',
    "threadId": "const threadId = crypto.randomUUID();",
    "token": 'const token = "ada-token";',
}
"""What parts of modules leave to their readers."""

_EXPORTS = re.compile(r"^export (?:default )?function (\w+)", re.MULTILINE)

OPTIONS = {
    "allowJs": True,
    "checkJs": True,
    "jsx": "react-jsx",
    "lib": ["es2023", "dom", "dom.iterable"],
    "module": "esnext",
    "moduleResolution": "bundler",
    "noEmit": True,
    "skipLibCheck": True,  # of the packages of others
    "target": "es2023",
    "types": ["vite/client"],
}


@dataclass(frozen=True)
class Module:
    """A block as a file.

    Attributes:
        block: the block.
        name: of its file, without a folder.
        code: the block's, with what its reader has around it.
        line: of the code, where the block begins.
        components: the names that it exports.
    """

    block: Block
    name: str
    code: str
    line: int
    components: Sequence[str]


def modules_of(blocks: Sequence[Block]) -> list[Module]:
    """Returns the modules of blocks; those of one page know each other's components."""
    made: list[Module] = []
    for number, block in enumerate(blocks):
        code, line = block.code, 0
        of_page = [module for module in made if module.block.page == block.page]
        if not re.search("^import ", code, re.MULTILINE):
            completed = _completed(code)
            head = [*_imports(completed, of_page)]
            code, line = "\n".join([*head, completed]), len(head)
        name = f"{re.sub(r'[^a-z]', '_', block.page.lower())}_{number}.{block.language}"
        made.append(Module(block, name, code, line, tuple(_EXPORTS.findall(code))))
    return made


def _imports(code: str, modules: Sequence[Module]) -> Iterator[str]:
    """Yields the lines that define what the code leaves to its reader."""
    lines = {name: f'import {{ {name} }} from "./{each.name}";' for each in modules for name in each.components}
    for name, line in {**READERS_NAMES, **lines}.items():
        is_used, is_defined = (re.search(rf"\b{before}{name}\b(?!=)", code) for before in ("", "(?:const|function) "))
        if is_used and not is_defined:
            yield line


def _completed(code: str) -> str:
    """The code of a part with what is around it."""
    if not re.search("^<", code, re.MULTILINE):
        return f'import {{ defineConfig }} from "vite";\nexport default defineConfig({{\n{code}}});\n'
    before, elements = re.split("^(?=<)", code, maxsplit=1, flags=re.MULTILINE)
    root = re.match(r"<(\w+)", elements)
    assert root
    end = "" if f"</{root[1]}>" in elements else f"<CopilotChat /></{root[1]}>"
    return f"{before}export default function Page() {{ return (\n{elements}{end}); }}\n"


def write_project(folder: Path, modules: Sequence[Module]) -> None:
    """Writes the modules, with one configuration of the compiler for TypeScript and one for JavaScript."""
    (folder / "node_modules").symlink_to(MODULES)
    for module in modules:
        (folder / module.name).write_text(module.code, encoding="utf-8")
    paths = {f"{name}{end}": [f"{CLIENT_MODULES}/@types/{name}{end}"] for name in ("react-dom",) for end in ("", "/*")}
    for language, strict in (("ts", True), ("js", False)):
        options = {**OPTIONS, "strict": strict, "paths": paths}
        include = [f"*.{language}", f"*.{language}x", f"*.m{language}"]
        (folder / f"{language}.json").write_text(json.dumps({"compilerOptions": options, "include": include}))
