"""One run of calls: its connection, writer, progress line, deadline and signals, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from m1.client.attempt import open_client
from m1.client.failures import FailurePolicy
from m1.client.provider import Completion, Provider, Request
from m1.client.spending import Ledger
from m1.core.errors import UserError
from m1.core.progress import Progress, say
from m1.core.store import Store

if TYPE_CHECKING:
    import openai


class StoreWriter:
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


@contextmanager
def _signal_handler(handle: Callable[[signal.Signals, asyncio.Task[Any]], None]) -> Iterator[None]:
    """Call ``handle`` with the signal and the current task on SIGTERM and Ctrl-C; outside the main thread nothing
    changes."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    before = {}
    with suppress(ValueError, RuntimeError):  # not in the main thread
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.getsignal(number)
            loop.add_signal_handler(number, handle, number, task)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


@dataclass
class CallRun:
    """What live calls (:mod:`m1.client.scheduler`) and batches (:mod:`m1.client.batch`) share."""

    provider: Provider
    base_url: str
    api_key: str
    store: Store
    title: str
    """What the progress lines call the run."""
    wanted: Mapping[str, Request]
    """All calls of the step, by key."""
    missing: Mapping[str, Request]
    """Those of them that the store does not have."""

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.provider, self.store)
        self.failures = FailurePolicy(self.provider, self.base_url, self.store, self.wanted)
        self.in_flight: set[asyncio.Task[None]] = set()
        self.ending: BaseException | None = None
        """Why the run ends early."""
        self.changed = asyncio.Event()
        """A call has ended, or the run is to end."""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[openai.AsyncOpenAI]:
        """The client to make the calls with.

        Raises:
            UserError: not all calls were made; why, and what is kept.
        """
        with _signal_handler(self._interrupt), closing(StoreWriter(self.store)) as self.writer:
            try:
                async with open_client(self.provider, self.base_url, self.api_key) as client:
                    self.began = time.monotonic()  # not before, since a busy machine takes seconds to import the client
                    self.ends_at = self.began + (self.provider.deadline or float("inf"))
                    with Progress(self.title, len(self.missing), "calls") as self.progress:
                        yield client
                        if self.ending:
                            raise self.ending
            except UserError as error:
                raise UserError(f"{error} {self._summary()}") from None
            except (KeyboardInterrupt, SystemExit):
                say(self.title, f"interrupted: {self._summary()}")
                raise

    def _summary(self) -> str:
        """What is kept, for the message at an early end."""
        kept = f"{self.ledger.answered:,} of {len(self.missing):,} calls of this run are kept in {self.store.folder}"
        return f"{kept}; the same command goes on with the rest."

    def _interrupt(self, number: signal.Signals, task: asyncio.Task[Any]) -> None:
        """End in order on the first signal, at once on the second; ``task`` is the one of the run."""
        second = self.ending is not None
        self.end(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))
        if self.provider.batch is not None:
            task.cancel()  # the batches go on at the provider
        elif second:
            for one in self.in_flight:
                one.cancel()

    def end(self, reason: BaseException) -> None:
        """End the run early; the first reason counts."""
        self.ending = self.ending or reason
        self.changed.set()

    def count(self, key: str, value: Mapping[str, Any]) -> Completion:
        """Count an answer that is on the disk."""
        completion = Completion.from_value(key, value)
        self.ledger.add(completion)
        self.failures.note_answer()
        return completion

    def report(self, count: int = 0) -> None:
        """Show the state on the progress line; ``count`` more calls are done."""
        ledger, refused = self.ledger, len(self.failures.refused)
        seconds = max(1e-9, time.monotonic() - self.began)
        parts = [
            "{prompt:,} + {thinking:,} + {answer:,} tokens".format_map(ledger.tokens),
            f"${ledger.dollars:,.2f}",
            *([f"{len(self.in_flight)} in flight"] if self.in_flight else []),
            f"{ledger.answered / seconds:.1f}/s",
            *[f"{number:,} {name}" for name, number in (("refused", refused), ("cut", ledger.cut)) if number],
        ]
        self.progress.advance(count, note=" · ".join(parts))

    def deadline_error(self) -> UserError:
        """The message where the deadline has passed."""
        over = f"the deadline of {self.provider.deadline:g} s is over"
        return UserError(f"{self.base_url}: {over}. Run again, or raise deadline.")
