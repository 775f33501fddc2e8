"""What the store has of a configuration's trainings and answers: part of ``make plan`` and ``make fit``.

What the store has of a model says its own step, as in a dry run (:mod:`m1.commands.dry_run`), by the files that are in
the results now. So nothing is known of results that were deleted.
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m1.engines.cached import look
from m1.infer import answer, sweep
from m1.train.settings import SftSettings
from m1.wiring.infer import InferRules
from m1.wiring.run import Run
from m1.wiring.schema import serve_json, serve_runtime
from m1.wiring.train import Templates, TrainRules


@dataclass(frozen=True)
class Kept:
    """What there is of a model, and by which recipe it was made."""

    recipe: Mapping[str, Any]
    published: str | None  # entry of `data` that the checkpoint is from
    subset: str | None  # entry of `data` that the subset is from; None for a subset that was drawn here
    samples: int | None  # of the subset, as the configuration limits it
    trained: bool  # whether the store has the trained model
    answered: float  # share of its questions to which the store has all answers
    limits: Mapping[str, int | None]  # questions that it was asked at most, by benchmark

    def trains(self, recipe: Mapping[str, Any], subset: str | None, samples: int | None) -> bool:
        """Whether the store has the model that a recipe trains on a subset of so many samples."""
        same = (subset, samples, recipe["base"]) == (self.subset, self.samples, self.recipe["base"])
        return self.trained and same and _sft(recipe) == _sft(self.recipe)

    def share(self, recipe: Mapping[str, Any], thinking: Mapping[str, Any] | None, asked: Mapping[str, int]) -> float:
        """Share of a recipe's answers that the store has, if its weights are the same.

        Args:
            recipe: of which the engine counts.
            thinking: what it is swept over; None for a model that answers at once.
            asked: questions of each benchmark. Fewer are a part of more, as the sample's order is the same.
        """
        if serve_json(recipe["serve"]) != serve_json(self.recipe["serve"]):
            return 0.0
        if thinking is not None and not _contains(self.recipe["thinking"], thinking):
            return 0.0
        both = {name: self.limits[name] for name in asked if name in self.limits}
        there = sum(min(asked[name], limit or asked[name]) for name, limit in both.items())
        return self.answered * there / sum(asked.values())


def _sft(recipe: Mapping[str, Any]) -> str | None:
    return SftSettings.from_parts(recipe["sft"]).to_json() if "sft" in recipe else None


def _contains(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the answers of one sweep are among those of another one. Thinking is generated to the largest budget, so
    that with another one it is asked for anew."""
    keys = ["answer_limit", *(["forced_budget"] if wanted["forced"] else [])]
    same = max(made["budgets"]) == max(wanted["budgets"]) and all(made[key] == wanted[key] for key in keys)
    return same and all(set(wanted[key]) <= set(made[key]) for key in ("budgets", "forced"))


def models(run: Run) -> dict[str, Kept]:
    """What the store has of each model of a run of which it has anything."""
    limits = {name: source["limit"] for name, source in run.config["benchmarks"].items()}
    found = {}
    for name, recipe in run.recipes.items():
        subset = recipe["sft"]["subset"] if "sft" in recipe else None
        one = Kept(
            recipe,
            run.published["checkpoints"].get(name),
            run.published["subsets"].get(subset),
            run.config["subsets"][subset].get("size") if subset else None,
            name in run.needed_trainings and is_trained(run, name),
            answered(run, name) if name in run.evaluated_here else 0.0,
            limits,
        )
        if one.trained or one.answered:
            found[name] = one
    return found


def weights(run: Run) -> set[str]:
    """Bases, and models whose checkpoints are published, that are in the results."""
    folders = {name: run.path(f"<results>/bases/{name}") for name in run.config["bases"]}
    folders |= {f"{name}, published": run.path(run.weights(name)) for name in run.published["checkpoints"]}
    return {name for name, folder in folders.items() if folder.is_dir()}


def is_trained(run: Run, name: str) -> bool:
    """Whether the store has the model that a training here would make, by base and samples as they are now."""
    rules, wildcards = TrainRules(run), Namespace(model=name)
    named = {"base": rules.base(wildcards), "subset": rules.subset(wildcards), "template": _template(run, wildcards)}
    files = {key: str(run.path(path)) for key, path in named.items() if path}
    if not all(Path(path).exists() for path in files.values()):
        return False
    return rules.is_stored(wildcards, Namespace(**{"template": None, **files}))


def answered(run: Run, name: str) -> float:
    """Share of a model's questions, as they are in the results, to which the store has all answers."""
    rules, wildcards, store = InferRules(run), Namespace(model=name), Path(run.store(f"infer-{name}"))
    model, template = run.path(run.weights(name)), _template(run, wildcards)
    files = [run.path(path) for path in run.benchmarks]
    order = [run.path(path) for path in rules.order(wildcards)] if name in run.sweep_models else []
    if not store.is_dir() or not all(path.exists() for path in (model, *files, *order)):
        return 0.0
    serve = run.recipes[name]["serve"]
    words = ["--name", name, "--model", model, "--benchmarks", *files, "--serve", serve_json(serve), "--store", store]
    words += ["--runtime", serve_runtime(serve, 0), "--manifest", "none", *(["--order", *order] if order else [])]
    words += ["--template", run.path(template)] if template else []
    step, settings = (sweep, rules.sweep) if name in run.sweep_models else (answer, rules.answer)
    stored = look(step.main, [*map(str, words), "--settings", settings(wildcards)])
    return stored.there / stored.of if stored.of else 0.0


def _template(run: Run, wildcards: Any) -> str | None:
    return next(iter(Templates(run).folder(wildcards)), None)
