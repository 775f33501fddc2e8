"""Published answers beside this run's own: what runs for them, what it makes, and what is said of files that do not
fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from m1.core import records
from m1.core.records import Score
from m1.report import paired
from m1.report.scores import read_scores
from project import MAIN, Project
from published_files import LISTS, benchmark, write_results
from shown import accuracy_row

pytestmark = pytest.mark.workflow

MODEL = "m1-small-1k"
FOLDER = f"results/short/published/{MODEL}"
JOBS = {f"infer_beside {MODEL}", f"score_beside {MODEL}"}


def put_beside(project: Project) -> list[dict[str, Any]]:
    """The model's own answers as if the authors had published them, without those that were forced."""
    files = [one for one in write_results(project, MODEL) if not one["forced"]]
    project.configure(published={"beside": {MODEL: files}})
    return files


def edit(project: Project, file: dict[str, Any], change: Any) -> None:
    """Change the lists of a file of results."""
    path = project.folder / file["path"]
    lists = json.loads(path.read_text(encoding="utf-8"))
    change(lists)
    path.write_text(json.dumps(lists), encoding="utf-8")


def test_published_answers_run_two_jobs_and_nothing_that_is_there_again(project: Project) -> None:
    project.make("results/short/compare.csv")
    code, said = project.run("--dry-run", f"{FOLDER}/score.parquet")
    assert code == 1
    assert "MissingRuleException" in said
    put_beside(project)
    assert project.plan(f"{FOLDER}/score.parquet") == JOBS
    assert project.plan(*MAIN, "results/short/compare.csv") == JOBS | {"report_compare"}
    assert project.plan(*MAIN) == set()


def test_published_answers_are_paired_with_ours_by_the_same_scoring(project: Project) -> None:
    files = put_beside(project)
    asked = {question.stem.strip(): question.answer for question in benchmark(project, "medqa")}
    [last] = [one for one in files if one["budget"] == 96]

    def answer_correctly(lists: dict[str, list[Any]]) -> None:
        for row in lists[LISTS["medqa"]]:
            row["response_text"] = f"The answer is \\boxed{{{asked[row['question'].strip()]}}}."

    edit(project, last, answer_correctly)
    project.make(f"{FOLDER}/score.parquet")

    ours, theirs = (
        read_scores([project.path(path)])
        for path in (f"results/short/score/{MODEL}.parquet", f"{FOLDER}/score.parquet")
    )
    assert set(theirs["model"]) == {MODEL}
    assert set(theirs["forced"]) == {0}
    found = paired.beside_published(ours, theirs, accuracy_row(MODEL, budget=96))
    ours = ours[(ours["budget"] == 96) & (ours["forced"] == 0)]
    k, n = (ours.groupby("benchmark")["correct"].agg(how) for how in ("sum", "size"))
    assert found.loc["medqa"].tolist() == [
        n["medqa"],
        0,
        n["medqa"] - k["medqa"],
        k["medqa"],
        0,
        n["medqa"],
        n["medqa"],
        96,
    ]
    for name in ("medmcqa", "pubmedqa", "medxpertqa"):
        assert found.loc[name].tolist() == [n[name], 0, 0, k[name], n[name] - k[name], k[name], n[name], 96]
    scored = records.read(project.path(f"{FOLDER}/score.parquet"), Score)
    manifest = json.loads(project.path(f"{FOLDER}/score.json").read_text())
    assert manifest["counts"]["correct"] == sum(row.correct for row in scored)
    whole = json.loads(project.path(f"{FOLDER}/manifest.json").read_text())
    assert whole["counts"]["predictions"] == len(scored)
    assert set(whole["inputs"]) == {*LISTS, *(f"results {number}" for number in range(3))}
    project.make("results/short/compare.csv")
    compared = json.loads(project.path("results/short/compare.json").read_text())
    assert f"{FOLDER}/score.parquet" in compared["inputs"]


def test_a_file_of_other_questions_is_one_clear_message(project: Project) -> None:
    first, *_ = put_beside(project)

    def ask_otherwise(lists: dict[str, list[Any]]) -> None:
        for row in lists[LISTS["medqa"]]:
            row["question"] = f"Otherwise, {row['question']}"

    edit(project, first, ask_otherwise)
    code, _ = project.run(f"{FOLDER}/score.parquet")
    assert code == 1
    said = project.path(f"logs/short/infer_beside/{MODEL}.log").read_text(encoding="utf-8")
    number = len(benchmark(project, "medqa"))
    assert f"{first['path']}, benchmark medqa: 0 questions have their result, but {number} questions have no" in said
    assert "Collect the benchmark whole from the evaluation file that the results were made with" in said
    assert "Traceback" not in said
    assert not Path(project.folder / FOLDER / "predictions.parquet").exists()
