"""Checks the commands of shell blocks, without running them: programs, options and packages exist."""

from __future__ import annotations

import argparse
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from packaging.requirements import Requirement

from .blocks import ROOT

_CONTROL = {"for", "do", "done", "cd", "export", "."}
_ASSIGNMENT = re.compile(r"[A-Z_]+=")


class WrongCommand(Exception):
    """A documented command that cannot work."""


def check(code: str) -> int:
    """Checks all commands of a block, and returns how many there are.

    Raises:
        WrongCommand: A program is not known here, or would refuse its arguments.
    """
    number = 0
    for words in commands_of(code):
        program, *arguments = words
        if program not in _CHECKS:
            raise WrongCommand(f"{program}: not a command that the documentation uses; see tests/docs/shell.py")
        _CHECKS[program](arguments)
        number += 1
    return number


def commands_of(code: str) -> Iterator[list[str]]:
    """Yields the words of each command of a block, without assignments and redirections."""
    # The interpreter of this repository stands in parentheses.
    code = re.sub(r"\$\(.*?\)", "python", code.replace("\\\n", " ")).replace("$URL", "http://127.0.0.1:8000/chat")
    code = re.sub(r"(?<=\s)\d?>>? *\S+", "", code)
    lexer = shlex.shlex(code.replace("\n", "\n;\n"), posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    command: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= {*";&|"}:
            if stripped := _without_prefixes(command):
                yield stripped
            command = []
        else:
            command.append(word)


def _without_prefixes(words: list[str]) -> list[str]:
    while words and (words[0] in ("do", "sudo") or _ASSIGNMENT.match(words[0])):
        words = words[1:]
    return [] if words and words[0] in _CONTROL else words


# --- programs ---


def _accept(arguments: Sequence[str]) -> None:
    """For programs whose arguments only a run could check."""


@cache
def _own_packages() -> dict[str, set[str]]:
    found = {}
    for file in ROOT.glob("packages/*/pyproject.toml"):
        project = tomllib.loads(file.read_text("utf-8"))["project"]
        found[project["name"]] = set(project.get("optional-dependencies", {}))
    return found


def _pip(arguments: Sequence[str]) -> None:
    if arguments[0] not in ("install", "wheel"):
        raise WrongCommand(f"pip {arguments[0]}")
    for text in arguments[1:]:
        if text.startswith("./"):
            if not (ROOT / text / "pyproject.toml").is_file():
                raise WrongCommand(f"there is no package in {text}")
            continue
        if text == "dist" or text.startswith("-") or text.endswith("requirements.txt"):
            continue
        requirement = Requirement(text)
        if not requirement.name.startswith("copilot-runtime"):
            continue
        if requirement.name not in _own_packages():
            raise WrongCommand(f"there is no package {requirement.name}")
        if missing := requirement.extras - _own_packages()[requirement.name]:
            raise WrongCommand(f"{requirement.name} has no extra {', '.join(missing)}")


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    try:
        parser.parse_args(list(arguments))
    except SystemExit as error:
        raise WrongCommand(f"{parser.prog} {shlex.join(arguments)}") from error


def _copilot_runtime(arguments: Sequence[str]) -> None:
    from copilot_runtime._cli.main import _parser

    _parse(_parser(), arguments)


def _dev(arguments: Sequence[str]) -> None:
    if arguments[0] not in ("demo", "test", "env"):
        raise WrongCommand(f"dev.py {arguments[0]}")


def _manage(arguments: Sequence[str]) -> None:
    import django.core.management as management

    if arguments[0] not in {*management.get_commands(), "check", "createsuperuser", "migrate", "runserver"}:
        raise WrongCommand(f"manage.py {arguments[0]}")


def _benchmarks(arguments: Sequence[str]) -> None:
    from benchmarks.__main__ import _parser

    _parse(_parser(), arguments)


_SCRIPTS: dict[str, Callable[[Sequence[str]], None]] = {"dev.py": _dev, "manage.py": _manage}
_MODULES: dict[str, Callable[[Sequence[str]], None]] = {"pip": _pip, "benchmarks": _benchmarks}


def _python(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["-m"]:
        _MODULES.get(arguments[1], _accept)(arguments[2:])
    elif arguments and arguments[0] in _SCRIPTS:
        _SCRIPTS[arguments[0]](arguments[1:])


def _npm(arguments: Sequence[str]) -> None:
    if arguments[0] not in ("ci", "create", "install", "run"):
        raise WrongCommand(f"npm {arguments[0]}")


def _npx(arguments: Sequence[str]) -> None:
    if arguments[0] != "vite":
        raise WrongCommand(f"npx {arguments[0]}")


def _django_admin(arguments: Sequence[str]) -> None:
    if arguments[0] != "startproject":
        raise WrongCommand(f"django-admin {arguments[0]}")


def _uvicorn(arguments: Sequence[str]) -> None:
    from uvicorn.main import main

    _click("uvicorn", main, arguments)


def _flask(arguments: Sequence[str]) -> None:
    import flask.cli

    run = arguments.index("run")
    _click("flask", flask.cli.cli, [*arguments[:run], "run"])
    _click("flask run", flask.cli.run_command, arguments[run + 1 :])


def _click(name: str, command: object, arguments: Sequence[str]) -> None:
    import click

    try:
        command.make_context(name, list(arguments), resilient_parsing=False)  # type: ignore[attr-defined]
    except click.UsageError as error:
        raise WrongCommand(f"{name}: {error}") from error


def _gunicorn(arguments: Sequence[str]) -> None:
    from gunicorn.config import Config

    _parse(Config().parser(), arguments)


def _waitress(arguments: Sequence[str]) -> None:
    from waitress.adjustments import Adjustments

    try:
        Adjustments.parse_args(list(arguments))
    except Exception as error:
        raise WrongCommand(f"waitress-serve: {error}") from error


_CHECKS: dict[str, Callable[[Sequence[str]], None]] = {
    ".ci/run": _accept,
    "copilot-runtime": _copilot_runtime,
    "curl": _accept,
    "daphne": _accept,
    "django-admin": _django_admin,
    "docker": _accept,
    "fastapi": _accept,
    "flask": _flask,
    "granian": _accept,
    "gunicorn": _gunicorn,
    "hypercorn": _accept,
    "mkdir": _accept,
    "node": _accept,
    "npm": _npm,
    "npx": _npx,
    "pip": _pip,
    "pipx": _accept,
    "pytest": _accept,
    "python": _python,
    "python3": _python,
    "uvicorn": _uvicorn,
    "waitress-serve": _waitress,
}
PROGRAMS = frozenset(_CHECKS)
