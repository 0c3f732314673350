"""The checks, a session each: `nox -l` lists them, `nox -s lint types` runs two, what follows `--` goes to pytest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nox
from nox.command import CommandFailed
from packaging.requirements import Requirement
from packaging.version import Version

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "client", "build"]
# As in the tests: what a machine lacks is skipped with a line that says so, and with CI=true it is a failure.
nox.options.error_on_missing_interpreters = os.environ.get("CI") == "true"

PROJECT = nox.project.load_toml("pyproject.toml")
PACKAGES = sorted(str(file.parent) for file in Path("packages").glob("*/pyproject.toml"))

INTELLIGENCE_RUNTIME = "copilotkit-intelligence-runtime"

# Django has no types of its own, so that package cannot be complete.
COMPLETELY_TYPED = ["copilot_runtime", "copilot_runtime_asgi", "copilot_runtime_wsgi", "copilot_runtime_flask"]

INSTALLED = """
import importlib.metadata, json, platform, sys
versions = {name: importlib.metadata.version(name) for name in sys.argv[1:]}
print(json.dumps({"python": platform.python_version(), **versions}))
"""


# Which server it is changes nothing about a version.
SERVERS = ["-k", "not gevent and not waitress and not dispatcher"]
ON_FRAMEWORKS = ["tests/flask", "tests/django", *SERVERS]
# The adapters see nothing of AG-UI: its events go through them as bytes.
THROUGH_FRAMEWORKS = ["tests/flask/test_servers.py", "tests/django/test_streams.py", *SERVERS]
IN_BROWSER = "tests/frameworks/test_approvals_in_browser.py"
ON_SERVERS = "tests/frameworks/test_servers.py"
LESS_COMMON_SERVERS = ["hypercorn>=0.17", "granian>=2", "pyuwsgi>=2.0.28", "cheroot>=10"]
# Stores, HTTP and event loops see nothing of AG-UI's models.
LOOKS_AT_MODELS = "events agent builtin content_generations engine input_limits wire_names resume testing_client types"
ON_AGUI = [
    *("tests/unit", "tests/test_http_agent.py", "tests/test_contract.py::test_recorded_cases[asgi-default]"),
    *("-k", f"({' or '.join(LOOKS_AT_MODELS.split())} or recorded_cases) and not costs and not store"),
]


PROCESSES = os.environ.get("TEST_PROCESSES")
"""How many tests a session runs at a time, if not as many as usual."""


def expose_pyenv_versions() -> None:
    """Lets nox find each of pyenv's interpreters; those that are chosen stay first."""
    if shutil.which("pyenv") and "PYENV_VERSION" not in os.environ:
        questions = [["pyenv", "version-name"], ["pyenv", "versions", "--bare", "--skip-aliases"]]
        answers = [subprocess.run(args, stdout=subprocess.PIPE, text=True, check=False).stdout for args in questions]
        os.environ["PYENV_VERSION"] = ":".join(" ".join(answers).split())


expose_pyenv_versions()


def minimum_version(folder: str, name: str) -> str:
    """The oldest version that a package of ours accepts of another."""
    items = nox.project.load_toml(f"{folder}/pyproject.toml")["project"]["dependencies"]
    needed = next(item for item in map(Requirement, items) if item.name == name)
    return next(specifier.version for specifier in needed.specifier if specifier.operator == ">=")


ABOVE_FLOORS = ("google-genai",)
"""Packages of extras that need something newer than the core does, so that the oldest versions exclude them."""


def floors() -> dict[str, str]:
    """The oldest version of each dependency that our packages and their extras accept."""
    oldest = {}
    for folder in PACKAGES:
        project = nox.project.load_toml(f"{folder}/pyproject.toml")["project"]
        for items in (project["dependencies"], *project.get("optional-dependencies", {}).values()):
            for item in map(Requirement, items):
                if not item.name.startswith("copilot-runtime"):
                    floor = next(each.version for each in item.specifier if each.operator == ">=")
                    oldest[item.name] = min(floor, oldest.get(item.name, floor), key=Version)
    return oldest


def write_floors(session: nox.Session) -> str:
    """Writes these versions to a file of constraints, and returns its path."""
    file = Path(session.create_tmp(), "floors.txt")
    file.write_text("".join(f"{name}=={version}\n" for name, version in floors().items()))
    return str(file)


def version_of(name: str, version: str) -> Requirement:
    """Any release of a version such as 3.0, or the newest that there is for the Python at hand."""
    return Requirement(name if version == NEWEST else f"{name}=={version}.*")


def tool(name: str) -> str:
    """The requirement of one of the lint tools, with its pin."""
    return next(item for item in nox.project.dependency_groups(PROJECT, "lint") if Requirement(item).name == name)


def install(session: nox.Session, *more: str) -> None:
    """All packages, editable, with what their tests need."""
    editables = [part for folder in PACKAGES for part in ("-e", folder)]
    session.install(*editables, *nox.project.dependency_groups(PROJECT, "test"), *more)


def run_pytest(session: nox.Session, *tests: str, **options: Any) -> None:
    """Runs tests; what fails runs once more, alone, which tells a fault from a machine that was busy."""
    # A cache of its own: another session may run at the same time, and each has to remember its own failures.
    pytest = ["python", "-m", "pytest", "-o", f"cache_dir={Path(session.create_tmp(), 'pytest_cache').resolve()}"]
    if PROCESSES is not None:
        pytest += ["-n", PROCESSES]
    try:
        session.run(*pytest, *tests, **options)
    except CommandFailed:
        session.run(*pytest, "--last-failed", "-n", "0", *tests, **options)


@nox.session
def lint(session: nox.Session) -> None:
    """Lint rules, formatting, and whether the lock file still fits."""
    session.install(tool("ruff"), tool("uv"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("uv", "lock", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, over what is shipped; pyright over what it promises, and over calls of applications."""
    install(session, tool("mypy"), tool("django-stubs"), tool("pyright"))
    session.run("mypy")
    run_pytest(session, "-n", "0", "tests/unit/test_types.py")
    # Installed for real: pyright looks for py.typed in what is installed, and does not follow editable installs.
    session.install("--no-deps", "--force-reinstall", *PACKAGES)
    for module in COMPLETELY_TYPED:
        session.run("pyright", "--verifytypes", module, "--ignoreexternal")


@nox.session
@nox.parametrize("agui", [nox.param("ag-ui-protocol>=1", id="agui-1"), nox.param("ag-ui-protocol<1", id="agui-0.1")])
def tests(session: nox.Session, agui: str) -> None:
    """The tests, with each of the two lines of AG-UI (docs/versions.md)."""
    install(session, agui)
    session.run("python", "-m", "pytest", *(session.posargs or ["-m", "not client"]))


def is_in_venv(installed: dict[str, str]) -> bool:
    """Whether .venv has these versions, but for AG-UI's: in CI, all tests run there."""
    python = Path(".venv/bin/python")
    if not python.exists():
        return False
    command = [str(python), "-c", INSTALLED, "flask", "django"]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return not found.returncode and json.loads(found.stdout).items() <= installed.items()


NEWEST = "newest"
OLDEST_AGUI = minimum_version("packages/core", "ag-ui-protocol")
MATRIX = [  # of the matrix: Python, Flask, Django, AG-UI
    ("3.11", "3.1", "5.2", OLDEST_AGUI),
    ("3.12", "3.1", "6.0", NEWEST),
    ("3.13", NEWEST, "6.1", NEWEST),
]


@nox.session
@nox.parametrize(
    "python, flask, django, agui",
    [nox.param(*row, id="py-{} flask-{} django-{} agui-{}".format(*row)) for row in MATRIX],
)
def matrix(session: nox.Session, flask: str, django: str, agui: str) -> None:
    """What another Python, Flask, Django or AG-UI can break, with some versions of each (docs/versions.md)."""
    requested = [version_of("flask", flask), version_of("django", django), version_of("ag-ui-protocol", agui)]
    install(session, "--upgrade", *map(str, requested))
    installed = json.loads(str(session.run("python", "-c", INSTALLED, *(item.name for item in requested), silent=True)))
    session.log("with " + ", ".join(f"{name} {version}" for name, version in installed.items()))
    for item in (version_of("python", str(session.python)), *requested):
        if not item.specifier.contains(installed[item.name], prereleases=True):
            session.error(f"{item} was requested, and {installed[item.name]} is what there is")
    on_frameworks = THROUGH_FRAMEWORKS if is_in_venv(installed) else ON_FRAMEWORKS
    chosen = [on_frameworks, ON_AGUI] if agui == OLDEST_AGUI else [on_frameworks]
    for tests in [session.posargs] if session.posargs else chosen:
        run_pytest(session, *tests)


@nox.session
@nox.parametrize("agui", [nox.param("ag-ui-protocol>=1", id="agui-1"), nox.param("ag-ui-protocol<1", id="agui-0.1")])
def frameworks(session: nox.Session, agui: str) -> None:
    """Agents of other frameworks, in process, with each of the two lines of AG-UI; with one also what needs no second.

    That is what runs in a browser, and on less common servers.
    """
    install(
        session,
        agui,
        "-e",
        "packages/core[pydantic-ai,langgraph]",
        "langchain-openai>=1",
        "langchain>=1",
        *LESS_COMMON_SERVERS,
    )
    # What goes over the wire is the same with both, which is what the other tests are about.
    once = [option for file in (IN_BROWSER, ON_SERVERS) for option in ("--ignore", file)]
    chosen = ["tests/frameworks"] if agui.endswith(">=1") else ["tests/frameworks", *once]
    run_pytest(session, *(session.posargs or chosen), env={"FRAMEWORKS": "1"})


@nox.session(name="floors")
def oldest_versions(session: nox.Session) -> None:
    """The unit tests, with the oldest version of each dependency that our packages accept."""
    editables = [part for folder in PACKAGES for part in ("-e", folder)]
    # What the tests alone need is as new as ever, and may not be what needs something newer of the others.
    group = map(Requirement, nox.project.dependency_groups(PROJECT, "test"))
    group = [item for item in group if item.name not in ABOVE_FLOORS]
    tests = [str(item).partition(">=")[0] if item.name in floors() else str(item) for item in group]
    session.install(*editables, *tests, "-c", write_floors(session))
    run_pytest(session, *(session.posargs or ["tests/unit"]))


@nox.session
def docs(session: nox.Session) -> None:
    """Builds the site of the documentation into build/html; a warning is a failure."""
    session.install(*nox.project.dependency_groups(PROJECT, "docs"))
    session.run("python", "-m", "tests.docs.site")
    session.run("zensical", "build", "--strict", "--clean")


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of those oldest versions, where the data of pip-audit can be reached."""
    session.install("pip-audit>=2.7")
    command = [str(Path(session.bin, "pip-audit")), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    command += ["-f", "json", "-r", write_floors(session)]
    # Found vulnerabilities and data that cannot be reached have the same exit status.
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(found.stdout)["dependencies"]
    except (ValueError, LookupError, TypeError):
        reason = (found.stderr.strip().splitlines() or ["no output"])[-1]
        session.warn(f"skipped: the data of pip-audit cannot be reached: {reason}")
        return
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    if skipped:
        session.warn(f"skipped: pip-audit has no data for {', '.join(skipped)}")
    vulnerable = [
        f"{each['name']} {each['version']}: {one['id']}, fixed in {', '.join(one['fix_versions']) or 'no version'}"
        for each in packages
        for one in each.get("vulns", ())
    ]
    if vulnerable:
        session.error("known vulnerabilities, so raise the lower bounds: " + "; ".join(vulnerable))


@nox.session
def contract(session: nox.Session) -> None:
    """The recorded cases of tests/contract, against every adapter."""
    install(session)
    session.run("python", "-m", "pytest", "-m", "contract", *session.posargs)


@nox.session
def client(session: nox.Session) -> None:
    """The CopilotKit client from npm, against every adapter; needs Node 20.19."""
    install(session)
    with session.chdir("tests/client"):
        session.run("npm", "ci", "--no-audit", "--no-fund", external=True)
    session.run("python", "-m", "pytest", "-m", "client", *session.posargs)


@nox.session
def quickstarts(session: nox.Session) -> None:
    """Follows the quickstarts by their commands, from an empty folder to a chat in a browser; after `nox -s build`."""
    install(session)
    session.run("python", "-m", "tests.docs.follow", "dist", *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """What an event and a run cost; benchmarks/ says what it needs."""
    install(session)
    session.run("python", "-m", "benchmarks", *session.posargs)


def own_names(wheel: Path) -> set[str]:
    """The top-level names that a wheel of ours may install."""
    name, version = wheel.name.split("-")[:2]
    return {name, f"{name}_pytest.py", f"{name}-{version}.dist-info"}


def run_init(session: nox.Session, core: Path) -> None:
    """Writes an application as docs/init.md says: `pipx run copilot-runtime init flask`, with the wheel of the core."""
    home, application = Path(session.create_tmp(), "pipx").resolve(), Path(session.create_tmp(), "application")
    for folder in (home, application):
        shutil.rmtree(folder, ignore_errors=True)
    command = ["pipx", "run", "--quiet", "--spec", str(core), "copilot-runtime", "init", "flask", str(application)]
    session.run(*command, env={"PIPX_HOME": str(home), "PIPX_DEFAULT_PYTHON": sys.executable})


@nox.session
def build(session: nox.Session) -> None:
    """Builds every package into dist/, and tries each wheel alone and beside CopilotKit's own Python runtime."""
    session.install(tool("uv"), "pipx>=1.7")
    dist = Path("dist")
    shutil.rmtree(dist, ignore_errors=True)
    for folder in PACKAGES:
        session.run("uv", "build", "-q", "--out-dir", str(dist), folder)
    wheels = {wheel.name.split("-")[0]: wheel.resolve() for wheel in sorted(dist.glob("*.whl"))}
    for wheel in wheels.values():
        foreign = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()} - own_names(wheel)
        if foreign:
            session.error(f"{wheel.name} would install {', '.join(sorted(foreign))}, which another package may have")
    # A package gets its siblings from here, whatever an index may hold under their names.
    siblings = Path(session.create_tmp(), "siblings.txt")
    siblings.write_text("".join(f"{module.replace('_', '-')} @ {wheel.as_uri()}\n" for module, wheel in wheels.items()))

    def environment(name: str, *installs: Sequence[str]) -> str:
        """Makes an environment, installs one set of requirements after the other, and returns its Python."""
        folder = Path(session.create_tmp(), name)
        session.run("uv", "venv", "-q", "--clear", str(folder))
        python = str(folder / "bin" / "python")
        for requirements in installs:
            session.run("uv", "pip", "install", "-q", "-p", python, "-c", str(siblings), *requirements)
        return python

    for module, wheel in wheels.items():
        python = environment(module, [str(wheel)])
        typed = f"import {module}, pathlib; pathlib.Path({module}.__file__).with_name('py.typed').resolve(strict=True)"
        session.run(python, "-c", typed, external=True)
        if module == "copilot_runtime":
            run_init(session, wheel)

    # CopilotKit's own package once overwrote a package of ours that had the same name; and it left a hole when removed.
    ours, theirs = [str(wheel) for wheel in wheels.values()], [INTELLIGENCE_RUNTIME]
    for order in ([ours, theirs], [theirs, ours]):
        python = environment("beside", *order)
        session.run(python, "tests/packaging/beside_intelligence_runtime.py", external=True)
        session.run("uv", "pip", "uninstall", "-q", "-p", python, INTELLIGENCE_RUNTIME)
        session.run(python, "tests/packaging/beside_intelligence_runtime.py", "ours", external=True)
