"""A benchmark of one's own, added as the manual says (docs/change.md) and without touching code or resources."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml
from own_benchmark import QUESTIONS, block, write_questions
from project import Project

pytestmark = pytest.mark.workflow

TRAINED = ["m1-small-1k", "m1-large-1k"]


def made(project: Project, name: str) -> pd.DataFrame:
    return pd.read_csv(project.path(f"results/short/{name}"))


def test_the_models_would_be_trained_again(project: Project) -> None:
    write_questions(project)
    project.configure(**yaml.safe_load(block("yaml")))
    assert {f"train_sft {model}" for model in TRAINED} <= project.plan(), "the pools are decontaminated by it"


@pytest.mark.slow
def test_questions_of_ones_own_become_a_column(finished: Project, complete: Project) -> None:
    before = list(made(finished, "table1.csv").columns)
    said = complete.path("said.txt").read_text(encoding="utf-8")
    for model in TRAINED:  # no sample is another one, so nothing is paid for again
        assert (
            f"[train {model}] trained before, with the same base, samples, settings and code: taken from store/short/"
            in said
        )
        identity = f"results/short/train/{model}.sha256"
        assert complete.path(identity).read_bytes() == finished.path(identity).read_bytes()
        manifest = complete.path(f"results/short/infer/{model}/manifest.json")
        counts = json.loads(manifest.read_text(encoding="utf-8"))["counts"]
        generated = sum(counts[name] for name in ("rollout_tokens", "forced_tokens", "answer_tokens"))
        assert 0 < counts["generated_now"] < generated * (QUESTIONS + 1) / counts["questions"], "the new questions only"

    table = made(complete, "table1.csv")
    assert list(table.columns) == [*before[:-2], "mine", "Avg.", "Budget"]
    numbers = table[[name for name in before[2:-2] if (table[name] != "missing").all()] + ["mine"]].astype(float)
    assert len(numbers.columns) == 5
    assert table["Avg."].to_list() == pytest.approx(numbers.mean(axis=1).to_list(), abs=0.01)
    long = made(complete, "table1_long.csv").query("benchmark == 'mine'")
    assert len(long) == len(table)
    assert (long["n"] == QUESTIONS).all()
    assert long["published"].isna().all()

    for name in ("paired.csv", "scaling.csv"):
        assert set(made(complete, name).query("benchmark == 'mine'")["column"]) == {"mine"}
    assert "mine" not in set(made(complete, "compare.csv")["benchmark"]), "the paper has no cell of it"
    for name in ("table1.tex", "table1.md"):
        assert " mine " in complete.path(f"results/short/{name}").read_text(encoding="utf-8")
    assert '{"key":"mine","label":"mine"}' in complete.path("results/short/report.html").read_text(encoding="utf-8")


def test_a_record_that_cannot_be_right_is_named(project: Project) -> None:
    write_questions(project)
    project.replace("mine.csv", "Vitamin D,,,B", "Vitamin D,,,E")
    project.configure(**yaml.safe_load(block("yaml")))
    code, said = project.run("results/short/benchmarks/mine.parquet")
    assert code == 1
    assert "mine.csv: record 0 (from 0), field 'answer_idx': the answer's letter is not among the options" in " ".join(
        said.split()
    )


def test_trained_models_are_only_asked(project: Project) -> None:
    """With results in a folder of their own and the trained models as checkpoints, as the end of the manual's section
    has it."""
    write_questions(project)
    project.configure(**yaml.safe_load(block("yaml")))
    project.configure(
        pathvars={"results": "results/mine"},
        bases={name: {"path": f"results/short/world/models/{name}"} for name in ("small", "large")},
        data={f"trained-{name}": {"path": f"results/short/train/{name}"} for name in TRAINED},
        published={"checkpoints": {name: f"trained-{name}" for name in TRAINED}},
    )
    rules = {job.split()[0] for job in project.plan("results/mine/table1.csv")}
    assert not rules & {"train_sft", "distill_traces", "screen_attempt"}
    assert {"train_published", "infer_sweep", "score_predictions", "report_table1"} <= rules


def test_a_name_that_a_column_has_is_refused(project: Project) -> None:
    project.configure(benchmarks={"MedQA": {"from": "world_medqa"}})
    code, said = project.run("-n", "results/short/table1.csv")
    assert code == 1
    assert "benchmarks.MedQA: a column of the tables has that name already; give the benchmark another one" in said
    assert "Traceback" not in said
