"""Settings of the steps of this stage."""

from dataclasses import dataclass
from typing import Literal

from m1.core.settings import Count, Settings


@dataclass(frozen=True)
class AskSettings(Settings):
    """Settings of a screening model behind a URL, and when its answer is correct: keys of ``screen``."""

    prompt: str
    """A style of :func:`m1.core.prompts.evaluation_prompt`."""
    rule: Literal["released", "strict"]


@dataclass(frozen=True)
class AttemptSettings(AskSettings):
    """The same for a screening model whose weights are here."""

    answer_limit: Count  # tokens


@dataclass(frozen=True)
class HardSettings(Settings):
    """Conditions on the result of the difficulty filter: keys of ``screen``."""

    smallest_class: Count
    """Losing a whole class of answers with at least this many questions is an error."""
