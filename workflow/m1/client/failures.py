"""Decide what a failed attempt means for its call (ask again, refused or lost) and for the run (go on or end).

Nothing here sends, sleeps or reads a clock. Times are arguments, in seconds of any monotonic clock.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from m1.client.attempt import Failure
from m1.client.provider import Provider, Request
from m1.core.errors import UserError
from m1.core.store import Store

LOST_SHARE = 0.01
"""If more than this share of all calls (and more than one call) is refused or lost, the run ends."""
LOST_IN_A_ROW = 3
"""If this many calls in a row fail at all attempts, with no answer between them, the provider is out of order, and the
run ends."""
FIRST_REFUSED = 3
"""If this many calls are refused before any call was ever answered, the settings are wrong, and the run ends."""
FIRST_SECONDS = 10.0
"""Seconds for which the first call is sent alone, unless it is answered earlier. A provider reports a wrong key within
this time, while thinking takes longer. Without a connection within this time, the run ends."""
CONNECTIONS, RECONNECT_SECONDS = 3, 1.0
"""Number of attempts at a first connection, and the seconds between them."""
REDIRECTED = "It is not followed, since key and questions would go there. If the provider is there, set base_url to it."
PATIENCE = 600.0
"""If every call is told to slow down (429) for this many seconds, the run ends."""


@dataclass
class Call:
    """A call, with its attempts so far."""

    key: str
    request: Request
    worst: float  # the most that it may cost, in dollars
    failures: int = 0  # failed attempts
    slowed: int = 0  # attempts that were told to slow down (429)


@dataclass(frozen=True)
class Decision:
    """The consequence of a failed attempt."""

    repeat: bool  # whether the call is made again
    ending: UserError | None = None  # why the run ends; None if it goes on
    pause: float = 0.0  # seconds for which no call is sent


def remedies(provider: Provider) -> dict[int, str]:
    """Map each status to a remedy, if the remedy is the same for live calls and batches."""
    key = f"the key in the environment variable {provider.api_key_env}"
    return {
        **dict.fromkeys(range(300, 400), REDIRECTED),
        401: f"Check {key}." if provider.api_key_env else "Give the environment variable of a key by api_key_env.",
        402: "Top up the provider's credit.",
        403: f"Check what {key} may use.",
    }


class FailurePolicy:
    """Decides what failures mean, by the earlier failures of this run and of the step's calls in the store.

    ``wanted`` are all calls of the step, by key.
    """

    def __init__(self, provider: Provider, base_url: str, store: Store, wanted: Mapping[str, Request]) -> None:
        self.provider, self.base_url, self.store = provider, base_url, store
        self.counts: Counter[str] = Counter()
        """Failed attempts by :attr:`m1.client.attempt.Failure.kind`."""
        self.refused: dict[str, dict[str, Any]] = {}
        """Key of each refused call to what the store keeps of it."""
        self.lost: list[str] = []
        """The last failure of each call that failed at all attempts."""
        self._stored = [key for key in wanted if key in store]
        self._most_lost = max(1, LOST_SHARE * len(wanted))
        # Since the latest answer: number of lost calls and of failed connections, and time of the first 429.
        self._lost_in_a_row = self._unconnected = 0
        self._slowed_since: float | None = None

    def note_answer(self) -> None:
        self._slowed_since, self._unconnected, self._lost_in_a_row = None, 0, 0

    def decide(self, call: Call, failure: Failure, answered: int, began: float, now: float) -> Decision:
        """Decide what a failed attempt means for its call, whose counts are updated, and for the run.

        ``began`` is when the run began, and ``answered`` how many calls it has answered.
        """
        self.counts[failure.kind] += 1
        status = failure.status
        if failure.kind == "refused":
            self.refused[call.key] = {"refused": {"status": status, "message": failure.found}}
            too_many = self.too_many_refused(answered)
            return Decision(False, self.refusal_error(f"the last one with: {failure.found}") if too_many else None)
        if failure.kind == "other model":
            return Decision(False, self._error(failure.found))
        if 300 <= status < 400 or status in {402, 405, 410} or (status in {401, 403, 404} and not answered):
            return Decision(False, self._error(f"{failure.found}. {self._remedy(status)}"))
        if failure.kind == "connection" and not answered:
            self._unconnected += 1
            late = self._unconnected >= CONNECTIONS or now - began > FIRST_SECONDS
            found = f"{failure.found}, tried {self._unconnected} times. Check base_url and the network."
            return Decision(True, self._error(found) if late else None, RECONNECT_SECONDS)
        if failure.kind == "429":
            call.slowed += 1
            self._slowed_since = now if self._slowed_since is None else self._slowed_since
            late = now - self._slowed_since > PATIENCE
            remedy = f"Wait, or lower concurrency, requests_per_minute or tokens_per_minute of {self.provider.name}."
            found = f"nothing but {failure.found} for {PATIENCE / 60:g} minutes. {remedy}"
            return Decision(True, self._error(found) if late else None)
        call.failures += 1
        if call.failures <= self.provider.max_retries:
            return Decision(True)
        self.lost.append(failure.found + (f". {remedy}" if (remedy := self._remedy(status)) else ""))
        self._lost_in_a_row += 1
        # If other calls are answered meanwhile, the fault is in this call; else it is in the provider.
        many = not answered or self._lost_in_a_row >= LOST_IN_A_ROW or len(self.lost) > self._most_lost
        return Decision(False, self.lost_error("a call") if many else None)

    def too_many_refused(self, answered: int) -> bool:
        """Whether so many calls are refused that the settings must be wrong; ``answered`` counts this run's answers."""
        if not self.refused:
            return False
        count, (answered_before, refused_before) = len(self.refused), self._before
        return count + refused_before > self._most_lost or (count >= FIRST_REFUSED and not answered + answered_before)

    @cached_property
    def _before(self) -> tuple[int, int]:
        """Numbers of calls that earlier runs had answered and refused; read from the store only if needed."""
        values = (self.store.get(key) for key in self._stored)
        refused = sum(isinstance(value, dict) and "refused" in value for value in values)
        return len(self._stored) - refused, refused

    def refusal_error(self, found: str) -> UserError:
        """The error that too many calls were refused; ``found`` describes one of them."""
        remedy = f"Correct the settings of {self.provider.name} and run again."
        return self._error(f"{len(self.refused)} calls were refused, {found}. {remedy}")

    def lost_error(self, what: str) -> UserError:
        """The error that calls failed at all attempts; ``what`` says how many."""
        failed = f"{what} of model {self.provider.model} failed {self.provider.max_retries + 1} times"
        remedy = "Wait until the provider is well again (or raise max_retries)."
        return self._error(f"{failed}, the last time with: {self.lost[-1]}. {remedy}")

    def _error(self, text: str) -> UserError:
        return UserError(f"{self.base_url}: {text}")

    def _remedy(self, status: int) -> str:
        unknown = f"Check that base_url is correct and that the provider knows the model {self.provider.model!r}."
        known = remedies(self.provider) | {404: unknown}
        return known.get(status, "Check base_url and the settings." if 400 <= status < 500 else "")
