"""Two runs side by side as a rule: it reads finished folders, and makes or updates nothing in them."""

from __future__ import annotations

import csv
import shutil

import pytest
from project import SHORT, Project

pytestmark = pytest.mark.workflow

FOLDER = "results/short/compare/here/vs/there"
TARGET = f"{FOLDER}/cells.csv"


@pytest.mark.slow
def test_two_finished_runs_are_compared_and_no_job_makes_their_files(project: Project) -> None:
    there = project.folder / "from elsewhere/run"  # as copied from another machine, with other paths in its manifests
    shutil.copytree(project.path("results/short"), there, symlinks=True)
    manifest = there / "train/m1-small-1k/manifest.json"
    manifest.write_text(
        manifest.read_text().replace("results/short/", "/mnt/other/").replace('"epochs": 10', '"epochs": 20')
    )
    project.configure(runs={"here": "results/short", "there": "from elsewhere/run"}, seed=43)
    assert project.plan(TARGET) == {"report_compare_runs here there"}, "also where this configuration is another one"
    said = project.make(TARGET)
    assert "3 models, 4 benchmarks, 24 questions in both" in said
    made = {path.name for path in project.path(FOLDER).iterdir()}
    figure = {"curves.pdf", "curves.png"}
    assert made == {"cells.csv", "curves.csv", "settings.csv", "changed.html", "manifest.json"} | figure
    with project.path(TARGET).open(encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert {line["difference"] for line in lines} == {"0.00"}
    assert {line["benchmark"] for line in lines} >= {"medqa", "average"}
    with project.path(f"{FOLDER}/settings.csv").open(encoding="utf-8") as stream:
        differing = [(line["step"], line["key"], line["a"], line["b"]) for line in csv.DictReader(stream)]
    assert differing[0] == ("train_sft m1-small-1k", "settings.epochs", "10", "20")
    assert [line[1] for line in differing[1:]] == ["paths"]
    assert project.plan(TARGET) == set()
    with_both = project.path(SHORT).read_text(encoding="utf-8")
    project.configure(runs={"there": "moved"})
    code, said = project.run("--dry-run", TARGET)
    assert (code, "error: runs.there: moved: No such file or directory; name the folder" in said) == (1, True), said
    project.path(SHORT).write_text(with_both, encoding="utf-8")

    own = project.path("results/short/score/small.parquet")
    own.unlink()
    code, said = project.run(TARGET)
    assert code == 1, said
    assert "results/short/score/small.parquet: no such file, though results/short/shown.json shows it" in said
    assert "score_predictions" not in said, "that is for its own configuration to make"
    assert "Traceback" not in said


def test_a_name_that_is_no_run_is_said_with_those_that_are(project: Project) -> None:
    project.configure(runs={"here": "results/short"})
    code, said = project.run("--dry-run", TARGET)
    assert code == 1
    assert "runs: there is no 'there'; known are here" in said
