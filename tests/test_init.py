"""``copilot-runtime init``: the applications that it writes run, and pass their own tests."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from copilot_runtime._cli.init.frameworks import FRAMEWORKS
from copilot_runtime._cli.main import main

from .serve import ROOT

pytestmark = pytest.mark.requirement("CLI-04")

TIMEOUT_SECONDS = 120
TESTS = {"flask": ["-m", "pytest", "-q"], "django": ["manage.py", "test"], "fastapi": ["-m", "pytest", "-q"]}
SESSION_COOKIES = {"flask": "session", "django": "sessionid", "fastapi": "session"}
SECRET = re.compile(r"insecure-([\w-]{40,})")


def write(framework: str, folder: Path) -> Path:
    """Writes an application, and returns its folder."""
    assert main(["init", framework, str(folder)]) == 0
    return folder


def secret_of(folder: Path) -> str:
    sources = "".join(file.read_text("utf-8") for file in folder.rglob("*.py"))
    [secret] = SECRET.findall(sources)
    return str(secret)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_init_writes_an_application_that_passes_its_tests(framework: str, tmp_path: Path) -> None:
    folder = write(framework, tmp_path / "chat")
    done = subprocess.run(
        [sys.executable, *TESTS[framework]], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("3 passed|Ran 3 tests", done.stdout + done.stderr)
    # Its tests have stored nothing in the application's own store.
    for file in folder.glob("*.db"):
        with contextlib.closing(sqlite3.connect(file)) as database:
            assert database.execute("SELECT count(*) FROM threads").fetchone() == (0,)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_init_says_how_to_run_it(framework: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(framework, tmp_path / "My Chat")
    printed, readme = capsys.readouterr().out, (folder / "README.md").read_text("utf-8")
    for command in FRAMEWORKS[framework].commands:
        assert f"    {command}\n" in printed
        assert f"\n{command}\n" in readme
    # Without the session of a user, doctor finds nothing but that.
    assert f"--header 'Cookie: {SESSION_COOKIES[framework]}=...'\n" in readme
    assert not re.search(r"@[A-Z]+@", "".join(file.read_text("utf-8") for file in folder.rglob("*") if file.is_file()))
    assert json.loads((folder / "frontend" / "package.json").read_text("utf-8"))["name"] == "my-chat-frontend"


def test_init_secrets_differ(tmp_path: Path) -> None:
    secrets = {secret_of(write(name, tmp_path / f"{name}{number}")) for name in FRAMEWORKS for number in (1, 2)}
    assert len(secrets) == 2 * len(FRAMEWORKS)


def test_init_frontend_has_the_versions_that_are_tested(tmp_path: Path) -> None:
    frontend = json.loads((write("flask", tmp_path / "chat") / "frontend" / "package.json").read_text("utf-8"))
    example = json.loads((ROOT / "examples" / "react_frontend" / "package.json").read_text("utf-8"))
    for kind in ("dependencies", "devDependencies"):
        assert frontend[kind].items() <= example[kind].items()


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app.py").write_text("mine")
    assert main(["init", "flask", str(tmp_path)]) == 1
    assert main(["init", "flask", str(tmp_path / "app.py")]) == 1
    assert "is not empty. Name a new folder." in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["app.py"]
    assert (tmp_path / "app.py").read_text() == "mine"


def test_init_frameworks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["init", "rails"])
    assert "flask" in capsys.readouterr().err
