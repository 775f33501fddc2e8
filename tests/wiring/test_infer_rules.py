"""What the rules of inference see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from m1.wiring.infer import InferRules
from rules import rules as workflow_rules
from runs import RESULTS, demo, demo_run, published_run, wildcards


def test_settings_are_those_of_the_models_own_recipe() -> None:
    rules, model = InferRules(demo_run()), wildcards(model="small-random-1k")
    assert rules.model(model) == "<results>/train/small-random-1k"
    thinking, generation = rules.run.recipes["small-random-1k"]["thinking"], rules.run.config["generation"]
    sweep = json.loads(rules.sweep(model))
    assert sweep == thinking | {"prompt": "thinking_bare", "too_long": "error"} | {
        key: generation[key] for key in generation if key != "stop"
    }
    answer = json.loads(rules.answer(wildcards(model="small-cot")))
    assert answer == {"answer_limit": 64, "prompt": "cot", "stop": "exact", "bos": "exact", "too_long": "error"}


def test_how_it_is_forced_matters_only_where_something_is_forced() -> None:
    run = published_run()
    run.config["generation"] = dict.fromkeys(run.config["generation"], "released")
    rules = InferRules(run)
    assert run.published["evaluation"]
    for model in run.sweep_models:
        forced, sweep = run.recipes[model]["thinking"]["forced"], json.loads(rules.sweep(wildcards(model=model)))
        assert sweep["forcing"] == ("released" if forced else "exact")
        assert rules.order(wildcards(model=model)) == (["<results>/evaluation.parquet"] if forced else [])
    run.published["evaluation"] = None
    assert all(rules.order(wildcards(model=model)) == [] for model in run.sweep_models)


def test_where_a_model_runs_is_no_param() -> None:
    run, model = demo_run(), wildcards(model="small")
    run.recipes["small"]["serve"] |= {"engine": "sglang", "options": {"deterministic": True, "tp": 4, "dp": 2}}
    decides, runs = json.loads(InferRules(run).serve(model)), json.loads(InferRules(run).runtime(model))
    assert decides == {"engine": "sglang", "dtype": "float32", "options": {"deterministic": True}}
    assert runs["options"] == {"tp": 4, "dp": 2}
    assert runs["batch"] == run.recipes["small"]["serve"]["batch"]


def test_published_results_are_read_from_their_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules, model = InferRules(published_run()), wildcards(model="m1-large-1k")
    settings = json.loads(rules.published(model))
    assert settings["names"]["MedMCQA_validation"] == "medmcqa"
    assert [(one["budget"], one["forced"], one["file"], one["path"]) for one in settings["results"]] == [
        (192, 0, "a.json", None),
        (64, 1, None, "b.json"),
    ]
    assert {(one["key"], one["rows"]) for one in settings["results"]} == {(None, None)}
    monkeypatch.chdir(tmp_path)
    Path("b.json").touch()
    assert rules.local_files(model) == ["b.json"]


def test_published_answers_beside_a_model_are_told_and_scored_as_those_in_its_place() -> None:
    beside = {"m1-small-1k": [RESULTS[0], RESULTS[0] | {"file": "b.json", "budget": 128}]}
    rules = InferRules(demo_run(published=demo()["published"] | {"beside": beside}))
    place = InferRules(demo_run(published=demo()["published"] | {"results": beside}, report=shown("m1-large-1k")))
    model = wildcards(model="m1-small-1k")
    ours, theirs = json.loads(rules.published(model)), json.loads(place.published(model))
    assert (ours.pop("part"), theirs.pop("part")) == (True, False)
    assert ours == theirs
    assert "m1-small-1k" in rules.run.sweep_models, "it is computed all the same"
    found = workflow_rules()
    for name, one in (("infer_published", "infer_beside"), ("score_predictions", "score_beside")):
        assert found[one].command == found[name].command
        assert found[one].step == found[name].step
        assert found[one].local == found[name].local
    settings = found["score_beside"].params["settings"](model), found["score_predictions"].params["settings"](model)
    assert settings[0] == settings[1]


def test_a_benchmark_of_ones_own_has_no_published_answers() -> None:
    benchmarks = {"mine": demo()["benchmarks"]["nejm"]} | demo()["benchmarks"]
    rules = InferRules(
        demo_run(published=demo()["published"] | {"beside": {"m1-small-1k": RESULTS[:1]}}, benchmarks=benchmarks)
    )
    assert set(rules.run.benchmarks) - set(rules.published_benchmarks(wildcards(model="m1-small-1k"))) == {
        "<results>/benchmarks/mine.parquet"
    }


def shown(*figures: str) -> dict[str, object]:
    return demo()["report"] | {"figures": list(figures)}
