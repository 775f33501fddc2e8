"""The budget sweep against generating everything anew, with a random model whose stop tokens come at random lengths."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Any

import pytest
import torch
from generations import generated
from m1.core.errors import UserError
from m1.core.records import Question
from m1.core.store import Store
from m1.engines.cached import CachedEngine, Generation, Request, TransformersEngine
from m1.engines.schedule import Job, Schedule
from m1.infer.frames import Thought, TokenFrames, make_frames
from m1.infer.sweep import Prompt, SweepResult, answer, force, think, with_unanswered
from random_model import STOP, sweep_settings
from sweeps import swept
from transformers import AutoTokenizer, Qwen2ForCausalLM

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> TransformersEngine:
    return TransformersEngine(model_folder, "float32", batch=5)


def fresh(engine: TransformersEngine, requests: list[Request]) -> list[Generation]:
    """Generate without any store, one request at a time."""
    return [generated(engine, [request])[0] for request in requests]


def prompts(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return [tuple(rng.randrange(5, 900) for _ in range(rng.randint(3, 40))) for _ in range(count)]


def frames_of(folder: Path, **more: Any) -> TokenFrames:
    frames = make_frames(AutoTokenizer.from_pretrained(folder), sweep_settings(**more))
    frames.stop = STOP
    return frames


def texts(count: int, seed: int = 0) -> list[str]:
    rng, words = random.Random(seed), ("which", "enzyme", "lowers", "the", "pressure")
    return [" ".join(rng.choices(words, k=rng.randint(3, 20))) for _ in range(count)]


def parts(thoughts: list[Thought]) -> list[tuple[tuple[int, ...], bool, int, tuple[int, ...]]]:
    return [(thought.ids, thought.ended, thought.generated, thought.waits) for thought in thoughts]


def kept(engine: TransformersEngine, folder: Path) -> CachedEngine:
    return CachedEngine(lambda: engine, "random model", Store(folder), "test")


def run(engine: CachedEngine, work: Callable[[Schedule], Coroutine[Any, Any, Any]]) -> Any:
    """What a coroutine returns."""
    found: list[Any] = []
    engine.run([Job(1, work)], 1, found.append)
    return found[0]


def thinking(engine: CachedEngine, prompts: list[str], frames: TokenFrames, budget: int) -> list[Thought]:
    async def work(schedule: Schedule) -> list[Thought]:
        begun = [schedule.start(think(schedule, Prompt(prompt, 0), frames, budget)) for prompt in prompts]
        return [await thought for thought in begun]

    return run(engine, work)


def forcing(
    engine: CachedEngine,
    prompts: list[str],
    thoughts: list[Thought],
    frames: TokenFrames,
    budget: int,
    counts: Collection[int],
) -> dict[int, list[Thought]]:
    """Each question forced by itself."""

    async def one(schedule: Schedule, prompt: str, thought: Thought) -> dict[int, Thought]:
        chain = force(schedule, [Prompt(prompt, 0)], [thought], frames, budget, counts)
        return {count: latest async for count, (latest,) in chain}

    async def work(schedule: Schedule) -> list[dict[int, Thought]]:
        begun = [schedule.start(one(schedule, *pair)) for pair in zip(prompts, thoughts, strict=True)]
        return [await chain for chain in begun]

    found = run(engine, work)
    return {count: [chain[count] for chain in found] for count in found[0]}


def test_batches_equal_transformers_own_generate(engine: TransformersEngine, model_folder: Path) -> None:
    asked = prompts(23)
    found = generated(engine, [Request(prompt, 30, STOP) for prompt in asked])
    model = Qwen2ForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    lengths = set()
    for position, prompt in enumerate(asked):
        ids = model.generate(
            torch.tensor([prompt]), max_new_tokens=30, do_sample=False, eos_token_id=list(STOP), pad_token_id=0
        )[0].tolist()
        new = ids[len(prompt) :]
        stopped = new[-1] in STOP
        assert found[position] == Generation(tuple(new[:-1] if stopped else new), "stop" if stopped else "length")
        lengths.add(len(new))
    assert len(lengths) > 3, "the random model should stop at different lengths, or this tests little"


def test_every_cut_equals_thinking_anew_at_that_budget(
    engine: TransformersEngine, model_folder: Path, tmp_path: Path
) -> None:
    frames, asked, largest = frames_of(model_folder), texts(12), 40
    thoughts = thinking(kept(engine, tmp_path), asked, frames, largest)
    assert {thought.ended for thought in thoughts} == {True, False}
    for budget in range(1, largest + 1):
        anew = fresh(engine, [Request(frames.think(prompt), budget, STOP) for prompt in asked])
        assert parts([frames.cut(thought, budget) for thought in thoughts]) == [
            (g.token_ids, g.finish_reason == "stop", g.tokens, ()) for g in anew
        ]


def test_every_forced_count_equals_forcing_anew(engine: TransformersEngine, model_folder: Path, tmp_path: Path) -> None:
    frames, asked, budget = frames_of(model_folder), texts(10, seed=3), 40
    shared, wait = kept(engine, tmp_path / "one"), frames.encode("Wait")
    chain = forcing(shared, asked, thinking(shared, asked, frames, 60), frames, budget, range(5))
    assert list(chain) == [0, 1, 2, 3, 4]
    assert chain[1] != chain[0]
    for count in range(5):
        anew = []
        for prompt in asked:  # generated step by step, as the released code does, for each count from the beginning
            ids: tuple[int, ...] = ()
            waits: tuple[int, ...] = ()
            tokens = 0
            for left in range(count, -1, -1):
                (generation,) = fresh(engine, [Request((*frames.think(prompt), *ids), budget - len(ids), STOP)])
                ids, ended, tokens = (
                    (*ids, *generation.token_ids),
                    generation.finish_reason == "stop",
                    tokens + generation.tokens,
                )
                if not left or not ended or len(ids) + len(wait) >= budget:
                    break
                ids, waits = (*ids, *wait), (*waits, len(ids))
            anew.append((ids, ended, tokens, waits))
        assert parts(chain[count]) == anew


def test_forced_thinking_stays_inside_the_budget_and_uses_it_up(
    engine: TransformersEngine, model_folder: Path, tmp_path: Path
) -> None:
    frames, asked = frames_of(model_folder), texts(20, seed=4)
    shared = kept(engine, tmp_path)
    chain = forcing(shared, asked, thinking(shared, asked, frames, 25), frames, 25, [0, 1, 25])
    assert all(len(thought.ids) + thought.ended <= 25 for thoughts in chain.values() for thought in thoughts)
    assert any(len(thought.ids) < 20 for thought in chain[1]), "or it tests little"
    assert all(len(thought.ids) + len(frames.encode("Wait")) >= 25 for thought in chain[25])


def test_thinking_that_ended_exactly_at_the_budget_has_ended_but_not_as_released(model_folder: Path) -> None:
    thought, frames = Thought((7, 8, 9), ended=True, generated=4), frames_of(model_folder)
    assert frames.cut(thought, 4) == thought
    cuts = parts([frames.cut(thought, budget) for budget in (3, 2)])
    assert cuts == [((7, 8, 9), False, 3, ()), ((7, 8), False, 2, ())]
    released = frames_of(model_folder, limit="released")
    assert released.cut(thought, 5) == thought
    assert parts([released.cut(thought, 4)]) == [((7, 8, 9), False, 4, ())]


def test_answers_frame_ended_and_cut_thinking_differently(
    engine: TransformersEngine, model_folder: Path, tmp_path: Path
) -> None:
    frames, (prompt,) = frames_of(model_folder, answer_limit=5), texts(1)
    assert frames.header == "<|im_start|>think\n"
    (line,) = frames.encode("\n")
    endings = {
        (11, 12, True): "\n<|im_start|>answer",
        (11, line, True): "<|im_start|>answer",
        (11, 12, False): "\n<|im_start|>answer\nFinal Answer:",
        (11, line, False): "<|im_start|>answer\nFinal Answer:",
    }
    thoughts = [Thought((first, last), ended, 3) for first, last, ended in endings]

    async def work(schedule: Schedule) -> list[tuple[str, int]]:
        return [await answer(schedule, Prompt(prompt, 0), thought, frames) for thought in thoughts]

    found = run(kept(engine, tmp_path), work)
    expected = [(*frames.think(prompt), *key[:2], *frames.encode(text)) for key, text in endings.items()]
    for (text, tokens), generation in zip(found, fresh(engine, [Request(ids, 5, STOP) for ids in expected])):
        assert (text, tokens) == (frames.decode(generation.token_ids), generation.tokens)


QUESTIONS = [
    ("gpqa", Question(f"q{i}", "gpqa", f"Which enzyme is {n} steps from x?", None, ("the a", "the b"), "A"))
    for i, n in enumerate("abcdef")
]
SETTINGS = sweep_settings(budgets=[4, 8, 16], forced=[1, 3], forced_budget=16)


def test_a_sweep_gives_every_setting_once_and_generates_nothing_again(
    engine: TransformersEngine, model_folder: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    first = kept(engine, tmp_path)
    rollouts, predictions, cost = swept(first, tokenizer, QUESTIONS, "m", SETTINGS)
    assert [(p.budget, p.forced) for p in predictions if p.question_id == "q0"] == [
        (4, 0),
        (8, 0),
        (16, 0),
        (16, 1),
        (16, 3),
    ]
    assert first.generated == cost["rollout_tokens"] + cost["forced_tokens"] + cost["answer_tokens"] > 0
    again = kept(engine, tmp_path)
    assert swept(again, tokenizer, QUESTIONS, "m", SETTINGS) == (rollouts, predictions, cost), (
        "the cost is what is needed, not what was missing"
    )
    assert len(rollouts) == len(QUESTIONS)
    assert again.generated == 0
    wider = kept(engine, tmp_path)
    _, more, _ = swept(wider, tokenizer, QUESTIONS, "m", dataclasses.replace(SETTINGS, budgets=(4, 8, 12, 16)))
    assert [p for p in more if p.budget != 12] == predictions
    assert 0 < wider.generated <= 4 * len(QUESTIONS), "a new budget costs its answers, no thinking"


def test_an_engine_that_dies_keeps_what_it_finished(engine: TransformersEngine, tmp_path: Path) -> None:
    requests = [Request(prompt, 12, STOP) for prompt in prompts(200)]

    class Dying:
        def generate(self, requests, done) -> None:  # type: ignore[no-untyped-def]
            def limited(request: Request, generation: Generation) -> tuple[()]:
                done(request, generation)
                limited.left -= 1  # type: ignore[attr-defined]
                if not limited.left:  # type: ignore[attr-defined]
                    raise RuntimeError("killed")
                return ()

            limited.left = 150  # type: ignore[attr-defined]
            engine.generate(requests, limited)

    with pytest.raises(RuntimeError, match="killed"):
        generated(CachedEngine(Dying, "random model", Store(tmp_path), "test"), requests)
    finished = len(Store(tmp_path))
    assert finished >= 128
    assert generated(kept(engine, tmp_path), requests) == fresh(engine, requests)


def test_a_request_beyond_the_models_positions_is_refused(engine: TransformersEngine) -> None:
    with pytest.raises(UserError, match="512 positions"):
        engine.generate([Request((1,) * 500, 20, STOP)], lambda *_: ())


def test_counts_of_zero_stay_in_the_cost() -> None:
    """A model whose thinking never ends is never forced; ``sweep_cost.csv`` wants the number all the same."""
    cost = Counter(rollout_tokens=5, forced_tokens=0)
    assert dict(with_unanswered([], (), "m", sweep_settings(), SweepResult([], [], cost)).cost) == {
        "rollout_tokens": 5,
        "forced_tokens": 0,
        "unanswered": 0,
    }
