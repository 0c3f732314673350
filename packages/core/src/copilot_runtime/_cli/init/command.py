"""Carries out ``copilot-runtime init``."""

from __future__ import annotations

import re
import secrets
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from ..errors import CommandError
from .frameworks import Framework

_SUFFIX = ".tmpl"
"""So that no tool takes the templates for modules of this package."""
_DOT = "dot-"


def init(framework: Framework, folder: Path) -> int:
    """Writes an application into a folder, and prints how to run it.

    Raises:
        CommandError: the folder has files already, or cannot be written.
    """
    values = {"NAME": _project_name(folder), "SECRET": secrets.token_urlsafe(32)}
    files = _render(framework, values)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CommandError(f"{folder} is not empty. Name a new folder.", 1)
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise CommandError(f"{folder} cannot be written: {error.strerror or error}.", 1) from error
    print(_next_steps(framework, folder, len(files)))
    return 0


def _project_name(folder: Path) -> str:
    """Returns a name that npm accepts, too."""
    name = re.sub(r"[^a-z0-9-]+", "-", folder.resolve().name.lower()).strip("-")
    return name[:60] or "copilot-app"


def _render(framework: Framework, values: dict[str, str]) -> dict[str, str]:
    """Returns the texts of all files by their paths."""
    files: dict[str, str] = {}
    for name in framework.templates:
        for path, template in _templates(resources.files(__package__) / "templates" / name):
            text = template.read_text(encoding="utf-8")
            for key, value in values.items():
                text = text.replace(f"@{key}@", value)
            files[path] = text
    return dict(sorted(files.items()))


def _templates(folder: Traversable, prefix: str = "") -> list[tuple[str, Traversable]]:
    """Returns the templates of a folder, with the paths of what they become."""
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _templates(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            name = entry.name.removesuffix(_SUFFIX)
            found.append((prefix + (f".{name.removeprefix(_DOT)}" if name.startswith(_DOT) else name), entry))
    return found


def _next_steps(framework: Framework, folder: Path, count: int) -> str:
    commands = "\n".join(f"    {command}" for command in framework.commands)
    return f"""Wrote {count} files to {folder}. To run it:

    cd {folder}
    python3 -m venv .venv
    . .venv/bin/activate
    pip install -r requirements.txt
{commands}

In a second terminal, with Node 20.19 or newer:

    cd {folder / "frontend"}
    npm install
    npm run dev

Open http://localhost:5173 and {framework.sign_in}. README.md says the rest."""
