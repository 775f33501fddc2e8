"""The ledger alone: what max_dollars allows."""

from __future__ import annotations

from pathlib import Path

from m1.client.provider import Completion, Ledger
from m1.core.files import digest
from m1.core.store import Store
from test_client import provider

ANSWER = {
    "message": {"content": "one"},
    "finish_reason": "length",
    "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 100_000},
    "seconds": 1.0,
}
"""Costs 1 dollar for the prompt and 1 for the answer."""


def test_what_is_paid_and_what_is_reserved_leave_the_rest(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many([(digest(1), ANSWER), (digest(2), {"refused": {"status": 400, "message": "no"}})])
        ledger = Ledger(provider(max_dollars=10.0), store)
    assert (ledger.paid, ledger.room, ledger.dollars) == (2.0, 8.0, 0.0), "earlier calls are paid, not this run's"
    ledger.add(Completion.from_value(digest(3), ANSWER))
    assert (ledger.paid, ledger.dollars, ledger.answered, ledger.cut) == (4.0, 2.0, 1, 1)
    assert ledger.tokens == {"prompt": 1_000_000, "thinking": 0, "answer": 100_000, "completion": 100_000}
    ledger.reserved = 5.0
    assert ledger.affords(1.0)
    assert not ledger.affords(1.001)
    assert "$4.0000 are paid" in str(ledger.limit_error(1.001))


def test_without_a_limit_all_is_affordable(tmp_path: Path) -> None:
    ledger = Ledger(provider(), Store(tmp_path))
    assert ledger.room is None
    assert ledger.affords(1e9)
