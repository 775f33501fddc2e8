"""Find questions that do not fit a model's context, before anything is generated."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from m1.core.errors import UserError
from m1.core.progress import say
from m1.engines.protocol import ModelFacts


class Need(NamedTuple):
    """The most tokens that a question needs."""

    benchmark: str  # empty for a question that the report does not show
    question: str  # its id
    prompt: int  # tokens of the prompt
    after: int  # tokens of thinking, the opening of the answer, and the answer

    @property
    def tokens(self) -> int:
        return self.prompt + self.after

    def __str__(self) -> str:
        of = f" of {self.benchmark}" if self.benchmark else ""
        parts = f"{self.prompt:,} of its prompt, and up to {self.after:,} of thinking and answer"
        return f"question {self.question}{of} needs {self.tokens:,} tokens ({parts})"


class ContextCheck(NamedTuple):
    """The outcome of measuring questions against a model's context."""

    longest: Need | None
    """The longest question that fits."""
    long: frozenset[str]
    """Ids of the questions that do not fit."""
    questions: int
    """Number of all questions."""


def check(found: Iterable[Need], folder: Path, too_long: str, title: str) -> ContextCheck:
    """Check which questions fit the context of the model in a folder, by what each of them needs (``found``).

    Raises:
        UserError: ``too_long`` is ``error`` and a question does not fit.
    """
    positions = ModelFacts.from_folder(folder).positions
    every = sorted(found, key=lambda need: need.tokens, reverse=True)
    long = [need for need in every if positions is not None and need.tokens > positions]
    if long:
        which = f"{len(long):,} of {len(every):,} questions do not fit; the longest: {long[0]}"
        where = f"the model's context has {positions:,} (max_position_embeddings of {folder}/config.json)"
        if too_long == "error":
            remedy = "choose smaller budgets or answers, a base with a longer context, or `too_long: unanswered`"
            raise UserError(f"{title}: {which}; {where}. Nothing was generated: {remedy}.")
        say(title, f"{which}; {where}. They stay unanswered, which is incorrect by every protocol")
    fits = every[len(long) :]
    return ContextCheck(fits[0] if fits else None, frozenset(need.question for need in long), len(every))
