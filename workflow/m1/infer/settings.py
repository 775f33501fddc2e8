"""What the steps of this stage are told; what generates tokens is said by :mod:`m1.engines.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from m1.core.settings import Count, Settings, Source

Way = Literal["released", "exact"]
"""As the authors' program does it, or exactly; keys of ``generation``."""


@dataclass(frozen=True)
class SweepSettings(Settings):
    """What is swept (3.3), and how: the recipe's ``thinking`` and ``prompt``, and ``generation``."""

    budgets: tuple[Count, ...]
    """Thinking budgets (tokens), without forcing."""
    forced: tuple[Count | Literal["full"], ...]
    """How many times ``Wait`` is forced at most; ``full``: until the budget is used up."""
    forced_budget: Count
    """Thinking budget (tokens) within which it is forced."""
    answer_limit: Count
    """Tokens of an answer at most."""
    prompt: str
    """A style of :func:`m1.core.prompts.evaluation_prompt`."""
    bos: Way
    """``released``: the tokenizer's special tokens go before those of the chat template (Llama 3: two BOS)."""
    seam: Way
    """``released``: thinking is decoded and encoded again before it goes on or is answered."""
    limit: Way
    """``released``: thinking whose end token is the last one allowed counts as cut."""
    forcing: Way
    """``released``: see :func:`m1.infer.sweep.force_together`."""
    scored: Way
    """``released``: the opening of the answer is part of the scored text."""

    @property
    def forced_counts(self) -> list[int]:
        """The forced counts, sorted.

        Every forced ``Wait`` takes a token or more. So ``full`` is the count ``forced_budget``, which no chain exceeds.
        """
        return sorted({self.forced_budget if count == "full" else count for count in self.forced})

    @property
    def conditions(self) -> list[tuple[int, int]]:
        """Every (budget, forced count), sorted; forcing is compared with no forcing at the same budget, so that is
        there, too."""
        forced = {0, *self.forced_counts} if self.forced else set()
        return sorted({(budget, 0) for budget in self.budgets} | {(self.forced_budget, count) for count in forced})


@dataclass(frozen=True)
class AnswerSettings(Settings):
    """How a model without thinking is asked; keys of the recipe, and the limit."""

    prompt: str
    """A style of :func:`m1.core.prompts.evaluation_prompt`."""
    answer_limit: Count
    """Tokens."""
    bos: Way
    """As in :class:`SweepSettings`."""
    stop: Way
    """``released``: only the model's own end tokens end an answer; ``exact``: any token that ends or opens a turn."""


@dataclass(frozen=True)
class TemplateSettings(Settings):
    """The tokenizer whose chat template is borrowed; the recipe's ``tokenizer``."""

    hub: str
    revision: str


@dataclass(frozen=True, kw_only=True)
class PublishedResult(Source):
    """Where published results at one budget and forced count are; an entry of ``published.results``."""

    budget: int
    """Thinking tokens; 0 for a model that does not think."""
    forced: int


@dataclass(frozen=True)
class PublishedSettings(Settings):
    """The published results of a model."""

    names: dict[str, str]
    """What the results call a benchmark to its key in this run."""
    results: tuple[PublishedResult, ...]
