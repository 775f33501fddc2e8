"""The ledger alone: what max_dollars allows, and what of it outlives a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from m1.client.completion import Completion
from m1.client.ledger import Beside, CallTotals, Ledger, SpendingJournal
from m1.client.provider import Request
from m1.core.errors import UserError
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
    assert "$4.0000 are paid by the provider's count, and at most $0.0000 more" in str(ledger.limit_error(1.001))


def test_calls_without_countable_usage_cost_their_most_and_those_of_other_steps_the_dearest(tmp_path: Path) -> None:
    """As older stores have them: nothing beside the answer says what was asked."""
    uncounted = ANSWER | {"usage": {"input_tokens": 5}}
    short, long = Request("short"), Request("long " * 100)
    settings = provider(max_dollars=10.0, max_tokens=100_000)
    wanted = {request.key(settings): request for request in (short, long)}
    with Store(tmp_path) as store:
        store.put_many([(short.key(settings), uncounted), (digest(1), uncounted), (digest(2), ANSWER)])
        ledger = Ledger(settings, store, wanted=wanted)
    assert ledger.counted == 2.0
    assert ledger.at_most == pytest.approx(short.most_dollars(settings) + long.most_dollars(settings))
    assert "$2.0000 are paid by the provider's count, and at most $2.00" in str(ledger)


def test_a_journal_outlives_its_process_until_the_answer_is_there(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        first = SpendingJournal(store)
        first.in_flight |= {digest(1): (10, 100), digest(2): (20, 200), digest(3): (30, 300)}
        first.settle(digest(3), lost=True)
        first.write(first.text())
        store.put(digest(1), ANSWER)
        second = SpendingJournal(store)  # the first was killed
        assert second.beside.lost == CallTotals(2, 50, 500), "the one in flight, and the one that was lost before"
        assert [path.name for path in tmp_path.glob("spending-*")] == [second.path.name]
        store.put(digest(2), ANSWER)
        assert SpendingJournal(store).beside.lost == CallTotals(2, 50, 500), "another attempt was answered"


def test_a_journal_that_was_taken_over_counts_once(tmp_path: Path) -> None:
    """The process was killed after it wrote its own journal, and before it removed the other."""
    with Store(tmp_path) as store:
        first = SpendingJournal(store)
        first.in_flight[digest(1)] = (10, 100)
        first.write(first.text())
        content = first.path.read_bytes()
        second = SpendingJournal(store)
        first.path.write_bytes(content)
        assert Beside.read(store)[0].lost == CallTotals(1, 10, 100)
        assert SpendingJournal(store).beside.lost == CallTotals(1, 10, 100)
        assert not second.path.exists()


def test_a_journal_without_anything_to_say_is_no_file(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        journal = SpendingJournal(store)
        journal.in_flight[digest(1)] = (10, 100)
        journal.write(journal.text())
        assert journal.path.exists()
        journal.settle(digest(1), lost=False)
        journal.close()
    assert not list(tmp_path.glob("spending-*"))


@pytest.mark.parametrize("damage", ["{}", '{"lost": 1, "taken_back": 1, "in_flight": {}, "replaces": []}', "{"])
def test_a_damaged_journal_is_named(tmp_path: Path, damage: str) -> None:
    (tmp_path / "spending-1.json").write_text(damage)
    with Store(tmp_path) as store, pytest.raises(UserError, match=r"spending-1\.json: not"):
        SpendingJournal(store)


def test_without_a_limit_all_is_affordable(tmp_path: Path) -> None:
    ledger = Ledger(provider(), Store(tmp_path))
    assert ledger.room is None
    assert ledger.affords(1e9)
