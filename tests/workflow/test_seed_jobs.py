"""Several seeds of a recipe: one more trains one more, and without them nothing is trained again."""

from __future__ import annotations

import csv

import pytest
from project import Project
from test_contract import RECIPE, SHOWN

pytestmark = pytest.mark.workflow

OWN, MORE = "m1-small-1k", ("m1-small-1k.seed43", "m1-small-1k.seed44")
RESULTS = "results/short"


def made(model: str) -> set[str]:
    return {f"{rule} {model}" for rule in ("infer_context", "train_sft", "infer_sweep", "score_predictions")}


def test_a_seed_more_trains_one_more_and_without_seeds_nothing_is_trained(project: Project) -> None:
    project.replace(RECIPE, "\nserve: ", "\nseeds: [42, 43]\nserve: ")
    assert project.plan() == made(MORE[0]) | SHOWN, "the recipe's own training stays"
    project.replace(RECIPE, "seeds: [42, 43]", "seeds: [42, 43, 44]")
    assert project.plan() == made(MORE[0]) | made(MORE[1]) | SHOWN


@pytest.mark.slow
def test_rows_show_the_mean_and_trainings_are_kept(project: Project) -> None:
    before = project.path(f"{RESULTS}/table1.csv").read_text(encoding="utf-8").splitlines()
    project.replace(RECIPE, "\nserve: ", "\nseeds: [42, 43]\nserve: ")
    project.make(f"{RESULTS}/table1.csv", f"{RESULTS}/figure1.pdf", f"{RESULTS}/figure3.pdf")
    assert project.plan() == set()
    with open(project.path(f"{RESULTS}/table1_long.csv"), encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert {line["model"]: line["seeds"] for line in lines} == {"small": "", OWN: "2", "m1-large-1k": ""}
    after = project.path(f"{RESULTS}/table1.csv").read_text(encoding="utf-8").splitlines()
    assert [line for line in after if "m1-small-1K" not in line] == [
        line for line in before if "m1-small-1K" not in line
    ]
    project.replace(RECIPE, "seeds: [42, 43]", "seeds: [42, 43, 44]")
    assert project.plan() == made(MORE[1]) | SHOWN
    project.replace(RECIPE, "\nseeds: [42, 43, 44]", "")
    assert project.plan() == SHOWN, "and back without a training"
    project.make(f"{RESULTS}/table1.csv")
    assert project.path(f"{RESULTS}/table1.csv").read_text(encoding="utf-8").splitlines() == before
