"""Inputs and params of ``rules/pools.smk``."""

from collections.abc import Callable

from m1.pools.settings import AuditSettings, CollectSettings, EvaluationSettings, LeakSettings, MergeSettings
from m1.wiring.run import Run, Wildcards


class PoolsRules:
    """Sources and settings of pools and benchmarks."""

    def __init__(self, run: Run) -> None:
        self.run, self.config = run, run.config

    def source_file(self, kind: str) -> Callable[[Wildcards], list[str]]:
        """An input function for the local file of a ``pool`` or ``benchmark``; nothing for a set from the hub."""
        return lambda wildcards: self.run.local.files(f"{kind}s/{wildcards[kind]}.parquet")

    def collect(self, kind: str) -> Callable[[Wildcards], str]:
        """Settings of :mod:`m1.pools.collect`; ``kind`` is as in :meth:`source_file`."""

        def settings(wildcards: Wildcards) -> str:
            source = self.config[f"{kind}s"][wildcards[kind]]
            return CollectSettings.from_parts(source, {key: self.config[key] for key in ("seed", "draws")}).to_json()

        return settings

    def evaluation(self, wildcards: Wildcards) -> str:
        entry = self.config["data"][self.config["published"]["evaluation"]]
        names = {one["key"]: name for name, one in entry["sets"].items()}
        return EvaluationSettings.from_parts(entry, {"names": names, "rows": None}).to_json()

    def evaluation_file(self, wildcards: Wildcards) -> list[str]:
        return self.run.local.files("evaluation.parquet")

    def merge(self, wildcards: Wildcards) -> str:
        return MergeSettings.from_parts(self.config["merge"]).to_json()

    def leaks(self, wildcards: Wildcards) -> str:
        return LeakSettings.from_parts(self.config["merge"]).to_json()

    def audit(self, wildcards: Wildcards) -> str:
        return AuditSettings.from_parts(self.config["merge"], self.config["audit"]).to_json()
