"""Settings of the steps of this stage; those of the engine are in :mod:`m1.engines.settings`."""

from dataclasses import dataclass
from typing import Literal

from m1.core.settings import Count, Settings, Source

Way = Literal["released", "exact"]
"""A value of the keys of ``generation``: as the authors' program does it, or exactly."""


@dataclass(frozen=True)
class SweepSettings(Settings):
    """Settings of the sweep (3.3): the recipe's ``thinking`` and ``prompt``, and the configuration's ``generation``."""

    budgets: tuple[Count, ...]  # thinking budgets without forcing, in tokens
    forced: tuple[Count | Literal["full"], ...]
    """How often ``Wait`` is forced at most; ``full`` forces it until the budget is used up."""
    forced_budget: Count  # thinking budget with forcing, in tokens
    answer_limit: Count  # the most tokens of an answer
    prompt: str
    """A style of :func:`m1.core.prompts.evaluation_prompt`."""
    bos: Way
    """``released``: the tokenizer's special tokens precede those of the chat template (Llama 3 gets two BOS)."""
    seam: Way
    """``released``: thinking is decoded and encoded again before it goes on or is answered."""
    limit: Way
    """``released``: thinking counts as cut if its end token is the last token allowed."""
    forcing: Way
    """``released``: questions are forced in batches (:func:`m1.infer.sweep.shares`)."""
    scored: Way
    """``released``: the opening of the answer is part of the scored text."""
    too_long: Literal["error", "unanswered"]
    """``error``: the step stops before it begins if a question does not fit the model's context. ``unanswered``: such
    questions get empty predictions, which are incorrect by every protocol."""

    @property
    def forced_counts(self) -> list[int]:
        """The forced counts, sorted. ``full`` becomes ``forced_budget``: each ``Wait`` takes at least one token, so no
        question can be forced more often."""
        return sorted({self.forced_budget if count == "full" else count for count in self.forced})

    @property
    def conditions(self) -> list[tuple[int, int]]:
        """All pairs of budget and forced count, sorted. Forced thinking is compared with unforced thinking at the same
        budget, so that pair is always among them."""
        forced = {0, *self.forced_counts} if self.forced else set()
        return sorted({(budget, 0) for budget in self.budgets} | {(self.forced_budget, count) for count in forced})


@dataclass(frozen=True)
class AnswerSettings(Settings):
    """Settings of a model without thinking; keys without a description are as in :class:`SweepSettings`."""

    prompt: str
    answer_limit: Count
    bos: Way
    stop: Way
    """``released``: only the model's own end tokens end an answer; ``exact``: any token that ends or opens a turn."""
    too_long: Literal["error", "unanswered"]


@dataclass(frozen=True)
class TemplateSettings(Settings):
    """The tokenizer whose chat template a model borrows: the recipe's ``tokenizer``."""

    hub: str
    revision: str


@dataclass(frozen=True, kw_only=True)
class PublishedResult(Source):
    """The place of the published results of one budget and forced count: an entry of ``published.results`` or
    ``published.beside``. Budget 0 is that of a model without thinking."""

    budget: int
    forced: int


@dataclass(frozen=True)
class PublishedSettings(Settings):
    """The published results of a model."""

    names: dict[str, str]  # the results' name of each benchmark, to its key in this run
    results: tuple[PublishedResult, ...]
    part: bool = False
    """Whether the results may cover more questions than this run has; otherwise both must have the same ones."""
