"""Start Snakemake in this folder, also after a run that was killed: its orphaned jobs are ended and its lock is removed.

A run that is killed with SIGKILL cannot clean up: its jobs may go on, and Snakemake's lock stays. Whether somebody else is at work here is
seen from the processes of this machine whose working folder this is; on a cluster, orphans on other nodes are the scheduler's to cancel.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import psutil

from m1 import config
from m1.errors import UserError, run
from m1.progress import say


def processes(folder: Path) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Runs of Snakemake in a folder, and jobs of the package there that no such run is a parent of."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    runs, jobs = [], []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if process.pid in own or not words or process.cwd() != str(folder):
                continue
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if any(word.endswith("snakemake") for word in words[:3]):
            runs.append(process)
        elif any(word == "-m" and following.startswith("m1.") for word, following in pairwise(words)):
            jobs.append(process)
    alive = {process.pid for process in runs}
    return runs, [job for job in jobs if not alive & _ancestors(job)]


def _ancestors(process: psutil.Process) -> set[int]:
    try:
        return {parent.pid for parent in process.parents()}
    except psutil.NoSuchProcess:
        return set()


def clear(folder: Path, snakemake: Sequence[str]) -> None:
    """End orphaned jobs and remove a stale lock, if there are any.

    Raises:
        UserError: a run is at work in this folder.
    """
    locks = folder / ".snakemake" / "locks"
    if not (locks.is_dir() and any(locks.iterdir())):
        return
    runs, orphans = processes(folder)
    if runs:
        raise UserError(f"{folder}: Snakemake is at work here already (process {runs[0].pid}); wait for it or end it")
    for orphan in orphans:
        orphan.terminate()
    for orphan in psutil.wait_procs(orphans, timeout=10)[1]:
        orphan.kill()
    done = subprocess.run([*snakemake, "--unlock"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{folder}: the lock of a killed run could not be removed. Snakemake says:\n{done.stderr.strip()[-2000:]}")
    say("launch", f"the last run here was killed: {len(orphans)} orphaned jobs ended, lock removed; going on from what is finished")


def configured(arguments: Sequence[str]) -> list[str]:
    """The configuration files among Snakemake's arguments."""
    files: list[str] = []
    taking = False
    for word in arguments:
        flag, equals, value = word.partition("=")
        if word.startswith("-"):
            taking = flag in ("--configfile", "--configfiles") and not equals
            files += [value] if equals and flag in ("--configfile", "--configfiles") else []
        elif taking:
            files.append(word)
    return files


def main(argv: Sequence[str] | None = None) -> None:
    """Clear what a killed run left, then become Snakemake with the same arguments."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    snakemake = [sys.executable, "-m", "snakemake"]
    files = configured(arguments)
    for file in files:
        config.read(Path(file))  # Snakemake would end with a traceback, or not say where a file is wrong
    clear(Path.cwd(), [*snakemake, *(["--configfile", *files] if files else [])])
    os.execv(sys.executable, [*snakemake, *arguments])


if __name__ == "__main__":
    run(main)
