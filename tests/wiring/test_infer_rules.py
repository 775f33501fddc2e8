"""What the rules of inference see."""

from __future__ import annotations

import json

from m1.wiring.infer import InferRules
from runs import demo_run, published_run, wildcards


def test_settings_are_those_of_the_models_own_recipe() -> None:
    rules, model = InferRules(demo_run()), wildcards(model="small-random-1k")
    assert rules.model(model) == "<results>/train/small-random-1k"
    assert json.loads(rules.sweep(model)) == rules.run.recipes["small-random-1k"]["thinking"]
    answer = json.loads(rules.answer(wildcards(model="small-cot")))
    assert answer == {"answer_limit": rules.run.config["answer_limit"], "prompt": "cot"}


def test_where_a_model_runs_is_no_param() -> None:
    run, model = demo_run(), wildcards(model="small")
    run.recipes["small"]["serve"] |= {"engine": "sglang", "options": {"deterministic": True, "tp": 4, "dp": 2}}
    decides, runs = json.loads(InferRules(run).serve(model)), json.loads(InferRules(run).runtime(model))
    assert decides == {"engine": "sglang", "dtype": "float32", "options": {"deterministic": True}}
    assert runs["options"] == {"tp": 4, "dp": 2}
    assert runs["batch"] == run.recipes["small"]["serve"]["batch"]


def test_published_results_are_read_from_their_entry() -> None:
    rules, model = InferRules(published_run()), wildcards(model="m1-large-1k")
    settings = json.loads(rules.published(model))
    assert settings["names"]["MedMCQA_validation"] == "medmcqa"
    assert [(one["budget"], one["forced"], one["file"], one["path"]) for one in settings["results"]] == [
        (192, 0, "a.json", None),
        (64, 1, None, "b.json"),
    ]
    assert {(one["key"], one["rows"]) for one in settings["results"]} == {(None, None)}
    assert rules.local_files(model) == ["b.json"]
