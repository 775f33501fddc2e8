"""Inputs, params and resources of ``rules/train.smk``."""

from pathlib import Path
from typing import Any

from m1.core.files import recorded_identity
from m1.train.settings import FetchSettings, SftSettings, TrainRuntime, deciding_values, is_kept, kept_folder
from m1.wiring.jobs import Jobs
from m1.wiring.run import Run, Wildcards


class TrainRules:
    """Bases and published checkpoints that are fetched, and models that are trained."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.jobs = Jobs(run, "train", lambda wildcards: run.training_gpus(wildcards.model), self.is_stored)

    def world_model(self, wildcards: Wildcards) -> list[str]:
        """The folder of the embedded world's model that a base or screening model uses; nothing for any other model.

        A local folder is only checked, and is no input, because Snakemake would compare it by its time.
        """
        self.run.local.files(f"{wildcards.kind}/{wildcards.base}")
        return self.run.world_model(wildcards.kind, wildcards.base)

    def fetch(self, wildcards: Wildcards) -> str:
        return FetchSettings.from_parts(self.run.model_entry(wildcards.kind, wildcards.base)).to_json()

    def published(self, wildcards: Wildcards) -> list[str]:
        """Check the local folder of a published checkpoint; it is no input, for the reason given above."""
        self.run.local.files(f"train/{wildcards.model}")
        return []

    def checkpoint(self, wildcards: Wildcards) -> str:
        return FetchSettings.from_parts(self.run.config["data"][self.entry(wildcards)]).to_json()

    def entry(self, wildcards: Wildcards) -> str:
        """The key in ``data`` of a published checkpoint."""
        return self.run.published["checkpoints"][wildcards.model]

    def base(self, wildcards: Wildcards) -> str:
        return f"<results>/bases/{self.run.recipes[wildcards.model]['base']}"

    def subset(self, wildcards: Wildcards) -> str:
        return f"<results>/select/{self.run.recipes[wildcards.model]['sft']['subset']}.parquet"

    def sft(self, wildcards: Wildcards) -> str:
        return SftSettings.from_parts(self.run.recipes[wildcards.model]["sft"]).to_json()

    def is_stored(self, wildcards: Wildcards, input: Any) -> bool:
        """Whether the store has the model that a training on these inputs would produce."""
        base, store = Path(input.base), Path(self.run.config["store"])
        if not (store / "train" / wildcards.model).is_dir():
            return False
        template, settings = Path(input.template) if input.template else None, self.sft(wildcards)
        told = base, template, Path(input.subset), SftSettings.from_json(settings)
        return is_kept(kept_folder(store, wildcards.model, deciding_values(recorded_identity(base), *told)))

    def context(self, wildcards: Wildcards) -> list[str]:
        """The file that says that the questions fit the base's context; nothing if the model answers none here."""
        asked = wildcards.model in self.run.evaluated_here
        return [f"<results>/infer/{wildcards.model}/context.json"] if asked else []

    def runtime(self, wildcards: Wildcards) -> str:
        """Give a training's runtime settings (place and speed) as JSON. As a resource, a change reruns nothing."""
        gpus = {"gpus": self.run.training_gpus(wildcards.model)[1]}
        return TrainRuntime.from_parts(self.run.recipes[wildcards.model]["train"], gpus).to_json()


class Templates:
    """Chat templates for models that have none; training and inference both take them as an input."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def folder(self, wildcards: Wildcards) -> list[str]:
        """The folder of the tokenizer whose chat template a model borrows; nothing if the model has its own."""
        return [f"<results>/templates/{wildcards.model}"] if self.run.recipes[wildcards.model]["tokenizer"] else []

    def flag(self, wildcards: Wildcards, input: Any) -> str:
        """The flag ``--template FOLDER`` if a model borrows a chat template; else an empty text."""
        return f"--template {input.template}" if input.template else ""
