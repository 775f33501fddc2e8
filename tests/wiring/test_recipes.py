"""The recipes of Table 1: all of its rows, each valid, each of a base that says where its weights are."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml
from m1.core.prompts import evaluation_prompt
from m1.wiring.check import check
from m1.wiring.config import load, merge, with_defaults
from m1.wiring.schema import config_schema

ROOT = Path(__file__).parents[2]
WHOLE = config_schema()
RECIPES: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "config/models").glob("*.yaml"))
}
TABLE = list(csv.DictReader((ROOT / "resources/paper/table1.csv").open(encoding="utf-8")))
EMBEDDED = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["bases"]
SMALL = [
    yaml.safe_load((ROOT / f"config/overlays/{name}.yaml").read_text(encoding="utf-8"))
    for name in ("one-gpu", "laptop", "one-card-7b")
]
SMALL_BASES = {name: base for overlay in SMALL for name, base in overlay["bases"].items()}
REAL = {
    name: recipe
    for name, recipe in RECIPES.items()
    if isinstance(recipe["base"], dict) or recipe["base"] not in {*EMBEDDED, *SMALL_BASES}
}
EVALUATED = {name: recipe for name, recipe in REAL.items() if "published" in recipe}
PAPER = yaml.safe_load((ROOT / "config/paper.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RECIPES)
def test_each_is_valid(name: str) -> None:
    check(RECIPES[name], WHOLE["$defs"]["recipe"], f"config/models/{name}.yaml")
    complete = with_defaults(RECIPES[name], WHOLE["$defs"]["recipe"])
    assert evaluation_prompt("Which?", complete["prompt"])
    assert "tokenizer" in complete


def test_every_row_of_table_1_has_exactly_one() -> None:
    assert sorted(recipe["published"] for recipe in EVALUATED.values()) == sorted(row["model"] for row in TABLE)
    assert len(EVALUATED) == 25
    groups = {row["model"]: row["group"] for row in TABLE}
    for recipe in EVALUATED.values():
        assert (recipe["label"], recipe["group"]) == (recipe["published"], groups[recipe["published"]])


def weights(name: str) -> dict[str, Any]:
    """Where the weights are that a recipe of a real model starts from."""
    base = RECIPES[name]["base"]
    found: dict[str, Any] = base if isinstance(base, dict) else (PAPER["bases"] | SMALL_BASES)[base]
    return found


@pytest.mark.parametrize(
    "name", [*REAL, *(name for overlay in SMALL for name in overlay["report"]["table1"]["models"])]
)
def test_each_base_is_on_the_hub(name: str) -> None:
    assert {"hub", "revision"} <= set(weights(name))


def test_no_two_bases_are_one_model() -> None:
    own = {name: recipe["base"] for name, recipe in REAL.items() if isinstance(recipe["base"], dict)}
    hubs = [base["hub"] for base in [*PAPER["bases"].values(), *own.values()] if base]
    assert len(own) == 16
    assert len(set(hubs)) == len(hubs)


def test_each_real_model_uses_a_whole_node_of_eight() -> None:
    for recipe in REAL.values():
        assert recipe["serve"]["engine"] == "sglang"
        assert recipe["serve"]["options"]["tp"] * recipe["serve"]["options"]["dp"] == 8


def test_models_of_one_base_are_served_alike() -> None:
    served: dict[str, set[str]] = {}
    for name, recipe in REAL.items():
        decides = (
            {key: recipe["serve"][key] for key in ("engine", "dtype")} | recipe["serve"]["options"] | {"tp": 0, "dp": 0}
        )
        served.setdefault(weights(name)["hub"], set()).add(str(decides))
    assert {base: len(ways) for base, ways in served.items()} == dict.fromkeys(served, 1)


def test_the_whole_table_has_every_published_row_in_its_order() -> None:
    config = load([ROOT / "config/paper.yaml", ROOT / "config/overlays/whole-table1.yaml"])
    assert [config["recipes"][name]["published"] for name in config["report"]["table1"]["models"]] == [
        row["model"] for row in TABLE
    ]


def test_extrapolation_adds_two_budgets_to_the_papers() -> None:
    overlay = yaml.safe_load((ROOT / "config/overlays/extrapolated.yaml").read_text(encoding="utf-8"))
    assert overlay["thinking"]["budgets"] == [*PAPER["thinking"]["budgets"], 12288, 16384]
    config = load([ROOT / "config/paper.yaml", ROOT / "config/overlays/extrapolated.yaml"])
    assert config["recipes"]["m1-7b-23k"]["thinking"] == merge(PAPER["thinking"], overlay["thinking"])
