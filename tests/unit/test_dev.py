"""``dev.py`` sets up what a command needs, and keeps what is there. pip and venv are replaced."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "dev.py"
PYPROJECT = """
[build-system]
requires = ["hatchling"]
[project]
name = "copilot-runtime"
[project.optional-dependencies]
cli = ["copilot-runtime-asgi>=0.1.0", "uvicorn>=0.30"]
"""

pytestmark = pytest.mark.requirement("DEV-01")


def load_dev() -> ModuleType:
    """Returns a new copy of the module ``dev.py``."""
    spec = importlib.util.spec_from_file_location("dev", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Repository:
    """A repository with packages of its own, in which ``dev.py`` runs no commands but records them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.steps: list[str] = []
        self.interrupt: str | None = None
        """The step at which the set-up is interrupted."""
        (folder / "pyproject.toml").write_text('[dependency-groups]\ntest = ["pytest"]\n')
        (folder / "dev.py").write_text("")
        for name in ("asgi", "core", "flask"):
            (folder / "packages" / name).mkdir(parents=True)
            (folder / "packages" / name / "pyproject.toml").write_text(PYPROJECT)
        self.dev = load_dev()
        monkeypatch.setattr(self.dev, "ROOT", folder)
        monkeypatch.setattr(self.dev, "VENV", folder / ".venv")
        monkeypatch.setattr(self.dev, "PYTHON", folder / ".venv" / "python")
        monkeypatch.setattr(self.dev, "run_step", self._run_step)

    def _run_step(self, args: Any, advice: str) -> None:
        words = [str(arg) for arg in args]
        editables = [Path(word).name for option, word in itertools.pairwise(words) if option == "--editable"]
        if "venv" in words:
            step = "venv"
            (self.folder / ".venv").mkdir(exist_ok=True)
            for file in (self.folder / ".venv").iterdir():  # --clear
                file.unlink()
            (self.folder / ".venv" / "python").touch()
        elif self.dev.REPAIR in words:
            step = "repair"
        else:
            others = [word for word in words if word in ("pytest", "uvicorn>=0.30", "copilot-runtime-asgi>=0.1.0")]
            step = " ".join(["install", *(editables or ["build requirements"]), *others])
        self.steps.append(step)
        if step == self.interrupt:
            raise KeyboardInterrupt

    def set_up(self, name: str) -> list[str]:
        """Returns the steps of a set-up, without the installation of what builds the packages."""
        self.steps.clear()
        try:
            self.dev.set_up(name)
        except KeyboardInterrupt:
            pass
        return [step for step in self.steps if step != "install build requirements"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    return Repository(tmp_path, monkeypatch)


DEMO = "install core asgi uvicorn>=0.30"
TEST = "install asgi core flask pytest"


def test_dev_demo_installs_only_what_the_demo_needs(repository: Repository) -> None:
    assert repository.set_up("demo") == ["venv", DEMO]
    assert repository.set_up("demo") == []


def test_dev_switching_between_demo_and_test_rebuilds_nothing(repository: Repository) -> None:
    repository.set_up("demo")
    assert repository.set_up("test") == [TEST]
    assert repository.set_up("demo") == []
    assert repository.set_up("test") == []


def test_dev_test_includes_the_demo(repository: Repository) -> None:
    assert repository.set_up("test") == ["venv", TEST]
    assert repository.set_up("demo") == []


@pytest.mark.parametrize("next_command", ["demo", "test"])
@pytest.mark.parametrize("command", ["demo", "test"])
def test_dev_interrupted_installation_is_completed_without_a_rebuild(
    repository: Repository, command: str, next_command: str
) -> None:
    steps = {"demo": DEMO, "test": TEST}
    repository.set_up("demo")
    (repository.folder / ".venv" / "dev-stamp-demo").unlink()
    repository.interrupt = steps[command]
    repository.set_up(command)
    repository.interrupt = None
    assert repository.set_up(next_command) == ["repair", steps[next_command]]
    assert repository.set_up(next_command) == []


def test_dev_interrupted_creation_of_the_environment_is_begun_again(repository: Repository) -> None:
    repository.interrupt = "venv"
    assert repository.set_up("demo") == ["venv"]
    repository.interrupt = None
    assert repository.set_up("demo") == ["venv", DEMO]


@pytest.mark.parametrize(
    ("changed", "demo", "test"),
    [
        ("packages/core/pyproject.toml", ["venv", DEMO], ["venv", TEST]),
        ("packages/flask/pyproject.toml", [], ["venv", TEST]),
        ("pyproject.toml", [], ["venv", TEST]),
        ("dev.py", ["venv", DEMO], ["venv", TEST]),
    ],
)
def test_dev_environment_is_made_again_when_its_sources_change(
    repository: Repository, changed: str, demo: list[str], test: list[str]
) -> None:
    repository.set_up("test")
    with (repository.folder / changed).open("a") as file:
        file.write("# changed\n")
    assert repository.set_up("demo") == demo
    if demo == []:
        assert repository.set_up("test") == test


def test_dev_environment_of_another_python_is_made_again(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.set_up("test")
    monkeypatch.setattr(sys, "version", "3.99")
    assert repository.set_up("demo") == ["venv", DEMO]


def test_dev_failed_command_shows_its_output_and_what_to_do() -> None:
    run_step: Callable[..., None] = load_dev().run_step
    with pytest.raises(SystemExit, match=r"the reason\s+dev\.py: do this"):
        run_step([sys.executable, "-c", "raise SystemExit('the reason')"], "do this")


def test_dev_progress_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    run_step: Callable[..., None] = load_dev().run_step
    run_step([sys.executable, "-c", "print('Collecting one>=1 (from two)'); print('noise')"], "do this")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.split() == ["Collecting", "one>=1"]


def test_dev_repair_makes_pip_install_incomplete_packages_again(tmp_path: Path) -> None:
    for name, files in {"whole": ["whole.py"], "half": ["half.py", "gone.py"], "no_record": []}.items():
        record = tmp_path / f"{name}-1.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (tmp_path / f"{name}.py").touch()
        if files:
            (record / "RECORD").write_text("".join(f"{file},,\n" for file in [*files, "__pycache__/whole.pyc"]))
    repair: str = load_dev().REPAIR
    only_here = f"import sys; sys.path = [{str(tmp_path)!r}, *sys.path[:4]]\n"
    only_here += "sys.path = [each for each in sys.path if 'site-packages' not in each]\n"
    subprocess.run([sys.executable, "-S", "-c", only_here + repair], check=True, env={})
    assert sorted(each.name for each in tmp_path.glob("*.dist-info")) == ["whole-1.dist-info"]
