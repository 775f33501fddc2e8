"""What the steps of this stage are told."""

from dataclasses import dataclass
from typing import Literal

from m1.core.settings import Count, Settings


@dataclass(frozen=True)
class AskSettings(Settings):
    """How a screening model behind a URL is asked, and when its answer is correct; keys of ``screen``."""

    prompt: str
    """A style of :func:`m1.core.prompts.evaluation_prompt`."""
    rule: Literal["released", "strict"]


@dataclass(frozen=True)
class AttemptSettings(AskSettings):
    """The same for a model with weights here; ``answer_limit`` in tokens."""

    answer_limit: Count


@dataclass(frozen=True)
class HardSettings(Settings):
    """What must survive the difficulty filter; keys of ``screen``."""

    smallest_class: Count
    """A class of answers of this many questions or more must not be dropped whole."""
