"""Control how fast a provider is asked: calls in flight, requests and tokens per minute, and pauses that it asks for.

Nothing here sleeps or reads a clock. Times are arguments, in seconds of any monotonic clock.
"""

import statistics

START = 64
"""The most calls in flight at the start."""
TOLERATED = 0.1
"""If a larger share of the latest calls meets trouble, our load is the cause; a smaller share are stray errors."""
RECOVERED = 0.875
"""After trouble, the limit doubles per round up to this share of the level that met trouble; then it grows by one."""
SLOWER = 2.0
"""If the median latency is this many times the best one, without more throughput, calls wait in a provider's queue."""
KEPT = 0.8
"""After a queue was noticed, the lower limit was right if at least this share of the throughput is left."""
WIDEN = 1.25
"""The limit after a queue, as a multiple of the calls that the throughput needs at the best latency."""
FEWEST = 16
"""The fewest answers of a round, so that their median latency means something."""
SHORTEST = 0.001
"""The shortest time between two calls that is waited for, in seconds; timers are not finer."""


class Bucket:
    """A token bucket for a limit per minute.

    It spreads the allowed amount, so that no minute, whenever it begins, exceeds the limit. An amount larger than the
    bucket's content leaves a debt, and later calls wait until it is paid.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        # A full bucket holds the amount of 0.1 seconds. What it holds beyond one is subtracted from the rate, since it
        # may be taken at once at the beginning of a minute.
        self.burst = max(1.0, per_minute / 600)
        self.per_second = (per_minute - (self.burst - 1)) / 60
        self.level, self.updated = self.burst, now

    def wait(self, now: float) -> float:
        """Seconds until something may be taken; 0 if it may be now."""
        self.level = min(self.burst, self.level + (now - self.updated) * self.per_second)
        self.updated = now
        return max(0.0, 1.0 - self.level - 1e-9) / self.per_second

    def take(self, amount: float) -> None:
        """Take an amount, or give it back if it is negative."""
        self.level -= amount


class Pace:
    """Decides how many calls may be in flight, and when the next one may be sent.

    The limit doubles per round of answers until the first trouble: 429, 5xx, timeouts, or latency that grows without
    more throughput. Trouble halves it, at most once per round trip. Then it grows again, quickly to near the level of
    the trouble, and from there by one per round. It never exceeds ``cap``. ``requests`` and ``tokens`` are limits per
    minute, or None.
    """

    def __init__(self, cap: int, requests: float | None, tokens: float | None, now: float) -> None:
        self.cap = cap
        self._limit = float(min(cap, START))
        self._doubling_to = float(cap)
        """Below this limit, growth is quick."""
        self._troubled = 0.0
        """Share of the latest calls that met trouble."""
        self._cut_at = self._paused_until = self._sent_at = float("-inf")
        self._latency = 0.0
        """Seconds that calls took lately, as an exponential mean."""
        self._requests, self._tokens = (Bucket(limit, now) if limit else None for limit in (requests, tokens))
        self._round: list[float] = []
        """Latencies of this round's answers; a round begins with its first answer."""
        self._round_began = now
        self._round_limit = self._limit
        self._best_latency: float | None = None
        self._best_rate = 0.0
        self._queued: float | None = None
        """Answers per second in the previous round, if a queue was noticed in it; else None."""

    @property
    def limit(self) -> int:
        """The number of calls that may be in flight now."""
        return int(self._limit)

    def wait(self, now: float) -> float:
        """Seconds until the next call may be sent, by pauses and rates; 0 if it may be now."""
        # Calls that are sent together come back together, again and again, and the provider idles between. So calls are
        # spread over half the latency, which still allows twice the present pace.
        spread = self._sent_at + self._latency / self._limit / 2 - now
        waits = [self._paused_until - now, *(bucket.wait(now) for bucket in (self._requests, self._tokens) if bucket)]
        return max(0.0, spread if spread > SHORTEST else 0.0, *waits)

    def note_sent(self, tokens: float, now: float) -> None:
        """Note that a call was sent, which is expected to use so many tokens."""
        self._sent_at = now
        if self._requests:
            self._requests.take(1)
        self.charge(tokens)

    def charge(self, tokens: float) -> None:
        """Charge tokens beyond those expected; a negative number gives tokens back."""
        if self._tokens:
            self._tokens.take(tokens)

    def pause(self, until: float) -> None:
        """Send nothing before this time; a pause is never shortened."""
        self._paused_until = max(self._paused_until, until)

    def note_answer(self, sent: float, now: float) -> None:
        """Note that a call sent at ``sent`` was answered."""
        if sent < self._cut_at:
            return  # it shows the latency under a load that has since been reduced
        self._troubled -= self._troubled / self._window()
        self._latency += (now - sent - self._latency) / FEWEST
        self._limit = min(self.cap, self._limit + (1 if self._limit < self._doubling_to else 1 / self._limit))
        if not self._round:
            self._round_began = now
        self._round.append(now - sent)
        if len(self._round) >= max(FEWEST, self._round_limit):
            self._end_round(now)

    def note_trouble(self, sent: float, in_flight: int, now: float) -> None:
        """Note that a call sent at ``sent``, one of ``in_flight``, met an error that our load may have caused."""
        if sent < self._cut_at:
            return  # the limit was already reduced for the load under which this call was sent
        self._troubled += (1 - self._troubled) / self._window()
        if self._troubled > TOLERATED:
            level = min(self._limit, max(1, in_flight))
            self._cut(level / 2, level, now)

    def _window(self) -> float:
        """Number of latest calls over which the share in trouble is taken; with fewer than ten, one error would be too
        many."""
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
            # Fewer calls in flight brought fewer answers, so there was no queue: the provider itself became slower.
            self._best_latency = latency
        queue = latency > SLOWER * self._best_latency and rate < 1.1 * self._best_rate
        self._queued = rate if queue else None
        self._best_rate = rate if queue else max(self._best_rate, rate)
        if queue:
            # Little's law: calls in flight = throughput × latency. At the best latency, more calls would only wait.
            self._cut(max(self._limit / 2, min(self._limit, rate * self._best_latency * WIDEN)), self._limit / 2, now)
        else:
            self._round, self._round_limit = [], self._limit
