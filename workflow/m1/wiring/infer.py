"""Inputs, params and resources of ``rules/infer.smk``."""

from typing import Any

from m1.infer.settings import AnswerSettings, PublishedResult, PublishedSettings, SweepSettings, TemplateSettings
from m1.wiring.jobs import Jobs, is_answered, is_shard, shard_manifests
from m1.wiring.run import Run, Wildcards
from m1.wiring.schema import serve_json, serve_runtime


class InferRules:
    """The models that are evaluated. One that thinks is swept over the budgets, another answers once, and the answers
    of a third kind are taken as published."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.jobs = Jobs(run, "infer", self.shape, self.is_stored)

    def model(self, wildcards: Wildcards) -> str:
        return self.run.weights(wildcards.model)

    def shards(self, wildcards: Wildcards) -> list[str]:
        if is_shard(wildcards):
            return []
        folder = f"<results>/infer/{wildcards.model}"
        wanted = self.run.recipes[wildcards.model]["serve"]["shards"]
        return shard_manifests(self.run, wanted, f"{folder}/shards", f"{folder}/predictions.parquet")

    def shape(self, wildcards: Wildcards) -> tuple[int, int]:
        """Nodes and GPUs of a job. The job that only gathers what the shards put into the store needs no GPU."""
        return 1, 0 if self.shards(wildcards) else self.run.answering_gpus(wildcards.model)

    def is_stored(self, wildcards: Wildcards, input: Any) -> bool:
        """Whether the store already has every answer that the job would generate."""
        name = wildcards.model
        swept = name in self.run.sweep_models
        step, settings = ("m1.infer.sweep", self.sweep) if swept else ("m1.infer.answer", self.answer)
        files = [*input.benchmarks, *(input.order if swept else ())]
        store, told = self.run.store(f"infer-{name}"), (self.serve(wildcards), settings(wildcards), files)
        return is_answered(store, step, wildcards, input, *told)

    def serve(self, wildcards: Wildcards) -> str:
        return serve_json(self.run.recipes[wildcards.model]["serve"])

    def runtime(self, wildcards: Wildcards) -> str:
        """Give the engine's runtime settings (place and speed) as JSON. As a resource, a change reruns nothing."""
        return serve_runtime(self.run.recipes[wildcards.model]["serve"], self.shape(wildcards)[1])

    def template(self, wildcards: Wildcards) -> str:
        return TemplateSettings.from_parts(self.run.recipes[wildcards.model]["tokenizer"]).to_json()

    def sweep(self, wildcards: Wildcards) -> str:
        recipe = self.run.recipes[wildcards.model]
        # Without forced counts, `forcing` decides nothing; a constant keeps a change of it from rerunning the sweep.
        forcing = {} if recipe["thinking"]["forced"] else {"forcing": "exact"}
        own = {"prompt": recipe["prompt"], "too_long": self.run.config["too_long"]}
        parts = recipe["thinking"], self.run.config["generation"], own, forcing
        return SweepSettings.from_parts(*parts).to_json()

    def order(self, wildcards: Wildcards) -> list[str]:
        """The whole evaluation file, where ``forcing`` batches its questions as the authors did; else nothing."""
        return [self.run.evaluation] if wildcards.model in self.run.forced_together else []

    def answer(self, wildcards: Wildcards) -> str:
        common = {key: self.run.config[key] for key in ("answer_limit", "too_long")}
        parts = self.run.recipes[wildcards.model], common, self.run.config["generation"]
        return AnswerSettings.from_parts(*parts).to_json()

    def context(self, wildcards: Wildcards) -> str:
        """Settings of :mod:`m1.infer.context`: the same ones that the model will be asked with."""
        return self.sweep(wildcards) if wildcards.model in self.run.sweep_models else self.answer(wildcards)

    def published(self, wildcards: Wildcards) -> str:
        return self._published(wildcards).to_json()

    def local_files(self, wildcards: Wildcards) -> list[str]:
        folder = "infer" if wildcards.model in self.run.published["results"] else "published"
        return self.run.local.files(f"{folder}/{wildcards.model}/predictions.parquet")

    def published_benchmarks(self, wildcards: Wildcards) -> list[str]:
        """The benchmarks of this run that a model's published results cover; never a benchmark of the user's own."""
        return [f"<results>/benchmarks/{name}.parquet" for name in self._published(wildcards).names.values()]

    def _published(self, wildcards: Wildcards) -> PublishedSettings:
        """The published files of a model, and the names that they have for the benchmarks of this run."""
        config = self.run.config
        files = (self.run.published["results"] | self.run.published["beside"])[wildcards.model]  # never in both
        names: dict[str, str] = {}
        results = []
        for one in files:
            entry = config["data"][one["from"]]
            names |= {place["key"]: name for name, place in entry["sets"].items() if name in config["benchmarks"]}
            # `key` and `rows` of the entry describe one benchmark's list; a file of results holds all benchmarks.
            results.append(PublishedResult.from_parts(entry, one, {"key": None, "rows": None}))
        # Results that replace a model's own must cover every question; those shown beside them may cover a part.
        return PublishedSettings(names, tuple(results), part=wildcards.model in self.run.published["beside"])
