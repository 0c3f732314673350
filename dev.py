#!/usr/bin/env python3
"""Sets this repository up and uses it; needs Python 3.11 or newer, with venv and pip, and nothing else.

    python3 dev.py demo [--port N]       serve the demo
    python3 dev.py test [pytest's own]   run the tests
    python3 dev.py env                   only set up; the last line is the environment's Python

The environment is .venv. `demo` installs only what the demo needs, and the others add the rest. It is made again when
it is older than what it was made from.
"""

# Any Python 3 must be able to read this file as far as the next sentence, so it keeps to old syntax
# and has no "from __future__ import annotations", which 3.6 refuses.
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the check is for those who have an older one
    sys.exit(
        "dev.py needs Python 3.11 or newer, and this one is %d.%d. "  # noqa: UP031 - old syntax, see above
        "Run it with a newer one, such as: python3.13 dev.py" % sys.version_info[:2]
    )

import hashlib
import os
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

# What can be installed: packages of the workspace, and what they need beside each other.
DEMO, TEST = "demo", "test"
DEMO_PACKAGES = ("core", "asgi")
INCLUDES = {DEMO: [DEMO], TEST: [TEST, DEMO]}

# Deletes the records of packages that were not installed to their end, so that pip installs them again.
REPAIR = """
import importlib.metadata, shutil, sys
for package in importlib.metadata.distributions():
    files = package.files
    if not files or not all(file.locate().exists() for file in files if file.suffix != ".pyc"):
        shutil.rmtree(package._path, ignore_errors=True)
"""


def projects() -> list[Path]:
    """Returns the folders of the workspace's packages."""
    return sorted(file.parent for file in ROOT.glob("packages/*/pyproject.toml"))


def packages(name: str) -> list[Path]:
    """Returns the folders of a set's packages."""
    return [ROOT / "packages" / folder for folder in DEMO_PACKAGES] if name == DEMO else projects()


def requirements(name: str) -> list[str]:
    """Returns what a set needs beside its packages.

    The demo's are those of an extra. pip is not asked for the extra itself: it would look for the sibling that the
    extra names in an index, unless it happens to come to that sibling's folder first.
    """
    if name == TEST:
        return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]["test"]
    project = tomllib.loads((ROOT / "packages/core/pyproject.toml").read_text("utf-8"))["project"]
    extra = project["optional-dependencies"]["cli"]
    return [item for item in extra if not item.startswith(project["name"])]


def build_requirements() -> list[str]:
    """Returns what builds the packages. It is installed once, instead of by pip for each of them."""
    system = tomllib.loads((ROOT / "packages/core/pyproject.toml").read_text("utf-8"))["build-system"]
    return [*system["requires"], "editables>=0.5"]


def fingerprint(name: str) -> str:
    """Returns a hash of everything that .venv, or a set in it, is made from."""
    digest = hashlib.sha256(f"{sys.version}\0{ROOT}".encode())
    folders = [] if name == VENV.name else packages(name)
    shared = [] if name == VENV.name else [ROOT / "dev.py"] + [ROOT / "pyproject.toml"] * (name == TEST)
    for file in [*shared, *(folder / "pyproject.toml" for folder in folders)]:
        digest.update(f"\0{file}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def stamp(name: str) -> Path:
    """Returns the file that says what .venv, or a set in it, was made from."""
    return VENV / f"dev-stamp-{name}"


def is_current(name: str) -> bool:
    """Returns whether .venv, or a set in it, is complete and made from what is there now."""
    return PYTHON.exists() and stamp(name).exists() and stamp(name).read_text() == fingerprint(name)


def is_outdated(name: str) -> bool:
    """Returns whether .venv, or a set in it, was made from something else."""
    return stamp(name).exists() and not is_current(name)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_step(args: Sequence["str | Path"], advice: str) -> None:
    """Runs one command of the set-up and shows its progress.

    If it fails, exits with ``advice`` below the command's own output.
    """
    lines = []
    command = [str(arg) for arg in args]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith(("Collecting ", "Installing collected packages")):
                say("    " + line.partition(" (from ")[0].partition(": ")[0].strip())
    if process.returncode:
        sys.exit(f"{''.join(lines)}\ndev.py: {advice}")


def install(*args: str) -> None:
    options = ["--disable-pip-version-check", "--no-input", "install", "--root-user-action", "ignore"]
    advice = "could not install the packages; pip says above why. The next call tries again."
    run_step([PYTHON, "-m", "pip", *options, *args], advice)


def create_venv() -> None:
    """Makes an empty .venv."""
    say("  creating the environment")
    stamp(VENV.name).unlink(missing_ok=True)
    # The base interpreter, since ours may be the very one in .venv.
    base = getattr(sys, "_base_executable", None) or sys.executable
    run_step(
        [base, "-m", "venv", "--clear", VENV],
        "could not make .venv. On Debian and Ubuntu, venv and pip come with the package python3-venv.",
    )
    stamp(VENV.name).write_text(fingerprint(VENV.name))


def set_up(name: str) -> None:
    """Installs a set into .venv, unless it is there. All output goes to stderr.

    What is there and still good stays. A stamp is removed before what it stands for is changed, and written after it:
    an interrupted set-up is never taken for a complete one.
    """
    if is_current(VENV.name) and is_current(name):
        return
    duration = {DEMO: "half a minute", TEST: "a minute or two"}[name]
    say(f"Setting up .venv for {name!r}, once: this takes about {duration}.")
    interrupted = stamp("installing")
    if not is_current(VENV.name) or any(map(is_outdated, INCLUDES)):
        create_venv()
    elif interrupted.exists():
        say("  completing what was interrupted")
        run_step([PYTHON, "-c", REPAIR], "could not repair .venv: delete that folder, and try again.")
    interrupted.touch()
    for each in INCLUDES:
        stamp(each).unlink(missing_ok=True)
    say("  installing what builds the packages")
    install(*build_requirements())
    say("  installing the packages")
    editables = [part for folder in packages(name) for part in ("--editable", str(folder))]
    # Python compiles what it imports, which is a fraction of all.
    install("--no-compile", "--no-build-isolation", *editables, *requirements(name))
    for each in INCLUDES[name]:
        stamp(each).write_text(fingerprint(each))
    interrupted.unlink()


def exec_python(*args: str) -> None:
    """Replaces this process by .venv's Python, so that signals and the exit code are its own."""
    command = [str(PYTHON), *args]
    if os.name == "nt":  # where exec returns to the caller's prompt at once
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)


def demo(args: Sequence[str]) -> None:
    exec_python("-m", "copilot_runtime", "demo", *args)


def test(args: Sequence[str]) -> None:
    exec_python("-m", "pytest", *args)


def env(args: Sequence[str]) -> None:
    print(PYTHON)


# What each command does, and the set that it needs.
COMMANDS: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "demo": (demo, DEMO),
    "test": (test, TEST),
    "env": (env, TEST),
}


def main(args: Sequence[str]) -> None:
    if args and args[0] in ("-h", "--help"):
        print(__doc__)
        return
    if not args or args[0] not in COMMANDS:
        sys.exit(__doc__)
    command, needed = COMMANDS[args[0]]
    os.chdir(ROOT)
    set_up(needed)
    command(args[1:])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
