"""Calls through a provider's batch endpoint (OpenAI's ``/v1/files`` and ``/v1/batches``): cheaper, within a day, and
never submitted twice.

A batch is journalled in the store's folder before it is created, so that the next run finds it there, whatever killed
this one:

1. upload the requests (costs nothing);
2. write the journal: input file and keys, no id yet;
3. create the batch with the journal's mark in its metadata: **from here on it is paid for**;
4. write its id into the journal; ask for its state now and then; when it has ended, download what it holds into the
   store;
5. mark the journal done.

A journal without an id, or a creation whose answer got lost, is looked for in the provider's list of batches before
anything is created.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from m1.client.attempt import excerpt, is_refusal
from m1.client.journal import PATTERN, Submitted
from m1.client.provider import Completion
from m1.client.results import NO_COMPLETION, TRANSFER, is_passing, lines, read_line, reasons, stated
from m1.core.errors import UserError
from m1.core.files import digest
from m1.core.progress import Progress, say

if TYPE_CHECKING:
    import openai
    from openai.types import Batch

    from m1.client.provider import Provider, Request

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
MAX_BYTES = 100_000_000
"""Bytes of one input file; providers take 100 MB to 1 GB."""
CHUNK = 200
"""Answers handed to the store at a time."""
PATIENCE = 3600.0
"""Seconds without any answer of the provider after which the run ends; its batches go on there."""
TRIES = 3
"""How often files that hold fewer answers than the provider counts are fetched before that is believed."""

_ENDED = {"completed", "failed", "expired", "cancelled"}
_LIMITS = {"token_limit_exceeded", "rate_limit_exceeded", "too_many_requests"}
"""Reasons of a batch that failed because too much waits at the provider already."""
_PASSING = _LIMITS | {"server_error", "internal_error"}

Keep = Callable[[Sequence[tuple[str, dict[str, Any]]]], Awaitable[None]]


async def complete_by_batch(
    client: openai.AsyncOpenAI,
    provider: Provider,
    missing: Mapping[str, Request],
    keep: Keep,
    folder: Path,
    progress: Progress,
    room: float | None = None,
) -> dict[str, dict[str, Any]]:
    """Make calls by batches, and hand each answer to ``keep``; what an earlier run submitted is fetched, not submitted
    again.

    Calls that failed for a passing reason (429, 5xx, an expired batch) are submitted again when all batches of their
    round have ended, in up to ``max_retries`` further rounds. Answers of this provider's other batches in the folder,
    should they be ready, are kept, too. Progress is told of every call of ``missing`` that is answered or refused.

    Args:
        missing: key in the store to request. The caller holds the store's lock.
        keep: makes values durable, in the form of live calls; ``seconds`` is 0.0, since nobody knows. A key is handed
            over once, and may be none of ``missing`` (or kept already), where an earlier run submitted it.
        folder: where the journals are: the store's.
        room: dollars that may still be spent; None for no limit. A batch is submitted only if its worst case fits
            beside those of the batches that are under way.

    Returns:
        Key to ``{"refused": {"status": ..., "message": ...}}`` of the calls refused for what they ask.

    Raises:
        UserError: the key is wrong, the model unknown, the money used up; a batch was cancelled, is unknown or invalid;
            calls failed in every round; the provider does not answer at all, or not for :data:`PATIENCE`. Batches stay
            at the provider, and the next run picks them up.
    """
    batches = _Batches(client, provider, missing, keep, folder, progress, room)
    try:
        return await batches.run()
    except UserError as error:
        raise UserError(f"{error}{batches.left()}") from None
    except asyncio.CancelledError:
        if left := batches.left():
            say(progress.title, left.strip())
        raise


class _Batches:
    """The batches of one run."""

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        provider: Provider,
        missing: Mapping[str, Request],
        keep: Keep,
        folder: Path,
        progress: Progress,
        room: float | None,
    ) -> None:
        settings: dict[str, Any] = provider.batch  # type: ignore[assignment]
        self.size, self.poll_seconds = settings["size"], settings["poll_seconds"]
        self.window = settings["window"]
        self.client, self.base_url = client.with_options(max_retries=2), str(client.base_url)
        self.provider, self.missing, self.keep, self.folder, self.progress = provider, missing, keep, folder, progress
        self.room = room
        self.dollars = 0.0
        self.waiting = set(missing)  # neither answered nor refused
        self.queue: deque[str] = deque()  # to be submitted in this round
        self.again: dict[str, str] = {}  # to be submitted in the next round, and why
        self.open: list[Submitted] = []
        self.most = len(missing)  # batches at a time
        self.refused: dict[str, dict[str, Any]] = {}
        self.heard: float | None = None
        self.trouble = ""
        self.started = time.monotonic()

    def left(self) -> str:
        count = len(self.open)
        if not count:
            return ""
        return (
            f" {count:,} {'batch stays' if count == 1 else 'batches stay'} with the provider; the same "
            "command picks up the answers."
        )

    async def run(self) -> dict[str, dict[str, Any]]:
        await self._resume()
        rounds = 0
        while True:
            for batch in list(self.open):
                await self._reach(self._visit(batch))
            while self.queue and len(self.open) < self.most:
                before = len(self.queue)
                await self._reach(self._submit())
                if len(self.queue) == before or self.trouble:
                    break
            if not self.open and not self.queue:
                if not self.again:
                    self.progress.advance(0, self._note())
                    return self.refused
                if rounds == self.provider.max_retries:
                    key, reason = next(reversed(self.again.items()))
                    raise UserError(
                        f"{self.base_url}: {len(self.again):,} calls failed in {rounds + 1} rounds of batches, one "
                        f"of them ({key}) with: "
                        f"{reason}. Wait until the provider is well again, "
                        f"or correct the settings of {self.provider.name}."
                    )
                rounds += 1
                say(
                    self.progress.title, f"{len(self.again):,} calls failed and are submitted again, round {rounds + 1}"
                )
                self.queue.extend(self.again)
                self.again.clear()
                continue
            self.progress.advance(0, self._note())
            await asyncio.sleep(self.poll_seconds * random.uniform(0.8, 1.2))

    def _note(self) -> str:
        states = Counter(batch.status.replace("_", " ") for batch in self.open)
        answered, asked = sum(batch.answered for batch in self.open), sum(len(batch.keys) for batch in self.open)
        parts = [
            ", ".join(f"{count} {state}" for state, count in states.items()),
            f"{answered:,} of {asked:,} answered there" if asked else "",
            f"waited {(time.monotonic() - self.started) / 60:.0f} min",
            f"${self.dollars:,.2f}" if self.dollars else "",
            self.trouble,
        ]
        return "batches: " + "; ".join(filter(None, parts))

    async def _reach(self, action: Awaitable[None]) -> None:
        """Talk to the provider; a passing failure is noted, and what failed is tried again at the next turn."""
        import openai

        try:
            await action
        except openai.APIStatusError as error:
            found = self._masked(f"HTTP {error.status_code}: {excerpt(error.response.text)}")
            if not is_passing(error.status_code):
                raise UserError(f"{self.base_url}: {found}. {self._remedy(error.status_code)}") from None
            self._lost(found)
        except (openai.APIConnectionError, ConnectionError) as error:
            self._lost(f"no connection ({error.__cause__ or error})")
        except (openai.APIError, ValueError) as error:  # 200, and not what it should be
            self._lost(self._masked(f"no proper answer ({excerpt(str(error))})"))
        else:
            self.heard, self.trouble = time.monotonic(), ""

    def _masked(self, text: str) -> str:
        """Without our key, should the provider have sent it back."""
        return text.replace(self.client.api_key, "***") if self.provider.api_key_env else text

    def _lost(self, found: str) -> None:
        if self.heard is None:
            raise UserError(f"{self.base_url}: {found}. Check base_url and the connection; the provider may be down.")
        if (silent := time.monotonic() - self.heard) > PATIENCE:
            raise UserError(
                f"{self.base_url}: no answer for {silent:,.0f} s, at last: {found}. Wait until the provider "
                "is well again."
            )
        self.trouble = found

    def _remedy(self, status: int) -> str:
        key = f"the key in the environment variable {self.provider.api_key_env}"
        return {
            401: f"Check {key}.",
            402: "Top up the provider's credit.",
            403: f"Check what {key} may use.",
            404: f"Check base_url, that it has a batch endpoint, and that it knows the model {self.provider.model!r}.",
        }.get(status, f"Check the settings of {self.provider.name}.")

    async def _resume(self) -> None:
        """Take up the journals that are not done. What holds none of the missing calls is fetched if it is ready, else
        left alone."""
        held: set[str] = set()
        for path in sorted(self.folder.glob(PATTERN)):
            batch = Submitted.read(path)
            if batch is None:
                continue
            ours = self.waiting.intersection(batch.keys)
            if batch.base_url == self.base_url:
                self.open.append(batch)
                held |= ours
            elif ours:
                raise UserError(
                    f"{path}: {len(ours):,} of the calls wait in batch {batch.id} at {batch.base_url}, not at "
                    f"{self.base_url}. Set "
                    "base_url back to fetch them, or delete this file to pay for them again."
                )
        if held:
            say(self.progress.title, f"{len(held):,} calls were submitted before; their batches are taken up")
        for batch in [batch for batch in self.open if held.isdisjoint(batch.keys)]:
            try:
                if batch.id:
                    await self._reach(self._visit(batch))
            except UserError as error:
                say(self.progress.title, str(error))
            if batch in self.open:
                self.open.remove(batch)
                self._spend(batch.dollars_at_most, 0.0)
        self.queue.extend(key for key in self.missing if key in self.waiting and key not in held)

    def _spend(self, reserved: float, dollars: float) -> None:
        self.dollars += dollars
        if self.room is not None:
            self.room -= reserved + dollars

    async def _visit(self, batch: Submitted) -> None:
        """Ask for a batch's state, and fetch what it holds when it has ended."""
        import openai

        if batch.id is None:
            await self._create(batch)
            return
        try:
            found = await self.client.batches.retrieve(batch.id)
            batch.status = stated(found, "status").lower()
            batch.answered = (found.request_counts.completed or 0) if found.request_counts else 0
            if batch.status in _ENDED:
                await self._collect(batch, found)
        except openai.NotFoundError as error:
            raise UserError(
                f"{batch.path(self.folder)}: the provider does not know batch {batch.id}, or has deleted its files "
                f"({self._masked(excerpt(error.response.text))}). Use the key of the account that submitted it; "
                f"or delete this file, and its {len(batch.pending):,} calls are paid for again."
            ) from None

    async def _submit(self) -> None:
        """Upload and create one batch of what is queued."""
        keys, lines, dollars = self._take()
        if not keys:
            return
        try:
            file = ("requests.jsonl", b"".join(lines), "application/jsonl")
            upload = await self.client.files.create(
                file=file, purpose="batch", timeout=max(TRANSFER, self.provider.timeout)
            )
            wrapped = getattr(upload, "data", None)  # as by SiliconFlow: {"code": 20000, "data": {"id": ...}}
            input_file = str(wrapped["id"]) if isinstance(wrapped, dict) and "id" in wrapped else stated(upload, "id")
        except BaseException:
            self.queue.extendleft(reversed(keys))
            raise
        self.heard = time.monotonic()
        batch = Submitted(
            digest([input_file, keys]), self.base_url, input_file, keys, dollars, time.time(), tried=False
        )
        batch.write(self.folder)
        self.open.append(batch)
        await self._create(batch)

    def _take(self) -> tuple[list[str], list[bytes], float]:
        """Keys, lines and worst price of the next batch: as many as size, bytes and money allow; none while money is
        held by others."""
        room = None if self.room is None else self.room - sum(batch.dollars_at_most for batch in self.open)
        keys: list[str] = []
        lines: list[bytes] = []
        size, dollars = 0, 0.0
        for key in self.queue:
            body = self.missing[key].body(self.provider)
            line = json.dumps({"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}).encode() + b"\n"
            worst = self.missing[key].most_dollars(self.provider)
            if room is not None and dollars + worst > room:
                if self.open:
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

    async def _create(self, batch: Submitted) -> None:
        """Create a batch, unless the provider has it already."""
        import openai

        if batch.tried:
            batch.id = await self._find(batch)
            if batch.id:
                batch.write(self.folder)
                return
            batch.sought += 1
            if batch.sought < 2:
                return
        batch.tried, batch.sought = True, 0
        try:
            created = await self.client.with_options(max_retries=0).batches.create(
                input_file_id=batch.input_file,
                endpoint=ENDPOINT,
                completion_window=self.window,
                metadata={"m1": batch.mark},
            )
        except openai.APIStatusError as error:
            batch.tried = error.status_code >= 500 or error.status_code in {408, 409}
            if not is_passing(error.status_code):  # certainly not created
                batch.path(self.folder).unlink()
                self.open.remove(batch)
            raise
        batch.id = stated(created, "id")
        batch.write(self.folder)

    async def _find(self, batch: Submitted) -> str | None:
        """The id of a batch that may have been created."""
        import openai

        try:
            async for page in (await self.client.batches.list(limit=100)).iter_pages():
                if not isinstance(page.data, list):
                    raise ValueError("no list of batches")
                for found in page.data:
                    if (found.metadata or {}).get("m1") == batch.mark or found.input_file_id == batch.input_file:
                        return found.id
        except AttributeError:  # what openai makes of a page of HTML
            raise ValueError("no list of batches") from None
        except openai.NotFoundError:
            raise UserError(
                f"{batch.path(self.folder)}: whether this batch was created is not known, and the provider "
                "does not list its batches. "
                f"Look there for one with the input file {batch.input_file}: if it exists, write its id "
                "into this file, else delete it."
            ) from None
        return None

    async def _collect(self, batch: Submitted, found: Batch) -> None:
        """Fetch what a batch that has ended holds, mark its journal done, and sort out what is not answered."""
        passing: dict[str, str] = {}
        free: set[str] = set()  # failed before an answer was made
        fatal, rubbish, answered = "", 0, 0
        chunk: dict[str, dict[str, Any]] = {}
        for file_id in filter(None, [found.output_file_id, found.error_file_id]):
            async for line in lines(self.client, file_id):
                answered += file_id == found.output_file_id
                if self.provider.api_key_env:
                    line = line.replace(self.client.api_key.encode(), b"***")
                try:
                    key, status, value = read_line(line)
                except (ValueError, KeyError, TypeError, AttributeError):
                    rubbish += 1
                    continue
                if key not in batch.pending or key in chunk:
                    continue
                if isinstance(value, dict):
                    chunk[key] = value
                    if len(chunk) == CHUNK:
                        await self._keep(batch, chunk)
                elif is_refusal(status, value):
                    batch.pending.discard(key)
                    batch.refused += 1
                    if key in self.waiting:
                        self.waiting.discard(key)
                        self.progress.advance()
                        self.refused[key] = {"refused": {"status": status, "message": value}}
                elif is_passing(status):
                    passing[key] = value
                    if status != NO_COMPLETION:
                        free.add(key)
                else:
                    fatal = f"{self.base_url}: a call of batch {batch.id} failed with {value}. {self._remedy(status)}"
        await self._keep(batch, chunk)
        batch.short += answered < batch.answered
        if answered < batch.answered and batch.short < TRIES:
            raise ValueError(f"batch {batch.id} has {batch.answered:,} answers, and its files hold {answered:,} lines")
        self._end(batch, rubbish)

        failure, codes = reasons(found)
        due = (batch.pending & self.waiting).difference(*(other.pending for other in self.open))
        rest = {key: passing.get(key) or failure or f"nothing ({batch.status})" for key in batch.keys if key in due}
        if batch.status != "failed":  # what got lost may have been paid for, and the limit of dollars is to hold
            self._spend(sum(self.missing[key].most_dollars(self.provider) for key in due - free), 0.0)
        if codes & _LIMITS and self.open:
            self.most = len(self.open)
            self.queue.extendleft(reversed(rest))
        else:
            self.again |= rest
        if batch.status == "failed" and codes - _PASSING:
            fatal = (
                f"{self.base_url}: batch {batch.id} is not accepted: {failure}. Check the settings of "
                f"{self.provider.name}."
            )
        if batch.status == "cancelled":
            fatal = (
                f"{self.base_url}: batch {batch.id} was cancelled there. What it answered is kept; run "
                "again to submit the rest again."
            )
        if fatal:
            raise UserError(fatal)

    async def _keep(self, batch: Submitted, chunk: dict[str, dict[str, Any]]) -> None:
        """Make answers durable, and empty the chunk."""
        if chunk:
            await self.keep(list(chunk.items()))
        for key, value in chunk.items():
            completion = Completion.from_value(key, value)
            self._spend(0.0, self.provider.dollars(completion.prompt_tokens, completion.completion_tokens))
            if (
                value["usage"] is None and key in self.missing
            ):  # nobody knows what it cost; the limit of dollars is to hold
                self._spend(self.missing[key].most_dollars(self.provider), 0.0)
        if chunk:
            self.progress.advance(len(self.waiting & chunk.keys()), self._note())
        batch.pending -= chunk.keys()
        self.waiting -= chunk.keys()
        chunk.clear()

    def _end(self, batch: Submitted, rubbish: int) -> None:
        """Mark a journal done; all that it has answered is in the store."""
        self.open.remove(batch)
        settled = len(batch.keys) - len(batch.pending)
        batch.write_done(self.folder, {"answered": settled - batch.refused, "refused": batch.refused})
        say(
            self.progress.title,
            f"batch {batch.id} {batch.status} after {(time.time() - batch.submitted) / 60:.0f} min: {settled:,} of "
            f"{len(batch.keys):,} calls done, {batch.refused:,} of them refused"
            + (f"; {rubbish:,} lines that cannot be read left out" if rubbish else ""),
        )
