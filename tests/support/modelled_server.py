"""A server with several copies of a model, as arithmetic: its step time is a formula, its clock is virtual.

It is an engine, so that the real schedule runs on it: what is measured is how full it is kept. The formula and its
constants are assumptions; nothing here was measured on a GPU.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from m1.engines.protocol import Done, Generation, Request, Waiting


@dataclass(frozen=True)
class Shape:
    """A copy's step takes ``weights + rows * (row + context * token)`` milliseconds, context in tokens of a row on
    average; it reads ``prefill`` tokens of prompts a second, has ``rows`` requests at most at a time, and keeps
    the beginnings of ``cache`` tokens."""

    copies: int
    weights: float
    row: float
    token: float
    prefill: float
    cache: int
    rows: int = 256


# A step of bfloat16 weights and keys and values read at 3 TB/s, in SGLang's deterministic mode, a third slower.
SHAPES = {
    "7b": Shape(8, 8.3, 0.016, 2.6e-5, 18_700, 960_000),
    "32b": Shape(4, 18.1, 0.027, 5.9e-5, 6_700, 290_000),
}
"""On 8 GPUs: 7B as 8 copies, 32B as 4 copies of 2 GPUs each."""


@dataclass
class Copy:
    """One copy of the model, with continuous batching."""

    shape: Shape
    now: float = 0.0
    """Seconds."""
    steps: float = 0.0
    context: float = 0.0
    """Tokens that the running requests read in a step, half of what they generate among them."""
    busy: float = 0.0
    """Seconds in which it had something to do."""
    reading: float = 0.0
    """Of these, seconds in which it read prompts."""
    running: list[tuple[float, int, float, Request]] = field(default_factory=list)
    queue: list[tuple[Request, int]] = field(default_factory=list)
    held: OrderedDict[int, tuple[int, ...]] = field(default_factory=OrderedDict)
    """Of each group, the longest beginning whose keys and values are in the cache."""
    kept: int = 0
    """Tokens in ``held``."""

    def step(self) -> float:
        """Return the seconds of a step."""
        shape = self.shape
        return (shape.weights + len(self.running) * shape.row + self.context * shape.token) / 1e3

    def pass_time(self, seconds: float) -> None:
        """Let time pass: work, or wait if there is nothing to do."""
        if self.running and seconds > 0:
            self.steps += seconds / self.step()
            self.busy += seconds
        self.now += max(seconds, 0.0)

    def add(self, now: float, request: Request, tokens: int) -> None:
        """Take a request for which ``tokens`` will be generated."""
        self.pass_time(now - self.now)
        self.queue.append((request, tokens))
        self.admit()

    def admit(self) -> None:
        """Start waiting requests, as many as there is room for."""
        while self.queue and len(self.running) < self.shape.rows:
            request, tokens = self.queue.pop(0)
            more = len(request.prompt) + tokens / 2
            seconds = (len(request.prompt) - self.cached(request)) / self.shape.prefill
            self.now += seconds  # the others wait meanwhile
            self.busy += seconds
            self.reading += seconds
            heapq.heappush(self.running, (self.steps + tokens, id(request), more, request))
            self.context += more

    def cached(self, request: Request) -> int:
        """Count the tokens of a prompt that are in the cache."""
        held, prompt = self.held.get(request.group, ()), request.prompt
        low, high = 0, min(len(held), len(prompt))
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if held[:middle] == prompt[:middle] else (low, middle - 1)
        return low

    def hold(self, request: Request, ids: tuple[int, ...]) -> None:
        """Cache the tokens of a request; the least recently used ones make room."""
        whole, before = (*request.prompt, *ids), self.held.pop(request.group, ())
        self.held[request.group] = whole = max(whole, before, key=len)
        self.kept += len(whole) - len(before)
        while self.kept > self.shape.cache:
            self.kept -= len(self.held.popitem(last=False)[1])

    def next_end(self) -> float:
        """Return the time at which the next request ends, if none is added."""
        return self.now + (self.running[0][0] - self.steps) * self.step() if self.running else math.inf

    def finish(self) -> Request:
        """Work until the next request ends."""
        self.pass_time(self.next_end() - self.now)
        end, _, more, request = heapq.heappop(self.running)
        self.steps = end
        self.context -= more
        return request


class ModelledServer:
    """An engine of copies, with ``batch`` requests in flight; ``complete`` says what is generated.

    Requests of a group go to one copy, unless ``sticky`` is false: then to one after the other.
    """

    def __init__(
        self, shape: Shape, batch: int, complete: Callable[[Request], Generation], sticky: bool = True
    ) -> None:
        self.copies = [Copy(shape) for _ in range(shape.copies)]
        self.batch, self.complete, self.sticky = batch, complete, sticky
        self.now, self.tokens, self.asked = 0.0, 0, 0
        self.flight: list[tuple[float, int]] = []
        """Seconds, and requests in flight from then on."""

    def generate(self, requests: Iterable[Request], done: Done) -> None:
        """Generate, as every engine does."""
        waiting, flight, made = Waiting(requests, None), 0, dict[int, Generation]()
        while True:
            while flight < self.batch and (request := waiting.take()):
                made[id(request)] = self.complete(request)
                place = (request.group if self.sticky else self.asked) % len(self.copies)
                self.copies[place].add(self.now, request, made[id(request)].tokens)
                self.asked += 1
                flight += 1
            self.flight.append((self.now, flight))
            if not flight:
                return
            copy = min(self.copies, key=Copy.next_end)
            request = copy.finish()
            self.now = max(self.now, copy.now)
            generation = made.pop(id(request))
            copy.hold(request, generation.token_ids)
            copy.admit()
            flight -= 1
            self.tokens += generation.tokens
            waiting.follow(done(request, generation))

    def in_flight(self, until: float = 1.0) -> float:
        """Return the mean number of requests in flight, up to a share of the whole time."""
        end = self.now * until
        spans = zip(self.flight, [*self.flight[1:], (self.now, 0)])
        return sum(count * max(0.0, min(later, end) - min(now, end)) for (now, count), (later, _) in spans) / end


WAIT, ANSWERS = tuple(map(ord, "Wait")), (tuple(map(ord, "answer")), tuple(map(ord, "Answer:")))


def generate_as_printed(request: Request) -> Generation:
    """What a model generates whose lengths are the paper's (``resources/paper``; 1,383 tokens of thinking and 194 of
    answer on average, a spread of 0.68); how far forced thinking goes on is assumed. The text is nothing; a request of
    the same group and length is generated alike."""
    chance = random.Random(f"{request.group} {len(request.prompt)} {request.prompt[-4:]}")
    if request.prompt[-4:] == WAIT:
        tokens = chance.lognormvariate(math.log(185), 0.8)
    elif request.prompt[-6:] == ANSWERS[0] or request.prompt[-7:] == ANSWERS[1]:
        tokens = chance.lognormvariate(math.log(194) - 0.18, 0.6)
    else:
        tokens = chance.lognormvariate(math.log(1383) - 0.23, 0.68)
    made = max(1, int(tokens))
    if made > request.max_tokens:
        return Generation((97,) * request.max_tokens, "length")
    return Generation((97,) * (made - 1), "stop")
