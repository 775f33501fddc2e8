"""A stand-in for conda: it makes an environment of exactly the pins of its file, linked from this Python's.

Snakemake calls `conda info`, `--version`, `config`, `env create` and `clean`, and sources `bin/activate` of conda's
folder.
"""

from __future__ import annotations

import json
import os
import sys
import venv
from pathlib import Path

from environments import OF_TORCH, needed, provided


def create(specification: Path, folder: Path) -> None:
    """Make an environment without pip, with links to the pinned packages; another version here is an error."""
    wanted = provided(specification)
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python3.*/site-packages")
    for name, version in wanted.items():
        package = next(iter(needed([name]).values()), None)
        here = package and package.version.partition("+")[0]  # of torch, there are builds
        if here != version and not OF_TORCH.match(name):
            sys.exit(f"{specification}: {name}=={version}, but here is {here}")
        if not package:
            continue
        tops = {file.parts[0] for file in package.files or [] if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(package.locate_file(top))


def install(folder: Path) -> Path:
    """Write the command; returns the folder to put first in PATH."""
    commands = folder / "bin"
    commands.mkdir(parents=True)
    (commands / "activate").write_text('export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n', encoding="utf-8")
    tests = Path(__file__).parents[1]
    (commands / "conda").write_text(
        f'#!/bin/sh\nPYTHONPATH={tests} M1_CONDA={folder} exec {sys.executable} {__file__} "$@"\n', encoding="utf-8"
    )
    (commands / "conda").chmod(0o755)
    return commands


def main(words: list[str]) -> None:
    if words[:1] == ["info"]:
        print(json.dumps({"conda_prefix": os.environ["M1_CONDA"], "platform": "linux-64"}))
    elif words == ["--version"]:
        print("conda 24.11.0")
    elif words[:1] == ["config"]:
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif words[:2] == ["env", "create"]:
        create(Path(words[words.index("--file") + 1]), Path(words[words.index("--prefix") + 1]))
    elif words[:1] != ["clean"]:
        sys.exit(f"the stand-in for conda does not know {words}")


if __name__ == "__main__":
    main(sys.argv[1:])
