"""A sweep of a few questions, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from m1.engines.cached import CachedEngine
from m1.engines.shards import BenchmarkQuestion
from m1.infer.settings import SweepSettings
from m1.infer.sweep import SweepResult, sweep


def swept(
    engine: CachedEngine,
    tokenizer: Any,
    asked: Sequence[BenchmarkQuestion],
    name: str,
    settings: SweepSettings,
    size: int = 1,
) -> SweepResult:
    """Run a whole sweep, with ``size`` questions forced together."""
    whole = SweepResult([], [], Counter())

    def keep(part: SweepResult) -> None:
        whole.rollouts.extend(part.rollouts)
        whole.predictions.extend(part.predictions)
        whole.cost.update(part.cost)

    parts = (asked[start : start + size] for start in range(0, len(asked), size))
    sweep(engine, tokenizer, parts, name, settings, keep, len(asked))
    return whole
