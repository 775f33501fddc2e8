"""What the steps of this stage are told; what generates tokens is said by :mod:`m1.engines.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from m1.core.settings import Count, Settings, Source


@dataclass(frozen=True)
class SweepSettings(Settings):
    """What is swept (3.3); the recipe's ``thinking``.

    Thinking to each of ``budgets`` (tokens) is not forced. Within ``forced_budget``, each of ``forced`` says how often
    ``Wait`` is forced at most; ``full``: until the budget is used up. An answer has ``answer_limit`` tokens at most.
    """

    budgets: tuple[Count, ...]
    forced: tuple[Count | Literal["full"], ...]
    forced_budget: Count
    answer_limit: Count

    @property
    def forced_counts(self) -> list[int]:
        """Sorted; every ``Wait`` takes a token or more, so no chain exceeds ``forced_budget``, which is ``full``."""
        return sorted({self.forced_budget if count == "full" else count for count in self.forced})

    @property
    def conditions(self) -> list[tuple[int, int]]:
        """Every (budget, forced count), sorted; forcing is compared with no forcing at the same budget, so that is
        there, too."""
        forced = {0, *self.forced_counts} if self.forced else set()
        return sorted({(budget, 0) for budget in self.budgets} | {(self.forced_budget, count) for count in forced})


@dataclass(frozen=True)
class AnswerSettings(Settings):
    """How a model without thinking is asked: style of :func:`m1.core.prompts.evaluation_prompt`, tokens at most."""

    prompt: str
    answer_limit: Count


@dataclass(frozen=True)
class TemplateSettings(Settings):
    """The tokenizer whose chat template is borrowed; the recipe's ``tokenizer``."""

    hub: str
    revision: str


@dataclass(frozen=True, kw_only=True)
class PublishedResult(Source):
    """Where published results at one budget (0: the model does not think) and forced count are; an entry of
    ``published.results``."""

    budget: int
    forced: int


@dataclass(frozen=True)
class PublishedSettings(Settings):
    """The published results of a model; ``names``: what they call a benchmark to its key in this run."""

    names: dict[str, str]
    results: tuple[PublishedResult, ...]
