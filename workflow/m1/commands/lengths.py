"""Estimate the tokens of questions, thinking and answers before any exist; part of ``make plan``.

The lengths are log-normal, with the mean and standard deviation that the authors printed for m23K
(``resources/paper/lengths.csv``).
"""

import csv
import math
from dataclasses import dataclass
from functools import cache

from m1.core.places import source_file

# The embedded world's texts, in tokens of its own, as the demo has them.
WORLD = {
    "document": 73,  # of pretraining
    "question": 130,  # with the turn around it
    "sample": 143,  # of a training
    "rollout": 66,  # thinking until it ends by itself
    "forced": 16,  # what one forced ``Wait`` adds
    "answer": 6,  # after thinking
    "cot": 48,  # an answer step by step
    "plain": 5,  # an answer at once
}

QUESTION = 150  # assumed tokens of a question with its options
REPLY = 300  # assumed tokens of an answer of a model that does not think


@dataclass(frozen=True)
class Length:
    """The log-normal length of a part of an answer, in tokens."""

    mean: float
    spread: float  # standard deviation of the logarithm

    def longer(self, tokens: float) -> float:
        """The share of parts that have more tokens."""
        return 1 - self._share_below(tokens, -0.5)

    def at_most(self, tokens: float) -> float:
        """The mean length if every part is cut at so many tokens."""
        return self.mean * self._share_below(tokens, 0.5) + tokens * self.longer(tokens)

    def _share_below(self, tokens: float, shift: float) -> float:
        """The share of parts (``shift`` -1/2) that are shorter, or the share of all tokens (1/2) that these have."""
        place = math.log(tokens / self.mean) / self.spread - shift * self.spread
        return 0.5 * (1 + math.erf(place / math.sqrt(2)))


@cache
def paper_length(part: str) -> Length:
    """The length of the ``thinking`` or ``answer`` of m23K's traces, as the authors printed it."""
    with open(source_file("resources/paper/lengths.csv"), newline="", encoding="utf-8") as stream:
        row = next(row for row in csv.DictReader(stream) if row["part"] == part)
    mean, deviation = float(row["mean"]), float(row["std"])
    return Length(mean, math.sqrt(math.log(1 + (deviation / mean) ** 2)))


def sample_tokens(block: int | None = None) -> float:
    """Mean tokens of a training sample: question, thinking and answer; the thinking is cut to fit the block."""
    thinking, rest = paper_length("thinking"), QUESTION + paper_length("answer").mean
    return rest + (thinking.at_most(block - rest) if block and block > rest else thinking.mean)
