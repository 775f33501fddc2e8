"""Enter anywhere: what is published, in the layouts of the authors, in place of computing it; the rules after it do not
notice."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from m1.core import records
from m1.core.records import Prediction, Question, Sample
from project import MAIN, Project
from published_files import LISTS, benchmark, in_evaluation_layout, write_results

pytestmark = pytest.mark.workflow

HUBS = {
    "medqa": "GBaker/MedQA-USMLE-4-options",
    "headqa": "openlifescienceai/headqa",
    "medmcqa": "openlifescienceai/medmcqa",
    "pubmedqa": "qiaojin/PubMedQA",
}


def write_evaluation(project: Project, **more: list[dict[str, Any]]) -> str:
    """The benchmarks, and more lists, in one file; its MD5."""
    lists = {
        listed: [in_evaluation_layout(question) for question in benchmark(project, name)]
        for name, listed in LISTS.items()
    }
    path = project.folder / "m1_eval_data.json"
    path.write_text(json.dumps(more | lists), encoding="utf-8")
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_subset(project: Project, name: str) -> None:
    """A training subset in the layout of m1k-tokenized."""
    with open(project.folder / f"{name}.jsonl", "w", encoding="utf-8") as stream:
        for sample in records.read(project.path(f"results/short/select/{name}.parquet"), Sample):
            row = {
                "prompt": sample.prompt,
                "answer_letter": "A",
                "answer_idx": 0,
                "answer_string": "",
                "source": HUBS[sample.source],
                "metadata": "{}",
                "reasoning": sample.thinking,
                "distilled_answer_string": sample.answer,
                "text": "",
                "domain_code": "00",
                "domain_name": sample.domain,
            }
            stream.write(json.dumps(row) + "\n")


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.slow
def test_evaluation_file_checkpoint_and_results_give_the_same_table(project: Project) -> None:
    before = table(project.path("results/short/table1.csv"))
    figure = project.path("results/short/figure1.png").read_bytes()
    checksum = write_evaluation(project)
    results = write_results(project, "m1-small-1k")
    project.path("results/short/train/m1-large-1k").rename(project.folder / "published-checkpoint")
    shutil.rmtree(project.path("results/short/pools"))
    project.configure(
        data={
            "m1_eval_data": {
                "path": "m1_eval_data.json",
                "checksum": f"md5:{checksum}",
                "sets": {name: {"rows": None} for name in LISTS},
            },
            "m1_7b_1k": {"path": "published-checkpoint"},
        },
        benchmarks={"gpqa": {"from": "gpqa_medical", "optional": True}},
        published={
            "evaluation": "m1_eval_data",
            "checkpoints": {"m1-large-1k": "m1_7b_1k"},
            "results": {"m1-small-1k": results},
        },
    )
    models = ("small", "m1-small-1k", "m1-large-1k")
    assert project.plan() == {
        *(f"pools_collect_benchmark {name}" for name in (*LISTS, "gpqa")),
        *(
            "train_published m1-large-1k",
            "infer_published m1-small-1k",
            "infer_sweep m1-large-1k",
            "infer_answer small",
        ),
        *(f"score_predictions {model}" for model in models),
        *("report_table1", "report_figure1", "report_figure3", "report_shown"),
    }

    said = project.make(*MAIN)

    assert "gpqa" in said
    after = table(project.path("results/short/table1.csv"))
    assert after == before
    assert all(row["GPQA"] == "missing" for row in after)
    assert project.path("results/short/figure1.png").read_bytes() == figure


@pytest.mark.slow
def test_questions_that_are_not_shown_are_forced_with_those_that_are(project: Project) -> None:
    """As the authors' program does: batches go across the whole evaluation file."""
    other = [
        in_evaluation_layout(question) | {"question": f"Other {question.stem}"}
        for question in benchmark(project, "medqa")
    ]
    checksum = write_evaluation(project, HLE=other)
    entry = {
        "path": "m1_eval_data.json",
        "checksum": f"md5:{checksum}",
        "sets": {name: {"rows": None} for name in LISTS},
    }
    project.configure(
        data={"m1_eval_data": entry},
        published={"evaluation": "m1_eval_data"},
        generation=dict.fromkeys(("forcing", "seam", "limit", "scored", "stop", "bos"), "released"),
    )
    made = "results/short/infer/m1-small-1k"
    assert {"pools_evaluation", "infer_sweep m1-small-1k"} <= project.plan(f"{made}/predictions.parquet")
    project.make(f"{made}/predictions.parquet")
    order = records.read(project.path("results/short/evaluation.parquet"), Question)
    assert [question.source for question in order] == ["HLE"] * len(other) + [
        name for name in LISTS for _ in benchmark(project, name)
    ]
    predictions = records.read(project.path(f"{made}/predictions.parquet"), Prediction)
    assert [p.question_id for p in predictions if p.budget == 16] == [q.id for q in order if q.source != "HLE"]
    assert all(prediction.answer.startswith("<|im_start|>answer") for prediction in predictions)
    assert json.loads(project.path(f"{made}/manifest.json").read_text())["counts"]["companion_tokens"] > 0


@pytest.mark.slow
def test_a_published_subset_trains_the_same_model_without_a_teacher(project: Project) -> None:
    weights = project.path("results/short/train/m1-large-1k/model.safetensors").read_bytes()
    counts = {row["Domain"]: row["m1K Summation"] for row in table(made_table4(project))}
    write_subset(project, "m1k")
    for stage in ("screen", "distill", "select"):
        shutil.rmtree(project.path(f"results/short/{stage}"))
    project.configure(
        data={"m1k_tokenized": {"path": "m1k.jsonl", "rows": None}}, published={"subsets": {"m1k": "m1k_tokenized"}}
    )
    target = "results/short/train/m1-large-1k"
    assert project.plan(target) == {"select_published m1k", "train_sft m1-large-1k"}

    project.make(target)

    assert project.path(f"{target}/model.safetensors").read_bytes() == weights
    project.configure(
        published={"subsets": {"m23k": "m1k_tokenized"}}
    )  # so that Table 4, too, needs neither screen nor teacher
    assert project.plan("results/short/table4.csv") == {"select_published m23k", "report_table4", "report_shown"}
    assert {row["Domain"]: row["m1K Summation"] for row in table(made_table4(project))} == counts


def made_table4(project: Project) -> Path:
    project.make("results/short/table4.csv")
    return project.path("results/short/table4.csv")


def test_an_evaluation_file_that_is_another_one(project: Project) -> None:
    write_evaluation(project)
    project.configure(data={"m1_eval_data": {"path": "m1_eval_data.json"}}, published={"evaluation": "m1_eval_data"})
    code, said = project.run("results/short/benchmarks/medqa.parquet")
    assert code == 1
    assert "m1_eval_data.json" in said
    assert "fe50ce67a958cfa9bc958a51b2502e57" in said
