"""Requests of random tokens, and their generations by an engine."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from m1.engines.protocol import Engine, Generation, Request
from random_model import STOP


def requests(count: int, max_tokens: int, seed: int = 0, **more: Any) -> list[Request]:
    """Make requests with random prompts of 3 to 40 tokens."""
    rng = random.Random(seed)
    return [
        Request(tuple(rng.randrange(5, 900) for _ in range(rng.randint(3, 40))), max_tokens, STOP, **more)
        for _ in range(count)
    ]


def generated(engine: Engine, asked: Sequence[Request]) -> list[Generation]:
    """Return the generations in the order of the requests; each must be reported once."""
    found: dict[int, Generation] = {}
    copies = [dataclasses.replace(request) for request in asked]  # equal requests are apart

    def done(request: Request, generation: Generation) -> tuple[()]:
        assert id(request) not in found
        found[id(request)] = generation
        return ()

    engine.generate(copies, done)
    return [found[id(request)] for request in copies]


def check_the_last_place(one: Engine, asked: Sequence[Request]) -> None:
    """Check that a stop token at the last allowed place is a stop, and that one token less ends at the limit."""
    stopped = [(r, g) for r, g in zip(asked, generated(one, asked)) if g.finish_reason == "stop" and g.tokens > 1]
    assert len(stopped) > 3
    for less, reason in ((0, "stop"), (1, "length")):
        exact = [dataclasses.replace(request, max_tokens=generation.tokens - less) for request, generation in stopped]
        assert generated(one, exact) == [Generation(generation.token_ids, reason) for _, generation in stopped]
