"""From the configuration to the rules: wildcard constraints, settings, inputs, rows."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from m1.wiring.config import load
from m1.wiring.report import ReportWiring as Wiring
from m1.wiring.run import one_of
from rules import rules
from wired import ROOT, Wildcards, given, made


@pytest.fixture
def wiring() -> Wiring:
    return made()


RESULTS = [
    {"from": "m1_results", "file": "a.json", "budget": 192},
    {"from": "m1_results", "path": "b.json", "budget": 64, "forced": 1},
]


def entered() -> Wiring:
    """A run that takes one artifact of every kind as published."""
    report = given()["report"] | {"figures": ["m1-small-1k"]}
    published = {
        "evaluation": "m1_eval_data",
        "subsets": {"m23k": "m23k_tokenized"},
        "checkpoints": {"m1-small-1k": "m1_7b_1k"},
        "results": {"m1-large-1k": RESULTS},
    }
    return made(published=published, report=report)


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


def test_a_base_may_be_born_in_the_world() -> None:
    wiring = made(bases=given()["bases"] | {"mine": {"path": "/models/mine"}, "7b": {"hub": "a/b"}})
    born = {name: wiring.born(Wildcards(kind="bases", base=name)) for name in wiring.config["bases"]}
    assert born == {
        "small": ["results/world/models/small"],
        "large": ["results/world/models/large"],
        "mine": [],
        "7b": [],
    }
    assert wiring.born(Wildcards(kind="screen/models", base="small")) == ["results/world/models/small"]


def test_every_model_has_one_rule_that_evaluates_it() -> None:
    wiring = made()
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
    assert wiring.drawn_like(Wildcards(set="random_23k")) == ["<results>/select/m23k.parquet"]


def test_files_that_the_teachers_server_reads_are_inputs(wiring: Wiring) -> None:
    teacher = wiring.config["teacher"]
    assert wiring.served_files(teacher) == ["results/world/facts.json"]
    assert wiring.served_files(teacher | {"serve": None}) == []


def test_pools_from_the_hub_have_no_input_file(wiring: Wiring) -> None:
    assert wiring.source_file("pools", "medqa") == ["results/world/pools/medqa.jsonl"]
    wiring.config["pools"]["medqa"] |= {"path": None, "hub": "a/b"}
    assert wiring.source_file("pools", "medqa") == []


def test_only_an_optional_benchmark_may_lack_its_file(wiring: Wiring, tmp_path: Path) -> None:
    path = tmp_path / "gpqa.jsonl"
    wiring.config["benchmarks"]["gpqa"] |= {"path": str(path)}
    assert wiring.source_file("benchmarks", "gpqa") == [str(path)]
    wiring.config["benchmarks"]["gpqa"]["optional"] = True
    assert wiring.source_file("benchmarks", "gpqa") == []
    path.touch()
    assert wiring.source_file("benchmarks", "gpqa") == [str(path)]


@pytest.mark.parametrize("wired", [made, entered])
def test_every_artifact_has_one_rule_that_makes_it(wired: Callable[[], Wiring]) -> None:
    wiring = wired()
    for made_here, published, everything in (
        (wiring.sampled, wiring.published["subsets"], wiring.config["subsets"]),
        (wiring.trained, wiring.published["checkpoints"], wiring.tuned),
        ([*wiring.swept, *wiring.at_once], wiring.published["results"], wiring.recipes),
    ):
        assert sorted([*made_here, *published]) == sorted(everything)


def test_what_is_published_is_read_from_its_entry() -> None:
    wiring = entered()
    subset = json.loads(wiring.entry("subsets/{subset}")(Wildcards(subset="m23k")))
    assert (subset["hub"], subset["split"]) == ("UCSC-VLAA/m23k-tokenized", "train")
    assert json.loads(wiring.checkpoint(Wildcards(model="m1-small-1k")))["hub"] == "UCSC-VLAA/m1-7B-1K"
    results = json.loads(wiring.published_results(Wildcards(model="m1-large-1k")))
    assert results["names"]["MedMCQA_validation"] == "medmcqa"
    assert [(one["budget"], one["forced"], one["file"], one["path"]) for one in results["results"]] == [
        (192, 0, "a.json", None),
        (64, 1, None, "b.json"),
    ]
    assert wiring.published_files(Wildcards(model="m1-large-1k")) == ["b.json"]


def test_a_published_m23k_leaves_no_trace_of_screen_and_teacher_in_the_tables() -> None:
    wiring = entered()
    assert not any("screen" in path or "distill" in path for path in wiring.counted())
    assert wiring.table4()["domains"] == []


def test_how_calls_are_made_is_no_param() -> None:
    screen = given()["screen"]
    teacher = given()["teacher"] | {"max_dollars": 5, "requests_per_minute": 60}
    wiring = made(teacher=teacher, screen=screen | {"providers": {"api": teacher | {"concurrency": 7}}})
    param = json.loads(wiring.provider("screen/providers/{provider}")(Wildcards(provider="api")))
    assert set(param) == {"name", "model", "serve", "temperature", "max_tokens", "limit_field", "extra", "rule"}
    wiring.export_calls()
    calls = json.loads(os.environ["M1_SCREEN_CALLS"])["api"]
    assert (calls["concurrency"], calls["max_dollars"], calls["requests_per_minute"]) == (7, 5, 60)
    assert not set(calls) & set(param)
    assert "<results>/screen/api.json" in wiring.spending()


def test_only_steps_of_this_run_are_counted_as_spending() -> None:
    steps = {"<results>/distill/hard.json", "<results>/distill/random_1k.json", "<results>/distill/random_23k.json"}
    assert set(made().spending()) == steps | {"<results>/select/domains.json"}
    published = dict.fromkeys(given()["subsets"], "m1k_tokenized")
    nothing = made(published=given()["published"] | {"subsets": published})
    assert nothing.spending() == []
    assert "<results>/spending.csv" not in nothing.targets()


def test_where_a_model_runs_is_no_param() -> None:
    wiring = made()
    wiring.recipes["small"]["serve"] |= {"engine": "sglang", "options": {"deterministic": True, "tp": 4, "dp": 2}}
    decides, runs = wiring.serve("recipes/{model}/serve"), wiring.placement("recipes/{model}/serve")
    model = Wildcards(model="small")
    assert json.loads(decides(model)) == {"engine": "sglang", "dtype": "float32", "options": {"deterministic": True}}
    assert json.loads(runs(model)) == {"tp": 4, "dp": 2}


def test_a_model_without_a_chat_template_borrows_one() -> None:
    wiring = made()
    assert wiring.borrowing == []
    assert wiring.template(Wildcards(model="small")) == []
    wiring.recipes["small"]["tokenizer"] = {"hub": "a/b", "revision": "main"}
    assert wiring.template(Wildcards(model="small")) == ["<results>/templates/small"]


def test_data_check_says_which_pools_and_benchmarks_use_an_entry() -> None:
    pubmedqa = {"from": "pubmedqa_labeled", "part": None}
    config = given()
    wiring = made(
        pools=config["pools"] | {"pubmedqa": pubmedqa}, benchmarks={"pubmedqa": pubmedqa | {"optional": True}}
    )
    checked = wiring.data_check()
    assert checked["pubmedqa_labeled"]["used_by"] == ["pools.pubmedqa", "benchmarks.pubmedqa"]
    assert not checked["pubmedqa_labeled"]["optional"]
    assert checked["pubmedqa_labeled"]["rows"] == 1000


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
    files = wiring.counted()
    subsets = {file.removeprefix("<results>/select/").removesuffix(".parquet") for file in files if "/select/" in file}
    assert subsets == set(wiring.config["subsets"])
    assert files[: len(wiring.config["pools"])] == [
        f"<results>/pools/{pool}.parquet" for pool in wiring.config["pools"]
    ]


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
    for name in ("figure1", "figure3"):
        rule = rules()[f"report_{name}"]
        assert rule.params["settings"] == getattr(made(), name)()
        assert f"{{params.code.module}} {name} " in str(rule.command)


def test_without_table_2_it_is_no_target() -> None:
    assert "<results>/table2.csv" in made().targets()
    assert "<results>/table2.csv" not in made(report=given()["report"] | {"table2": None}).targets()


def test_what_is_fetched_is_all_that_a_run_needs_from_elsewhere(tmp_path: Path) -> None:
    """With m1K, its checkpoint and its results as published, pools are counted in Table 3 still, and a base's tokenizer
    in Figure 8a."""
    published = {"subsets": {"m1k": "m1k_tokenized", "m23k": "m23k_tokenized"}, "checkpoints": {"m1-7b-1k": "m1_7b_1k"}}
    overlay = tmp_path / "mine.yaml"
    shown = {"table1": {"models": ["m1-7b-1k"]}, "table2": None, "figures": ["m1-7b-1k"]}
    overlay.write_text(yaml.safe_dump({"published": published, "models": ["m1-7b-1k"], "report": shown}))
    wiring = Wiring(load([ROOT / "config/paper.yaml", overlay]))
    assert wiring.bases == []
    made = {path.removeprefix("<results>/") for path in wiring.fetched()}
    assert {
        "pools/medqa.parquet",
        "bases/7b",
        "train/m1-7b-1k",
        "select/m1k.parquet",
        "benchmarks/nejm.parquet",
    } <= made
