"""What a dry run says of planned jobs, by what their steps say; with real jobs: ``tests/workflow/test_dry_run.py``."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from m1.commands.dry_run import Job, Recorder, lines
from m1.core.errors import UserError
from m1.core.store import Stored
from m1.distill import traces

COMMAND = (
    """exec python -m m1.distill.traces --teacher '{"model": "a b"}' --calls "$M1_TEACHER_CALLS" --store s 2> a.log"""
)


def job(name: str, inputs: Sequence[str] = (), outputs: Sequence[str] = (), command: str = COMMAND) -> Job:
    rule, *wildcards = name.split()
    reason = "Missing output files: a.csv; Params have changed since last execution: x"
    return Job(rule, tuple(wildcards), tuple(inputs), tuple(outputs), command, reason)


def test_a_step_is_asked_with_the_command_line_of_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = json.dumps({"base_url": "http://$HOME/v1"})
    monkeypatch.setenv("M1_TEACHER_CALLS", calls)
    expected = ["--teacher", '{"model": "a b"}', "--calls", calls, "--store", "s"]
    assert job("distill_traces hard").step() == ("m1.distill.traces", expected)
    assert job("report_table1", command="python -m m1.report.tables --shown a").step() is None


def test_jobs_are_told_apart_by_what_their_steps_find(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: list[Stored | UserError] = [Stored(24, 24, "calls"), Stored(1200, 11461, "calls"), Stored(0, 24, "calls")]
    found += [UserError("q.parquet: record 3"), Stored(24, 24, "calls")]

    def stored(words: Sequence[str]) -> Stored:
        one = found.pop(0)
        if isinstance(one, UserError):
            raise one
        return one

    monkeypatch.setattr(traces, "count_stored", stored)
    here = tmp_path / "there.parquet"
    here.touch()
    merge = job("pools_merge", outputs=[str(here), "new.parquet"], command="python -m m1.pools.merge")
    sets = [job(f"distill_traces {name}", ["other"]) for name in ("all", "some", "none", "bad")]
    waiting = [job("distill_traces old", [str(here)]), job("distill_traces new", ["new.parquet", str(here)])]
    told = list(lines([merge, *sets, *waiting]))
    assert told[:3] == [
        "step             jobs  computed  from the store  not known yet",
        "distill_traces      6         3               1              2",
        "all other steps     1         1               -              -",
    ]
    why = "  missing output files; params have changed since last execution"
    said = {
        line.split("  ")[0]: line.removesuffix(why).partition("  ")[2].strip() for line in told if line.endswith(why)
    }
    assert said == {
        "distill_traces all": "from the store",
        "distill_traces some": "computed: 1,200 of 11,461 calls are in the store",
        "distill_traces none": "computed",
        "distill_traces bad": "would stop: q.parquet: record 3",
        "distill_traces old": "not known before pools_merge; as its inputs are now: from the store",
        "distill_traces new": "not known before pools_merge",
    }
    assert told[-1] == "\nall other steps: pools_merge"
    assert not found, "each step is asked once, and none whose inputs are not there"


def test_nothing_planned_is_said() -> None:
    assert list(lines([])) == ["Nothing to be done: all that was asked for is there, and up to date."]


def test_jobs_are_noted_from_what_snakemake_says_and_warnings_stay() -> None:
    recorder = Recorder(instead=True)
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, "Rule: a", None, None)
    record.__dict__ |= {"event": "job_info", "rule_name": "a", "wildcards": {"model": "m"}, "reason": None}
    record.__dict__ |= {"input": ["x.csv (before update)", "y (1).csv"], "output": ["z"], "shellcmd": "python -m b"}
    assert not recorder.filter(record)
    assert recorder.jobs == [Job("a", ("m",), ("x.csv", "y (1).csv"), ("z",), "python -m b", "")]
    assert recorder.filter(logging.LogRecord("snakemake", logging.WARNING, "", 0, "careful", None, None))
