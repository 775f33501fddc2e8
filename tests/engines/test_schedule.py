"""The schedule: no question waits for another one, and no more of them are in memory than is said."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from generations import generated
from m1.core.errors import UserError
from m1.core.store import Store
from m1.engines.cached import CachedEngine
from m1.engines.protocol import Done, Generation, Request
from m1.engines.schedule import AHEAD, Job, Schedule
from m1.engines.sglang import SglangEngine, SglangOptions
from modelled_server import ModelledServer, Shape

PLAIN = Shape(copies=1, weights=10, row=0, token=0, prefill=1e12, cache=10**9, rows=10**6)
"""A step takes 10 ms, whatever is in flight."""


def as_asked(request: Request) -> Generation:
    return Generation((request.group,) * request.max_tokens, "length")


async def stages(number: int, lengths: Iterable[int], schedule: Schedule) -> int:
    """A question that asks for so many tokens, one request after the other."""
    for stage, tokens in enumerate(lengths):
        await schedule.ask(Request((number, stage), tokens, (), group=number))
    return number


def jobs(lengths: Iterable[Iterable[int]]) -> Iterator[Job]:
    return (Job(1, partial(stages, number, one)) for number, one in enumerate(lengths))


def test_one_long_question_holds_no_other_up() -> None:
    """125 questions of three stages, the first of which takes 50 times as long as the others."""
    server, found = ModelledServer(PLAIN, 32, as_asked), list[int]()
    lengths = [[8000, 40, 40], *([80, 40, 40] for _ in range(124))]
    Schedule(jobs(lengths), 32, found.append).run(server)
    assert found == [*range(125)], "in order"
    alone, others = 80.8, 124 * 1.6 / 31
    ends = [second for second, count in server.flight if count == 1]
    assert server.now == pytest.approx(alone), "the long one is never waited with"
    assert ends[0] == pytest.approx(others, rel=0.01), "the others are done as if there were no long one"
    full = [count for second, count in server.flight if 0 < second < 0.8 * others]
    assert sum(full) / len(full) > 31, "and the engine is full until then"


def test_a_stage_waits_for_no_other_question() -> None:
    """Lengths differ widely, and the sum of them is what counts."""
    lengths = [[10 * (1 + (7 * number + 3 * stage) % 40) for stage in range(4)] for number in range(2000)]
    server = ModelledServer(PLAIN, 50, as_asked)
    Schedule(jobs(lengths), 50, lambda one: None).run(server)
    least = sum(map(sum, lengths)) * 0.01 / 50
    assert server.now < 1.05 * least
    assert server.in_flight(0.9) > 0.99 * 50


class Stubborn:
    """An engine with ``batch`` requests in flight whose first request ends when nothing else can."""

    def __init__(self, batch: int) -> None:
        self.batch, self.most, self.following = batch, 0, 0

    def generate(self, requests: Iterable[Request], done: Done) -> None:
        source, following, flight = iter(requests), list[Request](), list[Request]()
        while True:
            while len(flight) < self.batch:
                request = following.pop(0) if following else next(source, None)
                if request is None:
                    break
                flight.append(request)
            self.most, self.following = max(self.most, len(flight)), max(self.following, len(following))
            if not flight:
                return
            following += done(request := flight.pop(), Generation((), "stop"))


def test_memory_follows_from_what_is_in_flight_not_from_the_questions() -> None:
    begun, kept, ahead, engine = itertools.count(), list[int](), list[int](), Stubborn(8)

    def source() -> Iterator[Job]:
        for job in jobs([4, 2] for _ in range(1000)):
            ahead.append(next(begun) + 1 - len(kept))
            yield job

    Schedule(source(), 8, kept.append).run(engine)
    assert kept == [*range(1000)]
    assert 8 < max(ahead) <= AHEAD * 8 + 1, "and one that waits to be begun"
    assert engine.most == 8
    assert engine.following <= 8, "what is begun beyond does not go before what follows"


def test_jobs_of_many_questions_go_on_while_one_of_them_waits() -> None:
    """As where forcing is as released: a batch waits for its slowest, the next batches do not."""

    async def batch(number: int, schedule: Schedule) -> int:
        for _ in range(3):
            slow = [schedule.ask(Request((number, i), 400 if i == 0 else 20, (), group=i)) for i in range(16)]
            for one in slow:
                await one
        return number

    server, found = ModelledServer(PLAIN, 16, as_asked), list[int]()
    Schedule((Job(16, partial(batch, number)) for number in range(40)), 16, found.append).run(server)
    assert found == [*range(40)]
    assert server.now < 0.6 * 40 * 3 * 4.0, "one batch after the other takes 40 times 12 s"


def test_what_is_in_the_store_needs_no_engine_and_equal_requests_are_generated_once(tmp_path: Path) -> None:
    lengths = [[3, 2, 1], [4, 5]]
    server = ModelledServer(PLAIN, 4, as_asked)
    with Store(tmp_path) as store:
        CachedEngine(lambda: server, "m", store, "t").run(jobs(lengths), 2, lambda one: None)
        again, found = CachedEngine(lambda: pytest.fail("started"), "m", store, "t"), list[int]()
        again.run(jobs(lengths), 2, found.append)
        assert (found, again.generated) == ([0, 1], 0)
        longer = CachedEngine(lambda: server, "m", store, "t")
        longer.run(jobs([[3, 2, 1, 7], [4, 5]]), 2, lambda one: None)
        assert longer.generated == 7
        equal, counted = ModelledServer(PLAIN, 4, as_asked), CachedEngine(lambda: equal, "n", store, "t")
        counted.run([Job(1, partial(stages, 5, [6, 7])) for _ in range(9)], 9, lambda one: None)
        assert (equal.asked, counted.generated) == (2, 13)


def test_a_failure_keeps_what_was_generated(tmp_path: Path) -> None:
    async def failing(schedule: Schedule) -> None:
        await schedule.ask(Request((9,), 1, ()))
        raise UserError("no")

    server = ModelledServer(PLAIN, 1, as_asked)
    with Store(tmp_path) as store, pytest.raises(UserError, match="no"):
        CachedEngine(lambda: server, "m", store, "t").run([*jobs([[3]]), Job(1, failing)], 2, lambda one: None)
    assert len(Store(tmp_path)) == 2


def test_an_engine_that_forgets_what_follows_is_noticed() -> None:
    class Forgetful:
        def generate(self, requests: Iterable[Request], done: Done) -> None:
            for request in requests:
                done(request, Generation((), "stop"))

    with pytest.raises(RuntimeError, match="before every request"):
        Schedule(jobs([[1, 1]]), 4, lambda one: None).run(Forgetful())


def test_without_locks_other_tokens_of_another_process_are_noticed(tmp_path: Path) -> None:
    asked = Request((5,), 3, ())
    with Store(tmp_path) as store, Store(tmp_path) as other:
        store.without_locks = True

        class Contested(ModelledServer):
            def generate(self, requests: Iterable[Request], done: Done) -> None:
                other.put(engine.key(asked), {"token_ids": [7], "finish_reason": "length"})
                super().generate(requests, done)

        engine = CachedEngine(lambda: Contested(PLAIN, 4, as_asked), "m", store, "infer m")
        with pytest.raises(UserError, match="infer m: another process has put other tokens for 1 generations"):
            generated(engine, [asked])
        assert generated(engine, [asked]) == [Generation((7,), "length")], "run again, it is what the store has"


def test_a_group_goes_to_one_copy(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")

    def copies(dp: int) -> list[Any]:
        engine, sent = SglangEngine(tmp_path, "float32", 1, SglangOptions(python="p", dp=dp), "t"), list[Any]()
        engine._send = sent.append  # type: ignore[method-assign]
        for number, group in enumerate([1, 2, 3, 4, 1, 2]):
            engine._ask(number, Request((group,), 1, (), group=group))
        return [message["copy"] for message in sent]

    assert copies(3) == [1, 2, 0, 1, 1, 2]
    assert copies(1) == [None] * 6, "SGLang warns of a rank where there is one"
