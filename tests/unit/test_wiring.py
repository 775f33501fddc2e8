"""From the configuration to the rules: wildcard constraints, settings, inputs, rows."""

from __future__ import annotations

import copy
import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from m1.config import prepare
from m1.wiring import Wiring, one_of

ROOT = Path(__file__).parents[2]


class Wildcards(SimpleNamespace):
    """As Snakemake's: attributes, and a mapping."""

    def keys(self) -> Any:
        return vars(self).keys()

    def __getitem__(self, name: str) -> Any:
        return vars(self)[name]


@pytest.fixture
def wiring() -> Wiring:
    return made()


def made(**changes: Any) -> Wiring:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    return Wiring(prepare(copy.deepcopy(config | changes), ROOT))


def test_one_of_matches_names_and_nothing_else() -> None:
    pattern = one_of(["m1k", "a.b", "m1"])
    assert [bool(re.fullmatch(pattern, name)) for name in ("m1k", "m1", "a.b", "axb", "m1k2", "")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_one_of_nothing_matches_nothing() -> None:
    assert not any(re.search(one_of([]), text) for text in ("", "a", "(?!)"))


def test_every_base_and_every_model_has_one_rule_that_makes_it() -> None:
    wiring = made()
    assert sorted(wiring.world_bases + wiring.other_bases) == sorted(wiring.config["bases"])
    assert sorted(wiring.thinking + wiring.at_once) == sorted(wiring.recipes)
    assert not set(wiring.thinking) & set(wiring.at_once)


def test_settings_are_one_concern_as_json_in_a_fixed_order(wiring: Wiring) -> None:
    text = wiring.settings("recipes/{model}/sft")(Wildcards(model="m1-small-1k"))
    assert json.loads(text) == wiring.recipes["m1-small-1k"]["sft"]
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert set(wiring.recipes["m1-small-1k"]["sft"]).isdisjoint({"resources", "label", "serve", "thinking"})


def test_settings_with_only_some_keys_and_more(wiring: Wiring) -> None:
    text = wiring.settings("subsets/{subset}", only=["rule", "seed"], seed=3)(Wildcards(subset="m1k"))
    assert json.loads(text) == {"rule": "domain_source", "seed": 3}


def test_a_model_without_training_is_its_base(wiring: Wiring) -> None:
    assert wiring.model(Wildcards(model="small-cot")) == "<results>/bases/small"
    assert wiring.model(Wildcards(model="m1-small-1k")) == "<results>/train/m1-small-1k"
    assert wiring.training_set(Wildcards(model="m1-small-1k")) == "<results>/select/m1k.parquet"


def test_the_hard_set_is_asked_what_no_screening_model_solved(wiring: Wiring) -> None:
    assert wiring.asked(Wildcards(set="hard")) == "<results>/screen/hard.parquet"
    assert wiring.asked(Wildcards(set="random_1k")) == "<results>/distill/random_1k.questions.parquet"


def test_only_balanced_subsets_need_domains(wiring: Wiring) -> None:
    needed = {name: bool(wiring.domains(Wildcards(subset=name))) for name in wiring.config["subsets"]}
    assert needed == {name: name in {"m1k", "hard_domain_1k"} for name in needed}


def test_a_subset_as_large_as_another_needs_it(wiring: Wiring) -> None:
    assert wiring.subset_like(Wildcards(subset="random_23k")) == ["<results>/select/m23k.parquet"]
    assert wiring.subset_like(Wildcards(subset="m1k")) == []


def test_files_that_the_teachers_server_reads_are_inputs(wiring: Wiring) -> None:
    assert wiring.served_files("teacher") == ["results/world/facts.json"]
    wiring.config["teacher"]["serve"] = None
    assert wiring.served_files("teacher") == []


def test_pools_from_the_hub_have_no_input_file(wiring: Wiring) -> None:
    assert wiring.pool_file(Wildcards(pool="medqa")) == ["results/world/pools/medqa.jsonl"]
    wiring.config["pools"]["medqa"] = {"path": None, "hub": "a/b"}
    assert wiring.pool_file(Wildcards(pool="medqa")) == []


def test_table_1_shows_models_that_answer_at_once_without_a_budget(wiring: Wiring) -> None:
    rows = {row["model"]: row for row in json.loads(wiring.table1())["rows"]}
    assert list(rows) == wiring.config["report"]["table1"]["models"]
    assert rows["small"]["budget"] == 0
    assert rows["m1-small-1k"] == {
        "model": "m1-small-1k",
        "budget": wiring.config["report"]["table1"]["budget"],
        "group": "<10B LLMs",
        "label": "m1-small-1K",
        "published": "m1-7B-1K",
    }


def test_every_row_refers_to_a_published_one(wiring: Wiring) -> None:
    for table, rows, name in (
        ("table1", json.loads(wiring.table1())["rows"], "model"),
        ("table2", json.loads(wiring.table2())["rows"], None),
        ("table3", json.loads(wiring.table3_settings())["rows"], "Dataset"),
    ):
        with open(ROOT / f"resources/paper/{table}.csv", encoding="utf-8") as lines:
            published = list(csv.DictReader(lines))
        column = name or list(published[0])[1]
        known = {row[column] for row in published}
        assert {row["published"] for row in rows} - {None} <= known


def test_table_3_names_files_that_rules_make(wiring: Wiring) -> None:
    files = [file for _, _, files in wiring.table3() for file in files]
    subsets = {file.removeprefix("results/select/").removesuffix(".parquet") for file in files if "/select/" in file}
    assert subsets <= set(wiring.config["subsets"])
    assert files[: len(wiring.config["pools"])] == [f"results/pools/{pool}.parquet" for pool in wiring.config["pools"]]


def test_figures_take_their_own_axis(wiring: Wiring) -> None:
    first, third = json.loads(wiring.figure1()), json.loads(wiring.figure3())
    assert first["budgets"] == wiring.config["thinking"]["budgets"]
    assert third["forced"] == [0, *wiring.config["thinking"]["forced"]]
    assert third["budget"] == wiring.config["thinking"]["forced_budget"]
    assert (
        first["models"]
        == third["models"]
        == [{"model": model, "label": wiring.recipes[model]["label"]} for model in wiring.config["report"]["figures"]]
    )


def test_each_figure_is_given_its_own_settings() -> None:
    rules = (ROOT / "workflow/rules/report.smk").read_text(encoding="utf-8").split("rule ")
    for number in (1, 3):
        (text,) = [rule for rule in rules if rule.startswith(f"report_figure{number}:")]
        assert f"settings=wiring.figure{number}()" in text
        assert f"m1.report.figures figure{number} " in text


def test_without_table_2_it_is_no_target() -> None:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    assert "<results>/table2.csv" in made().targets()
    assert "<results>/table2.csv" not in made(report=config["report"] | {"table2": None}).targets()
