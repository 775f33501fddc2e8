"""Count what calls cost: by the provider's count or, if that is missing, by an upper bound.

Calls whose answers never arrived have only a bound. A journal keeps it beyond the run (:class:`SpendingJournal`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from m1.client.completion import REFUSED, UNKNOWN, Completion, stored_completion
from m1.client.provider import Provider, Request, Tokens
from m1.core.errors import UserError
from m1.core.files import fsync, read_json, write_text
from m1.core.segments import unique_name, usable
from m1.core.store import Store

PATTERN = "spending-*.json"
"""Files of :class:`SpendingJournal` in a store's folder."""


@dataclass
class CallTotals:
    """A number of calls, and the sums of their tokens."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> Tokens:
        return self.prompt_tokens, self.completion_tokens

    def add(self, tokens: Tokens, calls: int = 1) -> None:
        self.calls += calls
        self.prompt_tokens += tokens[0]
        self.completion_tokens += tokens[1]


@dataclass
class Beside:
    """Calls that may have been billed but have no answer in the store, so that the store does not show their cost."""

    lost: CallTotals = field(default_factory=CallTotals)
    """Calls whose answers did not arrive, with the most tokens that they may have used."""
    taken_back: CallTotals = field(default_factory=CallTotals)
    """Calls whose answers were taken back by ``m1 store forget``."""

    @classmethod
    def read(cls, store: Store) -> tuple[Beside, list[Path]]:
        """Read the journals in a store's folder; returns their totals and their paths.

        A call that was in flight when its process died counts as lost, unless the store has its answer.

        Raises:
            UserError: a journal is damaged.
        """
        beside, paths = cls(), sorted(store.folder.glob(PATTERN))
        journals = {path.name: _read_journal(path) for path in paths}
        replaced = {name for journal in journals.values() for name in journal["replaces"]}
        for name in journals.keys() - replaced:
            journal = journals[name]
            beside.lost.add(*journal["lost"])
            beside.taken_back.add(*journal["taken_back"])
            for key, tokens in journal["in_flight"].items():
                if key not in store:
                    beside.lost.add(tokens)
        return beside, paths


def _read_journal(path: Path) -> dict[str, Any]:
    """Read a journal that :meth:`SpendingJournal.text` wrote, with totals as arguments of :meth:`CallTotals.add`."""
    journal = read_json(path)
    try:
        found = {name: (CallTotals(**journal[name]).tokens, journal[name]["calls"]) for name in ("lost", "taken_back")}
        in_flight = {key: (int(prompt), int(completion)) for key, (prompt, completion) in journal["in_flight"].items()}
        return found | {"in_flight": in_flight, "replaces": list(journal["replaces"])}
    except (KeyError, TypeError, ValueError, AttributeError):
        remedy = "Restore it; without it, max_dollars does not count what calls cost whose answers were lost."
        raise UserError(f"{path}: not a journal of spending. {remedy}") from None


class SpendingJournal:
    """The journal of one process: a file in the store's folder with the calls that may have been billed.

    A call is written to the disk before it is sent, and removed when its answer is in the store. A new journal takes
    over those of earlier processes. The caller holds the store's lock.
    """

    def __init__(self, store: Store) -> None:
        self.beside, others = Beside.read(store)
        self.in_flight: dict[str, Tokens] = {}
        self._replaces = [path.name for path in others]
        self.path = store.folder / f"spending-{unique_name()}.json"
        if others:
            if not self._is_empty:
                self.write(self.text())
            for path in others:
                path.unlink(missing_ok=True)
            fsync(store.folder)
        self._replaces = []

    @property
    def _is_empty(self) -> bool:
        return not (self.in_flight or self.beside.lost.calls or self.beside.taken_back.calls)

    def text(self) -> str:
        """The present state, as the content of the file."""
        return json.dumps({**asdict(self.beside), "in_flight": self.in_flight, "replaces": self._replaces})

    def write(self, text: str) -> None:
        """Write a state durably.

        Raises:
            UserError: the disk is full or fails; no call may then be sent.
        """
        remedy = "Free space or correct the permissions and run again."
        with usable(self.path.parent, "written", remedy):
            try:
                write_text(self.path, text)
            except UserError as error:  # raised by `replacing`; the store's own message says more
                raise error.__cause__ or error from None

    def settle(self, key: str, lost: bool) -> None:
        """Remove a call that has ended; if it is ``lost``, count the most that it may have used."""
        tokens = self.in_flight.pop(key, None)
        if tokens and lost:
            self.beside.lost.add(tokens)

    def take_back(self, key: str, value: Any) -> None:
        """Keep the cost of a call whose answer is about to be forgotten."""
        try:
            completion = Completion.from_value(key, value)
        except ValueError:  # no answer
            return
        if completion.at_most:
            self.beside.lost.add(completion.at_most)
        elif completion.finish_reason != REFUSED:
            self.beside.taken_back.add((completion.prompt_tokens, completion.completion_tokens))

    def close(self, strict: bool = False) -> None:
        """Write what the next process must know, or delete the file if that is nothing.

        If the disk is full, the previous state stays, which claims more and not less; with ``strict`` it is an error.
        """
        with nullcontext() if strict else suppress(UserError, OSError):
            if self._is_empty:
                self.path.unlink(missing_ok=True)
            else:
                self.write(self.text())


class Ledger:
    """Counts tokens and dollars of one run's answers, and what ``max_dollars`` still allows.

    Towards ``max_dollars`` also count the calls that the store has already, those ``beside`` it, and the most that
    ``batches`` under way or lost may cost, in dollars. The calls of this run (``wanted``, by key) bound the cost of
    answers whose usage is missing or wrong.
    """

    def __init__(
        self,
        provider: Provider,
        store: Store,
        beside: Beside | None = None,
        wanted: Mapping[str, Request] | None = None,
        batches: float = 0.0,
    ) -> None:
        self.provider = provider
        self.answered = 0
        self.cut = 0
        """Number of answers that the token limit cut."""
        self.tokens: Counter[str] = Counter()
        """Tokens of this run's answers: ``prompt``, ``thinking``, ``answer``, ``completion``."""
        self.dollars = 0.0
        """Cost of this run's answers."""
        self.lost, self.dollars_lost = 0, 0.0
        """Attempts of this run whose answer did not arrive, and the most dollars that they may have cost."""
        self.counted = self.at_most = 0.0
        """Dollars of all calls of the store: by the provider's count, and the bound of those without a count."""
        self.reserved = 0.0
        """The most dollars that the calls in flight may cost."""
        if provider.max_dollars is not None:  # a refused call has no tokens, and costs nothing
            beside, wanted = beside or Beside(), wanted or {}
            self.counted += provider.dollars(*beside.taken_back.tokens, live=True)
            self.at_most += provider.dollars(*beside.lost.tokens, live=True) + batches
            unknown = 0
            for key in store:
                completion = stored_completion(store, key, provider, wanted.get(key))
                unknown += completion.at_most == UNKNOWN
                self.pay(completion)
            if unknown:  # stored by an older release for another step; each counts as the dearest call of this step
                most = [request.most_tokens(provider) for request in wanted.values()] or [(0, provider.max_tokens)]
                self.at_most += unknown * provider.dollars(*max(most), live=True)

    def pay(self, completion: Completion) -> float:
        """Count the cost of an answer of any run; returns the dollars."""
        cost = completion.dollars(self.provider)
        if completion.at_most is None:
            self.counted += cost
        else:
            self.at_most += cost
        return cost

    def add(self, completion: Completion) -> None:
        """Count an answer of this run."""
        self.dollars += self.pay(completion)
        self.answered += 1
        self.cut += completion.finish_reason == "length"
        for name in ("prompt", "thinking", "answer", "completion"):
            self.tokens[name] += getattr(completion, f"{name}_tokens")

    def lose(self, dollars: float, calls: int = 1) -> None:
        """Count calls of this run whose answers did not arrive but may have been billed."""
        self.at_most += dollars
        self.lost += calls
        self.dollars_lost += dollars

    @property
    def paid(self) -> float:
        """Dollars that are or may be paid."""
        return self.counted + self.at_most

    @property
    def room(self) -> float | None:
        """Dollars left below ``max_dollars``; None for no limit."""
        return None if self.provider.max_dollars is None else self.provider.max_dollars - self.paid

    def affords(self, worst: float) -> bool:
        """Whether a call that may cost up to ``worst`` dollars may be sent."""
        limit = self.provider.max_dollars
        return limit is None or self.paid + self.reserved + worst <= limit

    def __str__(self) -> str:
        more = f"at most ${self.at_most:,.4f} more for calls that were lost on the way or have no countable usage"
        return f"${self.counted:,.4f} are paid by the provider's count, and {more}"

    def limit_error(self, worst: float) -> UserError:
        passed = f"max_dollars, {self.provider.max_dollars:,.4f}, would be passed. Raise max_dollars and run again."
        return UserError(f"{self.provider.name}: {self}; the next call may cost ${worst:,.4f}: {passed}")


@dataclass(frozen=True)
class Spending:
    """The cost of the distinct calls of one :func:`m1.client.complete.complete_all`, in this run and before it."""

    calls: int = 0  # calls with an answer
    calls_made: int = 0  # those of them that this run made
    prompt_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0  # of all calls
    dollars_now: float = 0.0  # of this run's calls
    refused: int = 0  # calls that the provider refused for their content
    cut: int = 0  # answers that the token limit cut
    failures: dict[str, int] = field(default_factory=dict)  # failed attempts of this run, by kind
    uncounted: int = 0  # answers without a usable count of tokens; they are in no sum of tokens
    dollars_at_most: float = 0.0  # the bound of their cost, which `dollars` includes
    lost: int = 0  # attempts of this run whose answer did not arrive
    dollars_lost: float = 0.0  # the bound of their cost, which `dollars` does not include

    def __str__(self) -> str:
        tokens = f"{self.prompt_tokens:,} + {self.thinking_tokens:,} + {self.answer_tokens:,} tokens"
        parts = [
            f"{self.calls_made:,} calls made",
            f"{self.calls - self.calls_made:,} from the store",
            f"{tokens} (prompt, thinking, answer)",
            f"${self.dollars:,.2f} in all",
            f"${self.dollars_now:,.2f} now",
            *[f"{count:,} {name}" for name, count in (("refused", self.refused), ("cut", self.cut)) if count],
        ]
        if self.uncounted:
            bound = f"${self.dollars_at_most:,.2f} of the sum, at most"
            parts.append(f"{self.uncounted:,} without countable usage ({bound})")
        if self.dollars_lost:
            parts.append(f"at most ${self.dollars_lost:,.2f} more for {self.lost:,} lost on the way")
        return ", ".join(parts)

    def __add__(self, other: Spending) -> Spending:
        mine, others = asdict(self), asdict(other)
        failures = dict(Counter(mine.pop("failures")) + Counter(others.pop("failures")))
        return Spending(**{name: mine[name] + others[name] for name in mine}, failures=failures)

    @classmethod
    def of(cls, completions: Iterable[Completion], new: set[str], provider: Provider, **of_the_run: Any) -> Spending:
        """Add up the answers of distinct calls; this run made those whose keys are ``new``.

        From the run come ``failures``, ``lost`` and ``dollars_lost``.
        """
        totals: Any = Counter()
        for one in completions:
            if one.finish_reason == REFUSED:
                totals["refused"] += 1
                continue
            cost, now, uncounted = one.dollars(provider), one.key in new, one.at_most is not None
            totals["dollars"] += cost
            totals["dollars_now"] += cost * now
            totals["dollars_at_most"] += cost * uncounted
            totals["calls"] += 1
            totals["calls_made"] += now
            totals["cut"] += one.finish_reason == "length"
            totals["uncounted"] += uncounted
            for name in ("prompt_tokens", "thinking_tokens", "answer_tokens", "completion_tokens"):
                totals[name] += getattr(one, name)
        dollars = {name: round(float(totals[name]), 6) for name in ("dollars", "dollars_now", "dollars_at_most")}
        return cls(**{**totals, **dollars, **of_the_run})
