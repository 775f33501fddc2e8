"""Pace and buckets against a simulated provider and a simulated clock."""

from __future__ import annotations

import heapq
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.client.pace import START, Bucket, Pace


def drive(
    pace: Pace, capacity: int, seconds: float, *, queue: bool = False, stray: float = 0.0, latency: float = 2.0
) -> tuple[float, list[tuple[float, int]]]:
    """Answers per second, and (time, calls at a time) whenever that changed, over ``seconds`` of simulated time.

    Args:
        capacity: calls that the provider serves at once; beyond it 429 at once, or (``queue``) all become slower.
        stray: share of calls that fail for no reason of load.
    """
    dice = random.Random(0)
    now, answers = 0.0, 0
    flying: list[tuple[float, float, bool]] = []  # end, sent, whether it is answered
    limits = [(0.0, pace.limit)]
    while now < seconds:
        while len(flying) < pace.limit:
            over = len(flying) >= capacity
            took = latency * (max(1.0, len(flying) / capacity) if queue else 1.0) * dice.uniform(0.8, 1.2)
            well = (queue or not over) and dice.random() >= stray
            heapq.heappush(flying, (now + (took if well else 0.05), now, well))
        now, sent, well = heapq.heappop(flying)
        if well:
            answers += 1
            pace.note_answer(sent, now)
        else:
            pace.note_trouble(sent, len(flying) + 1, now)
        if pace.limit != limits[-1][1]:
            limits.append((now, pace.limit))
    return answers / seconds, limits


def test_it_doubles_per_round_to_the_cap() -> None:
    rate, limits = drive(Pace(256, None, None, 0.0), 256, 60)
    assert limits[0] == (0.0, START)
    at = {limit: time for time, limit in limits}
    assert at[128] < 2.6
    assert at[256] < 5.2
    assert max(at) == 256
    assert rate > 0.9 * 128


def test_a_small_cap_is_never_passed_and_used_at_once() -> None:
    _, limits = drive(Pace(5, None, None, 0.0), 256, 20)
    assert limits == [(0.0, 5)]


@pytest.mark.parametrize("cap", [300, 1000])
def test_above_the_capacity_it_settles_near_it(cap: int) -> None:
    rate, limits = drive(Pace(cap, None, None, 0.0), 200, 600)
    assert rate > 0.9 * 100
    assert all(limit <= 1.3 * 200 for time, limit in limits if time > 60)


def test_stray_errors_are_not_taken_for_load() -> None:
    rate, _ = drive(Pace(256, None, None, 0.0), 10**6, 120, stray=0.04)
    assert rate > 0.8 * 128


def test_a_queue_at_the_provider_is_not_made_longer() -> None:
    rate, limits = drive(Pace(1000, None, None, 0.0), 100, 600, queue=True)
    assert rate > 0.9 * 50
    assert max(limit for time, limit in limits if time > 300) < 220


def test_a_provider_that_becomes_slower_by_itself_is_not_left() -> None:
    pace = Pace(100, None, None, 0.0)
    drive(pace, 10**6, 60, latency=1.0)
    assert pace.limit == 100
    _, limits = drive(pace, 10**6, 600, latency=4.0)
    assert min(limit for _, limit in limits) >= 25
    assert limits[-1][1] > 60


def test_one_cut_for_one_round_trip_and_never_below_one() -> None:
    pace = Pace(64, None, None, 0.0)
    for _ in range(64):
        pace.note_trouble(0.0, 64, 1.0)
    assert pace.limit == 32
    for when in range(2, 40):
        for _ in range(20):
            pace.note_trouble(float(when), 64, when + 0.5)
    assert pace.limit == 1


def test_what_was_sent_before_the_cut_lets_nothing_grow() -> None:
    pace = Pace(64, None, None, 0.0)
    for _ in range(20):
        pace.note_trouble(0.0, 64, 1.0)
    for _ in range(40):
        pace.note_answer(0.5, 2.0)
    assert pace.limit == 32
    pace.note_answer(1.5, 3.0)
    assert pace.limit == 33


def test_a_pause_is_for_all_and_never_shortened() -> None:
    pace = Pace(8, None, None, 0.0)
    assert pace.wait(0.0) == 0
    pace.pause(30.0)
    pace.pause(10.0)
    assert pace.wait(5.0) == 25
    assert pace.wait(30.0) == 0


@given(st.floats(0.5, 20_000), st.lists(st.floats(0, 30), max_size=60))
def test_no_minute_sees_more_requests_than_allowed(per_minute: float, gaps: list[float]) -> None:
    pace, now, taken = Pace(8, per_minute, None, 0.0), 0.0, []
    for gap in gaps:
        now += gap + pace.wait(now + gap)
        for _ in range(50):
            if pace.wait(now) > 0:
                break
            pace.note_sent(0, now)
            taken.append(now)
    for first in taken:
        assert sum(first <= time < first + 60 - 1e-6 for time in taken) <= math.ceil(per_minute)


def test_a_bucket_gives_what_is_allowed() -> None:
    bucket, now, taken = Bucket(600, 0.0), 0.0, 0
    while now < 59.95:
        now += bucket.wait(now)
        bucket.take(1)
        taken += 1
    assert 595 <= taken <= 601


def test_tokens_are_a_debt_that_the_usage_corrects() -> None:
    pace = Pace(8, None, 6000, 0.0)  # 100 a second
    assert pace.wait(0.0) == 0
    pace.note_sent(1000, 0.0)
    assert pace.wait(0.0) == pytest.approx(10, rel=0.1)
    pace.charge(-900)  # it was only 100
    assert pace.wait(0.0) == pytest.approx(1, rel=0.2)
    assert pace.wait(2.0) == 0


def test_calls_that_came_together_are_sent_apart() -> None:
    pace = Pace(100, None, None, 0.0)
    for _ in range(200):
        pace.note_answer(0.0, 2.0)
    now, sent = 2.0, []
    while len(sent) < 100:
        now += pace.wait(now)
        pace.note_sent(0, now)
        sent.append(now)
    assert sent[-1] - sent[0] == pytest.approx(1.0, rel=0.05), "half of a call's time: no throughput is lost"
    quick = Pace(100, None, None, 0.0)
    quick.note_answer(0.0, 0.01)
    quick.note_sent(0, 1.0)
    assert quick.wait(1.0) == 0, "timers are not fine enough"
