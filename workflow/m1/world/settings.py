"""Settings of the steps of the embedded world (docs/start.md)."""

from dataclasses import dataclass

from m1.core.settings import Count, Settings


@dataclass(frozen=True)
class BuildSettings(Settings):
    """Facts, questions and documents of a world: the keys of ``world`` in the configuration."""

    seed: int
    entities: int  # of each of the eight types
    pools: dict[str, Count]  # training pool to its number of questions
    benchmark_size: Count  # questions of each benchmark
    facts_first: int  # pretraining documents of facts only, which come first
    mixed: int  # pretraining documents of all kinds, which come after them


@dataclass(frozen=True)
class PretrainSettings(Settings):
    """A tiny model and its pretraining: an entry of ``world.models``."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    batch: int  # documents in a step
    learning_rate: float  # at its peak
    seed: int
