"""A SLURM of two nodes with fake GPUs on this machine, and projects that run on it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from m1.train import checkpoints
from patience import PATIENCE
from project import REPOSITORY, SHORT, Project

HERE = REPOSITORY / "tests/slurm"
PROGRAMS = ("slurmctld", "slurmd", "srun", "munged")
ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db")
SYSTEM = f"/usr/sbin:/sbin:{os.environ['PATH']}"


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Run a SLURM of two nodes with eight GPUs each (and accounting if installed); yields its environment."""
    if absent := [program for program in PROGRAMS if not shutil.which(program, path=SYSTEM)]:
        pytest.skip(
            f"no SLURM here: {', '.join(absent)} not found; Debian: apt-get install slurmctld slurmd slurm-client munge"
        )
    if os.getuid():
        pytest.skip("two SLURM nodes on one machine need root, for namespaces of their own")
    folder = Path(tempfile.mkdtemp(prefix="m1-slurm-", dir="/tmp"))  # short: it holds a socket
    try:
        start(folder)
        yield {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    finally:
        subprocess.run(["bash", HERE / "stop_slurm.sh", folder], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def accounts() -> bool:
    """Whether this machine has the programs of SLURM's accounting."""
    return all(shutil.which(program, path=SYSTEM) for program in ACCOUNTING)


def start(folder: Path) -> None:
    """Start SLURM in a folder, or those of its daemons that were killed."""
    settings = os.environ | {"SLURM_DBD": str(int(accounts()))}
    started = subprocess.run(["bash", HERE / "start_slurm.sh", folder], env=settings, capture_output=True, text=True)
    assert started.returncode == 0, started.stdout + started.stderr


STARTED: list[subprocess.Popen[bytes]] = []


def end_all(slurm: dict[str, str]) -> None:
    """End the runs that a test has started and, as it failed, has left at work, and their jobs."""
    left = [process for process in STARTED if process.poll() is None]
    STARTED.clear()
    for process in left:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(["scancel", "--full", f"--user={os.getuid()}"], env=os.environ | slurm, capture_output=True)


class Cluster:
    """A project that runs on SLURM."""

    def __init__(self, project: Project, slurm: dict[str, str]) -> None:
        self.project = project
        paths = f"workflow:{HERE / 'fast'}"
        self.environment = {name: value for name, value in os.environ.items() if name != "SNAKEMAKE_PROFILE"}
        self.environment |= slurm | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.said, self.slurm = project.folder / "said.txt", Path(slurm["SLURM_CONF"]).parent
        self.said.touch()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a run by the documented command."""
        words = ["-m", "m1", "launch", *arguments, "--workflow-profile", "profiles/slurm", "--configfile", SHORT]
        with open(self.said, "wb") as said:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=self.project.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(
                    signal.SIGINT, signal.SIG_DFL
                ),  # tests in the background were told to ignore it
            )
        STARTED.append(process)
        return process

    def ask(self, *command: str) -> str:
        """Return the output of a program of SLURM."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def jobs(self, rule: str = "") -> list[dict[str, str]]:
        """SLURM's records of the jobs of this project, in the order in which they were submitted."""
        rows = [
            dict(re.findall(r"(\S+?)=(\S*)", line))
            for line in self.ask("scontrol", "--oneliner", "show", "job").splitlines()
        ]
        found = [
            row
            for row in rows
            if row.get("WorkDir") == str(self.project.folder) and row.get("Comment", "").startswith(f"rule_{rule}")
        ]
        return sorted(found, key=lambda row: int(row["JobId"]))

    def wait(self, condition: Callable[[], Any], process: subprocess.Popen[bytes] | None = None) -> Any:
        """Wait until a condition returns a true value, and return it."""
        until = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < until, (
                f"{[(job['JobId'], job['JobState']) for job in self.jobs()]}\n{self.said.read_text()}"
            )
            assert process is None or process.poll() is None, self.said.read_text()
            time.sleep(0.2)
        return found

    def step(self, model: str) -> int:
        """Return the last step of an unfinished training; 0 if there is none."""
        logs = list((self.project.folder / "scratch/train" / model).glob("*/log.jsonl"))
        return max([line["step"] for log in logs for line in checkpoints.losses(log)], default=0)

    def kill(self, *daemons: str, by: int = signal.SIGKILL) -> None:
        """Kill daemons of SLURM, which cannot clean up (:func:`start` starts them again), or send another signal."""
        for name in daemons:
            os.kill(int((self.slurm / f"run/{name}.pid").read_text()), by)

    def take_nodes(self, seconds: int) -> None:
        """Submit a job that needs all nodes, in a partition before whose jobs those of others must give way."""
        self.ask("sbatch", "--nodes=2", "--cpus-per-task=16", "--output=/dev/null", f"--wrap=sleep {seconds}")
