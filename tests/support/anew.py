"""Generate every setting of a sweep from nothing, by the paper's rules, as a reference for the sweep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from generations import generated
from m1.core.records import Prediction
from m1.engines.cached import CachedEngine, Engine, Generation, Request
from m1.engines.protocol import Done
from m1.infer.frames import TokenFrames


class Row(NamedTuple):
    """One question at one setting."""

    request: Request
    """For the answer."""
    answer: Generation
    spent: int
    """Tokens of thinking generated."""
    thinking: tuple[int, ...]
    ended: bool


Anew = dict[tuple[int, int], list[Row]]


def anew(engine: Engine, prompts: Sequence[str], frames: TokenFrames, mark: str = "<|im_start|>answer") -> Anew:
    """For every setting and question, from nothing: the request for the answer, the answer, and the tokens of thinking
    generated. ``mark`` opens the answer, without the white space behind it."""

    result: Anew = {}
    settings, wait, header = frames.settings, frames.encode("Wait"), frames.encode(frames.header)
    begun = [(*frames.prompt(prompt), *header) for prompt in prompts]
    for budget, forced in settings.conditions:
        active = list(range(len(prompts)))
        thinking: list[tuple[int, ...]] = [()] * len(prompts)
        spent, ended = [0] * len(prompts), [False] * len(prompts)
        for left in range(forced, -1, -1):
            found = generated(
                engine, [Request((*begun[i], *thinking[i]), budget - len(thinking[i]), frames.stop) for i in active]
            )
            for i, generation in zip(active, found):
                thinking[i] = (*thinking[i], *generation.token_ids)
                spent[i], ended[i] = spent[i] + generation.tokens, generation.finish_reason == "stop"
            active = [i for i in active if left and ended[i] and len(thinking[i]) + len(wait) < budget]
            for i in active:
                thinking[i] = (*thinking[i], *wait)
        before = [(*begun[i], *thinking[i], *opening(frames, thinking[i], ended[i], mark)) for i in range(len(prompts))]
        asked = [Request(ids, settings.answer_limit, frames.stop) for ids in before]
        result[budget, forced] = list(map(Row, asked, generated(engine, asked), spent, thinking, ended))
    return result


def opening(frames: TokenFrames, thinking: Sequence[int], ended: bool, mark: str) -> tuple[int, ...]:
    """Return the token ids between thinking and answer, by the paper's words (B.3), on a line of their own."""
    line = "" if frames.decode(thinking).endswith("\n") else "\n"
    rest = "" if ended else "\n\nFinal Answer:" if mark.endswith("<|end_header_id|>") else "\nFinal Answer:"
    return frames.encode(line + mark + rest)


class Recording(CachedEngine):
    """An engine that records every request and its generation."""

    def generate(self, requests: Iterable[Request], done: Done) -> None:
        self.found: dict[Request, Generation] = {}

        def remember(request: Request, generation: Generation) -> Iterable[Request]:
            assert self.found.setdefault(request, generation) == generation
            return done(request, generation)

        super().generate(requests, remember)

    def check(self, direct: Anew, frames: TokenFrames, predictions: Sequence[Prediction]) -> int:
        """Compare every question at every setting with generating it anew, the answers token by token.

        Returns:
            Tokens of everything that was generated beside these answers, hence of thinking.
        """
        rows = [row for one in zip(*(direct[stage] for stage in frames.settings.conditions)) for row in one]
        expected = [(len(r.thinking), r.ended, frames.decode(r.answer.token_ids), r.answer.tokens) for r in rows]
        assert [(p.thinking_tokens, p.ended, p.answer, p.answer_tokens) for p in predictions] == expected
        answers = {row.request: row.answer for row in rows}
        assert {request: self.found.get(request) for request in answers} == answers
        return sum(generation.tokens for request, generation in self.found.items() if request not in answers)
