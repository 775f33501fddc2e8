"""Text of data is text to every tokenizer, and the template's control tokens are control tokens; what holds none of
them has the tokens that it always had."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from m1.core import tokens
from m1.core.chat import TurnTokens, chat
from m1.core.prompts import evaluation_prompt, question_text
from m1.core.records import Question
from m1.core.store import Store
from m1.core.tokens import encode, guard, is_guarded
from m1.engines.cached import CachedEngine, answer_directly
from m1.engines.protocol import Done, Generation, Request
from m1.engines.schedule import Job
from m1.infer.frames import TextFrames, Thought, TokenFrames
from m1.train.text import IGNORED
from m1.train.text import encode as encode_example
from random_model import sweep_settings
from templates import FAMILIES, tokenizer_of
from transformers import AutoTokenizer, PreTrainedTokenizerBase

TOKENIZERS: dict[str, Any] = {family: tokenizer_of(family) for family in FAMILIES}
TOKENIZERS["qwen3"].add_tokens(["<think>", "</think>"])  # Qwen3 does not call them special
PLAIN = "Which drug is two steps from the marker x?"


def question(said: str) -> Question:
    return Question("q", "unit", f"What does {said} end?", None, ("x", said), "A")


def controls(tokenizer: Any) -> list[str]:
    return [token.content for token in tokenizer.added_tokens_decoder.values() if "<0x" not in token.content]


def control_ids(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    known = set(tokenizer.convert_tokens_to_ids(controls(tokenizer)))
    return [token for token in ids if token in known]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_control_token_in_a_question_is_text(family: str) -> None:
    tokenizer = TOKENIZERS[family]
    usual = control_ids(tokenizer, encode(tokenizer, chat(tokenizer, PLAIN)))
    assert usual
    for said in (*controls(tokenizer), "".join(controls(tokenizer))):
        text = evaluation_prompt(question_text(question(said)), "plain")
        ids = encode(tokenizer, chat(tokenizer, text))
        assert control_ids(tokenizer, ids) == usual
        assert text.replace(" ", "") in tokenizer.decode(ids).replace(" ", "")  # sentencepiece adds blanks of its own


@pytest.mark.parametrize("family", FAMILIES)
def test_a_control_token_in_a_sample_is_text(family: str) -> None:
    tokenizer = TOKENIZERS[family]
    marks = TurnTokens.from_tokenizer(tokenizer)
    example = encode_example(tokenizer, PLAIN, "So it is.", "B", marks)
    usual = control_ids(tokenizer, example["input_ids"])
    for said in controls(tokenizer):
        example = encode_example(tokenizer, said, f"{said} So {said}", f"\\boxed{{{said}}}", marks)
        assert control_ids(tokenizer, example["input_ids"]) == usual
        learned = [label for label in example["labels"] if label != IGNORED]
        assert learned.count(tokenizer.convert_tokens_to_ids(marks.end)) == 1
        assert learned[-1] == tokenizer.convert_tokens_to_ids(marks.end)


def test_qwens_prompt_ends_two_turns_whatever_the_question_holds() -> None:
    tokenizer = TOKENIZERS["qwen2.5"]
    ids = encode(tokenizer, chat(tokenizer, question_text(question("<|im_end|>"))))
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("frames", [TokenFrames, TextFrames])
@pytest.mark.parametrize("bos", ["exact", "released"])
def test_a_control_token_in_thinking_is_text(family: str, frames: type[TokenFrames], bos: str) -> None:
    tokenizer = TOKENIZERS[family]
    made = frames(tokenizer, sweep_settings(bos=bos))
    prompt = chat(tokenizer, PLAIN)
    usual = control_ids(tokenizer, made.answer(prompt, Thought((), True, 0)))
    for said in controls(tokenizer):
        text = tuple(encode(tokenizer, guard(tokenizer, f"the {said}")))
        assert not control_ids(tokenizer, text)
        thought = made.extend(Thought((), False, 0), Generation(text, "stop"), 100)
        assert control_ids(tokenizer, made.answer(prompt, thought)) == usual
        assert control_ids(tokenizer, made.go_on(prompt, made.wait(thought))) == control_ids(
            tokenizer, made.think(prompt)
        )


def test_a_control_token_that_a_model_wrote_stays_one() -> None:
    """Qwen3 does not call ``<think>`` special, so that it is not left out of the text that is encoded again."""
    tokenizer = TOKENIZERS["qwen3"]
    made = TextFrames(tokenizer, sweep_settings())
    ids = tuple(tokenizer.encode("the <think>", add_special_tokens=False))
    thought = made.extend(Thought((), False, 0), Generation(ids, "length"), 100)
    assert made.go_on("", thought)[-len(ids) :] == ids


class Recorder:
    """An engine that ends at once, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def generate(self, requests: Iterable[Request], done: Done) -> None:
        for request in requests:
            self.asked.append(request)
            done(request, Generation((), "stop"))


@pytest.mark.parametrize("bos", [False, True])
def test_what_an_engine_is_asked_at_once(tmp_path: Path, bos: bool) -> None:
    tokenizer, recorder = TOKENIZERS["llama3"], Recorder()
    with Store(tmp_path) as store:
        engine = CachedEngine(lambda: recorder, "unit", store, "unit")
        ways = {"tokenizer": tokenizer, "style": "plain", "limit": 9, "bos": bos}
        asked = [partial(answer_directly, question=question(text), **ways) for text in ("<|eot_id|>", "y")]
        engine.run([Job(1, work) for work in asked], 2, lambda answer: None)
    first, second = (control_ids(tokenizer, request.prompt) for request in recorder.asked)
    assert first == second
    assert first.count(tokenizer.bos_token_id) == 1 + bos * (second.count(tokenizer.bos_token_id) - 1)


# What holds no control token


def by_the_twin(tokenizer: Any, text: str) -> list[int]:
    """The ids as of a text that holds a control token."""
    renamed = tokens._control_tokens(tokenizer).replace(text, tokens._alias)
    return list(tokens._twin(tokenizer).encode(renamed, add_special_tokens=False).ids)


wild = st.text(st.characters(exclude_categories=("Cs",)), max_size=60) | st.sampled_from(
    ["", " ", "\n\n", "< |", "a<b>"]
)


@pytest.mark.parametrize("family", FAMILIES)
@given(text=wild)
@settings(max_examples=60)
def test_the_twin_has_the_same_tokens(family: str, text: str) -> None:
    tokenizer = TOKENIZERS[family]
    prompt = chat(tokenizer, text)
    if not is_guarded(prompt):
        assert (
            encode(tokenizer, prompt)
            == by_the_twin(tokenizer, prompt)
            == tokenizer.encode(prompt, add_special_tokens=False)
        )


def test_the_worlds_texts_have_the_tokens_that_they_had(tokenizer_folder: Path) -> None:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tokenizer_folder)
    lines = (tokenizer_folder.parent / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [text for line in map(json.loads, lines) for text in (line["prompt"], line["text"]) if text]
    assert len(texts) > 300
    for text in texts:
        turn = [{"role": "user", "content": text}]
        before = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        prompt = chat(tokenizer, text)
        assert prompt == before
        assert (
            encode(tokenizer, prompt)
            == by_the_twin(tokenizer, prompt)
            == tokenizer.encode(before, add_special_tokens=False)
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_text_that_looks_like_a_mark_keeps_its_tokens(family: str) -> None:
    tokenizer = TOKENIZERS[family]
    for text in ("\ufdd0", "\ufdd00\ufdd1", "\ufdd0\ufdd00\ufdd1\ufdd2", tokens._MARK.pattern):
        ids = encode(tokenizer, guard(tokenizer, f"a {text} b"))
        assert ids == tokenizer.encode(f"a {text} b", add_special_tokens=False)
