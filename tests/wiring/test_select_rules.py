"""What the rules of the training subsets see."""

from __future__ import annotations

import json

from m1.wiring.config import prepare
from m1.wiring.run import Run, optional_flags
from m1.wiring.select import SelectRules
from runs import demo, demo_run, published_run, wildcards


def test_only_balanced_subsets_need_domains() -> None:
    rules = SelectRules(demo_run())
    needed = {name: bool(rules.domains(wildcards(subset=name))) for name in rules.subsets}
    assert needed == {name: name in {"m1k", "hard_domain_1k"} for name in needed}


def test_a_subset_as_large_as_another_needs_it() -> None:
    rules = SelectRules(demo_run())
    assert rules.like(wildcards(subset="random_23k")) == ["<results>/select/m23k.parquet"]
    assert rules.like(wildcards(subset="m1k")) == []


def test_files_that_a_subset_needs_are_flags() -> None:
    rules, subset = SelectRules(demo_run()), wildcards(subset="m1k")
    assert rules.traces(subset) == "<results>/distill/hard.parquet"
    flags = optional_flags("domains", "like")
    assert flags(subset, {"domains": "d", "like": []}) == "--domains d"
    assert flags(subset, {"domains": [], "like": []}) == ""


def test_a_subset_is_drawn_from_the_questions_of_its_traces_in_their_order() -> None:
    rules = SelectRules(demo_run())
    asked = {name: rules.questions(wildcards(subset=name)) for name in ("m1k", "random_1k")}
    assert asked == {
        "m1k": "<results>/screen/hard.parquet",
        "random_1k": "<results>/distill/random_1k.questions.parquet",
    }


def test_settings_are_of_one_concern() -> None:
    rules = SelectRules(demo_run())
    size = rules.subsets["m1k"]["size"]
    seed = rules.run.config["seed"]
    assert json.loads(rules.sample(wildcards(subset="m1k"))) == {"rule": "domain_source", "size": size, "seed": seed}


def test_a_published_subset_is_read_from_its_entry() -> None:
    rules, subset = SelectRules(published_run()), wildcards(subset="m23k")
    settings = json.loads(rules.published(subset))
    assert (settings["hub"], settings["split"]) == ("UCSC-VLAA/m23k-tokenized", "train")
    assert settings["sources"] == rules.run.config["data"]["m23k_tokenized"]["sources"]
    assert rules.local_file(subset) == []


def test_a_set_beside_the_subsets_is_optional() -> None:
    config = demo()
    config["report"]["figure8a"]["beside"] = {"s1K": "s1k"}
    config["data"]["s1k"]["path"] = "nowhere/s1k.jsonl"
    rules, beside = SelectRules(Run(prepare(config))), wildcards(subset="s1k")
    settings = json.loads(rules.published(beside))
    assert (settings["path"], settings["optional"], settings["sources"]) == ("nowhere/s1k.jsonl", True, {"*": "s1k"})
    assert rules.local_file(beside) == []
    assert "<results>/select/s1k.parquet" in rules.run.hub_targets()
    assert not json.loads(SelectRules(published_run()).published(wildcards(subset="m23k")))["optional"]
