"""Inputs, params and resources of ``rules/screen.smk``."""

from typing import Any

from m1.screen.settings import AskSettings, AttemptSettings, HardSettings
from m1.wiring.jobs import Jobs, is_answered, is_shard, shard_manifests
from m1.wiring.run import Run, Wildcards
from m1.wiring.schema import provider_json, serve_json, serve_runtime


class ScreenRules:
    """The difficulty filter (3.1): models that this run loads, providers behind a URL, and their jobs."""

    def __init__(self, run: Run) -> None:
        self.run, self.screen = run, run.config["screen"]
        self.jobs = Jobs(run, "screen", self.shape, self.is_stored)

    def shards(self, wildcards: Wildcards) -> list[str]:
        if is_shard(wildcards):
            return []
        folder, artifact = f"<results>/screen/shards/{wildcards.base}", f"<results>/screen/{wildcards.base}.parquet"
        return shard_manifests(self.run, self.screen["shards"], folder, artifact)

    def shape(self, wildcards: Wildcards) -> tuple[int, int]:
        """Nodes and GPUs of a job. The job that only gathers what the shards put into the store needs no GPU."""
        return 1, 0 if self.shards(wildcards) else self.run.screening_gpus(wildcards.base)

    def is_stored(self, wildcards: Wildcards, input: Any) -> bool:
        """Whether the store already has every answer that the job would generate."""
        store, told = self.run.store(f"screen-{wildcards.base}"), (self.serve(wildcards), self.attempt(wildcards))
        return is_answered(store, "m1.screen.attempt", wildcards, input, *told, [input.questions])

    def serve(self, wildcards: Wildcards) -> str:
        return serve_json(self.screen["serve"])

    def runtime(self, wildcards: Wildcards) -> str:
        """Give the engine's runtime settings (place and speed) as JSON. As a resource, a change reruns nothing."""
        return serve_runtime(self.screen["serve"], self.shape(wildcards)[1])

    def attempt(self, wildcards: Wildcards) -> str:
        return AttemptSettings.from_parts(self.screen).to_json()

    def ask(self, wildcards: Wildcards) -> str:
        return AskSettings.from_parts(self.screen).to_json()

    def provider(self, wildcards: Wildcards) -> str:
        return provider_json(self.run.providers[wildcards.provider])

    def server_files(self, wildcards: Wildcards) -> list[str]:
        return self.run.server_files(self.run.providers[wildcards.provider])

    def answers(self, wildcards: Wildcards) -> list[str]:
        return [f"<results>/screen/{name}.parquet" for name in [*self.screen["models"], *self.run.providers]]

    def hard(self, wildcards: Wildcards) -> str:
        return HardSettings.from_parts(self.screen).to_json()
