"""TurnTokens of thinking and answering, read from the chat template of any family."""

from __future__ import annotations

import pytest
from m1.core.chat import DATE, TurnTokens, chat
from m1.core.errors import UserError
from m1.infer.frames import make_frames
from random_model import sweep_settings
from templates import FAMILIES, SHIPPED, tokenizer_of

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


@pytest.mark.parametrize(
    "opening",
    [
        "deepseek_r1_distill.jinja",
        "qwen3_5_think.jinja",
        "<think>",
        "<think>\nOkay,",
        "[THINK]",
        "<|START_THINKING|>\n",
        "◁think▷",
    ],
)
def test_a_template_that_opens_thinking_of_its_own_is_refused(opening: str) -> None:
    tokenizer = tokenizer_of("qwen2.5")
    if opening.endswith(".jinja"):
        tokenizer.chat_template = (SHIPPED / opening).read_text(encoding="utf-8")
    else:
        tokenizer.chat_template += "{% if add_generation_prompt %}" + opening + "{% endif %}"
    with pytest.raises(
        UserError, match=r"opens thinking of its own \(.* at the end of the prompt\); choose another base"
    ):
        chat(tokenizer, "Does </think> end it?")


@pytest.mark.parametrize("closed", ["<think>\n\n</think>\n\n", "[THINK][/THINK]", "<|START_THINKING|><|END_THINKING|>"])
def test_thinking_that_a_template_closes_is_no_fault(closed: str) -> None:
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.chat_template += "{% if add_generation_prompt %}" + closed + "{% endif %}"
    assert chat(tokenizer, "May I <think>?").endswith(closed)


def test_a_template_that_leaves_the_question_out_is_refused() -> None:
    """Those of models of images take a list in place of a text, and render nothing of it."""
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.chat_template = (SHIPPED / "llava_next.jinja").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"its chat template leaves the question's text out; choose a model of text"):
        chat(tokenizer, "Which?")
