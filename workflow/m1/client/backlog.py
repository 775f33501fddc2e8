"""The calls of a run by batches: which wait, which are under way, and what they may still cost (see
:mod:`m1.client.batch`)."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from m1.client.endpoint import ENDPOINT
from m1.client.journal import SubmittedBatch
from m1.client.provider import Provider, Request
from m1.core.errors import UserError

MAX_BYTES = 100_000_000
"""Bytes of one input file; providers take 100 MB to 1 GB."""


class Backlog:
    """What is left to do.

    Args:
        missing: key in the store to request.
        room: dollars that may still be spent; None for no limit.
    """

    def __init__(self, provider: Provider, missing: Mapping[str, Request], room: float | None) -> None:
        settings: dict[str, Any] = provider.batch  # type: ignore[assignment]
        self.size = settings["size"]
        """Calls of a batch, at most."""
        self.provider, self.missing, self.room = provider, missing, room
        self.dollars = 0.0
        """Dollars of what was answered."""
        self.waiting = set(missing)
        """Calls neither answered nor refused."""
        self.queue: deque[str] = deque()
        """Calls to be submitted in this round."""
        self.next_round: dict[str, str] = {}
        """Calls to be submitted in the next round, and why."""
        self.open_batches: list[SubmittedBatch] = []
        """Batches under way."""
        self.most_open = len(missing)
        """Batches at a time."""
        self.refused: dict[str, dict[str, Any]] = {}
        """Key of each refused call to what the store keeps of it."""
        self.started = time.monotonic()

    def spend(self, reserved: float, dollars: float) -> None:
        """Take dollars from the room: ``reserved`` may have been spent, ``dollars`` were."""
        self.dollars += dollars
        if self.room is not None:
            self.room -= reserved + dollars

    def take(self) -> tuple[list[str], list[bytes], float]:
        """Keys, lines and worst price of the next batch: as many as size, bytes and money allow; none while money is
        held by others.

        Raises:
            UserError: there is not even money for one call.
        """
        room = None if self.room is None else self.room - sum(batch.dollars_at_most for batch in self.open_batches)
        keys: list[str] = []
        lines: list[bytes] = []
        size, dollars = 0, 0.0
        for key in self.queue:
            body = self.missing[key].body(self.provider)
            line = json.dumps({"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}).encode() + b"\n"
            worst = self.missing[key].most_dollars(self.provider)
            if room is not None and dollars + worst > room:
                if self.open_batches:
                    return [], [], 0.0
                if keys:
                    break
                raise UserError(
                    f"{self.provider.name}: the next call may cost ${worst:,.4f}, and ${max(room, 0.0):,.4f} is "
                    "left below max_dollars. "
                    "Raise max_dollars and run again."
                )
            if len(keys) == self.size or (keys and size + len(line) > MAX_BYTES):
                break
            keys.append(key)
            lines.append(line)
            size, dollars = size + len(line), dollars + worst
        for _ in keys:
            self.queue.popleft()
        return keys, lines, round(dollars, 6)

    def note(self, trouble: str) -> str:
        """The state for the progress line."""
        states = Counter(batch.status.replace("_", " ") for batch in self.open_batches)
        answered, asked = (
            sum(batch.answered for batch in self.open_batches),
            sum(len(batch.keys) for batch in self.open_batches),
        )
        parts = [
            ", ".join(f"{count} {state}" for state, count in states.items()),
            f"{answered:,} of {asked:,} answered there" if asked else "",
            f"waited {(time.monotonic() - self.started) / 60:.0f} min",
            f"${self.dollars:,.2f}" if self.dollars else "",
            trouble,
        ]
        return "batches: " + "; ".join(filter(None, parts))

    def open_note(self) -> str:
        """What to say at an early end of the batches that go on; empty where there are none."""
        count = len(self.open_batches)
        if not count:
            return ""
        return (
            f" {count:,} {'batch stays' if count == 1 else 'batches stay'} with the provider; the same "
            "command picks up the answers."
        )
