"""What Snakemake's executor does not know of SLURM: the status command for a cluster, preemption, and strange states.
On a real SLURM: tests/workflow/test_slurm_stops.py."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

import pytest
import snakemake_executor_plugin_slurm as plugin
from m1.commands import slurm
from m1.commands.slurm import Preemption, preemption, state_of, status_problem

PARTITIONS = """\
PartitionName=cpu PriorityTier=9 GraceTime=0 PreemptMode=OFF State=UP
PartitionName=top PriorityTier=9 GraceTime=0 PreemptMode=REQUEUE State=UP
PartitionName=spare PriorityTier=1 GraceTime=0 PreemptMode=REQUEUE State=UP
PartitionName=grace PriorityTier=1 GraceTime=120 PreemptMode=CANCEL State=UP
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder with programs, which has none of SLURM's."""
    for name in ("cat", "which"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def add(programs: Path, name: str, script: str) -> None:
    (programs / name).write_text(f"#!/bin/sh\n{script}\n")
    (programs / name).chmod(0o755)


@pytest.mark.parametrize(
    ("command", "first", "sacct", "accounting", "age", "certain", "said", "remedy"),
    [
        ("squeue", None, True, False, "300 sec", None, "", ""),
        ("squeue", None, False, False, "300 sec", None, "", ""),
        ("sacct", None, False, False, "300 sec", None, "", ""),  # the executor takes squeue
        ("sacct", None, True, True, "2 sec", None, "", ""),
        (None, None, True, True, "300 sec", None, "", ""),
        ("sacct", None, True, False, "300 sec", True, "accounting is off on this cluster", "status-command: squeue"),
        (None, None, True, False, "300 sec", True, "accounting is off on this cluster", "status-command: squeue"),
        ("squeue", None, True, False, "100 sec", True, "so Snakemake takes sacct, and", "checks to 33 in the"),
        ("squeue", None, True, True, "100 sec", None, "", ""),  # the executor takes sacct, which works
        ("squeue", 30, True, True, "100 sec", False, "forgets jobs after 100 s", "status-command: sacct"),
        ("squeue", None, False, False, "100 sec", False, "asks squeue every 180 s only", "a MinJobAge of 200 or more"),
    ],
)
def test_the_status_command_fits_the_cluster_or_what_is_amiss_is_said(
    programs: Path,
    command: str | None,
    first: int | None,
    sacct: bool,
    accounting: bool,
    age: str,
    certain: bool | None,
    said: str,
    remedy: str,
) -> None:
    if sacct:
        add(programs, "sacct", "exit 1")
    kind = "accounting_storage/slurmdbd" if accounting else "accounting_storage/none"
    problem = status_problem(command, first, {"AccountingStorageType": kind, "MinJobAge": age})
    assert (problem and problem.certain) is certain
    assert said in (problem.found if problem else "")
    assert remedy in (problem.remedy if problem else "")


@pytest.mark.parametrize(
    ("partition", "kind", "found"),
    [
        ("cpu", "preempt/partition_prio", Preemption("", 0)),
        ("top", "preempt/partition_prio", Preemption("", 0)),  # none is above it
        ("top", "preempt/qos", Preemption("REQUEUE", 30)),
        ("spare", "preempt/partition_prio", Preemption("REQUEUE", 30)),
        ("grace", "preempt/partition_prio", Preemption("CANCEL", 120)),
        ("grace", "preempt/none", Preemption("", 0)),
        ("other", "preempt/partition_prio", None),
    ],
)
def test_who_is_preempted(programs: Path, partition: str, kind: str, found: Preemption | None) -> None:
    add(programs, "scontrol", f"cat <<E\n{PARTITIONS}E")
    assert preemption(partition, {"PreemptType": kind, "KillWait": "30 sec"}) == found


GONE = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
AWAY = "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1"


def job(state: str, preempted: str = "None", requeue: int = 1, again: int = 0, error: str = "refused") -> str:
    """A stand-in for scontrol that knows a job; ``again`` is its exit code when it is to queue the job again, and
    ``error`` what it says then."""
    row = f"JobId=7 JobState={state} Requeue={requeue} PreemptTime={preempted}"
    return f'[ "$1" = requeue ] && {{ echo $2 >> again; echo {error} >&2; exit {again}; }}; echo {row}'


@pytest.mark.parametrize(
    ("said", "scontrol", "state", "requeued"),
    [
        ("CANCELLED by 1000", "exit 1", "CANCELLED", False),
        ("RUNNING", "exit 1", "RUNNING", False),
        ("FAILED", job("FAILED"), "FAILED", False),
        ("FAILED", job("FAILED", "2026-01-01T10:00:00"), "PENDING", True),
        ("FAILED", job("FAILED", "2026-01-01T10:00:00", requeue=0), "FAILED", False),
        ("FAILED", job("FAILED", "2026-01-01T10:00:00", again=1), "FAILED", True),
        ("FAILED", job("FAILED", "2026-01-01T10:00:00", again=1, error="Socket timed out"), "PENDING", True),
        ("PREEMPTED", job("PREEMPTED", "2026-01-01T10:00:00"), "PENDING", True),
        ("PREEMPTED", job("PREEMPTED", "2026-01-01T10:00:00", requeue=0), "FAILED", False),
        ("PREEMPTED", job("PENDING"), "PENDING", False),  # SLURM has queued it, and its database comes after
        ("FAILED", AWAY, "PENDING", False),  # nothing is known; it is asked again
        ("FAILED", GONE, "FAILED", False),
        ("PREEMPTED", GONE, "CANCELLED", False),
    ],
)
def test_states_in_words_that_the_executor_knows(
    programs: Path, monkeypatch: pytest.MonkeyPatch, said: str, scontrol: str, state: str, requeued: bool
) -> None:
    monkeypatch.chdir(programs)
    add(programs, "scontrol", scontrol)
    assert state_of("7", said) == state
    assert (programs / "again").exists() == requeued


def test_while_the_controller_is_away_the_executor_does_not_take_sacct(programs: Path) -> None:
    add(programs, "scontrol", "echo 'MinJobAge = 300 sec'")
    slurm.teach_executor()
    add(programs, "scontrol", AWAY)
    assert plugin.get_min_job_age() == 300


def test_jobs_are_not_forgotten_while_slurm_does_not_answer(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: 300)
    slurm.teach_executor()

    def states() -> dict[str, str] | None:
        return asyncio.run(plugin.query_job_status("sacct --name m1", logging.getLogger()))[0]

    for answer, found in (("exit 1", {}), ("exit 1", {}), ("echo '7|RUNNING'", {"7": "RUNNING"})):
        add(programs, "sacct", answer)
        assert states() == found, "None would be the end of all jobs"
    assert capsys.readouterr().out.splitlines() == [
        "[launch] sacct does not answer; jobs go on, and are asked for again",
        "[launch] sacct answers again",
    ]
