"""What ``rules/pools.smk`` sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from m1.pools.settings import AuditSettings, CollectSettings, LeakSettings, MergeSettings
from m1.wiring.run import Run, Wildcards


class PoolsRules:
    """Sources and settings of pools and benchmarks."""

    def __init__(self, run: Run) -> None:
        self.config = run.config

    def source_file(self, kind: str) -> Callable[[Wildcards], list[str]]:
        """The local file of a set; none if it comes from the hub, or is optional and not there.

        Args:
            kind: ``pool`` or ``benchmark``, the wildcard's name.
        """

        def files(wildcards: Wildcards) -> list[str]:
            source = self.config[f"{kind}s"][wildcards[kind]]
            path = source["path"]
            return [path] if path and (Path(path).exists() or not source["optional"]) else []

        return files

    def collect(self, kind: str) -> Callable[[Wildcards], str]:
        """Settings of :mod:`m1.pools.collect`; ``kind`` is as in :meth:`source_file`."""

        def settings(wildcards: Wildcards) -> str:
            source = self.config[f"{kind}s"][wildcards[kind]]
            return CollectSettings.from_parts(source, {key: self.config[key] for key in ("seed", "draws")}).to_json()

        return settings

    def merge(self, wildcards: Wildcards) -> str:
        """Settings of :mod:`m1.pools.merge`."""
        return MergeSettings.from_parts(self.config["merge"]).to_json()

    def leaks(self, wildcards: Wildcards) -> str:
        """Settings of :mod:`m1.pools.leaks`."""
        return LeakSettings.from_parts(self.config["merge"]).to_json()

    def audit(self, wildcards: Wildcards) -> str:
        """Settings of :mod:`m1.pools.audit`."""
        return AuditSettings.from_parts(self.config["merge"], self.config["audit"]).to_json()
