"""What the rules of training see."""

from __future__ import annotations

import json
from types import SimpleNamespace

from m1.wiring.train import Templates, TrainRules
from runs import demo_run, published_run, wildcards


def test_a_training_has_its_base_subset_and_settings() -> None:
    rules, model = TrainRules(demo_run()), wildcards(model="m1-small-1k")
    assert rules.base(model) == "<results>/bases/small"
    assert rules.subset(model) == "<results>/select/m1k.parquet"
    recipe = rules.run.recipes["m1-small-1k"]
    settings = json.loads(rules.sft(model))
    assert settings == {key: value for key, value in recipe["sft"].items() if key != "lora"}
    assert list(settings) == sorted(settings)
    assert set(settings).isdisjoint({"resources", "label", "serve", "thinking"})
    assert json.loads(rules.runtime(model)) == recipe["train"] | {"gpus": 0}


def test_a_published_checkpoint_is_fetched_from_its_entry() -> None:
    rules, model = TrainRules(published_run()), wildcards(model="m1-small-1k")
    assert rules.entry(model) == "m1_7b_1k"
    assert json.loads(rules.checkpoint(model))["hub"] == "UCSC-VLAA/m1-7B-1K"


def test_a_base_is_fetched_from_its_own_place() -> None:
    rules = TrainRules(demo_run())
    base = wildcards(kind="screen/models", base="small")
    assert rules.world_model(base) == ["results/world/models/small"]
    assert json.loads(rules.fetch(base))["path"] == "results/world/models/small"


def test_a_model_without_a_chat_template_borrows_one() -> None:
    run, model = demo_run(), wildcards(model="small")
    templates = Templates(run)
    assert run.borrowers == []
    assert templates.folder(model) == []
    assert templates.flag(model, SimpleNamespace(template=[])) == ""
    run.recipes["small"]["tokenizer"] = {"hub": "a/b", "revision": "main"}
    assert templates.folder(model) == ["<results>/templates/small"]
    assert templates.flag(model, SimpleNamespace(template="t")) == "--template t"
