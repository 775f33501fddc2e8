"""The sweep and its accounting against brute force, every setting from nothing, for any thinking that hypothesis makes
up."""

from __future__ import annotations

import random
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from characters import SPECIAL, Characters
from hypothesis import given, settings
from hypothesis import strategies as st
from m1.core.chat import chat
from m1.core.errors import UserError
from m1.core.records import Prediction, Question, Rollout, write
from m1.core.store import Store
from m1.engines.cached import CachedEngine, Generation, Request
from m1.engines.protocol import Done, Waiting
from m1.engines.shards import questions
from m1.infer.frames import make_frames
from m1.infer.settings import SweepSettings
from m1.infer.sweep import render
from random_model import sweep_settings
from sweeps import swept

BUDGET = 30


@dataclass
class Wild:
    """A model that is a hash: the next token follows from all that stands before it; it ends with the given share.

    Of ``batch`` requests in flight, any may end first.
    """

    seed: int
    ends: float
    batch: int = 1
    generated: int = 0

    def next(self, context: Sequence[int]) -> int:
        self.generated += 1
        value = zlib.crc32(repr((self.seed, tuple(context))).encode())
        return 2 if value % 1000 < 1000 * self.ends else 97 + value // 1000 % 26

    def generate(self, requests: Iterable[Request], done: Done) -> None:
        waiting, chance, flight = Waiting(requests, None), random.Random(self.seed), list[Request]()
        while True:
            while len(flight) < self.batch and (request := waiting.take()):
                flight.append(request)
            if not flight:
                return
            request = flight.pop(chance.randrange(len(flight)))
            waiting.follow(done(request, self.complete(request)))

    def complete(self, request: Request) -> Generation:
        ids: list[int] = []
        while len(ids) < request.max_tokens and (token := self.next((*request.prompt, *ids))) not in request.stop:
            ids.append(token)
        return Generation(tuple(ids), "length" if len(ids) == request.max_tokens else "stop")


def brute_force(
    model: Wild, prompt: list[int], budget: int, forced: int, limit: int
) -> tuple[tuple[int, ...], bool, str, int, int]:
    """One setting for one question, token by token, by the paper's rules.

    Returns:
        Token ids of thinking, whether it ended, answer text, tokens of the answer, tokens of thinking generated.
    """
    encode = Characters().encode
    thinking: list[int] = []
    before, ended = model.generated, False
    while len(thinking) < budget and not ended:
        token = model.next([*prompt, *encode("<|im_start|>think\n", False), *thinking])
        if token != 2:
            thinking.append(token)
        elif forced and len(thinking) + 4 < budget:
            thinking += encode("Wait", False)
            forced -= 1
        else:
            ended = True
    generated = model.generated - before
    frame = encode(f"\n<|im_start|>answer{'' if ended else chr(10) + 'Final Answer:'}", False)
    answer: list[int] = []
    before = model.generated
    while len(answer) < limit:
        token = model.next([*prompt, *encode("<|im_start|>think\n", False), *thinking, *frame, *answer])
        if token == 2:
            break
        answer.append(token)
    return tuple(thinking), ended, "".join(map(chr, answer)), model.generated - before, generated


QUESTIONS = [
    ("gpqa", Question(f"q{i}", "gpqa", f"Which {word}?", None, ("a", "b"), "A")) for i, word in enumerate("uvwxyz")
]


def ids_of(tokenizer: Characters, question: Question) -> list[int]:
    """Token ids before the thinking."""
    (prompt,) = render(tokenizer, [question], "thinking")
    return tokenizer.encode(prompt, False)


any_settings = st.builds(
    sweep_settings,
    budgets=st.lists(st.integers(1, BUDGET), min_size=1, max_size=4, unique=True).map(sorted),
    forced=st.lists(st.integers(1, 6) | st.just(BUDGET), max_size=3, unique=True).map(sorted),
    forced_budget=st.integers(1, BUDGET),
    answer_limit=st.integers(1, 5),
)


@settings(max_examples=120)
@given(
    wanted=any_settings,
    seed=st.integers(0, 99),
    ends=st.sampled_from([0.0, 0.03, 0.1, 0.3, 0.7, 1.0]),
    batch=st.integers(1, 9),
)
def test_every_setting_and_its_cost_equal_brute_force(
    wanted: SweepSettings, seed: int, ends: float, batch: int
) -> None:
    tokenizer, model, alone = Characters(), Wild(seed, ends, batch), Wild(seed, ends)
    with tempfile.TemporaryDirectory() as folder, Store(folder) as store:
        engine = CachedEngine(lambda: model, [seed, ends], store, "test", batch=batch)
        rollouts, predictions, cost = swept(engine, tokenizer, QUESTIONS, "m", wanted)
        spent = model.generated

    expected, anew, longest = [], Counter[str](), 0
    for rollout, (benchmark, question) in zip(rollouts, QUESTIONS, strict=True):
        prompt = ids_of(tokenizer, question)
        for budget, forced in wanted.conditions:
            thinking, ended, text, answered, thought = brute_force(alone, prompt, budget, forced, wanted.answer_limit)
            expected.append(
                Prediction(question.id, benchmark, "m", budget, forced, len(thinking), ended, text, answered)
            )
            assert len(thinking) + ended <= budget
            assert rollout.thinking(budget, forced) == thinking, (
                "the file of rollouts holds the thinking of every setting"
            )
            rollout.validate()
            anew.update(thinking=thought, answers=answered)
        largest = max(budget for budget, _ in wanted.conditions)
        rolled = brute_force(alone, prompt, largest, 0, 1)[-1]
        longest += rolled
        if wanted.forced:
            extended = brute_force(alone, prompt, wanted.forced_budget, max(wanted.forced), 1)[-1]
            longest += extended - brute_force(alone, prompt, wanted.forced_budget, 0, 1)[-1]
    assert predictions == expected
    assert (cost["anew_thinking_tokens"], cost["anew_answer_tokens"]) == (anew["thinking"], anew["answers"])
    assert cost["rollout_tokens"] + cost["forced_tokens"] == longest, (
        "the largest budget, and its extension to the largest count: no more"
    )
    assert spent == longest + cost["answer_tokens"]
    assert [rollout.question_id for rollout in rollouts] == [question.id for _, question in QUESTIONS]
    assert [len(rollout.thinking_ids) + (rollout.finish_reason == "stop") for rollout in rollouts] == [
        brute_force(alone, ids_of(tokenizer, question), max(b for b, _ in wanted.conditions), 0, 1)[-1]
        for _, question in QUESTIONS
    ]


def test_full_is_as_many_times_as_the_budget_bears() -> None:
    wanted = sweep_settings(budgets=[8, 4, 8], forced=[2, "full"], forced_budget=16)
    assert wanted.forced_counts == [2, 16]
    assert wanted.conditions == [(4, 0), (8, 0), (16, 0), (16, 2), (16, 16)]


@pytest.mark.parametrize(
    ("forced", "waits"),
    [
        ((9, 9), ()),
        ((), (2,)),
        ((9, 9), (1,)),
        ((9, 9), (3,)),
        ((9, 9), (2, 2)),
        ((9, 9), (2, 4)),
        ((9, 9, 9), (2, 4, 3)),
    ],
)
def test_a_rollout_whose_waits_are_not_in_its_forced_thinking_is_refused(
    forced: tuple[int, ...], waits: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="field 'waits': "):
        Rollout("q", "gpqa", "m", (7, 8), "stop", forced, waits).validate()
    Rollout("q", "gpqa", "m", (7, 8), "stop", (9, 9), (2, 3)).validate()


def test_settings_with_other_keys_are_refused() -> None:
    with pytest.raises(UserError, match="missing key 'forced', 'answer_limit', 'prompt'"):
        SweepSettings.from_json('{"budgets": [4], "forced_budget": 4}')


def test_markers_need_the_special_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPECIAL, "<|im_start|>", 3)
    frames = make_frames(Characters(), sweep_settings())
    assert frames.encode(frames.header)[0] == 3
    monkeypatch.delitem(SPECIAL, "<|im_start|>")
    with pytest.raises(UserError, match=r"opens a turn without a special token .* so thinking cannot be marked"):
        make_frames(Characters(), sweep_settings())


def test_a_tokenizer_without_a_chat_template_is_refused() -> None:
    tokenizer = Characters()
    tokenizer.chat_template = ""
    with pytest.raises(UserError, match="characters: its tokenizer has no chat template; name one to borrow"):
        chat(tokenizer, "x")


def test_the_questions_of_several_files_in_their_order(tmp_path: Path) -> None:
    for name, part in (("b", QUESTIONS[:4]), ("a", QUESTIONS[4:]), ("c", QUESTIONS[:1])):
        write(tmp_path / f"{name}.parquet", [question for _, question in part], Question)
    found = questions([tmp_path / f"{name}.parquet" for name in "bac"])
    expected = [*(("b", f"q{i}") for i in range(4)), ("a", "q4"), ("a", "q5"), ("c", "q0")]
    assert [(name, question.id) for name, question in found] == expected
