"""Find questions that do not fit a model's context, before anything is generated."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from m1.core.errors import UserError
from m1.core.progress import say
from m1.core.records import Question
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
    """Check which questions fit the context of a model.

    Args:
        found: what each question needs.
        folder: the model; its ``config.json`` gives the context.
        too_long: ``error`` or ``unanswered``, from the configuration.
        title: the beginning of messages.

    Raises:
        UserError: ``too_long`` is ``error`` and a question does not fit; names the longest one, and the context.
    """
    positions = ModelFacts.from_folder(folder).positions
    every = list(found)
    if positions is None:
        return ContextCheck(max(every, key=lambda need: need.tokens, default=None), frozenset(), len(every))
    long = [need for need in every if need.tokens > positions]
    fits = max((need for need in every if need.tokens <= positions), key=lambda need: need.tokens, default=None)
    if not long:
        return ContextCheck(fits, frozenset(), len(every))
    worst = max(long, key=lambda need: need.tokens)
    which = f"{len(long):,} of {len(every):,} questions do not fit; the longest: {worst}"
    where = f"the model's context has {positions:,} (max_position_embeddings of {folder}/config.json)"
    if too_long == "error":
        remedy = "choose smaller budgets or answers, a base with a longer context, or `too_long: unanswered`"
        raise UserError(f"{title}: {which}; {where}. Nothing was generated: {remedy}.")
    say(title, f"{which}; {where}. They stay unanswered, which is incorrect by every protocol")
    return ContextCheck(fits, frozenset(need.question for need in long), len(every))


def answered(asked: Iterable[tuple[str, Question]], long: Collection[str]) -> list[tuple[str, Question]]:
    """The questions that will be answered: all but those in ``long``."""
    return [(benchmark, question) for benchmark, question in asked if question.id not in long]
