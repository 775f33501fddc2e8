"""Schedule the live calls of a run: decide which call is sent when."""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from m1.client.attempt import Failure, attempt
from m1.client.failures import FIRST_SECONDS, Call
from m1.client.pace import Pace
from m1.core.errors import UserError
from m1.core.progress import say

if TYPE_CHECKING:
    import openai

    from m1.client.complete import CallRun

GRACE = 60.0
"""Seconds for which calls in flight are awaited when the run ends early, because they are paid for."""
BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
"""Longest wait before the second attempt, in seconds, which doubles for each further attempt; and its limit. The actual
wait is a random share of it ("full jitter"), so that calls that failed together are not repeated together."""
LONG_PAUSE, LONGEST_PAUSE = 30.0, 3600.0
"""If the provider asks for a pause longer than the first (seconds), a line says so; if longer than the second, the run
ends."""


class CallScheduler:
    """Sends the calls of a run: one loop chooses the next call (:meth:`make_calls`), and each call in flight is a task
    (:meth:`_make_attempt`)."""

    def __init__(self, run: CallRun, client: openai.AsyncOpenAI) -> None:
        self.run, self.client, self.provider = run, client, run.provider
        self.ledger, self.failures, self.in_flight = run.ledger, run.failures, run.in_flight
        limits = self.provider.concurrency, self.provider.requests_per_minute, self.provider.tokens_per_minute
        self.pace = Pace(*limits, time.monotonic())
        self.waiting = (Call(key, one, one.most_dollars(run.provider)) for key, one in run.missing.items())
        self.next_call = next(self.waiting, None)
        self.repeats: list[tuple[float, str, Call]] = []
        """Calls to repeat, as a heap ordered by the time when each is due."""
        self.opens_at = float("inf")
        """The time from which more than one call may be in flight, if none has been answered by then."""

    async def make_calls(self) -> None:
        """Make all missing calls, or end the run early; returns when no call is in flight any more."""
        while not self.run.ending and (self.next_call or self.repeats or self.in_flight):
            call, wait = self._choose(time.monotonic())
            if self.run.ending:
                break
            if call:
                self._send(call)
                continue
            self.run.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait, self.run.progress.every / 2)):
                    await self.run.changed.wait()
            self.run.report()
        await self._drain()
        refused, answered = self.failures.refused, self.ledger.answered
        if refused and (self.run.ending is None or answered) and not self.failures.too_many_refused(answered):
            await self.run.writer.keep(list(refused.items()))
        if not self.run.ending and (lost := len(self.failures.lost)):
            self.run.end(self.failures.lost_error("a call" if lost == 1 else f"{lost:,} calls"))

    async def _drain(self) -> None:
        """Wait for the calls in flight, for at most :data:`GRACE` seconds, and cancel the rest."""
        if self.in_flight:
            await asyncio.wait(self.in_flight, timeout=0.1)
        if self.in_flight:
            found = f"{len(self.in_flight)} ({GRACE:g} s at most)"
            say(self.run.title, f"waiting for calls in flight, because they are paid for: {found}")
            await asyncio.wait(self.in_flight, timeout=GRACE)
            for task in self.in_flight:
                task.cancel()
            await asyncio.gather(*self.in_flight, return_exceptions=True)

    def _choose(self, now: float) -> tuple[Call | None, float]:
        """Choose the call to send now, or else the seconds after which to look again (unless an answer comes first)."""
        if (left := self.run.ends_at - now) <= 0:
            self.run.end(self.run.deadline_error())
            return None, 0
        alone = not self.ledger.answered and now < self.opens_at
        limit = 1 if alone else self.pace.limit
        if len(self.in_flight) >= limit:
            return None, min(left, self.opens_at - now if alone else left)
        due = self.repeats[0][0] if self.repeats else float("inf")
        # Calls to repeat keep their places in the limit. Otherwise a provider out of order would get every call once.
        call = self.repeats[0][2] if due <= now else self.next_call if len(self.repeats) < limit else None
        if not call:
            return None, min(left, due - now)
        if (wait := self.pace.wait(now)) > 0:
            return None, min(left, wait)
        if not self.ledger.affords(call.worst):
            if not self.in_flight:
                self.run.end(self.ledger.limit_error(call.worst))
            return None, left
        if call is self.next_call:
            self.next_call = next(self.waiting, None)
        else:
            heapq.heappop(self.repeats)
        return call, 0

    def _send(self, call: Call) -> None:
        now = time.monotonic()
        if not self.ledger.answered and not self.in_flight:
            self.opens_at = now + FIRST_SECONDS
        self.ledger.reserved += call.worst
        tokens = 0.0
        if self.provider.tokens_per_minute is not None:  # expected: four bytes a prompt token, and the mean completion
            answered = self.ledger.answered
            mean = self.ledger.tokens["completion"] / answered if answered else self.provider.max_tokens
            tokens = call.request.bytes(self.provider) / 4 + mean
        self.pace.note_sent(tokens, now)
        task = asyncio.create_task(self._make_attempt(call, now, tokens))
        self.in_flight.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self.in_flight.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.run.end(error)
        self.run.changed.set()

    async def _make_attempt(self, call: Call, sent: float, tokens: float) -> None:
        """Make one attempt, expected to use ``tokens``, until its answer is on the disk or its failure is handled."""
        try:
            if call.worst:
                await self.run.hold(call.key, call.request.most_tokens(self.provider))
            outcome = await attempt(self.client, self.provider, call.request)
            if isinstance(outcome, Failure):
                self.pace.charge(-tokens)
                self._handle(outcome, call, sent)
                return
            await self.run.writer.keep([(call.key, outcome)])
            self.run.journal.settle(call.key, lost=False)
        finally:
            self.ledger.reserved -= call.worst
        completion = self.run.count(call.key, outcome)
        self.run.report(1)
        self.pace.charge(completion.prompt_tokens + completion.completion_tokens - tokens)
        self.pace.note_answer(sent, time.monotonic())

    def _handle(self, failure: Failure, call: Call, sent: float) -> None:
        now = time.monotonic()
        self.run.journal.settle(call.key, failure.may_be_billed)
        if failure.may_be_billed:
            self.ledger.lose(call.worst)
        if failure.kind in {"429", "5xx", "timeout", "connection"}:  # failures that our load may have caused
            self.pace.note_trouble(sent, len(self.in_flight), now)
        if failure.wait is not None:
            self._obey_retry_after(failure.wait, now)
        decision = self.failures.decide(call, failure, self.ledger.answered, self.run.began, now)
        if decision.ending:
            self.run.end(decision.ending)
        if decision.pause:
            self.pace.pause(now + decision.pause)
        if decision.repeat:
            longest = min(LONGEST_BACKOFF, BACKOFF * 2 ** min(20, call.failures + call.slowed - 1))
            heapq.heappush(self.repeats, (now + random.uniform(0, longest), call.key, call))
        if failure.kind == "refused":
            self.run.report(1)

    def _obey_retry_after(self, seconds: float, now: float) -> None:
        """Pause all calls, because Retry-After concerns the provider and not the single call."""
        longer = seconds > self.pace.wait(now) + 1
        self.pace.pause(now + min(seconds, LONGEST_PAUSE))
        if now + seconds > self.run.ends_at:
            asked = f"asks to be left alone for {seconds:,.0f} s, beyond the deadline of {self.provider.deadline:g} s"
            self.run.end(UserError(f"{self.run.base_url}: {asked}. Run again later."))
        elif seconds > LONGEST_PAUSE:
            asked = f"asks to be left alone for {seconds:,.0f} s, and a run waits for {LONGEST_PAUSE:,.0f} s at most"
            self.run.end(UserError(f"{self.run.base_url}: {asked}. Run again later."))
        elif longer and seconds > LONG_PAUSE:
            say(self.run.title, f"{self.run.base_url} asks to be left alone for {seconds:,.0f} s")
