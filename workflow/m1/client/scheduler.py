"""The calls of one run: what is sent when, what a failure means, what may still be spent, and when to stop."""

from __future__ import annotations

import asyncio
import heapq
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from m1.client.attempt import Failure, attempt, connected
from m1.client.pace import Pace
from m1.client.provider import Completion, Provider, Request
from m1.core.errors import UserError
from m1.core.progress import Progress, say
from m1.core.store import Store

if TYPE_CHECKING:
    import openai

LOST_SHARE = 0.01
"""More than this share of all calls refused, or failed to the end, and more than one, ends the run: it is not these
calls' own fault."""
LOST_IN_A_ROW = 3
"""So many calls failed to the end without one answer between them end the run, too: the provider is out of order."""
FIRST_REFUSED = 3
"""So many calls refused before anything was ever answered mean that the settings are wrong."""
GRACE = 60.0
"""Seconds that calls in flight are given when the run ends early: they are paid for."""
FIRST_SECONDS = 10.0
"""The first call is alone until it is answered, or so many seconds have passed: a wrong key is told at once, thinking
takes longer."""
CONNECTIONS = 3
"""Attempts at a first connection, a second apart."""
PATIENCE = 600.0
"""Seconds of being told to slow down (429), without one answer, after which the run ends."""
BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
"""Seconds before the second attempt, doubled for each further one, and at most; a random share of it is waited ("full
jitter")."""
LONG_PAUSE = 30.0
"""A longer one that the provider asks for is told."""


class _Writer:
    """Keeps values in the store in a thread, since a disk takes milliseconds; what comes meanwhile shares the next
    write."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, "store")
        self._gathered: list[tuple[str, dict[str, Any]]] = []
        self._now: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def keep(self, items: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Return when the values are on the disk.

        Raises:
            UserError: the store cannot be written.
        """
        self._gathered.extend(items)
        if self._next is None:
            self._next = asyncio.create_task(self._write(self._now))
        await asyncio.shield(self._next)  # it is others' write, too

    async def _write(self, before: asyncio.Task[None] | None) -> None:
        if before:
            await asyncio.wait([before])
        self._now, self._next = self._next, None
        items, self._gathered = self._gathered, []
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.put_many, items)

    def close(self) -> None:
        """Wait for the last write."""
        self._thread.shutdown()


@dataclass
class _Call:
    key: str
    request: Request
    worst: float
    """Dollars that it may cost."""
    failures: int = 0
    slowed: int = 0
    """Attempts answered by 429."""


class Run:
    """The calls of one run. One loop decides what is sent when (:meth:`_live`); each call in flight is a task
    (:meth:`_fly`)."""

    def __init__(
        self,
        provider: Provider,
        base_url: str,
        api_key: str,
        store: Store,
        title: str,
        wanted: Mapping[str, Request],
        missing: Mapping[str, Request],
    ) -> None:
        self.provider, self.base_url, self.api_key, self.store, self.title = provider, base_url, api_key, store, title
        self.missing = missing
        self.failures: Counter[str] = Counter()
        self.stored = [key for key in wanted if key in store]
        self.most_lost = max(1, LOST_SHARE * len(wanted))
        self.paid = self._paid_before() if provider.max_dollars is not None else 0.0
        self.reserved = 0.0
        """Dollars that the calls in flight may cost at the worst."""
        self.pace = Pace(
            provider.concurrency, provider.requests_per_minute, provider.tokens_per_minute, time.monotonic()
        )
        self.waiting = iter(missing.items())
        self.next: _Call | None = self._following()
        self.again: list[tuple[float, str, _Call]] = []
        """Calls to repeat: a heap by the time when each is due."""
        self.opens_at = float("inf")
        """When more than one call may be in flight, if none has been answered."""
        self.flying: set[asyncio.Task[None]] = set()
        self.answered = 0
        self.slowed_since: float | None = None
        """The first 429 since the latest answer."""
        self.unconnected = 0
        self.refused: dict[str, dict[str, Any]] = {}
        self.lost: list[str] = []
        """What was found at the last attempt of each call that failed to the end."""
        self.lost_in_a_row = 0
        self.ending: BaseException | None = None
        self.changed = asyncio.Event()
        self.tokens: Counter[str] = Counter()
        self.dollars = 0.0
        self.cut = 0

    async def run(self) -> None:
        """Make all calls; :exc:`UserError` tells why if it is not all of them, and what is kept."""
        self.writer = _Writer(self.store)
        restore = self._on_signals()
        try:
            async with connected(self.provider, self.base_url, self.api_key) as client:
                self.began = time.monotonic()  # not before, since a busy machine takes seconds to import the client
                self.ends_at = self.began + (self.provider.deadline or float("inf"))
                with Progress(self.title, len(self.missing), "calls") as progress:
                    self.progress = progress
                    await (self._live(client) if self.provider.batch is None else self._batch(client))
                    if self.ending:
                        raise self.ending
        except UserError as error:
            raise UserError(f"{error} {self._kept()}") from None
        except (KeyboardInterrupt, SystemExit):
            say(self.title, f"interrupted: {self._kept()}")
            raise
        finally:
            self.writer.close()
            restore()

    def _kept(self) -> str:
        total = len(self.missing)
        return (
            f"{self.answered:,} of {total:,} calls of this run are kept in {self.store.folder}; the "
            "same command goes on with the rest."
        )

    def _on_signals(self) -> Callable[[], None]:
        """End in order on SIGTERM and Ctrl-C, at once on the second; the result puts things back."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task
        before = {}

        def stop(number: signal.Signals) -> None:
            again = self.ending is not None
            self._end(_interruption(number))
            if self.provider.batch is not None:
                task.cancel()  # the batches go on at the provider
            elif again:
                for one in self.flying:
                    one.cancel()

        with suppress(ValueError, RuntimeError):  # not in the main thread
            for number in (signal.SIGTERM, signal.SIGINT):
                before[number] = signal.getsignal(number)
                loop.add_signal_handler(number, stop, number)

        def restore() -> None:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

        return restore

    def _end(self, reason: BaseException) -> None:
        self.ending = self.ending or reason
        self.changed.set()

    # --- live calls

    async def _live(self, client: openai.AsyncOpenAI) -> None:
        while not self.ending and (self.next or self.again or self.flying):
            call, wait = self._choose(time.monotonic())
            if self.ending:
                break
            if call:
                self._send(client, call)
                continue
            self.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait, self.progress.every / 2)):
                    await self.changed.wait()
            self._tell()
        if self.flying:
            await asyncio.wait(self.flying, timeout=0.1)
        if self.flying:
            say(
                self.title,
                f"calls in flight are waited for, since they are paid for: {len(self.flying)} ({GRACE:g} s at most)",
            )
            await asyncio.wait(self.flying, timeout=GRACE)
            for task in self.flying:
                task.cancel()
            await asyncio.gather(*self.flying, return_exceptions=True)
        if self.refused and (self.ending is None or self.answered) and not self._too_many_refused():
            await self.writer.keep(list(self.refused.items()))
        if not self.ending and self.lost:
            count = "a call" if len(self.lost) == 1 else f"{len(self.lost):,} calls"
            self._end(self._gave_up(count, self.lost[-1]))

    def _following(self) -> _Call | None:
        key, request = next(self.waiting, (None, None))
        return _Call(key, request, request.most_dollars(self.provider)) if key and request else None

    def _choose(self, now: float) -> tuple[_Call | None, float]:
        """The call to send now, or else the seconds after which to look again (unless an answer comes first)."""
        if (left := self.ends_at - now) <= 0:
            self._end(self._too_late())
            return None, 0
        alone = not self.answered and now < self.opens_at
        limit = 1 if alone else self.pace.limit
        if len(self.flying) >= limit:
            return None, min(left, self.opens_at - now if alone else left)
        due = self.again[0][0] if self.again else float("inf")
        # Calls that wait to be repeated keep their places, else a provider out of order would be asked everything,
        # once.
        call = self.again[0][2] if due <= now else self.next if len(self.again) < limit else None
        if not call:
            return None, min(left, due - now)
        if (wait := self.pace.wait(now)) > 0:
            return None, min(left, wait)
        if not self._affordable(call.worst):
            if not self.flying:
                self._end(self._too_dear(call.worst))
            return None, left
        if call is self.next:
            self.next = self._following()
        else:
            heapq.heappop(self.again)
        return call, 0

    def _send(self, client: openai.AsyncOpenAI, call: _Call) -> None:
        now = time.monotonic()
        if not self.answered and not self.flying:
            self.opens_at = now + FIRST_SECONDS
        self.reserved += call.worst
        tokens = self._expected(call)
        self.pace.sent(tokens, now)
        task = asyncio.create_task(self._fly(client, call, now, tokens))
        self.flying.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self.flying.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._end(error)
        self.changed.set()

    async def _fly(self, client: openai.AsyncOpenAI, call: _Call, sent: float, tokens: float) -> None:
        """One attempt, sent at ``sent`` and expected to use ``tokens``, to its end: on the disk, or judged."""
        try:
            outcome = await attempt(client, self.provider, call.request)
            if isinstance(outcome, Failure):
                self.pace.used(-tokens)
                self._failed(call, outcome, sent)
                return
            await self.writer.keep([(call.key, outcome)])
        finally:
            self.reserved -= call.worst
        completion = self._count(call.key, outcome)
        self._tell(1)
        self.pace.used(completion.prompt_tokens + completion.completion_tokens - tokens)
        self.pace.success(sent, time.monotonic())
        if outcome["usage"] is None:
            self.paid += call.worst  # nobody knows; the limit holds

    def _expected(self, call: _Call) -> float:
        """Tokens, prompt and completion: four bytes each, and the mean so far."""
        if self.provider.tokens_per_minute is None:
            return 0.0
        mean = self.tokens["completion"] / self.answered if self.answered else self.provider.max_tokens
        return call.request.bytes(self.provider) / 4 + mean

    def _count(self, key: str, value: Mapping[str, Any]) -> Completion:
        """Count an answer that is on the disk."""
        completion = Completion.from_value(key, value)
        cost = self.provider.dollars(completion.prompt_tokens, completion.completion_tokens)
        self.paid += cost
        self.dollars += cost
        self.answered += 1
        self.slowed_since, self.unconnected, self.lost_in_a_row = None, 0, 0
        self.cut += completion.finish_reason == "length"
        for name in ("prompt", "thinking", "answer", "completion"):
            self.tokens[name] += getattr(completion, f"{name}_tokens")
        return completion

    def _tell(self, count: int = 0) -> None:
        seconds = max(1e-9, time.monotonic() - self.began)
        lost = [f"{number:,} {name}" for name, number in (("refused", len(self.refused)), ("cut", self.cut)) if number]
        parts = [
            "{prompt:,} + {thinking:,} + {answer:,} tokens".format_map(self.tokens),
            f"${self.dollars:,.2f}",
            *([f"{len(self.flying)} in flight"] if self.flying else []),
            f"{self.answered / seconds:.1f}/s",
            *lost,
        ]
        self.progress.advance(count, note=" · ".join(parts))

    # --- failures

    def _failed(self, call: _Call, failure: Failure, sent: float) -> None:
        """Decide what a failed attempt means for its call and for the run."""
        now = time.monotonic()
        self.failures[failure.kind] += 1
        if failure.perhaps_billed:
            self.paid += call.worst
        if failure.slow_down:
            self.pace.trouble(sent, len(self.flying), now)
        if failure.wait is not None:
            self._leave_alone(failure.wait, now)
        started = self.answered > 0
        if failure.kind == "refused":
            self.refused[call.key] = {"refused": {"status": failure.status, "message": failure.found}}
            if self._too_many_refused():
                self._end(self._refusals(f"the last one with: {failure.found}"))
            self._tell(1)
        elif (
            failure.status == 402 or (failure.status in {401, 403, 404} and not started) or failure.status in {405, 410}
        ):
            self._end(UserError(f"{self.base_url}: {failure.found}. {self._remedy(failure.status)}"))
        elif failure.kind == "connection" and not started:
            self.unconnected += 1
            if self.unconnected >= CONNECTIONS or now - self.began > FIRST_SECONDS:
                self._end(
                    UserError(
                        f"{self.base_url}: {failure.found}, tried "
                        f"{self.unconnected} times. Check base_url and the network."
                    )
                )
            self.pace.pause(now + 1)
            self._repeat(call, now)
        elif failure.kind == "429":
            call.slowed += 1
            self.slowed_since = now if self.slowed_since is None else self.slowed_since
            if now - self.slowed_since > PATIENCE:
                self._end(
                    UserError(
                        f"{self.base_url}: nothing but {failure.found} for {PATIENCE / 60:g} minutes. "
                        f"Wait, or lower concurrency, requests_per_minute or tokens_per_minute of {self.provider.name}."
                    )
                )
            self._repeat(call, now)
        else:
            call.failures += 1
            if call.failures <= self.provider.max_retries:
                self._repeat(call, now)
                return
            self.lost.append(failure.found + (f". {remedy}" if (remedy := self._remedy(failure.status)) else ""))
            self.lost_in_a_row += 1
            # While others are answered, it is this call; else it is the provider.
            if not started or self.lost_in_a_row >= LOST_IN_A_ROW or len(self.lost) > self.most_lost:
                self._end(self._gave_up("a call", self.lost[-1]))

    def _repeat(self, call: _Call, now: float) -> None:
        longest = min(LONGEST_BACKOFF, BACKOFF * 2 ** min(20, call.failures + call.slowed - 1))
        heapq.heappush(self.again, (now + random.uniform(0, longest), call.key, call))

    def _leave_alone(self, seconds: float, now: float) -> None:
        """Obey Retry-After: it is the provider who wants to be left alone, not the one call."""
        longer = seconds > self.pace.wait(now) + 1
        self.pace.pause(now + seconds)
        if now + seconds > self.ends_at:
            asked = f"asks to be left alone for {seconds:,.0f} s, beyond the deadline of {self.provider.deadline:g} s"
            self._end(UserError(f"{self.base_url}: {asked}. Run again later."))
        elif longer and seconds > LONG_PAUSE:
            say(self.title, f"{self.base_url} asks to be left alone for {seconds:,.0f} s")

    def _too_many_refused(self) -> bool:
        if not self.refused:
            return False
        count, (answered, refused) = len(self.refused), self._before
        return count + refused > self.most_lost or (count >= FIRST_REFUSED and not self.answered + answered)

    @cached_property
    def _before(self) -> tuple[int, int]:
        """Calls that earlier runs had answered, and refused; read only when it is needed."""
        refused = sum("refused" in self.store.get(key) for key in self.stored)
        return len(self.stored) - refused, refused

    def _refusals(self, found: str) -> UserError:
        return UserError(
            f"{self.base_url}: {len(self.refused)} calls were refused, {found}. Correct the settings of "
            f"{self.provider.name} and run again."
        )

    def _too_late(self) -> UserError:
        return UserError(
            f"{self.base_url}: the deadline of {self.provider.deadline:g} s is over. Run again, or raise deadline."
        )

    def _gave_up(self, what: str, found: str) -> UserError:
        return UserError(
            f"{self.base_url}: {what} of model {self.provider.model} failed "
            f"{self.provider.max_retries + 1} times, the last time with: "
            f"{found}. Wait until the provider is well again (or raise max_retries)."
        )

    def _remedy(self, status: int) -> str:
        name = self.provider.api_key_env
        remedies = {
            401: f"Check the key in the environment variable {name}."
            if name
            else "Give the environment variable of a key by api_key_env.",
            402: "Top up the provider's credit.",
            403: f"Check what the key in the environment variable {name} may use.",
            404: f"Check that base_url is correct and that the provider knows the model {self.provider.model!r}.",
        }
        return remedies.get(status, "Check base_url and the settings." if 400 <= status < 500 else "")

    # --- dollars

    def _paid_before(self) -> float:
        total = 0.0
        for key in self.store:
            value = self.store.get(key)
            if "refused" not in value:
                completion = Completion.from_value(key, value)
                total += self.provider.dollars(completion.prompt_tokens, completion.completion_tokens)
        return total

    def _affordable(self, worst: float) -> bool:
        limit = self.provider.max_dollars
        return limit is None or self.paid + self.reserved + worst <= limit

    def _too_dear(self, worst: float) -> UserError:
        return UserError(
            f"{self.provider.name}: ${self.paid:,.4f} are paid (answers that were lost on the way at "
            "their most), and the next call "
            f"may cost ${worst:,.4f}: max_dollars, {self.provider.max_dollars:,.4f}, would be passed. "
            "Raise max_dollars and run again."
        )

    # --- batches

    async def _batch(self, client: openai.AsyncOpenAI) -> None:
        from m1.client.batch import complete_by_batch

        async def keep(items: Sequence[tuple[str, dict[str, Any]]]) -> None:
            await self.writer.keep(items)
            for key, value in items:
                if key in self.missing:
                    self._count(key, value)

        room = None if self.provider.max_dollars is None else self.provider.max_dollars - self.paid
        folder = self.store.folder / "batches"
        try:
            async with asyncio.timeout(self.provider.deadline):
                self.refused = await complete_by_batch(
                    client, self.provider, self.missing, keep, folder, self.progress, room=room
                )
        except TimeoutError:
            raise self._too_late() from None
        except asyncio.CancelledError:
            raise (self.ending or KeyboardInterrupt()) from None
        if self._too_many_refused():
            found = next(iter(self.refused.values()))["refused"]["message"]
            raise self._refusals(f"the first one with: {found}")
        await self.writer.keep(list(self.refused.items()))


def _interruption(number: signal.Signals) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
