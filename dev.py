#!/usr/bin/env python3
"""Sets this repository up and uses it; needs Python 3.11 or newer, with venv and pip, and nothing else.

    python3 dev.py demo [--port N]       serve the demo
    python3 dev.py test [pytest's own]   run the tests
    python3 dev.py env                   only set up; the last line is the environment's Python

The environment is .venv. It is made when it is missing, incomplete, or older than what it was made from.
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
STAMP = VENV / "dev-stamp"


def projects() -> list[Path]:
    """Returns the folders of the workspace's packages."""
    return sorted(file.parent for file in ROOT.glob("packages/*/pyproject.toml"))


def fingerprint() -> str:
    """Returns a hash of everything that .venv is made from; .venv is rebuilt when it changes."""
    digest = hashlib.sha256(f"{sys.version}\0{ROOT}".encode())
    for file in [ROOT / "dev.py", ROOT / "pyproject.toml", *(folder / "pyproject.toml" for folder in projects())]:
        digest.update(f"\0{file}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def is_up_to_date() -> bool:
    """Returns whether .venv is complete and made from what is there now."""
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text() == fingerprint()


def run_step(args: Sequence["str | Path"], advice: str) -> None:
    """Runs one command of the set-up; if it fails, exits with ``advice`` below the command's own output."""
    if subprocess.run([str(arg) for arg in args], stdout=sys.stderr).returncode:
        sys.exit(f"dev.py: {advice}")


def set_up() -> None:
    """Makes .venv unless it is up to date. All output goes to stderr."""
    if is_up_to_date():
        return
    print("Setting up .venv, once: this takes about a minute.", file=sys.stderr)
    # The stamp is removed first and written last, so that an interrupted set-up is never taken for a complete one.
    STAMP.unlink(missing_ok=True)
    # The base interpreter, since ours may be the very one in .venv.
    base = getattr(sys, "_base_executable", None) or sys.executable
    run_step(
        [base, "-m", "venv", "--clear", VENV],
        "could not make .venv. On Debian and Ubuntu, venv and pip come with the package python3-venv.",
    )
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    editables = [part for folder in projects() for part in ("--editable", folder)]
    run_step(
        [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "-qq", *editables, *groups["test"]],
        "could not install the packages; pip says above why. The next call tries again.",
    )
    STAMP.write_text(fingerprint())


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


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {"demo": demo, "test": test, "env": env}


def main(args: Sequence[str]) -> None:
    if args and args[0] in ("-h", "--help"):
        print(__doc__)
        return
    command = COMMANDS.get(args[0]) if args else None
    if command is None:
        sys.exit(__doc__)
    os.chdir(ROOT)
    set_up()
    command(args[1:])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
