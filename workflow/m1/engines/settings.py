"""What a step that generates tokens is told about its engine (docs/engines.md)."""

from dataclasses import dataclass
from typing import Any

from m1.core.settings import Count, Settings


@dataclass(frozen=True)
class ServeSettings(Settings):
    """What of ``serve`` decides answers: a key of :data:`m1.engines.cached.ENGINES`, the dtype of weights and
    arithmetic, and the options that decide."""

    engine: str
    dtype: str
    options: dict[str, Any]


@dataclass(frozen=True)
class ServeRuntime(Settings):
    """What of ``serve`` says where and how fast, and decides no answer: requests at a time, the other options, and the
    GPUs that the job is given (none: what is there is taken)."""

    batch: Count
    options: dict[str, Any]
    gpus: int = 0
