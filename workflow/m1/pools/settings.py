"""What the steps of this stage are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from m1.core.settings import Settings
from m1.core.sources import Source


@dataclass(frozen=True)
class Part(Settings):
    """One of two parts of a seeded shuffle."""

    seed: int
    take: Literal["first", "second"]
    size: int
    """Records of the first part."""


@dataclass(frozen=True, kw_only=True)
class CollectSettings(Source):
    """One pool or benchmark: where its records are, and what becomes of them."""

    layout: str
    """A key of :data:`m1.core.layouts.LAYOUTS`."""
    part: Part | None
    limit: int | None
    """Questions of a seeded sample; None for all."""
    shuffle_options: bool
    invalid: Literal["error", "drop"]
    optional: bool
    seed: int


@dataclass(frozen=True)
class MergeSettings(Settings):
    """Deduplication and decontamination; keys of ``merge``."""

    threshold: float
    """Indel similarity, above 0 to 100."""
    decontaminate: Literal["stem", "released"]
    ngram: int | None
    """Words of an n-gram; None for no n-grams."""
    containment: float
    """Share of n-grams in common, above 0 to 1."""


@dataclass(frozen=True)
class AuditSettings(Settings):
    """The list of close pairs; keys of ``merge`` and ``audit``."""

    ngram: int | None
    containment: float
    thresholds: tuple[float, ...]
    """Similarities, above 0 to 100."""
