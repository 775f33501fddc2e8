"""Work around faults of Snakemake's SLURM executor (plugin 2.8.0) that make it wait for ever.

The executor asks SLURM for the states of its jobs by ``squeue`` or ``sacct``. It does not understand three states: a
job that somebody cancelled (``sacct`` says ``CANCELLED by 1000``), a job that was preempted for good, and a preempted
job that stopped within its grace time (``FAILED``). Also, each of the two commands can be the wrong one for a cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

from m1.commands.doctor import TIMEOUT, ask
from m1.core.progress import say

LONGEST = 180
"""The longest time between two queries of the executor, in seconds."""
FIRST = 40
"""Seconds before its first query, if the profile does not set them."""

AWAY = re.compile("unable to contact|timed out|connection", re.IGNORECASE)
"""What SLURM's programs say when the controller does not answer."""
HANGS = "a run would wait for ever"


class StatusProblem(NamedTuple):
    """Why the executor would not notice the ends of jobs."""

    certain: bool  # otherwise it only may happen
    found: str
    remedy: str


class Preemption(NamedTuple):
    """Whether and how SLURM stops jobs of a partition for others."""

    mode: str  # REQUEUE, CANCEL or SUSPEND; empty if it does not stop them
    seconds: int  # from the signal to the end of the job


def status_settings(options: argparse.Namespace) -> tuple[str | None, int | None]:
    """The executor's status command, and the seconds before its first query; None if the profile does not set them."""
    command, first = options.slurm_status_command, options.slurm_init_seconds_before_status_checks
    return command if isinstance(command, str) else None, first if isinstance(first, int) else None


def configuration() -> dict[str, str]:
    """SLURM's configuration, by ``scontrol show config``; empty if SLURM does not answer."""
    code, said, _ = ask("scontrol", "show", "config")
    rows = [line.partition("=") for line in said.splitlines() if "=" in line]
    return {name.strip(): value.strip() for name, _, value in rows} if not code else {}


def status_problem(command: str | None, first: int | None, cluster: Mapping[str, str]) -> StatusProblem | None:
    """Why the executor would not notice the ends of jobs; None if it would.

    Args:
        command: the profile's ``slurm-status-command``; None for the executor's choice.
        first: the profile's ``slurm-init-seconds-before-status-checks``.
        cluster: the :func:`configuration` of SLURM.
    """
    accounting = cluster["AccountingStorageType"] not in ("accounting_storage/none", "(null)", "")
    keeps, sacct = seconds(cluster["MinJobAge"]), bool(shutil.which("sacct"))
    forgets = f"SLURM forgets jobs after {keeps} s (MinJobAge)"
    # If SLURM forgets jobs before the executor has asked three times, the executor uses sacct if it exists.
    if sacct and (command in ("sacct", None) or keeps < 3 * (first or FIRST)):
        if accounting:
            return None
        if command == "squeue":
            remedy = f"set slurm-init-seconds-before-status-checks to {max(1, keeps // 3)} in the profile"
            return StatusProblem(True, f"{forgets}, so Snakemake takes sacct, and accounting is off: {HANGS}", remedy)
        off = f"slurm-status-command is sacct, and accounting is off on this cluster: {HANGS}"
        return StatusProblem(True, off, "set slurm-status-command: squeue in the profile")
    if keeps < LONGEST + 20:  # 20 seconds are for the answer itself
        other = "set slurm-status-command: sacct in the profile" if accounting else "ask for a MinJobAge of 200 or more"
        found = (
            f"{forgets}, and Snakemake asks squeue every {LONGEST} s only: it may wait for ever for one that has ended"
        )
        return StatusProblem(False, found, other)
    return None


def seconds(text: str) -> int:
    """Parse SLURM's ``300 sec``; 0 if there is no number."""
    return int((re.match(r"\d+", text) or ["0"])[0])


def preemption(partition: str, cluster: Mapping[str, str]) -> Preemption | None:
    """Ask SLURM how it preempts the jobs of a partition; None if it does not say."""
    code, said, _ = ask("scontrol", "--oneliner", "show", "partition")
    rows = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in said.splitlines()]
    own = next((row for row in rows if row.get("PartitionName") == partition), None)
    if code or own is None or not cluster:
        return None
    kind, mode = cluster.get("PreemptType", "preempt/none"), own.get("PreemptMode", "OFF")
    above = any(int(row["PriorityTier"]) > int(own["PriorityTier"]) for row in rows)
    if kind == "preempt/none" or mode == "OFF" or (kind == "preempt/partition_prio" and not above):
        return Preemption("", 0)
    return Preemption(mode, max(seconds(own.get("GraceTime", "")), seconds(cluster.get("KillWait", ""))))


def state_of(job: str, said: str) -> str:
    """Translate the state that SLURM gave for a job into one that the executor knows.

    A preempted job that should be queued again, but which SLURM does not queue, is queued here. This happens if the job
    ended within its grace time (``FAILED``), or if its partition cancels the jobs that it preempts.
    """
    word = said.partition(" ")[0]
    if word not in ("FAILED", "PREEMPTED"):
        return word
    code, text, error = ask("scontrol", "--oneliner", "show", "job", job)
    if code:
        forgotten = "Invalid job id" in error
        return ("CANCELLED" if word == "PREEMPTED" else word) if forgotten else "PENDING"  # else it is asked again
    row = dict(re.findall(r"(\w+)=(\S*)", text))
    if row["JobState"] not in ("FAILED", "PREEMPTED"):
        return row["JobState"]  # the accounting database lags behind the controller
    preempted = row.get("PreemptTime", "None") != "None" and row.get("Requeue") == "1"
    if not preempted:
        return "FAILED"
    code, _, error = ask("scontrol", "requeue", job)
    if not code:
        say("launch", f"SLURM job {job} was preempted, and is queued again")
    elif code != TIMEOUT and not AWAY.search(error):
        say("launch", f"SLURM job {job} was preempted, and SLURM does not queue it again: {error.strip()}")
        return "FAILED"
    return "PENDING"


def teach_executor() -> None:
    """Make Snakemake's SLURM executor read states by :func:`state_of`, and wait while SLURM does not answer.

    After several queries without an answer, the executor would lose all of its jobs; now it only learns nothing new.
    While the controller is away, it would also switch to ``sacct``, whether accounting is on or off, because it cannot
    ask how long SLURM keeps jobs.
    """
    import snakemake_executor_plugin_slurm as plugin

    query, age, ended, away = plugin.query_job_status, plugin.get_min_job_age(), dict[str, str](), False

    async def known_states(command: str, logger: Any) -> tuple[dict[str, str], float]:
        nonlocal away
        found, took = await query(command, logger)
        if away != (found is None):
            away = found is None
            does = "does not answer; jobs go on, and are asked for again" if away else "answers again"
            say("launch", f"{command.split()[0]} {does}")
        for job, said in (found or {}).items():
            state = ended.get(job) or await asyncio.to_thread(state_of, job, said)
            found[job] = state
            if state in ("FAILED", "CANCELLED"):
                ended[job] = state
        return found or {}, took or 0.0

    plugin.query_job_status, plugin.get_min_job_age = known_states, lambda: age
