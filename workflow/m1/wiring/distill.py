"""Inputs and params of ``rules/distill.smk``."""

from m1.distill.settings import DrawSettings
from m1.wiring.run import Run, Wildcards
from m1.wiring.schema import provider_json


class DistillRules:
    """The sets of questions that the teacher answers: ``hard``, and the random draws of ``distill``."""

    def __init__(self, run: Run) -> None:
        self.run, self.sets = run, run.config["distill"]
        self.server_files = run.server_files(run.config["teacher"])

    def teacher(self, wildcards: Wildcards) -> str:
        return provider_json(self.run.config["teacher"])

    def questions(self, wildcards: Wildcards) -> str:
        return self.run.teacher_questions(wildcards.set)

    def like(self, wildcards: Wildcards) -> list[str]:
        """The subset whose size decides how many questions are drawn."""
        return self.run.like_subset(self.sets[wildcards.set])

    def draw(self, wildcards: Wildcards) -> str:
        always = {"size": None, "seed": self.run.config["seed"]}
        return DrawSettings.from_parts(always, self.sets[wildcards.set]).to_json()
