"""What the rules of the difficulty filter see."""

from __future__ import annotations

import json

from m1.wiring.screen import ScreenRules
from runs import demo, demo_run, wildcards


def test_every_screening_model_has_its_answers() -> None:
    rules = ScreenRules(demo_run(screen=demo()["screen"] | {"providers": {"api": demo()["teacher"]}}))
    names = ("small", "large", "api")
    assert rules.answers(wildcards()) == [f"<results>/screen/{name}.parquet" for name in names]
    assert rules.server_files(wildcards(provider="api")) == ["results/world/facts.json"]


def test_models_on_gpus_and_behind_a_url_are_told_the_same() -> None:
    rules, screen = ScreenRules(demo_run()), demo()["screen"]
    assert json.loads(rules.attempt(wildcards(base="small"))) == json.loads(rules.ask(wildcards())) | {
        "answer_limit": screen["answer_limit"]
    }
    assert json.loads(rules.serve(wildcards()))["engine"] == screen["serve"]["engine"]
    assert json.loads(rules.runtime(wildcards(base="small")))["batch"] == screen["serve"]["batch"]
