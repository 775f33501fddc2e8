"""Params of ``rules/score.smk``."""

from m1.score.settings import ScoreSettings
from m1.wiring.run import Run, Wildcards


class ScoreRules:
    """The settings that predictions are scored with."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def settings(self, wildcards: Wildcards) -> str:
        return ScoreSettings.from_parts(self.run.config["score"]).to_json()
