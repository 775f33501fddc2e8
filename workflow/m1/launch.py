"""Start Snakemake in this folder, also after a run that was killed: its orphaned jobs are ended and its lock is removed.

A run that is killed with SIGKILL cannot clean up: its jobs may go on, and Snakemake's lock stays. Whether somebody else is at work here is
seen from the processes of this machine whose working folder this is, and from the note of where the last run was started. SLURM's jobs of
this folder would be submitted a second time, and both would write the same files; so they are cancelled first.

Results that were brought here without Snakemake's records of them are not made again unasked (``make adopt``).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import yaml

from m1 import config
from m1.errors import UserError, run
from m1.progress import say

NOTE = ".snakemake/m1-run.json"
"""Machine and process of the last run in a folder."""
COSTLY = ("screen/*.parquet", "distill/*.parquet", "train/*.sha256", "infer/*/predictions.parquet")
"""Results that nobody wants to make again without being asked."""
ANYWAY = {"--touch", "-t", "--forceall", "-F", "--lint", "--unlock"}
"""Arguments with which Snakemake makes nothing, or everything on purpose."""
ENDING = 120
"""Seconds that cancelled jobs may take to be gone."""


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
        if any(word.endswith("snakemake") for word in words[:3]) and "--target-jobs" not in words:  # which a job's own Snakemake has
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


def slurm_prefix(arguments: Sequence[str]) -> str | None:
    """How the names of this run's SLURM jobs begin, from the profile among Snakemake's arguments; None where none is for SLURM.

    Raises:
        UserError: the profile is for SLURM and gives its jobs no name.
    """
    words = [part for word in arguments for part in word.split("=", 1)]
    for flag, value in pairwise(words):
        path = Path(value) / "config.yaml"
        if flag in ("--workflow-profile", "--profile") and path.is_file():
            profile: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            if profile.get("executor") == "slurm":
                if prefix := profile.get("slurm-jobname-prefix"):
                    return f"{prefix}_"
                raise UserError(f"{path}: no slurm-jobname-prefix; without it, orphaned jobs of a killed run cannot be found. Add: m1")
    return None


def queued(folder: Path, prefix: str) -> list[str]:
    """This user's SLURM jobs of a folder that wait, run, or are about to be gone."""
    command = ["squeue", "--noheader", "--me", "--format=%A|%j|%Z"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"SLURM does not answer: {done.stderr.strip()}; jobs of {folder} cannot be seen, so nothing is started")
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    return sorted({number for number, name, where in rows if name.startswith(prefix) and where == str(folder)})


def cancel(folder: Path, prefix: str) -> int:
    """Cancel the SLURM jobs of a folder, and wait until they are gone; how many they were.

    Raises:
        UserError: some are still there after :data:`ENDING` seconds.
    """
    jobs = queued(folder, prefix)
    if jobs:
        subprocess.run(["scancel", *jobs], check=True)
    waited = time.monotonic()
    while left := queued(folder, prefix) if jobs else []:
        if time.monotonic() - waited > ENDING:
            raise UserError(f"{folder}: SLURM jobs {', '.join(left)} do not end; cancel them by scancel, and start again")
        time.sleep(0.5)
    return len(jobs)


def leave_none(folder: Path, prefix: str) -> None:
    """Cancel what a run that has ended left in SLURM's queue: it would go on beside the next run."""
    if cancelled := cancel(folder, prefix):
        say("launch", f"{cancelled} SLURM jobs of this run cancelled")


def clear(folder: Path, snakemake: Sequence[str], prefix: str | None) -> None:
    """End orphaned jobs and remove a stale lock, if there are any.

    Args:
        prefix: of the names of SLURM jobs, where those are looked for.

    Raises:
        UserError: a run is at work in this folder, or may be, on another machine.
    """
    locks = folder / ".snakemake" / "locks"
    locked = locks.is_dir() and any(locks.iterdir())
    if not (locked or prefix):
        return
    if runs := processes(folder)[0]:
        raise UserError(f"{folder}: Snakemake is at work here already (process {runs[0].pid}); wait for it or end it")
    note = folder / NOTE
    last = json.loads(note.read_text(encoding="utf-8")) if locked and note.is_file() else {"machine": socket.gethostname()}
    if last["machine"] != socket.gethostname():
        raise UserError(
            f"{folder}: the last run was started on {last['machine']} (process {last['process']}) and may be at work; start this one there,"
            f" or, if that process is gone, delete {note}"
        )
    cancelled = cancel(folder, prefix) if prefix else 0
    orphans = processes(folder)[1]
    for orphan in orphans:
        with suppress(psutil.NoSuchProcess):
            orphan.terminate()
    for orphan in psutil.wait_procs(orphans, timeout=10)[1]:
        orphan.kill()
    if locked:
        done = subprocess.run([*snakemake, "--unlock"], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"{folder}: the lock of a killed run could not be removed. Snakemake says:\n{done.stderr.strip()[-2000:]}")
    if locked or cancelled:
        scheduled = f", {cancelled} SLURM jobs cancelled" if prefix else ""
        ended = f"{len(orphans)} orphaned jobs ended{scheduled}" + (", lock removed" if locked else "")
        say("launch", f"the last run here was killed: {ended}; going on from what is finished")


def unknown(folder: Path, results: str) -> str:
    """What to do about results that came here without Snakemake's records; empty where there is nothing to do.

    Without records Snakemake goes by the times of files, which a copy or a fresh clone changes, and would make most of it again.

    Args:
        results: the configuration's folder of results.
    """
    records = folder / ".snakemake/metadata"
    known = records.is_dir() and any(records.iterdir())
    if known or not any(file for pattern in COSTLY for file in (folder / results).glob(pattern)):
        return ""
    return (
        f"{results}: these results came without Snakemake's records of them (the folder .snakemake), so it would make most of them again."
        " Bring .snakemake along, too; or take them as they are, by the same command with --touch (make adopt CONFIG=…), which makes"
        f" nothing and checks nothing; or, to make them anew, delete {results}"
    )


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
    """Clear what a killed run left, then become Snakemake with the same arguments; a dry run changes nothing."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    snakemake = [sys.executable, "-m", "snakemake"]
    files = configured(arguments)
    whole = config.load([Path(file) for file in files])  # what is wrong is said before Snakemake says it in its own way
    dry = bool({"-n", "--dry-run", "--dryrun"} & set(arguments))
    if not ANYWAY & set(arguments) and (problem := unknown(Path.cwd(), whole["pathvars"]["results"])):
        if not dry:
            raise UserError(problem)
        say("launch", problem)
    if not dry:
        folder = Path.cwd()
        clear(folder, [*snakemake, *(["--configfile", *files] if files else [])], slurm_prefix(arguments))
        (folder / NOTE).parent.mkdir(exist_ok=True)
        (folder / NOTE).write_text(json.dumps({"machine": socket.gethostname(), "process": os.getpid()}), encoding="utf-8")
    if {"--touch", "-t"} & set(arguments):
        # All of it, or what looks new by its time would stay unrecorded; and what fails must not be deleted for it.
        arguments += ["--forceall", "--keep-incomplete"]
    os.execv(sys.executable, [*snakemake, *arguments])


if __name__ == "__main__":
    run(main)
