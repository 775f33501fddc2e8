"""What Snakemake's executor does not know of SLURM: the status command for a cluster, preemption, and strange states.
On a real SLURM: tests/workflow/test_slurm_stops.py."""

from __future__ import annotations

import shlex
import shutil
from contextlib import chdir
from pathlib import Path

import pytest
from m1.commands import slurm
from m1.commands.slurm import Preemption, preemption, state_of
from patience import PATIENCE
from slurm_executor import Executor
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

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
        ("PREEMPTED", GONE, "FAILED", False),
        ("NODE_FAIL", job("NODE_FAIL"), "FAILED", False),  # SLURM does not queue it again, or it would be PENDING
        ("NODE_FAIL", job("PENDING"), "PENDING", False),
        ("", job("RUNNING"), "RUNNING", False),  # the database comes after the controller
        ("", AWAY, "PENDING", False),
    ],
)
def test_states_in_words_that_the_executor_knows(
    programs: Path, monkeypatch: pytest.MonkeyPatch, said: str, scontrol: str, state: str, requeued: bool
) -> None:
    monkeypatch.chdir(programs)
    add(programs, "scontrol", scontrol)
    assert state_of("7", said) == state
    assert (programs / "again").exists() == requeued


OFF = "echo 'Slurm accounting storage is disabled' >&2; exit 1"
LOST = "echo 'sacct: error: Problem talking to the database: Connection refused' >&2; exit 1"


@pytest.mark.parametrize("command", ["squeue", "sacct"])
@pytest.mark.parametrize(
    ("sacct", "report"),
    [
        ("echo COMPLETED", "finished"),
        ("echo TIMEOUT", "failed, SLURM status is: 'FAILED'"),
        ("echo RUNNING", "failed, SLURM status is: 'FAILED'"),
        ("exit 0", "failed, SLURM status is: 'FAILED'"),
        (OFF, "failed, SLURM status is: 'FAILED'"),
        (LOST, None),
    ],
)
def test_no_job_that_slurm_has_forgotten_is_waited_for(
    programs: Path, command: str, sacct: str, report: str | None
) -> None:
    """Neither command lists it, for example because the launcher was paused for longer than SLURM keeps jobs."""
    add(programs, "scontrol", f"case $2 in config) echo 'AccountingStorageType = slurmdbd';; *) {GONE};; esac")
    add(programs, "squeue", "exit 0")
    add(programs, "sacct", f'case "$*" in *--jobs=7*) {sacct};; *) exit 0;; esac')
    slurm.teach_executor()
    executor = Executor(command)
    assert executor.ask("7") == ([] if report else ["7"]), "it is asked again while the database does not answer"
    assert (report or "") in executor.reports.get("7", "")
    assert bool(report) == bool(executor.reports)


@pytest.mark.parametrize("accounting", ["accounting_storage/slurmdbd", "accounting_storage/none", "(null)"])
@pytest.mark.parametrize(("command", "age"), [("squeue", 300), ("squeue", 6), ("sacct", 300), ("sacct", 6)])
def test_the_profiles_status_command_is_taken_where_it_can_answer(
    programs: Path, command: str, age: int, accounting: str
) -> None:
    """Without accounting, ``sacct`` would be asked for ever. ``squeue`` lists a job that has ended for MinJobAge."""
    config = f"echo 'AccountingStorageType = {accounting}'; echo 'MinJobAge = {age} sec'"
    add(programs, "scontrol", f"case $2 in config) {config};; *) {GONE};; esac")
    for name in ("squeue", "sacct"):
        add(programs, name, f"echo {name} >> asked; echo '7|RUNNING'")
    slurm.teach_executor()
    executor = Executor(command)
    with chdir(programs):
        assert executor.ask("7") == ["7"]
    able = "sacct" if command == "sacct" and accounting.endswith("slurmdbd") else "squeue"
    assert (programs / "asked").read_text().split() == [able]
    assert executor.next_seconds_between_status_checks <= age / 2


def test_while_the_controller_is_away_the_executor_does_not_take_sacct(programs: Path) -> None:
    add(programs, "scontrol", "echo 'MinJobAge = 300 sec'")
    slurm.teach_executor()
    for name, script in {"scontrol": AWAY, "squeue": "exit 1", "sacct": "touch asked"}.items():
        add(programs, name, script)
    with chdir(programs):
        assert Executor("squeue").ask("7") == ["7"]
    assert not (programs / "asked").exists()


def test_jobs_are_not_forgotten_while_slurm_does_not_answer(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(programs, "scontrol", "echo 'AccountingStorageType = accounting_storage/slurmdbd'")
    slurm.teach_executor()
    executor = Executor("sacct")
    for answer in ("exit 1", "exit 1", "echo '7|RUNNING'"):
        add(programs, "sacct", answer)
        assert executor.ask("7") == ["7"]
    assert capsys.readouterr().out.splitlines() == [
        "[launch] sacct does not answer; jobs go on, and are asked for again",
        "[launch] sacct answers again",
    ]


def test_jobs_that_wait_for_more_than_their_turn_are_said_once(
    programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(programs, "scontrol", "exit 1")
    reasons = "6 Resources\n7 JobHeldUser\n8 JobHeldUser\n9 PartitionDown"
    jobs = ("5", "6", "7", "8", "9")
    states = "\n".join(f"{job}|{'RUNNING' if job == '5' else 'PENDING'}" for job in jobs)
    add(programs, "squeue", f"case \"$*\" in *--jobs=*%r) echo '{reasons}';; *) echo '{states}';; esac")
    slurm.teach_executor()
    executor = Executor("squeue")
    for _ in range(2):
        assert executor.ask(*jobs) == list(jobs)
    said = "[launch] SLURM jobs that wait for more than their turn"
    assert capsys.readouterr().out.splitlines() == [
        f"{said} (JobHeldUser): 7, 8; `scontrol release 7,8` lets them go on",
        f"{said} (PartitionDown): 9",
    ]


REFUSALS = (
    "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates policy",
    "sbatch: error: AssocMaxSubmitJobLimit",
    "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
    "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
    "sacctmgr: error: Problem talking to the database: Connection refused",
)


def test_what_slurm_cannot_accept_now_is_submitted_later(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slurm, "AGAIN", 0.1)
    slurm.teach_executor()
    executor = Executor("squeue")
    for refusal in REFUSALS:
        said = f"SLURM sbatch failed. The error message was '{refusal}'.\n    sbatch call:\n        sbatch"
        executor._report_job_error_threadsafe(SubmittedJobInfo(refusal), said)  # type: ignore[arg-type]
        assert executor.submissions.acquire(timeout=PATIENCE)
    assert executor.submitted == list(REFUSALS)
    assert not executor.reports
    assert capsys.readouterr().out == (
        "[launch] SLURM takes no job at present (sbatch: error: QOSMaxSubmitJobPerUserLimit); tried again every 0.1 s\n"
    ), "once in ten minutes"


def test_what_slurm_has_accepted_all_the_same_is_not_submitted_again(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "AGAIN", 0.1)
    jobs = ("6 rule_train_wildcards_other", "7 rule_train_wildcards_m1 a", "8 rule_train_wildcards_m1 a")
    answer = f"printf '%s\\n' {shlex.join(jobs)}"
    add(programs, "squeue", f"[ -e asked ] && {answer} || {{ : >asked; exit 1; }}")  # at first, it does not answer
    slurm.teach_executor()
    executor = Executor("squeue")
    call = "sbatch --output '/a b/%j.log' --comment 'rule_train_wildcards_m1 a' --wrap=\"it's\""
    said = f"The error message was '{REFUSALS[3]}'.\n    sbatch call:\n        {call}\n"
    with chdir(programs):
        for number in ("7", "8"):
            executor._report_job_error_threadsafe(SubmittedJobInfo("m1"), said)  # type: ignore[arg-type]
            assert executor.reports[number] == f"submitted, /a b/{number}.log", "7 is an earlier attempt by then"
        assert not executor.submitted
        executor._report_job_error_threadsafe(SubmittedJobInfo("m1"), said)  # type: ignore[arg-type]
        assert executor.submissions.acquire(timeout=PATIENCE)


@pytest.mark.parametrize("refusal", ["Invalid account", "Requested time limit is invalid", "invalid partition"])
def test_what_slurm_never_accepts_fails(programs: Path, refusal: str) -> None:
    slurm.teach_executor()
    executor = Executor("squeue")
    said = f"The error message was '{refusal}'.\n    sbatch call:\n    -D /home/connection"
    executor._report_job_error_threadsafe(SubmittedJobInfo(None), said)  # type: ignore[arg-type]
    assert executor.reports == {None: said}
    assert not executor.submitted


def test_nothing_is_submitted_after_ctrl_c(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm.teach_executor()
    executor = Executor("squeue")
    executor.cancel_jobs([])
    executor._report_job_error_threadsafe(SubmittedJobInfo(None), REFUSALS[0])  # type: ignore[arg-type]
    executor._job_submission_executor.shutdown(wait=True)
    assert (executor.submitted, executor.reports) == ([], {})
