"""A dry run tells what is computed from what the store has, and a run does as it said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from edits import code
from m1.core.records import Trace, read
from m1.core.store import Store
from own_benchmark import block, write_questions
from project import MAIN, Project

pytestmark = pytest.mark.workflow

TRACES, ANSWERS = "results/short/distill/hard.parquet", "results/short/infer/small/predictions.parquet"
SWEEP, TRAINED = "results/short/infer/m1-small-1k/predictions.parquet", "results/short/train/m1-small-1k"
FORGOTTEN = 3


def told(project: Project, *targets: str) -> dict[str, str]:
    """What a dry run says becomes of each job of a step that uses the store."""
    said = project.make("-n", *targets, "--quiet", "rules", "host", "reason", module="m1 launch")
    rows = [line.split("  ") for line in said.split("\n\n", maxsplit=1)[1].splitlines()]
    return {row[0].strip(): next(cell.strip() for cell in row[1:] if cell) for row in rows if len(row) > 1}


def files(project: Project) -> list[Path]:
    return sorted(path for name in ("store", "results") for path in project.path(name).rglob("*"))


def manifest(project: Project, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(project.path(f"results/short/{name}").read_text(encoding="utf-8"))
    return found


def test_what_is_said_to_come_from_the_store_is_not_made_again(project: Project) -> None:
    """Answers of a model, all of which are there, and calls of the teacher, some of which were taken back."""
    calls = manifest(project, "distill/hard.json")["spending"]["calls"]
    keys = [trace.request for trace in read(project.path(TRACES), Trace)][:FORGOTTEN]
    for name in (TRACES, ANSWERS):
        project.path(name).unlink()
    with Store(project.path("store/short/teacher")) as store:
        store.forget(keys)
    before = files(project)
    found = told(project, TRACES, ANSWERS)
    assert files(project) == before, "a dry run makes nothing"
    assert found["infer_answer small"] == "from the store"
    there = calls - FORGOTTEN
    assert found["distill_traces hard"] == f"computed: {there:,} of {calls:,} calls are in the store"
    project.make(TRACES, ANSWERS)
    assert manifest(project, "infer/small/manifest.json")["counts"]["generated_now"] == 0
    assert manifest(project, "distill/hard.json")["spending"]["calls_made"] == FORGOTTEN


@pytest.mark.slow
def test_trainings_and_sweeps_are_as_the_dry_run_says(project: Project) -> None:
    shutil.rmtree(project.path(TRAINED))
    project.path(SWEEP).unlink()
    found = told(project, SWEEP)
    assert found["train_sft m1-small-1k"] == "from the store"
    assert found["infer_sweep m1-small-1k"] == "not known before train_sft m1-small-1k"
    assert "trained before, with the same base" in project.make(TRAINED)
    assert told(project, SWEEP)["infer_sweep m1-small-1k"] == "from the store"
    project.make(SWEEP)
    assert manifest(project, "infer/m1-small-1k/manifest.json")["counts"]["generated_now"] == 0
    project.configure(thinking={"budgets": [16, 48, 64, 96]})
    assert told(project, SWEEP)["infer_sweep m1-small-1k"].startswith("computed")
    project.make(SWEEP)
    assert manifest(project, "infer/m1-small-1k/manifest.json")["counts"]["generated_now"] > 0
    code("train/text.py", "encode")(project)
    assert told(project, TRAINED)["train_sft m1-small-1k"] == "computed"


@pytest.mark.slow
def test_a_further_benchmark_and_another_rule_of_scoring_frighten_nobody(project: Project) -> None:
    project.configure(score={"protocol": "strict"})
    assert told(project, *MAIN) == {}, "no step that uses the store"
    write_questions(project)
    project.configure(**yaml.safe_load(block("yaml")))
    found = told(project, *MAIN)
    before = "not known before select_sample m1k; as its inputs are now: from the store"
    assert [text for name, text in found.items() if name.startswith("train_sft ")] == [before], "both, in one line"
    assert not any(text.startswith("computed") for text in found.values())


@pytest.mark.slow
def test_what_the_store_has_is_taken_on_a_machine_without_gpus(project: Project) -> None:
    """A base from elsewhere has its jobs ask for a GPU; it is the same one, so that all of them are in the store."""
    shutil.copytree(project.path("results/short/world/models/small"), project.folder / "models/small")
    project.configure(bases={"small": {"path": "models/small"}})
    scores = [f"results/short/score/{model}.parquet" for model in ("small", "m1-small-1k")]
    said = project.make(*scores, "--forcerun", "train_fetch")
    assert "[train m1-small-1k] trained before" in said
    assert {"train_sft m1-small-1k", "infer_sweep m1-small-1k", "infer_answer small"} <= project.jobs(said)
    assert "gpu=" not in said, "what a job asks for"
    project.configure(answer_limit=9)
    assert "gpu=1" in project.make("-n", *scores)
