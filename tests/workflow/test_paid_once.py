"""What was paid for is not paid for again: calls, generations, and trainings, whatever Snakemake makes again."""

from __future__ import annotations

import json
import shutil

import pytest
from project import Project
from test_contract import code

pytestmark = pytest.mark.slow

MODEL = "m1-small-1k"


def test_calls_are_not_made_again(project: Project) -> None:
    traces = project.path("results/short/distill/hard.parquet")
    before = traces.read_bytes()
    shutil.rmtree(traces.parent)
    said = project.make("results/short/distill/hard.parquet", "--forcerun", "distill_traces")
    assert "0 calls made" in said
    assert traces.read_bytes() == before


def test_a_benchmark_more_trains_nothing_and_asks_its_own_questions_only(project: Project) -> None:
    """The pools are decontaminated by it, so all from there on runs; where no sample changes, the models are those of before."""
    samples, weights = project.path("results/short/select/m1k.parquet"), project.path(f"results/short/train/{MODEL}.sha256")
    before = samples.read_bytes(), weights.read_bytes()
    predictions = f"results/short/infer/{MODEL}/predictions.parquet"
    project.configure(benchmarks={"nejm": {"from": "world_nejm"}})
    assert f"train_sft {MODEL}" in project.plan(predictions)
    said = project.make(predictions)
    assert (samples.read_bytes(), weights.read_bytes()) == before
    assert f"[train {MODEL}] trained before, with the same base, samples, settings and code: taken from store/short/train/{MODEL}/" in said
    counts = json.loads(project.path(f"results/short/infer/{MODEL}/manifest.json").read_text(encoding="utf-8"))["counts"]
    assert 0 < counts["generated_now"] < sum(counts[name] for name in ("rollout_tokens", "forced_tokens", "answer_tokens")) / 2

    code("train/text.py")(project)
    assert "final loss" in project.make(f"results/short/train/{MODEL}"), "other code is another training"
