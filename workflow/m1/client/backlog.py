"""Keep track of a run's calls by batches: which calls wait, which batches are under way, and what they may cost."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from m1.client.provider import Provider, Tokens
from m1.core.errors import UserError
from m1.core.files import read_json, write_text

if TYPE_CHECKING:
    from m1.client.complete import CallRun

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
MAX_BYTES = 100_000_000
"""Largest size of one input file; providers accept 100 MB to 1 GB."""
PATTERN = "batch-*.json"
GIVEN_UP = ".lost"
"""Suffix that a user appends to a journal's name so that its calls are submitted again."""
_JOURNALLED = ("mark", "base_url", "input_file", "id", "submitted", "dollars_at_most", "keys")


@dataclass
class SubmittedBatch:
    """A batch: the fields of its journal, and what this process knows about it."""

    mark: str
    """Written into the batch's metadata at the provider; unique, since it is a digest of the uploaded file's id."""
    base_url: str
    input_file: str
    keys: list[str]
    dollars_at_most: float
    submitted: float
    """Seconds since 1970."""
    id: str | None = None
    status: str = "to be created"
    answered: int = 0
    """Number of answers, as the provider counts."""
    refused: int = 0
    tried: bool = True
    """Whether it may have been created although its id is not known here."""
    short: int = 0
    """How often its files held fewer answers than the provider counts; the rest may come late, or be cut off."""
    sought: int = 0
    """How often it was not in the provider's list of batches, which may lag behind."""
    pending: set[str] = field(init=False)
    """Keys of calls without a known outcome."""

    def __post_init__(self) -> None:
        self.pending = set(self.keys)

    def path(self, folder: Path) -> Path:
        return folder / f"batch-{self.mark[:16]}.json"

    def write(self, folder: Path, done: Mapping[str, float] | None = None) -> None:
        """Write the journal durably; None for ``done`` while the batch is under way.

        For a finished batch, ``done`` has the numbers ``answered`` and ``refused``, and ``dollars_lost``, the most that
        its lost calls may have cost.
        """
        journal = {name: getattr(self, name) for name in _JOURNALLED} | {"count": len(self.keys)}
        if done is not None:
            del journal["keys"]
            journal |= {"status": self.status, **done}
        write_text(self.path(folder), json.dumps(journal | {"done": done is not None}, indent=2))

    @classmethod
    def read(cls, path: Path) -> SubmittedBatch | None:
        """Read a journal; None if its batch is done.

        Raises:
            UserError: the file is not a journal.
        """
        journal = read_json(path)
        try:
            return None if journal["done"] else cls(**{name: journal[name] for name in _JOURNALLED})
        except (KeyError, TypeError):
            remedy = "If you changed it, restore it; if you delete it, the batch's calls are paid for again."
            raise UserError(f"{path}: not a journal of a batch. {remedy}") from None


def give_up(path: Path) -> str:
    """The remedy that has the calls of a batch submitted again, for messages."""
    return f"To pay for them again, rename {path} to {path.name}{GIVEN_UP}; max_dollars goes on counting it."


def batch_dollars(folder: Path, provider: Provider, base_url: str) -> float:
    """The most that batches in a folder may have cost, in dollars, beyond the answers in the store.

    This counts lost calls, batches that the user gave up, and batches under way unless :class:`Backlog` counts them.
    """
    total = 0.0
    for path in folder.glob(PATTERN):
        if batch := SubmittedBatch.read(path):
            counted = provider.batch is not None and batch.base_url.rstrip("/") == base_url.rstrip("/")
            total += 0.0 if counted else batch.dollars_at_most
        else:
            total += read_json(path).get("dollars_lost", 0.0)
    for path in folder.glob(PATTERN + GIVEN_UP):
        if batch := SubmittedBatch.read(path):
            total += batch.dollars_at_most
    return total


class Backlog:
    """The calls of a run that are still to be made by batches."""

    def __init__(self, run: CallRun) -> None:
        assert run.provider.batch
        self.run, self.provider, self.settings = run, run.provider, run.provider.batch
        self.folder = run.store.folder / "batches"
        """Where the journals are."""
        self.most_tokens = max((one.most_tokens(run.provider) for one in run.missing.values()), default=(0, 0))
        """The most tokens that any of the calls may use."""
        self.queue: deque[str] = deque()
        """Calls to be submitted in this round."""
        self.next_round: dict[str, str] = {}
        """Calls to be submitted in the next round, and why."""
        self.open_batches: list[SubmittedBatch] = []
        self.most_open = len(run.missing)
        self.started = time.monotonic()

    def waits(self, key: str) -> bool:
        """Whether a call of this run is neither answered nor refused."""
        return key in self.run.missing and key not in self.run.store and key not in self.run.failures.refused

    def bound(self, key: str) -> Tokens:
        """The most tokens that a call may have used; a call of another step counts as the dearest call of this one."""
        request = self.run.missing.get(key)
        return request.most_tokens(self.provider) if request else self.most_tokens

    def take(self) -> tuple[dict[str, bytes], float]:
        """Take the calls of the next batch from the queue, as many as the limits of calls, bytes and dollars allow.

        Returns:
            Key to line of the input file, and the most that the batch may cost in dollars. Both are empty while other
            batches hold the money.

        Raises:
            UserError: no batch is under way, and the money does not suffice for a single call.
        """
        room, held = self.run.ledger.room, sum(batch.dollars_at_most for batch in self.open_batches)
        lines: dict[str, bytes] = {}
        size, dollars = 0, 0.0
        for key in self.queue:
            request = self.run.missing[key]
            body = request.body(self.provider)
            line = json.dumps({"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}).encode() + b"\n"
            worst = request.most_dollars(self.provider)
            if room is not None and held + dollars + worst > room:
                if self.open_batches:
                    return {}, 0.0
                if lines:
                    break
                left = f"${max(room, 0.0):,.4f} is left below max_dollars"
                found = f"the next call may cost ${worst:,.4f}, and {left} ({self.run.ledger})"
                raise UserError(f"{self.provider.name}: {found}. Raise max_dollars and run again.")
            if len(lines) == self.settings["size"] or (lines and size + len(line) > MAX_BYTES):
                break
            lines[key] = line
            size, dollars = size + len(line), dollars + worst
        for _ in lines:
            self.queue.popleft()
        return lines, round(dollars, 6)

    def note(self, trouble: str) -> str:
        """The state of the batches, for the progress line."""
        states = Counter(batch.status.replace("_", " ") for batch in self.open_batches)
        answered = sum(batch.answered for batch in self.open_batches)
        asked = sum(len(batch.keys) for batch in self.open_batches)
        parts = [
            ", ".join(f"{count} {state}" for state, count in states.items()),
            f"{answered:,} of {asked:,} answered there" if asked else "",
            f"waited {(time.monotonic() - self.started) / 60:.0f} min",
            f"${self.run.ledger.dollars:,.2f}" if self.run.ledger.dollars else "",
            trouble,
        ]
        return "batches: " + "; ".join(filter(None, parts))

    def open_note(self) -> str:
        """Describe batches that go on at the provider, for the message of an early end; empty if there are none."""
        if not (count := len(self.open_batches)):
            return ""
        stays = "batch stays" if count == 1 else "batches stay"
        return f" {count:,} {stays} with the provider; the same command picks up the answers."
