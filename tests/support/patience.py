"""How long a test waits for what should happen. A busy machine is many times slower than an idle one."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 1800.0
"""Seconds until a test gives up."""
REACHED = 2.0
"""Seconds of a limit that a test wants to be reached, once; what should happen within it may be tried again."""


def until(condition: Callable[[], object], every: float = 0.02) -> None:
    """Wait until a condition holds, and fail if it never does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s"
        time.sleep(every)
