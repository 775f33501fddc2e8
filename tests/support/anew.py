"""Generating every setting of a sweep anew, by the paper's rules, to hold the sweep against."""

from __future__ import annotations

from collections.abc import Sequence

from m1.engines.cached import CachedEngine, Engine, Generation, Request
from m1.infer.settings import SweepSettings
from m1.infer.sweep import SweepTokens

Anew = dict[tuple[int, int], list[tuple[Request, Generation, int]]]


def anew(engine: Engine, prompts: Sequence[tuple[int, ...]], markers: SweepTokens, settings: SweepSettings) -> Anew:
    """For every setting and question, from nothing: the request for the answer, the answer, and the tokens of thinking
    generated."""

    def generate(requests: Sequence[Request]) -> list[Generation]:
        found: dict[int, Generation] = {}
        engine.generate(requests, found.__setitem__)
        return [found[position] for position in range(len(requests))]

    result: Anew = {}
    for budget, forced in settings.conditions:
        active = list(range(len(prompts)))
        thinking: list[tuple[int, ...]] = [()] * len(prompts)
        spent, ended = [0] * len(prompts), [False] * len(prompts)
        for left in range(forced, -1, -1):
            found = generate(
                [
                    Request((*prompts[i], *markers.think, *thinking[i]), budget - len(thinking[i]), markers.stop)
                    for i in active
                ]
            )
            for i, generation in zip(active, found):
                thinking[i] = (*thinking[i], *generation.token_ids)
                spent[i], ended[i] = spent[i] + generation.tokens, generation.finish_reason == "stop"
            active = [i for i in active if left and ended[i] and len(thinking[i]) + len(markers.wait) < budget]
            for i in active:
                thinking[i] = (*thinking[i], *markers.wait)
        frames = [markers.answer if done else markers.final_answer for done in ended]
        asked = [
            Request((*prompts[i], *markers.think, *thinking[i], *frame), settings.answer_limit, markers.stop)
            for i, frame in enumerate(frames)
        ]
        result[budget, forced] = list(zip(asked, generate(asked), spent))
    return result


class Recording(CachedEngine):
    """Remembers the answers' requests and generations."""

    def generate(self, requests: Sequence[Request], what: str) -> list[Generation]:
        before, found = self.generated, super().generate(requests, what)
        if what.startswith("answers"):
            self.answers, self.thinking = list(zip(requests, found)), before
        return found
