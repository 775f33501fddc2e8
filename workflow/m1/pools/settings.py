"""Settings of the steps of this stage."""

from dataclasses import dataclass
from typing import Literal

from m1.core.settings import Count, Percent, Settings, Share, Source

Draws = Literal["released", "exact"]  # draw as the authors' code does, or without its accidents


@dataclass(frozen=True)
class Part(Settings):
    """One of two parts of a seeded shuffle."""

    seed: int
    take: Literal["first", "second"]
    size: Count  # records of the first part


@dataclass(frozen=True, kw_only=True)
class CollectSettings(Source):
    """One pool or benchmark: where its records are, and how they become questions."""

    layout: str  # a key of m1.core.layouts.LAYOUTS
    part: Part | None
    limit: Count | None  # size of a seeded sample of the questions; None for all
    shuffle_options: bool
    draws: Draws  # `released` draws one shuffle before the first record, and shuffles yes/no/maybe, too
    invalid: Literal["error", "drop"]
    optional: bool
    seed: int


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Source):
    """The authors' whole evaluation file."""

    layout: str  # of its records; a key of m1.core.layouts.LAYOUTS
    names: dict[str, str]  # lists of the file to benchmarks; other lists keep their names


@dataclass(frozen=True)
class MergeSettings(Settings):
    """Deduplication and decontamination: keys of ``merge``."""

    threshold: Percent  # smallest indel similarity of two texts that count as the same
    decontaminate: Literal["stem", "released"]
    ngram: Count | None  # number of words of an n-gram; None compares no n-grams
    containment: Share  # smallest share of n-grams in common


@dataclass(frozen=True)
class LeakSettings(Settings):
    """The second decontamination: keys of ``merge``."""

    threshold: Percent


@dataclass(frozen=True)
class AuditSettings(Settings):
    """The list of close pairs: keys of ``merge`` and ``audit``."""

    ngram: Count | None
    containment: Share
    thresholds: tuple[Percent, ...]  # similarities; at least one
