"""What ``rules/world.smk`` sees: the embedded world (docs/start.md)."""

from m1.wiring.run import Run, Wildcards
from m1.world.settings import BuildSettings, PretrainSettings

POOLS = ("medqa", "headqa", "medmcqa", "pubmedqa")
BENCHMARKS = (
    *("medmcqa", "medqa", "pubmedqa", "mmlu_pro", "gpqa"),
    *("lancet", "medbullets_op4", "medbullets_op5", "medxpertqa", "nejm"),
)


class WorldRules:
    """Settings of the embedded world's steps; a configuration without ``world`` asks for none of them."""

    def __init__(self, run: Run) -> None:
        self.config = run.config.get("world", {})

    def build(self, wildcards: Wildcards) -> str:
        return BuildSettings.from_parts(self.config).to_json()

    def vocabulary(self, wildcards: Wildcards) -> int:
        return self.config["vocabulary"]

    def pretrain(self, wildcards: Wildcards) -> str:
        return PretrainSettings.from_parts(self.config["models"][wildcards.world_model]).to_json()
