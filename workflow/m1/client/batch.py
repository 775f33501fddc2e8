"""Make calls through a provider's batch endpoint (OpenAI's ``/v1/files`` and ``/v1/batches``), and submit none twice.

Batches are cheaper than live calls and take up to a day. Each has a journal in the store's folder, written before the
batch is created, so the next run finds the batch whatever killed this run:

1. Upload the requests, which costs nothing.
2. Write the journal, with input file and keys but without an id.
3. Create the batch, with the journal's mark in its metadata. **From here on, it is billed.**
4. Write its id into the journal, ask for its state from time to time, and when it has ended, download its answers into
   the store.
5. Mark the journal as done.

If a journal has no id, the batch is first looked up in the provider's list of batches before it is created.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from m1.client.attempt import excerpt, is_passing, is_refusal
from m1.client.backlog import PATTERN, Backlog, SubmittedBatch, give_up
from m1.client.completion import Completion
from m1.client.endpoint import NO_COMPLETION, BatchEndpoint, read_line, reasons
from m1.core.errors import UserError
from m1.core.files import digest
from m1.core.progress import say

if TYPE_CHECKING:
    import openai
    from openai.types import Batch

    from m1.client.complete import CallRun

CHUNK = 200
"""Number of answers handed to the store at a time."""
TRIES = 3
"""How often the files of a batch are fetched if they hold fewer answers than the provider counts."""
_LIMITS = {"token_limit_exceeded", "rate_limit_exceeded", "too_many_requests"}
"""Error codes of a batch that failed because too many calls wait at the provider already."""
_PASSING = _LIMITS | {"server_error", "internal_error"}
_ENDED = {"completed", "failed", "expired", "cancelled"}


async def make_batches(run: CallRun, client: openai.AsyncOpenAI) -> None:
    """Make the missing calls of a run by :func:`complete_by_batch`, and store those that are refused.

    A signal or the deadline ends the run, but its batches go on at the provider.
    """
    failures = run.failures
    try:
        async with asyncio.timeout(run.provider.deadline):
            await complete_by_batch(run, client)
    except TimeoutError:
        raise run.deadline_error() from None
    except asyncio.CancelledError:
        raise (run.ending or KeyboardInterrupt()) from None
    if failures.too_many_refused(run.ledger.answered):
        found = next(iter(failures.refused.values()))["refused"]["message"]
        raise failures.refusal_error(f"the first one with: {found}")
    await run.writer.keep(list(failures.refused.items()))


async def complete_by_batch(run: CallRun, client: openai.AsyncOpenAI) -> None:
    """Make the missing calls of a run by batches; answers are stored, and refused calls noted in ``run.failures``.

    Batches that an earlier run submitted are fetched, not submitted again. Calls that failed for a temporary reason
    (429, 5xx, an expired batch) are submitted again when all batches of their round have ended, in up to
    ``max_retries`` further rounds. Answers of this provider's other batches in the store are kept, too, if ready. A
    batch is submitted only if the most that it may cost fits beside those of the batches under way.

    Raises:
        UserError: the key is wrong, the model unknown or the money used up; a batch was cancelled, is unknown or
            invalid; calls failed in every round; or the provider does not answer. Batches stay there for the next run.
    """
    backlog, endpoint = Backlog(run), BatchEndpoint(client, run.provider)
    try:
        await _Rounds(_Collector(run, backlog, endpoint)).work()
    except UserError as error:
        raise UserError(f"{error}{backlog.open_note()}") from None
    except asyncio.CancelledError:
        if said := backlog.open_note():
            say(run.title, said.strip())
        raise


@dataclass
class _Unanswered:
    """The calls of a batch that are neither answered nor refused."""

    passing: dict[str, str] = field(default_factory=dict)  # failed for a temporary reason: key to reason
    free: set[str] = field(default_factory=set)  # those of them that failed before an answer was made, so cost nothing
    fatal: str = ""  # why the run must end
    unreadable: int = 0  # lines that cannot be parsed


class _Collector:
    """Collects the answers of ended batches."""

    def __init__(self, run: CallRun, backlog: Backlog, endpoint: BatchEndpoint) -> None:
        self.run, self.backlog, self.endpoint = run, backlog, endpoint

    async def collect(self, batch: SubmittedBatch, found: Batch) -> None:
        """Fetch a batch's answers, mark its journal as done, and decide about the calls that are not answered.

        Raises:
            ValueError: its files hold fewer answers than the provider counts; the rest may come late.
            UserError: a call or the batch failed for a permanent reason.
        """
        unanswered, answered = _Unanswered(), 0
        chunk: dict[str, dict[str, Any]] = {}
        for file_id in filter(None, [found.output_file_id, found.error_file_id]):
            async for line in self.endpoint.lines(str(file_id), len(batch.keys)):
                answered += file_id == found.output_file_id
                try:
                    key, status, value = read_line(line, self.backlog.bound)
                except (ValueError, KeyError, TypeError, AttributeError):
                    unanswered.unreadable += 1
                    continue
                if key not in batch.pending or key in chunk:
                    continue
                if isinstance(value, str):
                    self._note(batch, unanswered, key, status, value)
                    continue
                if not self.run.provider.is_served_by(value["served"]):
                    await self._keep(batch, chunk)
                    raise self._other_model(batch, excerpt(value["served"]), ours=key in self.run.missing)
                chunk[key] = value
                if len(chunk) == CHUNK:
                    await self._keep(batch, chunk)
        await self._keep(batch, chunk)
        batch.short += answered < batch.answered
        if answered < batch.answered and batch.short < TRIES:
            raise ValueError(f"batch {batch.id} has {batch.answered:,} answers, and its files hold {answered:,} lines")
        self.backlog.open_batches.remove(batch)
        settled = len(batch.keys) - len(batch.pending)
        dollars_lost = self._count_lost(batch, batch.pending - unanswered.free)
        done = {"answered": settled - batch.refused, "refused": batch.refused, "dollars_lost": dollars_lost}
        batch.write(self.backlog.folder, done)
        state = f"batch {batch.id} {batch.status} after {(time.time() - batch.submitted) / 60:.0f} min"
        calls_done = f"{settled:,} of {len(batch.keys):,} calls done, {batch.refused:,} of them refused"
        left_out = f"; {unanswered.unreadable:,} lines that cannot be read left out" if unanswered.unreadable else ""
        say(self.run.title, f"{state}: {calls_done}{left_out}")
        self._sort_out(batch, found, unanswered)

    def _other_model(self, batch: SubmittedBatch, served: str, ours: bool) -> UserError:
        """The error that another model answered than the configured one. The batch stays open, since it is paid for."""
        place = f"{self.endpoint.base_url}: batch {batch.id}"
        if not ours:
            return UserError(f"{place} has answers of {served!r} to other calls; they wait for the run that asks them")
        found = self.run.provider.other_model(served)
        return UserError(f"{place}: {found} {give_up(batch.path(self.backlog.folder))}")

    def _count_lost(self, batch: SubmittedBatch, keys: set[str]) -> float:
        """Charge the most that lost calls of an ended batch may have cost; returns the dollars."""
        if batch.status == "failed" or not keys:
            return 0.0
        dollars = sum(self.run.provider.dollars(*self.backlog.bound(key)) for key in keys)
        dollars = round(min(dollars, batch.dollars_at_most), 6)
        self.run.ledger.lose(dollars, len(keys))
        return dollars

    def _note(self, batch: SubmittedBatch, unanswered: _Unanswered, key: str, status: int, found: str) -> None:
        """Classify a call without an answer as refused, failed for now, or fatal."""
        if is_refusal(status, found):
            batch.pending.discard(key)
            batch.refused += 1
            if self.backlog.waits(key):
                self.run.progress.advance()
                self.run.failures.refused[key] = {"refused": {"status": status, "message": found}}
        elif is_passing(status):
            unanswered.passing[key] = found
            if status != NO_COMPLETION:
                unanswered.free.add(key)
        else:
            place = f"{self.endpoint.base_url}: a call of batch {batch.id}"
            unanswered.fatal = f"{place} failed with {found}. {self.endpoint.remedy(status)}"

    async def _keep(self, batch: SubmittedBatch, chunk: dict[str, dict[str, Any]]) -> None:
        """Store and count answers, and empty the chunk. Those of other steps' calls only count as paid."""
        if not chunk:
            return
        run, ours = self.run, set(filter(self.backlog.waits, chunk))
        await run.writer.keep(list(chunk.items()))
        for key, value in chunk.items():
            if key in ours:
                run.count(key, value)
            else:
                run.ledger.pay(Completion.from_value(key, value))
        if isinstance(run.ending, UserError):  # raised by a watch; a signal cancels this task instead
            raise run.ending
        run.progress.advance(len(ours), self.backlog.note(self.endpoint.trouble))
        batch.pending -= chunk.keys()
        chunk.clear()

    def _sort_out(self, batch: SubmittedBatch, found: Batch, unanswered: _Unanswered) -> None:
        """Queue the calls without an answer again, or end the run."""
        backlog, provider, base_url = self.backlog, self.run.provider, self.endpoint.base_url
        reason, codes = reasons(found)
        elsewhere = set().union(*(other.pending for other in backlog.open_batches))
        left = batch.pending - elsewhere
        due = [key for key in batch.keys if key in left and backlog.waits(key)]
        rest = {key: unanswered.passing.get(key) or reason or f"nothing ({batch.status})" for key in due}
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


class _Rounds:
    """Submits the calls of a backlog, waits for its batches, and submits again what failed."""

    def __init__(self, collector: _Collector) -> None:
        self.collector, self.run = collector, collector.run
        self.backlog, self.endpoint = collector.backlog, collector.endpoint

    async def work(self) -> None:
        """Work until all calls are answered or refused."""
        backlog, endpoint = self.backlog, self.endpoint
        await self._resume()
        rounds = 0
        while True:
            for batch in list(backlog.open_batches):
                await endpoint.reach(self._visit(batch))
            while backlog.queue and len(backlog.open_batches) < backlog.most_open:
                before = len(backlog.queue)
                await endpoint.reach(self._submit())
                if len(backlog.queue) == before or endpoint.trouble:
                    break
            if not backlog.open_batches and not backlog.queue:
                if not backlog.next_round:
                    self.run.progress.advance(0, backlog.note(endpoint.trouble))
                    return
                rounds += 1
                failed = f"{len(backlog.next_round):,} calls failed"
                if rounds > self.run.provider.max_retries:
                    key, reason = next(reversed(backlog.next_round.items()))
                    found = f"{failed} in {rounds} rounds of batches, one of them ({key}) with: {reason}"
                    settings = f"the settings of {self.run.provider.name}"
                    remedy = f"Wait until the provider is well again, or correct {settings}."
                    raise UserError(f"{endpoint.base_url}: {found}. {remedy}")
                say(self.run.title, f"{failed} and are submitted again, round {rounds + 1}")
                backlog.queue.extend(backlog.next_round)
                backlog.next_round.clear()
                continue
            self.run.progress.advance(0, backlog.note(endpoint.trouble))
            await asyncio.sleep(backlog.settings["poll_seconds"] * random.uniform(0.8, 1.2))

    async def _resume(self) -> None:
        """Resume the batches whose journals are not done.

        A batch with none of the missing calls is fetched if it is ready, and else left alone.
        """
        backlog, endpoint = self.backlog, self.endpoint
        submitted: set[str] = set()
        for path in sorted(backlog.folder.glob(PATTERN)):
            if not (batch := SubmittedBatch.read(path)):
                continue
            ours = set(filter(backlog.waits, batch.keys))
            if batch.base_url == endpoint.base_url:
                backlog.open_batches.append(batch)
                submitted |= ours
            elif ours:
                raise UserError(
                    f"{path}: {len(ours):,} of the calls wait in batch {batch.id} at {batch.base_url}, not at "
                    f"{endpoint.base_url}. Set base_url back to fetch them. {give_up(path)}"
                )
        if submitted:
            say(self.run.title, f"{len(submitted):,} calls were submitted before; their batches are followed")
        for batch in [batch for batch in backlog.open_batches if submitted.isdisjoint(batch.keys)]:
            try:
                if batch.id:
                    await endpoint.reach(self._visit(batch))
            except UserError as error:
                say(self.run.title, str(error))
            if batch in backlog.open_batches:
                backlog.open_batches.remove(batch)
                self.run.ledger.at_most += batch.dollars_at_most
        backlog.queue.extend(key for key in self.run.missing if backlog.waits(key) and key not in submitted)

    async def _visit(self, batch: SubmittedBatch) -> None:
        """Ask for a batch's state, and fetch its answers if it has ended."""
        import openai

        if batch.id is None:
            await self._create(batch)
            return
        try:
            found = await self.endpoint.refresh(batch)
            if batch.status in _ENDED:
                await self.collector.collect(batch, found)
        except openai.NotFoundError as error:
            found_instead = self.endpoint.mask(excerpt(error.response.text))
            journal, pending = batch.path(self.backlog.folder), f"{len(batch.pending):,} of its calls are open"
            raise UserError(
                f"{journal}: the provider does not know batch {batch.id}, or has deleted its files ({found_instead}); "
                f"{pending}. Use the key of the account that submitted it. {give_up(journal)}"
            ) from None

    async def _submit(self) -> None:
        """Upload and create one batch from the queue."""
        lines, dollars = self.backlog.take()
        if not lines:
            return
        keys = list(lines)
        try:
            input_file = await self.endpoint.upload(lines.values())
        except BaseException:
            self.backlog.queue.extendleft(reversed(keys))
            raise
        mark, base_url = digest([input_file, keys]), self.endpoint.base_url
        batch = SubmittedBatch(mark, base_url, input_file, keys, dollars, time.time(), tried=False)
        batch.write(self.backlog.folder)
        self.backlog.open_batches.append(batch)
        await self._create(batch)

    async def _create(self, batch: SubmittedBatch) -> None:
        """Create a batch, unless the provider has it already."""
        import openai

        if batch.tried:
            batch.id = await self.endpoint.find(batch, batch.path(self.backlog.folder))
            if batch.id:
                batch.write(self.backlog.folder)
                return
            batch.sought += 1
            if batch.sought < 2:  # the provider's list may lag behind, so look once more before paying a second time
                return
        batch.tried, batch.sought = True, 0
        try:
            batch.id = await self.endpoint.create(batch)
        except openai.APIStatusError as error:
            batch.tried = error.status_code >= 500 or error.status_code in {408, 409}
            if not is_passing(error.status_code):  # such a status means that no batch was created
                batch.path(self.backlog.folder).unlink()
                self.backlog.open_batches.remove(batch)
            raise
        batch.write(self.backlog.folder)
