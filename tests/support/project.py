"""A copy of the workflow in a folder of its own, where tests edit it and run Snakemake."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from m1.wiring.config import merge
from programs import run

REPOSITORY = Path(__file__).parents[2]
PARTS = ("Snakefile", "workflow", "config", "envs", "resources", "profiles", "tests/configs")
SHORT = "tests/configs/short.yaml"
MAIN = ("results/short/table1.csv", "results/short/figure1.pdf", "results/short/figure3.pdf")
"""What the rerun contract looks at; the rest of the report is cheap and has a test of its own."""
_JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n?)+)", re.MULTILINE)
_WILDCARDS = re.compile(r"^    wildcards: (.*)$", re.MULTILINE)


class Project:
    """A copy of the workflow with the short configuration.

    Args:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of_repository(cls, folder: Path) -> Project:
        """Copy the repository, without any results."""
        for part in PARTS:
            source = REPOSITORY / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, folder / part)
        return cls(folder)

    def copy(self, folder: Path) -> Project:
        """Copy this project with its results, for edits."""
        return Project(shutil.copytree(self.folder, folder, symlinks=True))

    @staticmethod
    def environment() -> dict[str, str]:
        """The environment of commands in a project: its own package, and no profile of the user's."""
        variables = {name: value for name, value in os.environ.items() if name != "SNAKEMAKE_PROFILE"}
        return variables | {"PYTHONPATH": "workflow"}

    def start(
        self, *arguments: str, module: str = "snakemake", overlays: Sequence[str] = (SHORT,)
    ) -> subprocess.Popen[str]:
        """Start Snakemake (or ``m1 launch``, as the Makefile does), in a process group of its own; the short
        configuration by default."""
        return subprocess.Popen(
            [sys.executable, "-m", *module.split(), *arguments, "--cores", "2", "--configfile", *overlays],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, module: str = "snakemake", overlays: Sequence[str] = (SHORT,)) -> tuple[int, str]:
        """Run to the end; returns the exit code and the output."""
        words = [*module.split(), *arguments, "--cores", "2", "--configfile", *overlays]
        return run(words, self.folder, self.environment())

    def make(self, *arguments: str, module: str = "snakemake") -> str:
        """Run, which must succeed; returns the output."""
        code, said = self.run(*arguments, module=module)
        assert code == 0, said[-6000:]
        return said

    def dry_run(self, target: str, *overlays: str) -> str:
        """Return what Snakemake would run for a target, with other overlays than the short configuration."""
        code, said = self.run("--dry-run", target, module="m1 launch", overlays=overlays)
        assert code == 0, said[-6000:]
        return said

    def plan(self, *targets: str) -> set[str]:
        """Return the jobs that would run now: rules with their wildcards, such as ``train_sft m1-small-1k``."""
        return self.jobs(self.make("--dry-run", *(targets or MAIN)))

    @staticmethod
    def jobs(said: str) -> set[str]:
        """Read the jobs of a dry run from Snakemake's output."""
        jobs = set()
        for rule, details in _JOB.findall(said):
            wildcards = _WILDCARDS.search(details)
            values = [part.partition("=")[2] for part in wildcards[1].split(", ")] if wildcards else []
            jobs.add(" ".join([rule, *values]))
        assert jobs or "Nothing to be done" in said, said
        return jobs

    def forget_times(self) -> None:
        """What a copy of the results does that keeps no times, in an order in which what is made from something seems
        to be older."""
        for path in sorted(self.path("results").rglob("*")):
            os.utime(path, follow_symlinks=False)
            time.sleep(0.002)

    def path(self, name: str) -> Path:
        """Return the path of a file of the project, which must exist."""
        path = self.folder / name
        assert path.exists(), path
        return path

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace a text that occurs exactly once in a file."""
        text = self.path(name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name}: {old!r} stands {text.count(old)} times"
        self.path(name).write_text(text.replace(old, new), encoding="utf-8")

    def configure(self, **changes: Any) -> None:
        """Change the short configuration; dictionaries are merged, anything else is replaced."""
        path = self.path(SHORT)
        path.write_text(
            yaml.safe_dump(merge(yaml.safe_load(path.read_text(encoding="utf-8")), changes), sort_keys=False),
            encoding="utf-8",
        )
