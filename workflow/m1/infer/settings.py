"""What the steps of this stage are told; what generates tokens is said by :mod:`m1.engines.settings`."""

from dataclasses import dataclass
from typing import Literal

from m1.core.settings import Count, Settings, Source

Way = Literal["released", "exact"]
"""As the authors' program does it, or exactly; keys of ``generation``."""


@dataclass(frozen=True)
class SweepSettings(Settings):
    """What is swept (3.3), and how: the recipe's ``thinking`` and ``prompt``, and ``generation``.

    Thinking to each of ``budgets`` (tokens) is not forced. Within ``forced_budget``, each of ``forced`` says how often
    ``Wait`` is forced at most; ``full``: until the budget is used up. An answer has ``answer_limit`` tokens at most.
    """

    budgets: tuple[Count, ...]
    forced: tuple[Count | Literal["full"], ...]
    forced_budget: Count
    answer_limit: Count
    prompt: str
    """A style of :func:`m1.core.prompts.evaluation_prompt`."""
    bos: Way
    """``released``: the tokenizer's special tokens go before those of the chat template (Llama 3: two BOS)."""
    seam: Way
    """``released``: thinking is decoded and encoded again before it goes on or is answered."""
    limit: Way
    """``released``: thinking whose end token is the last one allowed counts as cut."""
    forcing: Way
    """``released``: see :func:`m1.infer.sweep.shares`."""
    scored: Way
    """``released``: the opening of the answer is part of the scored text."""
    too_long: Literal["error", "unanswered"]
    """Whether questions that do not fit the model's context stop the step before it begins, or stay unanswered: their
    predictions are empty, and incorrect by every protocol."""

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
    """How a model without thinking is asked: ``prompt``, ``answer_limit``, ``bos`` and ``too_long`` are as in
    :class:`SweepSettings`."""

    prompt: str
    answer_limit: Count
    bos: Way
    stop: Way
    """``released``: only the model's own end tokens end an answer; ``exact``: any token that ends or opens a turn."""
    too_long: Literal["error", "unanswered"]


@dataclass(frozen=True)
class TemplateSettings(Settings):
    """The tokenizer whose chat template is borrowed; the recipe's ``tokenizer``."""

    hub: str
    revision: str


@dataclass(frozen=True, kw_only=True)
class PublishedResult(Source):
    """Where published results at one budget (0: the model does not think) and forced count are; an entry of
    ``published.results`` or ``published.beside``."""

    budget: int
    forced: int


@dataclass(frozen=True)
class PublishedSettings(Settings):
    """The published results of a model; ``names``: what they call a benchmark to its key in this run."""

    names: dict[str, str]
    results: tuple[PublishedResult, ...]
    part: bool = False
    """Whether they may be to more questions than this run has; else both must be the same ones."""
