"""Call an OpenAI-compatible provider: concurrently, repeating failed calls, and never paying for a call twice (B.1)."""

import argparse
import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from m1.client.attempt import open_client
from m1.client.backlog import batch_dollars
from m1.client.batch import make_batches
from m1.client.completion import REFUSED, Completion, forget_remedy, name_call, stored_completion
from m1.client.failures import FailurePolicy
from m1.client.ledger import Ledger, Spending, SpendingJournal
from m1.client.provider import Provider, Request, Tokens
from m1.client.scheduler import CallScheduler
from m1.client.serving import running_server
from m1.core.errors import UserError
from m1.core.progress import Progress, say
from m1.core.store import Store, Stored, look_into

__all__ = [
    "REFUSED",
    "Answers",
    "Completion",
    "Provider",
    "Request",
    "Spending",
    "add_call_arguments",
    "complete_all",
    "look_up",
]


Item = TypeVar("Item")
Watch = Callable[[Completion], UserError | None]
"""Called with each new answer; returns None, or the error that ends the run."""
ODD_SHOWN = 5
"""How many answers with odd contents are named one by one."""


class Answers(Sequence[Completion]):
    """Completions in the order of their requests, read from the store one by one, as all may not fit into memory."""

    def __init__(self, keys: Sequence[str], store: Store, provider: Provider, wanted: Mapping[str, Request]) -> None:
        self._keys, self._store, self._provider, self._wanted = keys, store, provider, wanted

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: Any) -> Any:  # a completion, or a list of them for a slice
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        key = self._keys[index]
        return stored_completion(self._store, key, self._provider, self._wanted[key])


def add_call_arguments(parser: argparse.ArgumentParser, name: str, note: str = "", by: str = "") -> None:
    """Add the flags ``--NAME`` and ``--calls``, which together give a provider's settings, and ``--store``."""
    decides = f"JSON: what decides the answers (keys of m1.client.complete.Provider){note}"
    parser.add_argument(f"--{name}", required=True, type=json.loads, help=decides)
    how = f"JSON: {by}how calls are made, and prices (its other keys)"
    parser.add_argument("--calls", required=True, type=json.loads, help=how)
    parser.add_argument("--store", required=True, help="folder of the store of calls")


def complete_all(
    requests: Sequence[Request], provider: Provider, store: Store, title: str, watch: Watch | None = None
) -> tuple[Answers, Spending]:
    """Answer requests from the store, and those that it lacks by the provider, whose answers go into the store at once.

    Only one process at a time makes calls for a store, and equal requests are made once, so nothing is paid for twice.
    An attempt that fails for a temporary reason (5xx, no connection, a timeout, a 200 without a completion) is repeated
    up to ``max_retries`` times, and 429 as long as it takes. A call that the provider refuses for its content is stored
    as refused, and not asked again. A server of the workflow's own is started only if a call must be made.

    Returns:
        The answers in the order of the requests, and what they cost.

    Raises:
        UserError: a call failed at all attempts (the other calls are made first, unless the provider itself fails); the
            key is wrong or missing; the model is unknown; more than :data:`m1.client.failures.LOST_SHARE` of the calls
            were refused; ``deadline`` or ``max_dollars`` was reached; ``watch`` ends the run; or the store cannot be
            written. Finished calls are kept, and calls in flight get :data:`m1.client.scheduler.GRACE` seconds to
            finish. The same holds for SIGTERM and Ctrl-C, which then end the process.
    """
    keys = [request.key(provider) for request in requests]
    wanted = dict(zip(keys, requests))
    new: set[str] = set()
    of_the_run: dict[str, Any] = {}
    if any(key not in store for key in wanted):
        api_key = _api_key(provider)
        with store.lock():
            missing = {key: request for key, request in wanted.items() if key not in store}
            if missing:
                own = running_server(provider.serve, provider.serve_seconds) if provider.serve else None
                with own or nullcontext(provider.base_url or "") as base_url:
                    run = CallRun(provider, base_url, api_key, store, title, wanted, missing, watch)
                    asyncio.run(run.make_calls())
                    store.settle()
                new, of_the_run = set(missing), run.totals
    distinct = Answers(list(wanted), store, provider, wanted)
    told = _telling_odd(distinct, provider, wanted, store, title)
    spending = Spending.of(told, new, provider, **of_the_run)
    return Answers(keys, store, provider, wanted), spending


def look_up(requests: Iterable[Request], provider: Provider, store: Store) -> Stored:
    """Count the calls that :func:`complete_all` would need and that are in the store; make no call."""
    keys = {request.key(provider) for request in requests}
    return Stored(sum(key in store for key in keys), len(keys), "calls")


def look_up_in(folder: str | Path, requests: Iterable[Request], provider: Provider) -> Stored:
    """Do :func:`look_up` for a store's folder, which need not exist."""
    with look_into(folder) as store:
        return look_up(requests, provider, store)


def _telling_odd(
    completions: Iterable[Completion], provider: Provider, wanted: Mapping[str, Request], store: Store, title: str
) -> Iterator[Completion]:
    """Pass answers on, and report those with odd contents, and those of another model (older releases kept them)."""
    count, others = 0, Counter[str]()
    for completion in completions:
        count += bool(completion.odd)
        if completion.odd and count <= ODD_SHOWN:
            key, found = completion.key, "; ".join(completion.odd[:ODD_SHOWN])
            say(title, f"{name_call(key, wanted[key])}: {found}. {forget_remedy(store, key)}")
        others[completion.served] += not provider.is_served_by(completion.served)
        yield completion
    for served, number in (+others).most_common(ODD_SHOWN):
        found = f"{number:,} answers in {store.folder} are of {served!r}, not of {provider.model!r}"
        remedy = f"name it in served_as of {provider.name}; else take them back (m1 store forget)"
        say(title, f"{found}. If they are the same, {remedy}.")
    if count > ODD_SHOWN:
        say(title, f"so also in {count - ODD_SHOWN:,} further answers")


def _api_key(provider: Provider) -> str:
    if provider.api_key_env is None:
        return "none"
    key = os.environ.get(provider.api_key_env, "").strip()
    variable = f"{provider.name}: the environment variable {provider.api_key_env}"
    if not key:
        raise UserError(f"{variable} is not set. Set it to the provider's key and run again.")
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{variable} is not a valid key: it holds a line break or another character that no key has.")
    return key


class GroupWriter(Generic[Item]):
    """Writes items in a thread, since a disk takes milliseconds; items that arrive meanwhile share the next write."""

    def __init__(self, write: Callable[[list[Item]], None], thread: ThreadPoolExecutor) -> None:
        self._write_all, self._thread = write, thread
        self._gathered: list[Item] = []
        self._now: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def keep(self, items: Sequence[Item]) -> None:
        """Return when the items are on the disk; raises the errors of the write."""
        self._gathered.extend(items)
        if self._next is None:
            self._next = asyncio.create_task(self._write(self._now))
        await asyncio.shield(self._next)  # cancelling one caller must not cancel the write that others share

    async def _write(self, before: asyncio.Task[None] | None) -> None:
        if before:
            await asyncio.wait([before])
        self._now, self._next = self._next, None
        items, self._gathered = self._gathered, []
        await asyncio.get_running_loop().run_in_executor(self._thread, self._write_all, items)


@contextmanager
def _signal_handler(handle: Callable[[signal.Signals, asyncio.Task[Any]], None]) -> Iterator[None]:
    """On SIGTERM and Ctrl-C, call ``handle`` with the signal and the current task; works in the main thread only."""
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
    """One run of calls, with what live calls (:mod:`m1.client.scheduler`) and batches (:mod:`m1.client.batch`) share.

    ``wanted`` are all calls of the step by key, and ``missing`` those that the store lacks.
    """

    provider: Provider
    base_url: str
    api_key: str
    store: Store
    title: str
    wanted: Mapping[str, Request]
    missing: Mapping[str, Request]
    watch: Watch | None = None

    def __post_init__(self) -> None:
        self.journal = SpendingJournal(self.store)
        batches = batch_dollars(self.store.folder / "batches", self.provider, self.base_url)
        self.ledger = Ledger(self.provider, self.store, self.journal.beside, self.wanted, batches)
        self.failures = FailurePolicy(self.provider, self.base_url, self.store, self.wanted)
        self.in_flight: set[asyncio.Task[None]] = set()
        self.ending: BaseException | None = None
        """Why the run ends early."""
        self.changed = asyncio.Event()
        """Set when a call has ended, or the run must end."""

    async def make_calls(self) -> None:
        """Make the missing calls, live or by batches; an error that ends the run early says how many calls are kept."""
        try:
            with _signal_handler(self._interrupt), ThreadPoolExecutor(2, "store") as thread:
                self.writer = GroupWriter(self.store.put_many, thread)
                self._holder: GroupWriter[str] = GroupWriter(lambda states: self.journal.write(states[-1]), thread)
                async with open_client(self.provider, self.base_url, self.api_key) as client:
                    self.began = time.monotonic()  # only now, because importing the client can take seconds
                    self.ends_at = self.began + (self.provider.deadline or float("inf"))
                    with Progress(self.title, len(self.missing), "calls") as self.progress:
                        if self.provider.batch is None:
                            await CallScheduler(self, client).make_calls()
                        else:
                            await make_batches(self, client)
                        if self.ending:
                            raise self.ending
        except UserError as error:
            raise UserError(f"{error} {self._summary()}") from None
        except (KeyboardInterrupt, SystemExit):
            say(self.title, f"interrupted: {self._summary()}")
            raise
        finally:
            self.journal.close()  # no thread writes it any more

    async def hold(self, key: str, tokens: Tokens) -> None:
        """Write to the disk, before a call is sent, how many tokens it may use at the most."""
        self.journal.in_flight[key] = tokens
        try:
            await self._holder.keep([self.journal.text()])
        except BaseException:
            self.journal.settle(key, lost=False)  # it was not sent
            raise

    @property
    def totals(self) -> dict[str, Any]:
        """Facts about this run that the store does not have: failed attempts by kind, and lost calls with dollars."""
        failures = dict(sorted(self.failures.counts.items()))
        return {"failures": failures, "lost": self.ledger.lost, "dollars_lost": round(self.ledger.dollars_lost, 6)}

    def _summary(self) -> str:
        kept = f"{self.ledger.answered:,} of {len(self.missing):,} calls of this run are kept in {self.store.folder}"
        return f"{kept}; the same command goes on with the rest."

    def _interrupt(self, number: signal.Signals, task: asyncio.Task[Any]) -> None:
        """End the run in order on the first signal, and at once on the second; ``task`` is the run's own."""
        second = self.ending is not None
        self.end(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))
        if self.provider.batch is not None:
            task.cancel()  # the batches go on at the provider
        elif second:
            for one in self.in_flight:
                one.cancel()

    def end(self, reason: BaseException) -> None:
        """End the run early, for the first reason that is given."""
        self.ending = self.ending or reason
        self.changed.set()

    def count(self, key: str, value: Mapping[str, Any]) -> Completion:
        """Count an answer that is on the disk."""
        completion = Completion.from_value(key, value, self.provider.marks)
        self.ledger.add(completion)
        self.failures.note_answer()
        if self.watch and (error := self.watch(completion)):
            self.end(error)
        return completion

    def report(self, count: int = 0) -> None:
        """Update the progress line after ``count`` more calls have finished."""
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
        over = f"the deadline of {self.provider.deadline:g} s is over"
        return UserError(f"{self.base_url}: {over}. Run again, or raise deadline.")
