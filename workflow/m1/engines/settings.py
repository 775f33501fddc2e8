"""What a step that generates tokens is told about its engine (docs/engines.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from m1.core.settings import Count, Settings


@dataclass(frozen=True)
class ServeSettings(Settings):
    """What of ``serve`` decides answers."""

    engine: str
    """A key of :data:`m1.engines.cached.ENGINES`."""
    dtype: str
    """Of weights and arithmetic, for example ``bfloat16``."""
    options: dict[str, Any]
    """Options of the engine that decide answers."""


@dataclass(frozen=True)
class ServeRuntime(Settings):
    """What of ``serve`` says where and how fast; it decides no answer."""

    batch: Count
    """Requests at a time."""
    options: dict[str, Any]
    """The other options of the engine."""
