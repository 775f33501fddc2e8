"""Calls of an OpenAI-compatible provider: concurrent, repeated when they fail, and never paid for twice (B.1)."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, overload

from m1.client.provider import REFUSED, Completion, Provider, Request, split_message
from m1.client.scheduler import Run
from m1.client.serving import served
from m1.core.errors import UserError
from m1.core.store import Store

__all__ = ["REFUSED", "Answers", "Completion", "Provider", "Request", "Spending", "complete_all", "split_message"]


@dataclass(frozen=True)
class Spending:
    """What the calls of one :func:`complete_all` cost, and what of it was paid before."""

    calls: int
    """Distinct calls with an answer."""
    calls_made: int
    """Those answered now; the others came from the store."""
    prompt_tokens: int
    thinking_tokens: int
    answer_tokens: int
    completion_tokens: int
    """Thinking and answer."""
    dollars: float
    dollars_now: float
    refused: int
    """Distinct calls that the provider rejects for what they ask."""
    cut: int
    """Answers that the token limit cut (finish reason ``length``)."""
    failures: dict[str, int] = field(default_factory=dict)
    """Attempts of now that failed, by :attr:`m1.client.attempt.Failure.kind`."""

    def __str__(self) -> str:
        parts = [
            f"{self.calls_made:,} calls made",
            f"{self.calls - self.calls_made:,} from the store",
            f"{self.prompt_tokens:,} + {self.thinking_tokens:,} + {self.answer_tokens:,} tokens "
            "(prompt, thinking, answer)",
            f"${self.dollars:,.2f} in all",
            f"${self.dollars_now:,.2f} now",
            *[f"{count:,} {name}" for name, count in (("refused", self.refused), ("cut", self.cut)) if count],
        ]
        return ", ".join(parts)

    def __add__(self, other: Spending) -> Spending:
        mine, others = asdict(self), asdict(other)
        failures = dict(Counter(mine.pop("failures")) + Counter(others.pop("failures")))
        return Spending(**{name: mine[name] + others[name] for name in mine}, failures=failures)


class Answers(Sequence[Completion]):
    """Completions in the order of their requests, each read from the store when it is asked for, since all may not fit
    into memory."""

    def __init__(self, keys: Sequence[str], store: Store) -> None:
        self._keys, self._store = keys, store

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Completion: ...
    @overload
    def __getitem__(self, index: slice) -> list[Completion]: ...
    def __getitem__(self, index: int | slice) -> Completion | list[Completion]:
        if isinstance(index, slice):
            return [_completion(key, self._store) for key in self._keys[index]]
        return _completion(self._keys[index], self._store)


def _completion(key: str, store: Store) -> Completion:
    return Completion.from_value(key, store.get(key))


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
            is wrong or missing; the model is unknown; more than :data:`m1.client.scheduler.LOST_SHARE` was refused;
            ``deadline`` or ``max_dollars`` was reached; the store cannot be written. Finished calls are kept, those in
            flight get :data:`m1.client.scheduler.GRACE` seconds to finish; so also after SIGTERM and Ctrl-C, which then
            end the process.
    """
    keys = [request.key(provider) for request in requests]
    wanted = dict(zip(keys, requests))
    made: set[str] = set()
    failures: Counter[str] = Counter()
    if any(key not in store for key in wanted):
        api_key = _api_key(provider)
        with store.lock():
            missing = {key: request for key, request in wanted.items() if key not in store}
            if missing:
                with (
                    served(provider.serve, provider.serve_seconds)
                    if provider.serve
                    else nullcontext(provider.base_url or "") as base_url
                ):
                    run = Run(provider, base_url, api_key, store, title, wanted, missing)
                    asyncio.run(run.run())
                made, failures = set(missing), run.failures
    return Answers(keys, store), _spending(wanted, made, failures, provider, store)


def _spending(
    keys: Mapping[str, Any], made: set[str], failures: Mapping[str, int], provider: Provider, store: Store
) -> Spending:
    totals: Counter[str] = Counter()
    dollars = dollars_now = 0.0
    for key in keys:
        completion = _completion(key, store)
        if completion.finish_reason == REFUSED:
            totals["refused"] += 1
            continue
        cost = provider.dollars(completion.prompt_tokens, completion.completion_tokens)
        dollars += cost
        dollars_now += cost * (key in made)
        totals["calls"] += 1
        totals["calls_made"] += key in made
        totals["cut"] += completion.finish_reason == "length"
        for name in ("prompt_tokens", "thinking_tokens", "answer_tokens", "completion_tokens"):
            totals[name] += getattr(completion, name)
    counts = {
        name: totals[name] for name in Spending.__dataclass_fields__ if not name.startswith(("dollars", "failures"))
    }
    return Spending(
        **counts, dollars=round(dollars, 6), dollars_now=round(dollars_now, 6), failures=dict(sorted(failures.items()))
    )


def _api_key(provider: Provider) -> str:
    if provider.api_key_env is None:
        return "none"
    key = os.environ.get(provider.api_key_env, "").strip()
    if not key:
        raise UserError(
            f"{provider.name}: the environment variable {provider.api_key_env} is not set. Set it to "
            "the provider's key and run again."
        )
    if not (key.isascii() and key.isprintable()):
        raise UserError(
            f"{provider.name}: the environment variable {provider.api_key_env} holds what no key has, "
            "such as a line break."
        )
    return key
