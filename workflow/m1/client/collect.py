"""What a batch that has ended holds: into the store, refused, or to be asked again (see :mod:`m1.client.batch`)."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m1.client.attempt import completion_value, excerpt, is_passing, is_refusal
from m1.client.backlog import Backlog, SubmittedBatch
from m1.client.endpoint import BatchEndpoint
from m1.client.provider import Completion
from m1.core.errors import UserError
from m1.core.progress import Progress, say

if TYPE_CHECKING:
    from openai.types import Batch

CHUNK = 200
"""Answers handed to the store at a time."""
TRIES = 3
"""How often files that hold fewer answers than the provider counts are fetched before that is believed."""
NO_COMPLETION = 502
"""Status that stands for a 200 without a completion."""
_LIMITS = {"token_limit_exceeded", "rate_limit_exceeded", "too_many_requests"}
"""Reasons of a batch that failed because too much waits at the provider already."""
_PASSING = _LIMITS | {"server_error", "internal_error"}

Keep = Callable[[Sequence[tuple[str, dict[str, Any]]]], Awaitable[None]]


@dataclass
class Unanswered:
    """What a batch's files hold besides answers and refusals."""

    passing: dict[str, str] = field(default_factory=dict)
    """Key of each call that failed for a passing reason, and the reason."""
    free: set[str] = field(default_factory=set)
    """Those of them that failed before an answer was made."""
    fatal: str = ""
    """Why the run must end."""
    unreadable: int = 0
    """Lines."""


def read_line(line: bytes) -> tuple[str, int, dict[str, Any] | str]:
    """Key, status, and the value for the store or what was found instead, from a line of an output or error file.

    Status is 200 with a value only. It is 503 where the provider names no status (an expired batch), and
    :data:`NO_COMPLETION` for a 200 without one.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: not a line of such a file.
    """
    record = json.loads(line)
    key, response = str(record["custom_id"]), record.get("response")
    if not response:
        error = record["error"]
        code = str(error.get("code"))
        return key, int(code) if code.isdigit() else 503, f"{code}: {error.get('message')}"
    status, body = int(response.get("status_code") or 200), response["body"]
    if status != 200:
        return key, status, f"HTTP {status}: {excerpt(body)}"
    value = completion_value(body, seconds=0.0)
    return (key, 200, value) if value else (key, NO_COMPLETION, f"HTTP 200 without a completion: {excerpt(body)}")


def _reasons(found: Batch) -> tuple[str, set[str]]:
    """What a batch says of its failure, and the codes of it."""
    errors: Any = found.to_dict().get("errors") or []
    errors = (errors.get("data") or []) if isinstance(errors, dict) else errors
    errors = [error if isinstance(error, dict) else {"message": error} for error in errors]
    texts = [": ".join(str(error[name]) for name in ("code", "message") if error.get(name)) for error in errors[:3]]
    return "; ".join(texts), {str(error.get("code")) for error in errors}


class Collector:
    """Collects batches that have ended: ``keep`` makes answers durable, and the journals are in ``folder``."""

    def __init__(self, backlog: Backlog, endpoint: BatchEndpoint, keep: Keep, folder: Path, progress: Progress) -> None:
        self.backlog, self.endpoint, self.keep, self.folder, self.progress = backlog, endpoint, keep, folder, progress

    async def collect(self, batch: SubmittedBatch, found: Batch) -> None:
        """Fetch what a batch holds, mark its journal done, and sort out what is not answered.

        Raises:
            ValueError: its files hold fewer answers than the provider counts; they may come late.
            UserError: a call or the batch failed for a reason that does not pass.
        """
        unanswered = await self._fetch(batch, found)
        self._close(batch, unanswered.unreadable)
        self._sort_out(batch, found, unanswered)

    async def _fetch(self, batch: SubmittedBatch, found: Batch) -> Unanswered:
        unanswered, answered = Unanswered(), 0
        chunk: dict[str, dict[str, Any]] = {}
        for file_id in filter(None, [found.output_file_id, found.error_file_id]):
            async for line in self.endpoint.lines(file_id):
                answered += file_id == found.output_file_id
                try:
                    key, status, value = read_line(line)
                except (ValueError, KeyError, TypeError, AttributeError):
                    unanswered.unreadable += 1
                    continue
                if key not in batch.pending or key in chunk:
                    continue
                if isinstance(value, str):
                    self._note(batch, unanswered, key, status, value)
                    continue
                chunk[key] = value
                if len(chunk) == CHUNK:
                    await self._keep(batch, chunk)
        await self._keep(batch, chunk)
        batch.short += answered < batch.answered
        if answered < batch.answered and batch.short < TRIES:
            raise ValueError(f"batch {batch.id} has {batch.answered:,} answers, and its files hold {answered:,} lines")
        return unanswered

    def _note(self, batch: SubmittedBatch, unanswered: Unanswered, key: str, status: int, found: str) -> None:
        """Sort out a call without an answer."""
        if is_refusal(status, found):
            batch.pending.discard(key)
            batch.refused += 1
            if key in self.backlog.waiting:
                self.backlog.waiting.discard(key)
                self.progress.advance()
                self.backlog.refused[key] = {"refused": {"status": status, "message": found}}
        elif is_passing(status):
            unanswered.passing[key] = found
            if status != NO_COMPLETION:
                unanswered.free.add(key)
        else:
            place = f"{self.endpoint.base_url}: a call of batch {batch.id}"
            unanswered.fatal = f"{place} failed with {found}. {self.endpoint.remedy(status)}"

    async def _keep(self, batch: SubmittedBatch, chunk: dict[str, dict[str, Any]]) -> None:
        """Make answers durable, and empty the chunk."""
        if not chunk:
            return
        await self.keep(list(chunk.items()))
        backlog = self.backlog
        for key, value in chunk.items():
            backlog.spend(0.0, Completion.from_value(key, value).dollars(backlog.provider))
            if value["usage"] is None and key in backlog.missing:
                # Nobody knows what it cost; the limit of dollars is to hold.
                backlog.spend(backlog.missing[key].most_dollars(backlog.provider))
        self.progress.advance(len(backlog.waiting & chunk.keys()), backlog.note(self.endpoint.trouble))
        batch.pending -= chunk.keys()
        backlog.waiting -= chunk.keys()
        chunk.clear()

    def _close(self, batch: SubmittedBatch, unreadable: int) -> None:
        """Mark a journal done; all that the batch has answered is in the store."""
        self.backlog.open_batches.remove(batch)
        settled = len(batch.keys) - len(batch.pending)
        batch.write(self.folder, {"answered": settled - batch.refused, "refused": batch.refused})
        state = f"batch {batch.id} {batch.status} after {(time.time() - batch.submitted) / 60:.0f} min"
        done = f"{settled:,} of {len(batch.keys):,} calls done, {batch.refused:,} of them refused"
        left_out = f"; {unreadable:,} lines that cannot be read left out" if unreadable else ""
        say(self.progress.title, f"{state}: {done}{left_out}")

    def _sort_out(self, batch: SubmittedBatch, found: Batch, unanswered: Unanswered) -> None:
        """Have calls without an answer submitted again, or end the run."""
        backlog, provider, base_url = self.backlog, self.backlog.provider, self.endpoint.base_url
        reason, codes = _reasons(found)
        due = (batch.pending & backlog.waiting).difference(*(other.pending for other in backlog.open_batches))
        otherwise = reason or f"nothing ({batch.status})"
        rest = {key: unanswered.passing.get(key) or otherwise for key in batch.keys if key in due}
        if batch.status != "failed":  # what got lost may have been paid for, and the limit of dollars is to hold
            backlog.spend(sum(backlog.missing[key].most_dollars(provider) for key in due - unanswered.free))
        if codes & _LIMITS and backlog.open_batches:
            backlog.most_open = len(backlog.open_batches)
            backlog.queue.extendleft(reversed(rest))
        else:
            backlog.next_round |= rest
        fatal = unanswered.fatal
        if batch.status == "failed" and codes - _PASSING:
            fatal = f"{base_url}: batch {batch.id} is not accepted: {reason}. Check the settings of {provider.name}."
        if batch.status == "cancelled":
            remedy = "What it answered is kept; run again to submit the rest again."
            fatal = f"{base_url}: batch {batch.id} was cancelled there. {remedy}"
        if fatal:
            raise UserError(fatal)
