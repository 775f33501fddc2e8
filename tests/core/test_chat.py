"""TurnTokens of thinking and answering, read from the chat template of any family."""

from __future__ import annotations

import pytest
from m1.core.chat import DATE, TurnTokens, chat
from m1.core.errors import UserError
from m1.infer.frames import make_frames
from random_model import sweep_settings
from templates import FAMILIES, tokenizer_of

EXPECTED = {
    "qwen2.5": ("<|im_start|>think\n", "<|im_end|>"),
    "qwen3": ("<|im_start|>think\n", "<|im_end|>"),
    "llama3": ("<|start_header_id|>think<|end_header_id|>\n\n", "<|eot_id|>"),
    "mistral v3": ("[INST]think\n", "</s>"),
    "mistral tekken": ("[INST]think\n", "</s>"),
    "gemma": ("<start_of_turn>think\n", "<end_of_turn>"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_marks_are_those_of_the_family(family: str) -> None:
    marks = TurnTokens.from_tokenizer(tokenizer_of(family))
    assert (marks.header("think"), marks.end) == EXPECTED[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sweep_stops_where_a_turn_ends_or_another_opens(family: str) -> None:
    tokenizer = tokenizer_of(family)
    frames, marks = make_frames(tokenizer, sweep_settings()), TurnTokens.from_tokenizer(tokenizer)
    ids = {tokenizer.convert_tokens_to_ids(token) for token in (marks.opening, marks.end)}
    assert ids <= set(frames.stop)
    assert frames.prefixes == {
        True: marks.header("answer").rstrip(),
        False: f"{marks.header('answer')}Final Answer:",
    }
    assert not set(frames.encode("Wait")) & set(frames.stop)


def test_a_prompt_is_the_same_tomorrow() -> None:
    """Llama 3.2's template puts the date into the system turn: today's, if nobody says otherwise."""
    assert f"Today Date: {DATE}" in chat(tokenizer_of("llama3"), "x")


def test_a_template_with_plain_text_marks_is_refused() -> None:
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.chat_template = "{% for m in messages %}### {{ m.role }}: {{ m.content }}\n{% endfor %}"
    with pytest.raises(
        UserError, match=r"opens a turn without a special token .'### user: ' goes before .*docs/training.md"
    ):
        TurnTokens.from_tokenizer(tokenizer)


def test_a_template_that_fails_is_named() -> None:
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    with pytest.raises(
        UserError, match=r"its chat template cannot render a question \(no\); borrow another by `tokenizer`"
    ):
        chat(tokenizer, "x")
