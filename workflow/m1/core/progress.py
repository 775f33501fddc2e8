"""Tell the waiting user about the progress of long steps, in lines and aligned tables."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from m1.core.errors import tell


class Progress:
    """Counts finished work, and prints a line at most every ``every`` seconds and once at the end.

    Lines are used instead of bars that redraw themselves, because the output of several rules may mix.
    """

    def __init__(self, title: str, total: int, unit: str, every: float = 10.0) -> None:
        self.title, self.total, self.unit, self.every = title, total, unit, every
        self.done = self.begun = 0
        self.note = ""
        self.started = self.said = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is None:
            self._say()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Add ``count`` to the finished work; ``note`` (such as the loss or dollars) replaces the present note."""
        self.done += count
        self.note = note or self.note
        if time.monotonic() - self.said >= self.every:
            self._say()

    def resume(self, done: int) -> None:
        """Start from work that an earlier run finished; it does not enter the estimate of the time left."""
        self.done = self.begun = done

    def _say(self) -> None:
        self.said = time.monotonic()
        seconds = self.said - self.started
        share = self.done / self.total if self.total else 1.0
        now_done, rest = self.done - self.begun, self.total - self.done
        left = f", {seconds / now_done * rest:.0f} s left" if now_done > 0 and rest > 0 else f" in {seconds:.0f} s"
        note = f" · {self.note}" if self.note else ""
        say(self.title, f"{self.done:,}/{self.total:,} {self.unit} ({share:.0%}{left}){note}")


def say(title: str, text: str) -> None:
    """Print one line about a step, as ``[title] text``, on the terminal and in the log."""
    tell(f"[{title}] {text}")


def align_columns(rows: Sequence[Sequence[str]], left: Collection[int]) -> list[str]:
    """Rows of cells as lines with aligned columns; the columns numbered in ``left`` are left-aligned, others right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    pads = [str.ljust if place in left else str.rjust for place in range(len(widths))]
    return ["  ".join(pad(cell, width) for pad, cell, width in zip(pads, row, widths)).rstrip() for row in rows]
