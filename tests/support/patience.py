"""How long a test waits for what should happen, and how the time of work grows. A busy machine is many times slower
than an idle one."""

from __future__ import annotations

import gc
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


def growth(work: Callable[[int], object], size: int) -> float:
    """How many times longer work of ten times a size takes: about 10 if its time is linear, 100 if it is a square.

    CPU seconds, the least of three; without the garbage collector, which would walk the objects of all tests before.
    """
    least = []
    gc.disable()
    try:
        for each in (size, 10 * size):
            taken = []
            for _ in range(3):
                started = time.process_time()
                work(each)
                taken.append(time.process_time() - started)
            least.append(min(taken))
    finally:
        gc.enable()
    return least[1] / least[0]
