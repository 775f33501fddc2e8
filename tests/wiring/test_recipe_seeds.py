"""A recipe with ``seeds`` stands for several models, which differ in their training's seed only."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import yaml
from m1.commands.plan import count_jobs
from m1.commands.questions import Questions
from m1.core.errors import UserError
from m1.wiring.config import prepare
from m1.wiring.report import ReportRules
from m1.wiring.run import Run
from m1.wiring.train import TrainRules
from runs import ROOT, demo, demo_run, wildcards

MODEL = "small-hard-random-1k"  # the demo's, whose recipe has seeds


def run_with(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, **changes: object) -> Run:
    """The demo in a folder of its own, with another recipe of a model."""
    shutil.copytree(ROOT / "config", folder / "config")
    path = folder / f"config/models/{name}.yaml"
    recipe = yaml.safe_load(path.read_text(encoding="utf-8")) | changes
    path.write_text(yaml.safe_dump({key: value for key, value in recipe.items() if value != "none"}), encoding="utf-8")
    monkeypatch.chdir(folder)
    return demo_run()


def test_each_seed_is_a_model_of_its_own_and_the_first_is_the_recipes() -> None:
    run, rules = demo_run(), TrainRules(demo_run())
    models = [MODEL, f"{MODEL}.seed43", f"{MODEL}.seed44"]
    assert [name for name in run.recipes if name.startswith(MODEL)] == models
    for listed in (run.needed_trainings, run.sweep_models, run.evaluated_here):
        assert [name for name in listed if name.startswith(MODEL)] == models
    settings = [run.recipes[name]["sft"] for name in models]
    assert [one["seed"] for one in settings] == [42, 43, 44]
    assert len({str(one | {"seed": 0}) for one in settings}) == 1
    assert len({rules.sft(wildcards(model=name)) for name in models}) == 3
    for name in models[1:]:
        assert run.recipes[name] | {"sft": 0, "seeds": 0} == run.recipes[MODEL] | {"sft": 0, "seeds": 0}
    assert run.config["models"] == [name for name in run.recipes if ".seed" not in name], "the models of the user"


def test_the_plan_counts_every_training() -> None:
    run = demo_run()
    counted = {job.rule: job.jobs for job in count_jobs(run, Questions(run))}
    one = len([name for name in run.config["models"] if "sft" in run.recipes[name]])
    assert (counted["train_sft"], counted["infer_sweep"]) == (one + 2, one + 2)
    assert counted["score_predictions"] == len(run.config["models"]) + 2


def test_rows_are_of_all_seeds_and_all_else_is_of_the_first() -> None:
    rules = ReportRules(demo_run())
    models = [MODEL, f"{MODEL}.seed43", f"{MODEL}.seed44"]
    shown = rules.shown()
    assert {row.model: row.trainings for row in shown.table2 or ()}[MODEL] == tuple(models)
    assert [row.model for row in shown.table2 or () if row.trainings] == [MODEL]
    assert rules.trainings(["small", MODEL]) == ["small", *models]
    assert MODEL in rules.compared
    assert not any(".seed" in name for name in [*rules.compared, *rules.figures, *rules.models])
    made_by = {one.rule: one.files for one in shown.manifests}
    for rule, form in (("train_sft", "train/{}"), ("score_predictions", "score/{}.json")):
        assert {form.format(name) for name in models} <= set(made_by[rule])


def test_the_order_of_seeds_does_not_move_the_recipes_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(tmp_path, monkeypatch, "m1-small-1k", seeds=[7, 42])
    rules = ReportRules(run)
    assert rules.table1_row("m1-small-1k").trainings == ("m1-small-1k", "m1-small-1k.seed7")
    assert rules.table2_row("m1-small-1k").trainings == ("m1-small-1k", "m1-small-1k.seed7")
    assert (run.recipes["m1-small-1k"]["sft"]["seed"], run.recipes["m1-small-1k.seed7"]["sft"]["seed"]) == (42, 7)


@pytest.mark.parametrize(
    ("name", "seeds", "message"),
    [
        ("m1-small-1k", [42], r"config/models/m1-small-1k.yaml: seeds: \[42\] is too short"),
        ("m1-small-1k", [42, 42], "config/models/m1-small-1k.yaml: seeds: .* non-unique"),
        ("m1-small-1k", [42, -1], "config/models/m1-small-1k.yaml: seeds.1: -1 is less than the minimum of 0"),
        ("m1-small-1k", [43, 44], r"seeds: \[43, 44\] lacks the recipe's own sft.seed, 42; add it"),
        ("small", [42, 43], "config/models/small.yaml: seeds: the recipe has no 'sft', so nothing is trained"),
    ],
)
def test_what_cannot_be_trained_so_is_named(
    name: str, seeds: list[int], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=message):
        run_with(tmp_path, monkeypatch, name, seeds=seeds)


def test_a_name_that_a_recipe_has_already_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_with(tmp_path, monkeypatch, "m1-small-1k", seeds=[42, 43])
    (tmp_path / "config/models/m1-small-1k.seed43.yaml").write_text("label: mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"seed 43 becomes the model m1-small-1k\.seed43, which has a recipe; rename"):
        demo_run()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("checkpoints", "m1_7b_1k"),
        ("results", [{"from": "m1_results", "file": "a.json", "budget": 128}]),
        ("beside", [{"from": "m1_results", "file": "a.json", "budget": 128}]),
    ],
)
def test_what_is_published_of_one_training_goes_with_no_seeds(kind: str, value: object) -> None:
    config = copy.deepcopy(demo())
    config["published"][kind] = {MODEL: value}
    with pytest.raises(UserError, match=rf"{MODEL}.yaml: seeds: published.{kind}.{MODEL} is there, .*; remove one of"):
        prepare(config)
