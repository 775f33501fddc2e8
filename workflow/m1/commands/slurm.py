"""Make Snakemake's SLURM executor (plugin 2.8.0) outlive what happens to jobs on a cluster.

By itself, it waits for ever for a job that somebody cancelled (``sacct`` says ``CANCELLED by 1000``), that was
preempted or lost its node for good, or that SLURM has forgotten. It counts a job as failed that stopped within its
grace time, or that SLURM cannot accept now, or accepts after ``sbatch`` has given up. After several queries without an
answer, it loses all of its jobs.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
import threading
import time
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from m1.commands.doctor import TIMEOUT, ask
from m1.core.progress import say

AWAY = re.compile("unable to contact|timed out|connection", re.IGNORECASE)
"""What SLURM's programs say when the controller or the database does not answer."""
LATER = re.compile(rf"[^'\n]*(?:{AWAY.pattern}|Submit\w*Limit|temporarily)[^'\n]*", re.IGNORECASE)
"""What ``sbatch`` says about a job that SLURM may accept later: SLURM is away, or the user has too many jobs."""
AGAIN = 30
"""Seconds until such a job is submitted again."""
TURN = {"None", "Priority", "Resources", "BeginTime", "Dependency", "Cleaning"}
"""Reasons for which a job only waits for its turn."""
STOPPED = ("FAILED", "PREEMPTED", "NODE_FAIL")
"""States of a job that may be queued again."""


class Preemption(NamedTuple):
    """Whether and how SLURM stops jobs of a partition for others."""

    mode: str  # REQUEUE, CANCEL or SUSPEND; empty if it does not stop them
    seconds: int  # from the signal to the end of the job


def configuration() -> dict[str, str]:
    """SLURM's configuration, by ``scontrol show config``; empty if SLURM does not answer."""
    code, said, _ = ask("scontrol", "show", "config")
    rows = [line.partition("=") for line in said.splitlines() if "=" in line]
    return {name.strip(): value.strip() for name, _, value in rows} if not code else {}


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


def state_of(job: str, said: str = "") -> str:
    """Translate the state of a job into one that the executor knows.

    A preempted job that should be queued again, but which SLURM does not queue, is queued here. This happens if the job
    ended within its grace time (``FAILED``), or if its partition cancels the jobs that it preempts.

    Args:
        job: its number.
        said: its state by the executor's status command; empty if that does not list the job.
    """
    word = said.partition(" ")[0]
    if word and word not in STOPPED:
        return word
    code, text, error = ask("scontrol", "--oneliner", "show", "job", job)
    if code and "Invalid job id" not in error:
        return "PENDING"  # nothing is known, and it is asked again
    if code:
        return "FAILED" if word else _recorded_state(job)
    row = dict(re.findall(r"(\w+)=(\S*)", text))
    if row["JobState"] not in STOPPED:
        return row["JobState"]  # the accounting database lags behind the controller
    if row.get("PreemptTime", "None") == "None" or row.get("Requeue") != "1":
        return "FAILED"
    code, _, error = ask("scontrol", "requeue", job)
    if not code:
        say("launch", f"SLURM job {job} was preempted, and is queued again")
    elif code != TIMEOUT and not AWAY.search(error):
        say("launch", f"SLURM job {job} was preempted, and SLURM does not queue it again: {error.strip()}")
        return "FAILED"
    return "PENDING"


def _recorded_state(job: str) -> str:
    """The state of a job that only the accounting database may still know."""
    code, said, error = ask("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=State")
    if code and AWAY.search(error):
        return "PENDING"
    if said.strip() == "COMPLETED":
        return "COMPLETED"
    say("launch", f"SLURM has forgotten job {job} ({said.strip() or 'nothing is recorded'}); it counts as failed")
    return "FAILED"


def queue(field: str, *flags: str) -> list[tuple[str, str]] | None:
    """Ask ``squeue`` for one field of jobs; returns their numbers and fields, and None if SLURM does not answer."""
    code, said, _ = ask("squeue", "--noheader", *flags, f"--format=%i {field}")
    rows = [line.strip().partition(" ") for line in said.splitlines()]
    return None if code else [(job, value) for job, _, value in rows]


def say_obstacles(jobs: Sequence[str], known: set[str]) -> None:
    """Say which pending jobs wait for more than their turn; ``known`` holds the reasons that have been said."""
    found: dict[str, list[str]] = {}
    for job, reason in queue("%r", "--states=PENDING", f"--jobs={','.join(jobs)}") or ():
        if reason not in TURN | known:
            found.setdefault(reason, []).append(job)
    known.update(found)
    for reason, waiting in found.items():
        release = f"; `scontrol release {','.join(waiting)}` lets them go on" if "held" in reason.lower() else ""
        said = f"SLURM jobs that wait for more than their turn ({reason}): {', '.join(waiting)}{release}"
        say("launch", said)


def accepted_job(run: str, comment: str, known: Container[str]) -> str | None:
    """Find a job that SLURM has accepted after ``sbatch`` had given up.

    Args:
        run: name of all jobs of the run.
        comment: the executor's comment on this job.
        known: numbers of the run's jobs that the executor knows; earlier attempts have the same comment.

    Returns:
        Its number; empty if there is no such job, and None if SLURM does not answer.
    """
    rows = queue("%k", "--states=all", f"--name={run}")
    return None if rows is None else next((job for job, own in rows if own == comment and job not in known), "")


def teach_executor() -> None:
    """Make Snakemake's SLURM executor read states by :func:`state_of`, and wait while SLURM does not answer.

    The executor would choose between ``squeue`` and ``sacct`` by the time for which SLURM keeps jobs. Here the profile
    decides, and the executor asks often enough; ``sacct`` is only taken where accounting is on.
    """
    import snakemake_executor_plugin_slurm as plugin
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    cluster, executor, available = configuration(), plugin.Executor, plugin.is_query_tool_available
    query, check, cancel = plugin.query_job_status, executor.check_active_jobs, executor.cancel_jobs
    report, submitted = executor._report_job_error_threadsafe, executor._report_job_submission_threadsafe
    often = max(1, (seconds(cluster.get("MinJobAge", "")) or 300) // 3)
    accounting = cluster.get("AccountingStorageType") not in ("accounting_storage/none", "(null)", "")
    waiting, known, away, told, stopped = set[str](), set[str](), False, 0.0, threading.Event()
    obstacles: set[str] = set()

    async def known_states(command: str, logger: Any) -> tuple[dict[str, str], float]:
        nonlocal away
        found, took = await query(command, logger)
        if away != (found is None):
            away = found is None
            does = "does not answer; jobs go on, and are asked for again" if away else "answers again"
            say("launch", f"{command.split()[0]} {does}")
        if found is None:
            return {}, 0.0
        states = {job: await asyncio.to_thread(state_of, job, found.get(job, "")) for job in waiting}
        if pending := [job for job, state in states.items() if state == "PENDING"]:
            await asyncio.to_thread(say_obstacles, pending, obstacles)
        return states, took

    async def check_often(self: Any, jobs: Sequence[Any]) -> AsyncIterator[Any]:
        waiting.clear()
        waiting.update(job.external_jobid for job in jobs)
        async for job in check(self, jobs):
            yield job
        self.next_seconds_between_status_checks = min(self.next_seconds_between_status_checks, often)

    def submit_later(self: Any, job: Any, msg: str) -> None:
        nonlocal told
        said, _, call = msg.partition("sbatch call:")
        refusal = LATER.search(said)
        if not refusal:
            report(self, job, msg)
            return
        if not told or time.monotonic() - told > 600:
            told = time.monotonic()
            say("launch", f"SLURM takes no job at present ({refusal[0].strip()}); tried again every {AGAIN} s")
        words = shlex.split(call.partition(" --wrap=")[0].partition("\n    sbatch script:")[0])
        flags, taken = dict(pairwise(words)), None
        while taken is None and not stopped.wait(AGAIN):
            unsure = AWAY.search(refusal[0]) and "--comment" in flags
            taken = accepted_job(self.run_uuid, flags["--comment"], known) if unsure else ""
        if taken:
            log = Path(flags["--output"].replace("%j", taken))
            remember(self, SubmittedJobInfo(job.job, taken, {"slurm_logfile": log}))
        elif taken is not None:
            self._job_submission_executor.submit(self.run_job, job.job)

    def remember(self: Any, job: Any) -> None:
        known.add(job.external_jobid)
        submitted(self, job)

    def stop(self: Any, jobs: Sequence[Any]) -> None:
        stopped.set()
        cancel(self, jobs)

    plugin.query_job_status, plugin.get_min_job_age = known_states, lambda: sys.maxsize
    plugin.is_query_tool_available = lambda name: available(name) and (accounting or name != "sacct")
    executor.check_active_jobs, executor._report_job_error_threadsafe = check_often, submit_later
    executor._report_job_submission_threadsafe, executor.cancel_jobs = remember, stop
