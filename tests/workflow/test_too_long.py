"""A budget beyond the model's context, through the workflow: found before a training, and before a sweep generates."""

from __future__ import annotations

import shutil

import pytest
from project import Project

pytestmark = pytest.mark.workflow

SAID = "questions do not fit; the longest: question "


@pytest.mark.slow
def test_a_budget_beyond_the_context_is_found_before_training_and_before_generating(project: Project) -> None:
    """The models of the embedded world have 4,096 positions."""
    project.configure(thinking={"budgets": [16, 64, 96, 4090]})
    folder = project.path("results/short")
    stored = {path: path.stat().st_size for path in project.path("store/short/infer-m1-large-1k").glob("*.jsonl")}
    shutil.rmtree(folder / "train/m1-small-1k")
    (folder / "train/m1-small-1k.sha256").unlink()

    code, said = project.run("results/short/infer/m1-small-1k/predictions.parquet")
    assert code == 1, said[-3000:]
    assert f"error: context m1-small-1k: 24 of 24 {SAID}" in said, said[-2500:]
    assert "and up to 4,1" in said
    assert "the model's context has 4,096 (max_position_embeddings of results/short/bases/small/config.json)" in said
    assert not (folder / "train/m1-small-1k").exists()
    assert "train m1-small-1k" not in said

    code, said = project.run("results/short/infer/m1-large-1k/predictions.parquet")
    assert code == 1
    assert f"error: infer m1-large-1k: 24 of 24 {SAID}" in said
    assert (folder / "train/m1-large-1k").exists()
    assert {
        path: path.stat().st_size for path in project.path("store/short/infer-m1-large-1k").glob("*.jsonl")
    } == stored

    project.configure(thinking={"budgets": [16, 64, 96]})
    assert "train_sft m1-large-1k" not in project.plan()
