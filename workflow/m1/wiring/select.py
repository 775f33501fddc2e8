"""Inputs and params of ``rules/select.smk``."""

from typing import Any

from m1.select.settings import PublishedSettings, SampleSettings
from m1.wiring.run import Run, Wildcards
from m1.wiring.schema import provider_json


class SelectRules:
    """Training subsets, which are drawn in this run or taken as published."""

    def __init__(self, run: Run) -> None:
        self.run, self.subsets = run, run.config["subsets"]
        self.server_files = run.server_files(run.config["labeller"])

    def notes(self, wildcards: Wildcards) -> list[str]:
        return self.run.local.files("select/domains.parquet")

    def labeller(self, wildcards: Wildcards) -> str:
        return provider_json(self.run.config["labeller"])

    def traces(self, wildcards: Wildcards) -> str:
        """The traces that a subset is drawn from."""
        return f"<results>/distill/{self.subsets[wildcards.subset]['traces']}.parquet"

    def questions(self, wildcards: Wildcards) -> str:
        """The questions of these traces; their order decides which ones a draw takes."""
        return self.run.teacher_questions(self.subsets[wildcards.subset]["traces"])

    def domains(self, wildcards: Wildcards) -> list[str]:
        """The domain labels, if the subset's sampling rule needs them; else nothing."""
        needed = self.subsets[wildcards.subset]["rule"].startswith("domain")
        return ["<results>/select/domains.parquet"] if needed else []

    def like(self, wildcards: Wildcards) -> list[str]:
        return self.run.like_subset(self.subsets[wildcards.subset])

    def sample(self, wildcards: Wildcards) -> str:
        return SampleSettings.from_parts(self.subsets[wildcards.subset], {"seed": self.run.config["seed"]}).to_json()

    def published(self, wildcards: Wildcards) -> str:
        size = self.subsets.get(wildcards.subset, {}).get("size")
        told = {"size": size, "seed": self.run.config["seed"], "optional": wildcards.subset in self.run.extra_sets}
        return PublishedSettings.from_parts(self._entry(wildcards), told).to_json()

    def local_file(self, wildcards: Wildcards) -> list[str]:
        """The local file of a published subset; nothing for an optional one that is missing."""
        return self.run.local.files(f"select/{wildcards.subset}.parquet")

    def _entry(self, wildcards: Wildcards) -> dict[str, Any]:
        """The entry of ``data`` that is used as the subset; a further set of Figure 8a has the name of its entry."""
        return self.run.config["data"][self.run.published["subsets"].get(wildcards.subset, wildcards.subset)]
