"""The failure policy alone: what one failed attempt means after others."""

from __future__ import annotations

from pathlib import Path

import pytest
from m1.client.attempt import Failure
from m1.client.failures import CONNECTIONS, FIRST_REFUSED, LOST_IN_A_ROW, PATIENCE, Call, Decision, FailurePolicy
from m1.client.provider import Request
from m1.core.store import Store
from test_client import provider

REFUSED = Failure("refused", "HTTP 400: no", 400)
SLOW_DOWN = Failure("429", "HTTP 429: later", 429)
SERVER_ERROR = Failure("5xx", "HTTP 500: oops", 500)


@pytest.fixture
def policy(tmp_path: Path) -> FailurePolicy:
    """That of a run of 1,000 calls with two retries."""
    wanted = {f"{n:064x}": Request(str(n)) for n in range(1000)}
    return FailurePolicy(provider(), "http://there/v1", Store(tmp_path), wanted)


def decide(policy: FailurePolicy, failure: Failure, number: int = 0, answered: int = 0, now: float = 0.0) -> Decision:
    """What follows from a failure of a new call, in a run that began at 0."""
    return policy.decide(Call(f"{number:064x}", Request(str(number)), 0.0), failure, answered, 0.0, now)


def test_the_same_status_ends_a_run_at_its_beginning_only(policy: FailurePolicy) -> None:
    unauthorized = Failure("401", "HTTP 401: who?", 401)
    ending = decide(policy, unauthorized).ending
    assert ending
    assert "HTTP 401: who?" in str(ending)
    assert decide(policy, unauthorized, answered=1) == Decision(True), "later it may pass"
    assert decide(policy, Failure("402", "HTTP 402: pay", 402), answered=1).ending
    assert policy.counts == {"401": 2, "402": 1}


def test_refused_calls_end_the_run_when_nothing_else_comes_or_they_are_many(policy: FailurePolicy) -> None:
    endings = [decide(policy, REFUSED, n).ending for n in range(FIRST_REFUSED)]
    assert [ending is not None for ending in endings] == [False] * (FIRST_REFUSED - 1) + [True]
    endings = [decide(policy, REFUSED, n, answered=1).ending for n in range(FIRST_REFUSED, 11)]
    assert [ending is not None for ending in endings] == [False] * (10 - FIRST_REFUSED) + [True], "more than 1 %"
    assert not any(decide(policy, REFUSED, n, answered=1).repeat for n in range(3))


def test_no_connection_is_tried_again_after_a_pause_and_ends_the_run_soon(policy: FailurePolicy) -> None:
    unreachable = Failure("connection", "no connection (refused)")
    decisions = [decide(policy, unreachable) for _ in range(CONNECTIONS)]
    assert [decision.ending is not None for decision in decisions] == [False] * (CONNECTIONS - 1) + [True]
    assert all(decision.repeat and decision.pause for decision in decisions)
    policy.note_answer()
    assert decide(policy, unreachable, answered=1) == Decision(True), "after an answer it is a failure as any other"


def test_slowing_down_uses_no_retry_and_ends_the_run_after_patience_without_an_answer(policy: FailurePolicy) -> None:
    call = Call("0" * 64, Request("0"), 0.0)
    assert all(policy.decide(call, SLOW_DOWN, 1, 0.0, now) == Decision(True) for now in (1.0, PATIENCE, PATIENCE + 1))
    assert (call.failures, call.slowed) == (0, 3)
    policy.note_answer()
    assert policy.decide(call, SLOW_DOWN, 2, 0.0, PATIENCE + 2).ending is None
    assert policy.decide(call, SLOW_DOWN, 2, 0.0, 2 * PATIENCE + 3).ending is not None


def test_calls_lost_in_a_row_end_the_run_and_an_answer_between_them_begins_anew(policy: FailurePolicy) -> None:
    def lose(number: int) -> Decision:
        call = Call(f"{number:064x}", Request(str(number)), 0.0)
        decisions = [policy.decide(call, SERVER_ERROR, 1, 0.0, 0.0) for _ in range(3)]
        assert [decision.repeat for decision in decisions] == [True, True, False], "two retries"
        return decisions[-1]

    assert not any(lose(number).ending for number in range(LOST_IN_A_ROW - 1))
    policy.note_answer()
    assert not any(lose(number).ending for number in range(LOST_IN_A_ROW - 1))
    assert "a call of model adder-1 failed 3 times, the last time with: HTTP 500: oops" in str(lose(9).ending)
