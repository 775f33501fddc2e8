"""The container recipes, read: both install the same, by the same pins, on the Python of the conda environments. None
is built here."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def read_joined(name: str) -> str:
    """A recipe, with each line that ends in a backslash joined to the next."""
    return re.sub(r" *\\\n *", " ", (ROOT / name).read_text(encoding="utf-8"))


DOCKER, APPTAINER = read_joined("containers/Dockerfile"), read_joined("containers/m1.def")


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile; a line that is neither a comment nor one of these is an error."""
    lines = [line for line in DOCKER.splitlines() if line and not line.startswith("#")]
    found = [re.fullmatch(r"(FROM|RUN|COPY|WORKDIR) (.+)", line) for line in lines]
    assert all(found), lines
    return [(one[1], one[2]) for one in found if one]


def sections() -> dict[str, list[str]]:
    """Of the definition file; its header is the section ``""``."""
    parts: dict[str, list[str]] = {"": []}
    name = ""
    for line in (line.strip() for line in APPTAINER.splitlines()):
        if line.startswith("%"):
            name = line.removeprefix("%")
            parts[name] = []
        elif line and not line.startswith("#"):
            parts[name].append(line)
    return parts


def test_both_start_from_the_python_of_the_environments() -> None:
    header = dict(line.split(": ", 1) for line in sections()[""])
    (image,) = [value for name, value in instructions() if name == "FROM"]
    assert header == {"Bootstrap": "docker", "From": image}
    (version,) = {
        part.removeprefix("python=")
        for path in (ROOT / "envs").glob("*.yaml")
        for part in yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
        if isinstance(part, str) and part.startswith("python=")
    }
    assert image.startswith(f"python:{version}-")


def test_both_run_the_same_commands_on_files_that_they_have() -> None:
    commands = [value for name, value in instructions() if name == "RUN"]
    assert commands == sections()["post"]
    *copied, folder = next(value for name, value in instructions() if name == "COPY").split()
    assert [line.split() for line in sections()["files"]] == [[name, f"{folder}{name}"] for name in copied]
    assert all((ROOT / name).is_file() for name in copied)
    used = {word for command in commands for word in re.findall(r"[\w-]+\.txt", command)}
    assert used == set(copied)


def test_they_install_what_make_installs() -> None:
    """torch's pin first and alone, as make does, too (tests/workflow/test_install.py)."""
    (pins,) = re.findall(r'\$\(VENV\)\) --pip="(.+)"', (ROOT / "Makefile").read_text(encoding="utf-8"))
    installed = re.findall(r"pip install --no-cache-dir (.+?)(?: &&|$)", DOCKER, re.MULTILINE)
    assert installed == ["$(grep '^torch==' requirements.txt)", pins.replace("-dev", "")]
