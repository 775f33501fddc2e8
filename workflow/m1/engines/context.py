"""Questions that the context of a model is too short for, found before anything is generated."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from m1.core.errors import UserError
from m1.core.progress import say
from m1.core.records import Question
from m1.engines.protocol import ModelFacts


class Need(NamedTuple):
    """Tokens that a question needs at most."""

    benchmark: str  # empty for a question that nothing is shown of
    question: str  # its id
    prompt: int
    after: int  # thinking, what opens the answer, and the answer

    @property
    def tokens(self) -> int:
        return self.prompt + self.after

    def __str__(self) -> str:
        of = f" of {self.benchmark}" if self.benchmark else ""
        parts = f"{self.prompt:,} of its prompt, and up to {self.after:,} of thinking and answer"
        return f"question {self.question}{of} needs {self.tokens:,} tokens ({parts})"


class Checked(NamedTuple):
    """Questions, measured against the context of a model."""

    longest: Need | None
    """Of those that fit."""
    long: frozenset[str]
    """Ids of those that do not."""
    questions: int
    """How many there are."""


def check(found: Iterable[Need], folder: Path, too_long: str, title: str) -> Checked:
    """Which questions fit the model in ``folder``.

    Args:
        too_long: ``error`` or ``unanswered``; see ``too_long`` in the configuration.

    Raises:
        UserError: ``error``, and some do not; names the longest of them, what it needs, and the context.
    """
    positions = ModelFacts.from_folder(folder).positions
    every = list(found)
    if positions is None:
        return Checked(max(every, key=lambda need: need.tokens, default=None), frozenset(), len(every))
    long = [need for need in every if need.tokens > positions]
    fits = max((need for need in every if need.tokens <= positions), key=lambda need: need.tokens, default=None)
    if not long:
        return Checked(fits, frozenset(), len(every))
    worst = max(long, key=lambda need: need.tokens)
    which = f"{len(long):,} of {len(every):,} questions do not fit; the longest: {worst}"
    where = f"the model's context has {positions:,} (max_position_embeddings of {folder}/config.json)"
    if too_long == "error":
        remedy = "choose smaller budgets or answers, a base with a longer context, or `too_long: unanswered`"
        raise UserError(f"{title}: {which}; {where}. Nothing was generated: {remedy}.")
    say(title, f"{which}; {where}. They stay unanswered, which is incorrect by every protocol")
    return Checked(fits, frozenset(need.question for need in long), len(every))


def answered(asked: Iterable[tuple[str, Question]], long: Collection[str]) -> list[tuple[str, Question]]:
    """Those of some questions that are not too long."""
    return [(benchmark, question) for benchmark, question in asked if question.id not in long]
