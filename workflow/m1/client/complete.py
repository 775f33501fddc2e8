"""Calls of an OpenAI-compatible provider: concurrent, repeated when they fail, and never paid for twice (B.1)."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from m1.client.provider import REFUSED, Completion, Provider, Request
from m1.client.run import CallRun
from m1.client.scheduler import CallScheduler
from m1.client.serving import running_server
from m1.client.spending import Spending
from m1.core.errors import UserError
from m1.core.store import Store

__all__ = ["REFUSED", "Answers", "Completion", "Provider", "Request", "Spending", "add_call_arguments", "complete_all"]


class Answers(Sequence[Completion]):
    """Completions in the order of their requests, each read from the store when it is asked for, since all may not fit
    into memory."""

    def __init__(self, keys: Sequence[str], store: Store) -> None:
        self._keys, self._store = keys, store

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: Any) -> Any:  # a completion, or a list of them for a slice
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        key = self._keys[index]
        return Completion.from_value(key, self._store.get(key))


def add_call_arguments(parser: argparse.ArgumentParser, name: str, note: str = "", by: str = "") -> None:
    """Add ``--NAME`` and ``--calls``, which give the settings of a provider together, and ``--store``."""
    decides = f"JSON: what decides the answers (keys of m1.client.complete.Provider){note}"
    parser.add_argument(f"--{name}", required=True, type=json.loads, help=decides)
    how = f"JSON: {by}how calls are made, and prices (its other keys)"
    parser.add_argument("--calls", required=True, type=json.loads, help=how)
    parser.add_argument("--store", required=True, help="folder of the store of calls")


def complete_all(requests: Sequence[Request], provider: Provider, store: Store, title: str) -> tuple[Answers, Spending]:
    """Answers to requests, in their order: from the store where it has them, else from the provider, and into the store
    at once.

    One process at a time makes calls for a store, so that two never pay for one request twice. How many calls are in
    flight follows what the provider bears (:class:`m1.client.pace.Pace`). An attempt that fails for a passing reason
    (5xx, no connection, no answer in time, a 200 without a completion) is repeated up to ``max_retries`` times; 429 is
    waited out. A call refused for what it asks is kept as such, and not asked again. A server of the workflow's own is
    started only if a call is to be made.

    Args:
        title: what the progress lines call it.

    Raises:
        UserError: a call failed to the end (the others are made first, unless it is the provider that fails); the key
            is wrong or missing; the model is unknown; more than :data:`m1.client.failures.LOST_SHARE` was refused;
            ``deadline`` or ``max_dollars`` was reached; the store cannot be written. Finished calls are kept, those in
            flight get :data:`m1.client.scheduler.GRACE` seconds to finish; so also after SIGTERM and Ctrl-C, which then
            end the process.
    """
    keys = [request.key(provider) for request in requests]
    wanted = dict(zip(keys, requests))
    new: set[str] = set()
    failures: Counter[str] = Counter()
    if any(key not in store for key in wanted):
        api_key = _api_key(provider)
        with store.lock():
            missing = {key: request for key, request in wanted.items() if key not in store}
            if missing:
                own = running_server(provider.serve, provider.serve_seconds) if provider.serve else None
                with own or nullcontext(provider.base_url or "") as base_url:
                    run = CallRun(provider, base_url, api_key, store, title, wanted, missing)
                    asyncio.run(_make(run))
                new, failures = set(missing), run.failures.counts
    return Answers(keys, store), Spending.from_store(wanted, new, failures, provider, store)


async def _make(run: CallRun) -> None:
    async with run.connect() as client:
        if run.provider.batch is None:
            await CallScheduler(run, client).make_calls()
        else:
            from m1.client.batch import make_batches

            await make_batches(run, client)


def _api_key(provider: Provider) -> str:
    if provider.api_key_env is None:
        return "none"
    key = os.environ.get(provider.api_key_env, "").strip()
    variable = f"{provider.name}: the environment variable {provider.api_key_env}"
    if not key:
        raise UserError(f"{variable} is not set. Set it to the provider's key and run again.")
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{variable} holds what no key has, such as a line break.")
    return key
