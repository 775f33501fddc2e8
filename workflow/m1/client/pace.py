"""How fast a provider is asked: calls at a time, requests and tokens per minute, and pauses that it asks for.

Nothing here sleeps or looks at a clock: times are given, in seconds of any clock that only goes forward.
"""

import statistics

START = 64
"""Calls at a time to start with, at most."""
TOLERATED = 0.1
"""More than this share of the latest calls in trouble is our load; less are a provider's stray errors."""
RECOVERED = 0.875
"""Up to this share of the level that met trouble, calls at a time double per round again; then they grow by one."""
SLOWER = 2.0
"""A median latency of so many times the best one, without more throughput, is a queue at the provider."""
KEPT = 0.8
"""Fewer calls at a time cost no throughput if at least so much of it is left."""
WIDEN = 1.25
"""Calls at a time that a queue leaves, as a multiple of what the throughput needs at the best latency."""
FEWEST = 16
"""A round has at least so many answers, for its median to mean something."""
SHORTEST = 0.001
"""Seconds; timers are not finer, so that calls are not spread by less."""


class Bucket:
    """A token bucket for a limit per minute: it spreads what is allowed, so that no minute, wherever it begins, sees
    more. An amount larger than what is there leaves a debt that later ones wait for."""

    def __init__(self, per_minute: float, now: float) -> None:
        self.burst = max(1.0, per_minute / 600)
        self.per_second = (per_minute - (self.burst - 1)) / 60
        self.level, self.updated = self.burst, now

    def wait(self, now: float) -> float:
        """Seconds until something may be taken; 0 if now."""
        self.level = min(self.burst, self.level + (now - self.updated) * self.per_second)
        self.updated = now
        return max(0.0, 1.0 - self.level - 1e-9) / self.per_second

    def take(self, amount: float) -> None:
        """Take, or give back (a negative amount)."""
        self.level -= amount


class Pace:
    """How many calls may be in flight, and when the next may be sent.

    Calls at a time double per round of answers until the first trouble (429, 5xx, timeouts, or latency that grows
    without throughput), halve on trouble, at most once per round trip, and come back: quickly to near where the trouble
    was, then by one per round. They are never more than ``cap``.

    Args:
        requests, tokens: per minute; None for no limit.
    """

    def __init__(self, cap: int, requests: float | None, tokens: float | None, now: float) -> None:
        self.cap = cap
        self._limit = float(min(cap, START))
        self._doubling_to = float(cap)
        """Growth is quick below it."""
        self._troubled = 0.0
        """Share of the latest calls that met trouble."""
        self._cut_at = self._paused_until = self._sent_at = float("-inf")
        self._latency = 0.0
        """Seconds that a call took lately: an exponential mean."""
        self._requests, self._tokens = (Bucket(limit, now) if limit else None for limit in (requests, tokens))
        self._round: list[float] = []
        """Latencies of this round's answers; it begins with the first one."""
        self._round_began = now
        self._round_limit = self._limit
        self._best_latency: float | None = None
        self._best_rate = 0.0
        self._queued: float | None = None
        """Answers per second in the round before, where a queue was noticed in it."""

    @property
    def limit(self) -> int:
        """Calls at a time, now."""
        return int(self._limit)

    def wait(self, now: float) -> float:
        """Seconds until the next call may be sent, as far as pauses and rates go; 0 if now."""
        # Calls sent together come back together, for ever, and wait for each other here: spread, at twice the pace.
        spread = self._sent_at + self._latency / self._limit / 2 - now
        waits = [self._paused_until - now, *(bucket.wait(now) for bucket in (self._requests, self._tokens) if bucket)]
        return max(0.0, spread if spread > SHORTEST else 0.0, *waits)

    def note_sent(self, tokens: float, now: float) -> None:
        """A call was sent that is expected to use so many tokens."""
        self._sent_at = now
        if self._requests:
            self._requests.take(1)
        self.charge(tokens)

    def charge(self, tokens: float) -> None:
        """So many more tokens were used than expected (fewer: a negative number)."""
        if self._tokens:
            self._tokens.take(tokens)

    def pause(self, until: float) -> None:
        """Send nothing before this time; a pause is never shortened."""
        self._paused_until = max(self._paused_until, until)

    def note_answer(self, sent: float, now: float) -> None:
        """A call sent at ``sent`` was answered."""
        if sent < self._cut_at:
            return  # it says how things were under a load that is no more
        self._troubled -= self._troubled / self._window()
        self._latency += (now - sent - self._latency) / FEWEST
        self._limit = min(self.cap, self._limit + (1 if self._limit < self._doubling_to else 1 / self._limit))
        if not self._round:
            self._round_began = now
        self._round.append(now - sent)
        if len(self._round) >= max(FEWEST, self._round_limit):
            self._end_round(now)

    def note_trouble(self, sent: float, in_flight: int, now: float) -> None:
        """A call sent at ``sent``, one of ``in_flight``, was told to slow down, or met an error that load may cause."""
        if sent < self._cut_at:
            return  # of the round trip that was answered for already
        self._troubled += (1 - self._troubled) / self._window()
        if self._troubled > TOLERATED:
            level = min(self._limit, max(1, in_flight))
            self._cut(level / 2, level, now)

    def _window(self) -> float:
        """Calls over which the share of troubled ones is taken; less than ten would tolerate none."""
        return max(10.0, self._limit)

    def _cut(self, to: float, level: float, now: float) -> None:
        self._limit = max(1.0, to)
        self._doubling_to = level * RECOVERED
        self._troubled = 0.0
        self._cut_at = now
        self._round, self._round_limit = [], self._limit

    def _end_round(self, now: float) -> None:
        latency = statistics.median(self._round)
        rate = (len(self._round) - 1) / max(1e-9, now - self._round_began)
        if self._best_latency is None or latency < self._best_latency:
            self._best_latency = latency
        elif self._queued is not None and rate < KEPT * self._queued:
            # Fewer calls, fewer answers: there is no queue, the provider has become slower by itself.
            self._best_latency = latency
        queue = latency > SLOWER * self._best_latency and rate < 1.1 * self._best_rate
        self._queued = rate if queue else None
        self._best_rate = rate if queue else max(self._best_rate, rate)
        if queue:
            # Little's law: what is in flight at the best latency gives this throughput; anything more only waits.
            self._cut(max(self._limit / 2, min(self._limit, rate * self._best_latency * WIDEN)), self._limit / 2, now)
        else:
            self._round, self._round_limit = [], self._limit
