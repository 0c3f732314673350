"""The checks, a session each: `nox -l` lists them, `nox -s lint types` runs two, what follows `--` goes to pytest."""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "client", "build"]

PROJECT = nox.project.load_toml("pyproject.toml")
PACKAGES = sorted(str(file.parent) for file in Path("packages").glob("*/pyproject.toml"))


def tool(name: str) -> str:
    """The requirement of one of the lint tools, with its pin."""
    return next(item for item in nox.project.dependency_groups(PROJECT, "lint") if item.startswith(f"{name}=="))


def install(session: nox.Session, *more: str) -> None:
    """All packages, editable, with what their tests need."""
    editables = [part for folder in PACKAGES for part in ("-e", folder)]
    session.install(*editables, *nox.project.dependency_groups(PROJECT, "test"), *more)


@nox.session
def lint(session: nox.Session) -> None:
    """Lint rules, formatting, and whether the lock file still fits."""
    session.install(tool("ruff"), tool("uv"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("uv", "lock", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, over what is shipped."""
    install(session, tool("mypy"), tool("django-stubs"))
    session.run("mypy")


@nox.session
@nox.parametrize("agui", [nox.param("ag-ui-protocol>=1", id="agui-1"), nox.param("ag-ui-protocol<1", id="agui-0.1")])
def tests(session: nox.Session, agui: str) -> None:
    """The tests, with each of the two lines of AG-UI (docs/versions.md)."""
    install(session, agui)
    session.run("python", "-m", "pytest", *(session.posargs or ["-m", "not client"]))


@nox.session
def contract(session: nox.Session) -> None:
    """The recorded cases of ../shared/contract, against every adapter."""
    install(session)
    session.run("python", "-m", "pytest", "-m", "contract", *session.posargs)


@nox.session
def client(session: nox.Session) -> None:
    """The CopilotKit client from npm, against every adapter; needs Node 20.6."""
    install(session)
    with session.chdir("tests/client"):
        session.run("npm", "ci", "--no-audit", "--no-fund", external=True)
    session.run("python", "-m", "pytest", "-m", "client", *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """What an event and a run cost; benchmarks/ says what it needs."""
    install(session)
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build every package into dist/, then install each wheel into an environment of its own and import it."""
    session.install("build")
    dist = Path("dist")
    shutil.rmtree(dist, ignore_errors=True)
    for folder in PACKAGES:
        session.run("python", "-m", "build", "--outdir", str(dist), folder, silent=True)
    wheels = {wheel.name.split("-")[0]: wheel.resolve() for wheel in sorted(dist.glob("*.whl"))}
    # A package gets its siblings from here, whatever an index may hold under their names.
    siblings = Path(session.create_tmp(), "siblings.txt")
    siblings.write_text("".join(f"{module.replace('_', '-')} @ {wheel.as_uri()}\n" for module, wheel in wheels.items()))
    for module, wheel in wheels.items():
        alone = Path(session.create_tmp(), module)
        session.run("python", "-m", "venv", "--clear", str(alone))
        python = str(alone / "bin" / "python")
        session.run(python, "-m", "pip", "install", "-qq", "-c", str(siblings), str(wheel), external=True)
        typed = f"import {module}, pathlib; pathlib.Path({module}.__file__).with_name('py.typed').resolve(strict=True)"
        session.run(python, "-c", typed, external=True)
