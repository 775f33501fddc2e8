"""The sweep as the authors ran it, against a transcript of their procedure: text in, text out, every setting anew."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from generations import generated
from m1.core.chat import chat
from m1.core.errors import UserError
from m1.core.prompts import BOXED, question_text
from m1.core.records import Question, write
from m1.core.store import Store
from m1.engines.cached import CachedEngine, Generation, Request, TransformersEngine
from m1.engines.shards import batches
from m1.infer.frames import make_frames
from m1.infer.sweep import NOTHING
from random_model import ending_model, random_model, sweep_settings
from sweeps import swept
from templates import tokenizer_of
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

pytestmark = pytest.mark.train

SETTINGS = sweep_settings(
    budgets=[3, 8, 13, 20, 34],
    forced=[1, 2, 4],
    forced_budget=34,
    answer_limit=6,
    **dict.fromkeys(("bos", "seam", "limit", "forcing", "scored"), "released"),
)
QUESTIONS = [
    ("gpqa", Question(f"q{i}", "gpqa", f"Which of these {i}, {'and ' * (i % 5)}?", None, ("this", "that"), "A"))
    for i in range(40)
]


@pytest.fixture(scope="module")
def model(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ending_model(tmp_path_factory.mktemp("random") / "model", tokenizer_folder)


class Server:
    """A completion server over the model: text to text, and ``stop`` or ``length``, as SGLang 0.4.3 decides it."""

    def __init__(self, engine: TransformersEngine, tokenizer: Any) -> None:
        self.engine, self.tokenizer, self.stop = engine, tokenizer, make_frames(tokenizer, SETTINGS).stop

    def complete(self, texts: Sequence[str], max_tokens: int) -> list[tuple[str, str]]:
        asked = [Request(tuple(self.tokenizer.encode(text)), max_tokens, self.stop) for text in texts]
        found = generated(self.engine, asked)
        return [
            (
                self.tokenizer.decode(found[i].token_ids, skip_special_tokens=True),
                "length" if found[i].tokens == max_tokens else found[i].finish_reason,
            )
            for i in range(len(texts))
        ]


def transcript(server: Server, prompts: Sequence[str], budget: int, forced: int) -> list[tuple[str, bool, str]]:
    """One setting for one batch, by the authors' procedure: thinking, whether it ended, and the scored text."""

    def count(text: str) -> int:
        return len(server.tokenizer.encode(text, add_special_tokens=False))

    begun = [f"{prompt}<|im_start|>think\n" for prompt in prompts]
    states = [[text, count(text), reason] for text, reason in server.complete(begun, budget)]
    for _ in range(forced):
        going: dict[int, int] = {}
        for i, (text, tokens, _) in enumerate(states):
            word = " Wait" if text.endswith(" ") else "Wait"
            if tokens < budget and tokens + count(word) < budget:
                states[i][0] = text + word
                going[i] = tokens + count(word)
        if not going:
            break
        answers = server.complete([begun[i] + states[i][0] for i in going], budget - min(going.values()))
        for i, (text, reason) in zip(going, answers):
            states[i] = [states[i][0] + text, states[i][1] + count(text), reason]
    texts = [text if text.endswith("\n") else f"{text}\n" for text, _, _ in states]
    heads = [f"<|im_start|>answer{'' if reason == 'stop' else chr(10) + 'Final Answer:'}" for _, _, reason in states]
    answers = server.complete([begun[i] + texts[i] + heads[i] for i in range(len(begun))], 6)
    return [(states[i][0], states[i][2] == "stop", heads[i] + answers[i][0]) for i in range(len(begun))]


@pytest.mark.parametrize("size", [40, 7])
def test_every_setting_equals_the_authors_procedure(model: Path, tmp_path: Path, size: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    engine = TransformersEngine(model, "float32", batch=40)
    server = Server(engine, tokenizer)
    over, other = 0, 0
    with Store(tmp_path) as store:
        cached = CachedEngine(lambda: engine, "random model", store, "test")
        whole, each = swept(cached, tokenizer, QUESTIONS, "m", SETTINGS, size), len(SETTINGS.conditions)
        for start in range(0, len(QUESTIONS), size):
            batch, rollouts = QUESTIONS[start : start + size], whole.rollouts[start : start + size]
            predictions = whole.predictions[start * each : (start + size) * each]
            prompts = [chat(tokenizer, f"{question_text(question)}\n{BOXED}") for _, question in batch]
            expected = {one: transcript(server, prompts, *one) for one in SETTINGS.conditions}
            for i, rollout in enumerate(rollouts):
                found = predictions[i * len(expected) : (i + 1) * len(expected)]
                for prediction, condition in zip(found, SETTINGS.conditions, strict=True):
                    thinking, ended, scored = expected[condition][i]
                    assert (prediction.answer, prediction.ended) == (scored, ended), (condition, i)
                    assert tokenizer.decode(rollout.thinking(*condition), skip_special_tokens=True) == thinking
                    over += prediction.thinking_tokens > 34
                    other += tokenizer.encode(thinking) != list(rollout.thinking(*condition))
    assert min(over, other) > 0, "some think beyond the budget, some are other tokens when encoded again"


def test_a_batch_and_its_companions_are_the_same_in_every_shard(tmp_path: Path) -> None:
    order = [question for _, question in QUESTIONS]
    other = [Question(f"x{i}", "hle", f"Which {i}?", None, ("a", "b"), "A") for i in range(5)]
    write(tmp_path / "order.parquet", [*order[:10], *other, *order[10:30]], Question)
    write(tmp_path / "gpqa.parquet", order, Question)
    paths = [tmp_path / "gpqa.parquet"]
    whole = list(batches(paths, tmp_path / "order.parquet", 8))
    assert [question.id for part in whole for _, question in part] == [
        *(one.id for one in [*order[:10], *other, *order[10:]])
    ]
    assert {question.id for part in whole for name, question in part if not name} == {one.id for one in other}
    dealt = [list(batches(paths, tmp_path / "order.parquet", 8, (i, 3))) for i in (1, 2, 3)]
    assert dealt == [whole[0::3], whole[1::3], whole[2::3]]


def test_companions_change_what_the_others_may_think_and_are_no_predictions(model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    engine = TransformersEngine(model, "float32", batch=40)
    asked = [(name if i < 12 else "", question) for i, (name, question) in enumerate(QUESTIONS)]
    with Store(tmp_path) as store:
        cached = CachedEngine(lambda: engine, "random model", store, "test")
        _, together, cost = swept(cached, tokenizer, asked, "m", SETTINGS, 40)
        _, whole, _ = swept(cached, tokenizer, QUESTIONS, "m", SETTINGS, 40)
        _, alone, without = swept(cached, tokenizer, asked[:12], "m", SETTINGS, 40)
    assert together == whole[: len(together)]
    assert {prediction.question_id for prediction in together} == {f"q{i}" for i in range(12)}
    assert cost["companion_tokens"] > 0 == without["companion_tokens"]
    assert together != alone, "the batch decides how long its members may think, or this tests little"


def test_a_server_puts_bos_before_the_templates(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    bos = tokenizer.convert_tokens_to_ids("<|im_end|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_end|> $A", special_tokens=[("<|im_end|>", bos)]
    )
    for way, begins in (("released", True), ("exact", False)):
        for seam in ("released", "exact"):
            frames = make_frames(tokenizer, sweep_settings(bos=way, seam=seam))
            thought = frames.extend(NOTHING, Generation((7, 8), "stop"), 5)
            for ids in (frames.think("Which?"), frames.go_on("Which?", thought), frames.answer("Which?", thought)):
                assert (ids[0] == bos) == begins
                assert ids.count(bos) == begins


def test_without_forcing_the_batch_decides_nothing(model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    engine = TransformersEngine(model, "float32", batch=40)
    exact = dataclasses.replace(SETTINGS, forcing="exact")
    with Store(tmp_path) as store:
        cached = CachedEngine(lambda: engine, "random model", store, "test")
        found = [swept(cached, tokenizer, QUESTIONS[i : i + 1], "m", exact)[1] for i in range(12)]
        spent = cached.generated
        together = swept(cached, tokenizer, QUESTIONS[:12], "m", exact, 12)[1]
        assert [one for part in found for one in part] == together
        swept(cached, tokenizer, QUESTIONS[:12], "m", SETTINGS, 12)
        assert cached.generated > spent
        before = cached.generated
        swept(cached, tokenizer, QUESTIONS[:12], "m", exact)
        assert cached.generated == before, "back to exact, everything is in the store"
    assert json.loads(exact.to_json())["forcing"] == "exact"


def test_text_that_encodes_to_more_tokens_than_fit_is_refused_and_never_cut(tmp_path: Path) -> None:
    """Thinking that is cut within a character: half a character is one token, and its text U+FFFD is three."""
    tokenizer = tokenizer_of("qwen2.5")
    settings = sweep_settings(seam="released", budgets=[24])
    frames, prompt = make_frames(tokenizer, settings), chat(tokenizer, "Which?")
    half = tokenizer.encode("\u4e2d")[:1]
    thought = frames.extend(NOTHING, Generation((*half,) * 24, "length"), 24)
    positions = len(frames.think(prompt)) + frames.room()
    engine = TransformersEngine(random_model(tmp_path, positions), "float32", 1)
    with pytest.raises(UserError, match=f"exceed the {positions} positions of the model; choose smaller budgets"):
        generated(engine, [Request(frames.answer(prompt, thought), settings.answer_limit, frames.stop)])
    fits = frames.extend(NOTHING, Generation((*half,) * 8, "length"), 24)
    assert generated(engine, [Request(frames.answer(prompt, fits), settings.answer_limit, frames.stop)])
