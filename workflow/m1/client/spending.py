"""What calls cost: the ledger of a run, which keeps ``max_dollars``, and the summary for manifests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from m1.client.provider import REFUSED, Completion, Provider
from m1.core.errors import UserError
from m1.core.store import Store


class Ledger:
    """Tokens and dollars of one run's answers, and what ``max_dollars`` still allows beside the calls of the store."""

    def __init__(self, provider: Provider, store: Store) -> None:
        self.provider = provider
        self.answered = 0
        self.cut = 0
        """Answers that the token limit cut."""
        self.tokens: Counter[str] = Counter()
        """``prompt``, ``thinking``, ``answer``, ``completion``."""
        self.dollars = 0.0
        self.paid = 0.0
        """Dollars of all calls of the store; what may have been billed counts at its worst."""
        self.reserved = 0.0
        """Dollars that the calls in flight may cost at the worst."""
        if provider.max_dollars is not None:  # a refused call has no tokens, and costs nothing
            self.paid = sum(Completion.from_value(key, store.get(key)).dollars(provider) for key in store)

    def add(self, completion: Completion) -> None:
        cost = completion.dollars(self.provider)
        self.paid += cost
        self.dollars += cost
        self.answered += 1
        self.cut += completion.finish_reason == "length"
        for name in ("prompt", "thinking", "answer", "completion"):
            self.tokens[name] += getattr(completion, f"{name}_tokens")

    @property
    def room(self) -> float | None:
        """Dollars that are not paid yet; None for no limit."""
        return None if self.provider.max_dollars is None else self.provider.max_dollars - self.paid

    def affords(self, worst: float) -> bool:
        """Whether a call may be sent that costs ``worst`` dollars at most."""
        limit = self.provider.max_dollars
        return limit is None or self.paid + self.reserved + worst <= limit

    def limit_error(self, worst: float) -> UserError:
        return UserError(
            f"{self.provider.name}: ${self.paid:,.4f} are paid (answers that were lost on the way at their most), and "
            f"the next call may cost ${worst:,.4f}: max_dollars, {self.provider.max_dollars:,.4f}, would be passed. "
            "Raise max_dollars and run again."
        )


@dataclass(frozen=True)
class Spending:
    """What the calls of one :func:`m1.client.complete.complete_all` cost, and what of it was paid before."""

    calls: int = 0
    """Distinct calls with an answer."""
    calls_made: int = 0
    """Those answered now; the others came from the store."""
    prompt_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    completion_tokens: int = 0
    """Thinking and answer."""
    dollars: float = 0.0
    dollars_now: float = 0.0
    refused: int = 0
    """Distinct calls that the provider rejects for what they ask."""
    cut: int = 0
    """Answers that the token limit cut (finish reason ``length``)."""
    failures: dict[str, int] = field(default_factory=dict)
    """Attempts of now that failed, by their kind."""

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
        return ", ".join(parts)

    def __add__(self, other: Spending) -> Spending:
        mine, others = asdict(self), asdict(other)
        failures = dict(Counter(mine.pop("failures")) + Counter(others.pop("failures")))
        return Spending(**{name: mine[name] + others[name] for name in mine}, failures=failures)

    @classmethod
    def from_store(
        cls, keys: Mapping[str, Any], new: set[str], failures: Mapping[str, int], provider: Provider, store: Store
    ) -> Spending:
        """Add up the calls ``keys``, which are in the store; those of ``new`` were answered now."""
        totals: Counter[str] = Counter()
        dollars = dollars_now = 0.0
        for key in keys:
            completion = Completion.from_value(key, store.get(key))
            if completion.finish_reason == REFUSED:
                totals["refused"] += 1
                continue
            cost = completion.dollars(provider)
            dollars += cost
            dollars_now += cost * (key in new)
            totals["calls"] += 1
            totals["calls_made"] += key in new
            totals["cut"] += completion.finish_reason == "length"
            for name in ("prompt_tokens", "thinking_tokens", "answer_tokens", "completion_tokens"):
                totals[name] += getattr(completion, name)
        rounded = round(dollars, 6), round(dollars_now, 6)
        return cls(**totals, dollars=rounded[0], dollars_now=rounded[1], failures=dict(sorted(failures.items())))
