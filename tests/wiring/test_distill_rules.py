"""What the rules of distillation see."""

from __future__ import annotations

import json

from m1.wiring.distill import DistillRules
from runs import demo_run, wildcards


def test_the_hard_set_is_asked_what_no_screening_model_solved() -> None:
    rules = DistillRules(demo_run())
    assert rules.questions(wildcards(set="hard")) == "<results>/screen/hard.parquet"
    assert rules.questions(wildcards(set="random_1k")) == "<results>/distill/random_1k.questions.parquet"


def test_a_draw_has_a_size_or_that_of_a_subset() -> None:
    rules = DistillRules(demo_run())
    drawn, alike = wildcards(set="random_1k"), wildcards(set="random_23k")
    assert (rules.like(drawn), rules.like(alike)) == ([], ["<results>/select/m23k.parquet"])
    config = rules.run.config
    assert json.loads(rules.draw(drawn)) == config["distill"]["random_1k"] | {"seed": config["seed"]}
    assert json.loads(rules.draw(alike))["size"] is None
