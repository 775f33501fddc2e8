"""What was paid for is not paid for again: calls, generations, and trainings, whatever Snakemake makes again."""

from __future__ import annotations

import shutil

import pytest
from edits import code
from project import Project

pytestmark = pytest.mark.workflow

MODEL = "m1-small-1k"


def test_calls_are_not_made_again(project: Project) -> None:
    traces = project.path("results/short/distill/hard.parquet")
    before = traces.read_bytes()
    shutil.rmtree(traces.parent)
    said = project.make("results/short/distill/hard.parquet", "--forcerun", "distill_traces")
    assert "0 calls made" in said
    assert traces.read_bytes() == before


@pytest.mark.slow
def test_a_training_is_taken_from_the_store_unless_its_code_is_another(project: Project) -> None:
    """With another benchmark, too: ``test_own_benchmark.py``."""
    shutil.rmtree(project.path(f"results/short/train/{MODEL}"))
    assert f"[train {MODEL}] trained before" in project.make(f"results/short/train/{MODEL}")
    code("train/text.py", "encode")(project)
    assert "final loss" in project.make(f"results/short/train/{MODEL}")
