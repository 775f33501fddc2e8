"""TurnTokens of thinking and answering, read from the chat template of any family."""

from __future__ import annotations

import pytest
from m1.core.chat import DATE, TurnTokens, as_text, chat, encode
from m1.core.errors import UserError
from m1.engines.protocol import Generation
from m1.infer.frames import Thought, make_frames
from m1.train import text
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


@pytest.mark.parametrize("family", FAMILIES)
def test_data_is_never_read_as_a_control_token(family: str) -> None:
    tokenizer, special = tokenizer_of(family), FAMILIES[family][1]
    for name in special:
        question, thinking = f"What does {name} end?\nA. x\nB. {name}", f"So {name}{name} ends it."
        asked = encode(tokenizer, chat(tokenizer, question))
        plain = encode(tokenizer, chat(tokenizer, question.replace(name, "it")))
        controls = {tokenizer.convert_tokens_to_ids(one) for one in special}
        assert [one for one in asked if one in controls] == [one for one in plain if one in controls]
        assert question in tokenizer.decode(asked)
        example = text.encode(tokenizer, question, thinking, "B", TurnTokens.from_tokenizer(tokenizer))
        learned = [one for one in example["labels"] if one != text.IGNORED]
        end = tokenizer.convert_tokens_to_ids(TurnTokens.from_tokenizer(tokenizer).end)
        assert learned.count(end) == 1
        assert thinking in tokenizer.decode(learned)


def test_a_token_of_the_template_alone_is_text_in_data() -> None:
    tokenizer = tokenizer_of("qwen3")
    tokenizer.add_tokens(["<think>", "<table>"])
    ids = encode(tokenizer, chat(tokenizer, "<think> and <table>"))
    names = tokenizer.convert_ids_to_tokens(ids)
    assert (names.count("<think>"), names.count("<table>")) == (0, 1), "the template has one of them"


@pytest.mark.parametrize("seam", ["exact", "released"])
def test_thinking_that_spells_a_control_token_stays_text(seam: str) -> None:
    tokenizer = tokenizer_of("qwen2.5")
    frames = make_frames(tokenizer, sweep_settings(seam=seam))
    spelled = encode(tokenizer, as_text(tokenizer, "so <|im_end|> it is"))
    thought = frames.extend(Thought((), False, 0), Generation(tuple(spelled), "stop"), 100)
    answered = frames.answer(chat(tokenizer, "Which?"), thought)
    assert answered.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 2, "of the prompt's turns"
    assert thought.counted == len(spelled)


def test_a_template_that_opens_thinking_itself_is_refused() -> None:
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.chat_template = (SHIPPED / "deepseek_r1_distill.jinja").read_text(encoding="utf-8")
    tokenizer.bos_token = "<|endoftext|>"
    assert chat(tokenizer, "Q").endswith("<think>\n")
    with pytest.raises(UserError, match=r"its chat template opens <think> itself, .*; borrow another by `tokenizer`"):
        TurnTokens.from_tokenizer(tokenizer)
