"""The environment that ``make`` makes (envs/install.py), with real environments and a stand-in for pip: content decides
what is installed, nothing is installed where something runs, and an interrupted installation is done again."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import PATIENCE

ROOT = Path(__file__).parents[2]
MADE_FROM = (
    *("requirements.txt", "requirements-dev.txt", "constraints.txt"),
    *("requirements-sglang-cpu.txt", "requirements-crate.txt"),
)
PIP = """
import os, signal, sys, time
from pathlib import Path
with open("calls.txt", "a") as calls:
    calls.write(" ".join(word for word in sys.argv[1:] if word[:2] != "--" or word == "--no-deps") + "\\n")
exec(os.environ.get("PIP_DOES", ""))
"""
PYTHON = f"""#!/bin/sh
[ "$1 $2" = "-m venv" ] && exec {sys.executable} "$@" --without-pip
[ "$1$SAYS" = "-c$SAYS" ] && [ -n "$SAYS" ] && exec echo "$SAYS"
exec {sys.executable} "$@"
"""
USER = """
import sys
from m1.core.locks import use_environments
use_environments()
print("ready", flush=True)
sys.stdin.readline()
"""


class Clone:
    """A folder with what ``make`` makes an environment from; its default Python makes environments without pip."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "envs").mkdir()
        for name in (*MADE_FROM, "Makefile", "pyproject.toml", "envs/install.py"):
            shutil.copy2(ROOT / name, folder / name)
        (folder / "stand-ins/pip").mkdir(parents=True)
        (folder / "stand-ins/pip/__main__.py").write_text(PIP, encoding="utf-8")
        self.python = folder / "stand-ins/python3"
        self.python.write_text(PYTHON, encoding="utf-8")
        self.python.chmod(0o755)
        paths = os.pathsep.join([str(folder / "stand-ins"), str(ROOT / "workflow")])
        # Of the make that runs the tests, nothing: a make below another one says where it enters and leaves.
        outside = {
            name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
        }
        self.environment = outside | {"PYTHON": str(self.python), "PYTHONPATH": paths}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def make(self, *words: str, **environment: str) -> tuple[int, str]:
        """Exit code, and what was said."""
        process = self.start("make", *(words or [".venv/.ready"]), **environment)
        said = process.communicate(timeout=PATIENCE)[0]
        return process.returncode, said

    def calls(self) -> list[str]:
        """Of pip, since the last time."""
        log = self.folder / "calls.txt"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text(encoding="utf-8")
        assert old in text
        (self.folder / name).write_text(text.replace(old, new), encoding="utf-8")


INSTALL = ["install torch==2.13.0", "install -c constraints.txt -r requirements-dev.txt"]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.fixture
def made(clone: Clone) -> Clone:
    """A clone whose environment has been made."""
    code, said = clone.make()
    assert code == 0, said
    assert clone.calls() == INSTALL
    return clone


@pytest.fixture
def user(made: Clone) -> Iterator[subprocess.Popen[str]]:
    """A process that uses the environment."""
    process = made.start(".venv/bin/python", "-c", USER)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def touch(clone: Clone) -> None:
    """All files are newer than the environment."""
    for name in (*MADE_FROM, "Makefile", "envs/install.py"):
        (clone.folder / name).touch()


def comment(clone: Clone) -> None:
    clone.edit("constraints.txt", "# Versions of everything", "\n# More of a comment, versions of everything")


@pytest.mark.parametrize("edit", [touch, comment])
def test_what_says_the_same_installs_nothing(edit: Callable[[Clone], None], made: Clone) -> None:
    edit(made)
    assert made.make() == (0, "")
    assert made.calls() == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("constraints.txt", "tqdm==4.70.1", "tqdm==4.70.2"),
        ("requirements.txt", "tqdm==4.70.1", "tqdm==4.70.2"),
        ("requirements-dev.txt", "ruff==0.17.6", "ruff==0.17.7"),
        ("Makefile", "-c constraints.txt", "--no-deps -c constraints.txt"),
    ],
)
def test_other_content_is_installed_once_also_where_its_file_is_older(
    name: str, old: str, new: str, made: Clone
) -> None:
    installed = made.folder / ".venv/lib/installed"
    installed.touch()
    made.edit(name, old, new)
    os.utime(made.folder / name, (1, 1))
    code, said = made.make()
    assert (code, ".venv: renewed for Python" in said) == (0, True)
    assert [len(made.calls()), installed.exists()] == [2, True]
    assert made.make() == (0, "")
    assert made.calls() == []


def test_an_environment_of_before_is_renewed(made: Clone) -> None:
    """``make`` used to leave an empty file."""
    installed = made.folder / ".venv/lib/installed"
    installed.touch()
    (made.folder / ".venv/.ready").write_text("", encoding="utf-8")
    assert made.make()[0] == 0
    assert (made.calls(), installed.exists()) == (INSTALL, True)


def test_nothing_is_installed_or_removed_where_something_runs(made: Clone, user: subprocess.Popen[str]) -> None:
    assert made.make() == (0, "")  # nothing has changed
    assert made.make("clean-venv")[0] == 2
    made.edit("constraints.txt", "tqdm==4.70.1", "tqdm==4.70.2")
    code, said = made.make()
    assert code == 2
    assert f"a run or tests are using it (process {user.pid}). Wait for them or end them, then start the same" in said
    assert made.calls() == []
    user.kill()
    user.wait()
    assert made.make()[0] == 0
    assert made.calls() == INSTALL
    assert made.make("clean-venv")[0] == 0
    assert not (made.folder / ".venv").exists()


def test_what_starts_while_make_installs_says_so(made: Clone) -> None:
    with (made.folder / ".venv/.ready").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        said = made.start(".venv/bin/python", "-c", USER).communicate()[0]
    assert f"UserError: {made.folder}/.venv: make is installing it; start this again when that is done" in said


@pytest.mark.workflow
def test_snakemake_uses_the_environments_that_it_runs_with(tmp_path: Path) -> None:
    """SGLang's stands for all: that of these tests may be in use."""
    (tmp_path / "bin").mkdir()
    (tmp_path / ".ready").touch()
    environment = os.environ | {"PYTHONPATH": "workflow", "M1_SGLANG_PYTHON": f"{tmp_path}/bin/python"}
    with (tmp_path / ".ready").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        command = [sys.executable, "-m", "snakemake", "--list-rules"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{tmp_path}: make is installing it" in done.stderr


@pytest.mark.parametrize("renewed", [False, True])
def test_an_interrupted_installation_is_done_again_and_anew(renewed: bool, clone: Clone) -> None:
    """Also pip goes on when make is killed: the next one waits for it, and trusts nothing that it has left."""
    if renewed:
        assert clone.make()[0] == 0
        clone.edit("constraints.txt", "tqdm==4.70.1", "tqdm==4.70.2")
        clone.calls()
    killing = "os.kill(os.getppid(), signal.SIGKILL)"
    going_on = "for _ in range(600): Path('end').exists() or time.sleep(0.1)"
    killed = clone.start("make", ".venv/.ready", PIP_DOES=f"{killing}\n{going_on}\nPath('.venv/half').touch()")
    assert killed.wait(timeout=PATIENCE) == 2
    following = clone.start("make", ".venv/.ready")
    assert following.stdout
    assert following.stdout.readline() == ".venv: another make is installing it; waiting\n"
    (clone.folder / "end").touch()
    assert following.communicate(timeout=PATIENCE)[0]
    assert following.returncode == 0
    assert not (clone.folder / ".venv/half").exists()
    assert clone.calls() == [INSTALL[0], *INSTALL]
    assert clone.make() == (0, "")


def test_an_installation_that_fails_is_tried_again(made: Clone) -> None:
    made.edit("constraints.txt", "tqdm==4.70.1", "tqdm==4.70.2")
    installed = made.folder / ".venv/lib/installed"
    installed.touch()
    code, said = made.make(PIP_DOES="sys.exit('no network')")
    assert code == 2
    assert ".venv: the installation has failed, see above; start the same again" in said
    assert made.make()[0] == 0
    assert (made.calls(), installed.exists()) == ([INSTALL[0], *INSTALL], True)


def test_two_at_once_install_once(clone: Clone) -> None:
    both = [clone.start("make", ".venv/.ready", PIP_DOES="time.sleep(0.5)") for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert clone.calls() == INSTALL
    assert sum("waiting" in one for one in said) == 1


def test_a_python_that_is_gone(made: Clone) -> None:
    python = made.folder / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/usr/bin/python3.old")
    code, said = made.make()
    assert code == 2
    assert ".venv: its Python (/usr/bin/python3.old) does not run, as after an upgrade of the system." in said
    assert "To make it anew: rm -r .venv, then start the same again" in said
    assert made.calls() == []


def test_a_link_to_an_environment_is_used_and_only_the_link_removed(made: Clone) -> None:
    shared = (made.folder / ".venv").rename(made.folder / "shared")
    (made.folder / ".venv").symlink_to(shared)
    assert made.make() == (0, "")
    code, said = made.make("clean-venv")
    assert code == 0, said
    assert (os.path.lexists(made.folder / ".venv"), (shared / "bin/python").exists()) == (False, True)


def test_a_place_that_cannot_hold_an_environment_is_one_line(clone: Clone) -> None:
    place = clone.folder / ".venv"
    makers: dict[str, Callable[[], object]] = {
        "File exists": place.touch,
        "No such file or directory": lambda: place.symlink_to("/proc/nothere/venv"),
        "Is a directory": lambda: (place / ".ready").mkdir(parents=True),
    }
    for why, make in makers.items():
        make()
        code, said = clone.make()
        assert (code, "Traceback" in said, clone.calls()) == (2, False, []), said
        assert re.search(rf"^\S*\.venv\S*: ({why}|File exists); mend that, then start the same again$", said, re.M)
        shutil.rmtree(place) if place.is_dir() else place.unlink()


@pytest.mark.parametrize("asked", [False, True])
def test_another_python_replaces_one_only_where_somebody_asks_for_it(asked: bool, made: Clone) -> None:
    old = made.folder / ".venv/lib/old"
    old.touch()
    words = [f"PYTHON={made.python}"] if asked else []
    code, said = made.make(".venv/.ready", *words, SAYS="3.13" if sys.version_info < (3, 13) else "3.12")
    assert (code, "made for Python 3.1" in said, old.exists()) == (0, asked, not asked)


def test_a_python_that_was_upgraded_beneath_makes_it_anew(made: Clone) -> None:
    made.edit(".venv/.ready", "Python 3.", "Python 3.9")
    old = made.folder / ".venv/lib/old"
    old.touch()
    assert made.make()[0] == 0
    assert (made.calls(), old.exists()) == (INSTALL, False)


@pytest.mark.parametrize("target", ["demo", "doctor"])
@pytest.mark.parametrize("found", ["3.6", "3.10", "3.14", "4.0"])
def test_a_python_that_is_not_supported(found: str, target: str, clone: Clone) -> None:
    code, said = clone.make(target, SAYS=found)
    assert code == 2
    assert (
        f"Python {found} found. Python 3.11 to 3.13 is needed (immutables 0.21, which Snakemake needs, has no wheel"
        in said
    )
    assert "has no wheel for 3.14): make PYTHON=python3.11" in said
    assert not (clone.folder / ".venv").exists()


@pytest.mark.parametrize("target", ["demo", "doctor"])
def test_a_python_that_is_not_there(target: str, clone: Clone) -> None:
    code, said = clone.make("PYTHON=python9", target)
    assert (code, "python9: not found. Install Python, or name one: make PYTHON=python3.11" in said) == (2, True)
    assert clone.make()[0] == 0
    code, said = clone.make("PYTHON=python9", target)
    assert (code, "python9: not found. Python 3.11 to 3.13 is needed" in said) == (2, True)


def test_sglangs_environment_is_made_in_the_same_way(clone: Clone) -> None:
    (clone.folder / "tests").mkdir()
    shutil.copytree(ROOT / "tests/sglang_cpu", clone.folder / "tests/sglang_cpu")
    assert clone.make(".venv-sglang/.ready")[0] == 0
    assert clone.calls() == [INSTALL[0], "install --no-deps -r requirements-sglang-cpu.txt"]
    assert list(clone.folder.glob(".venv-sglang/lib/python3*/site-packages/sitecustomize.py"))
    assert clone.make(".venv-sglang/.ready") == (0, "")
    assert clone.calls() == []


def test_the_environment_of_the_crates_validator_has_no_torch(clone: Clone) -> None:
    assert clone.make(".venv-crate/.ready")[0] == 0
    assert clone.calls() == ["install --no-deps -r requirements-crate.txt"]
