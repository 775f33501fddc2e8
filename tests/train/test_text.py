"""The labels: exactly thinking, answer and the end of the assistant's turn, to the token, in every family's
template."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core.chat import TurnTokens, assistant_text, chat
from m1.train.text import IGNORED, encode
from templates import FAMILIES, tokenizer_of
from transformers import AutoTokenizer, PreTrainedTokenizerBase

PROMPT = "Which drug is two steps from the marker x?\nA. the a\nB. the b"
THINKING = "Okay, two steps.\nWait, again."
ANSWER = "\\boxed{the a}"
TOKENIZERS = {family: tokenizer_of(family) for family in FAMILIES}
MARKS = {family: TurnTokens.from_tokenizer(tokenizer) for family, tokenizer in TOKENIZERS.items()}


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


def test_the_loss_is_on_the_assistants_turn_only(tokenizer: PreTrainedTokenizerBase) -> None:
    example = encode(tokenizer, PROMPT, THINKING, ANSWER, TurnTokens.from_tokenizer(tokenizer))
    learned = [token for token, label in zip(example["input_ids"], example["labels"]) if label != IGNORED]
    assert tokenizer.decode(learned) == (
        "<|im_start|>think\nOkay, two steps.\nWait, again.\n<|im_start|>answer\nAnswer: \\boxed{the a}<|im_end|>"
    )
    assert all(label in (IGNORED, token) for token, label in zip(example["input_ids"], example["labels"]))


def test_the_whole_text_is_the_papers(tokenizer: PreTrainedTokenizerBase) -> None:
    example = encode(tokenizer, PROMPT, "T", ANSWER, TurnTokens.from_tokenizer(tokenizer))
    assert tokenizer.decode(example["input_ids"]) == (
        f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
        "<|im_start|>think\nT\n<|im_start|>answer\nAnswer: \\boxed{the a}<|im_end|>"
    )


def labels_from_the_text(family: str, thinking: str, answer: str) -> tuple[list[int], list[int]]:
    """Ids and labels computed another way: the whole text in one piece, and a token is learned that begins within the
    assistant's text."""
    tokenizer, marks = TOKENIZERS[family], MARKS[family]
    opening = chat(tokenizer, PROMPT)
    stated = answer if "Answer:" in answer else f"Answer: {answer}"
    text = f"{opening}{marks.header('think')}{thinking}\n{marks.header('answer')}{stated}{marks.end}"
    whole = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = whole["input_ids"]
    return ids, [token if start >= len(opening) else IGNORED for token, (start, _) in zip(ids, whole["offset_mapping"])]


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_of_every_family_are_thinking_and_answer(family: str) -> None:
    tokenizer, marks = TOKENIZERS[family], MARKS[family]
    example = encode(tokenizer, PROMPT, THINKING, ANSWER, marks)
    assert (example["input_ids"], example["labels"]) == labels_from_the_text(family, THINKING, ANSWER)
    learned = [label for label in example["labels"] if label != IGNORED]
    assert (
        tokenizer.decode(learned)
        == f"{marks.header('think')}{THINKING}\n{marks.header('answer')}Answer: {ANSWER}{marks.end}"
    )
    assert learned[-1] == tokenizer.convert_tokens_to_ids(marks.end)


text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), min_size=1, max_size=40).filter(
    lambda value: value.strip() == value
)


@pytest.mark.parametrize("family", FAMILIES)
@given(thinking=text, answer=text)
def test_labels_of_any_text(family: str, thinking: str, answer: str) -> None:
    example = encode(TOKENIZERS[family], PROMPT, thinking, answer, MARKS[family])
    assert (example["input_ids"], example["labels"]) == labels_from_the_text(family, thinking, answer)


def test_answer_is_stated_once() -> None:
    marks = MARKS["qwen2.5"]
    assert assistant_text(TOKENIZERS["qwen2.5"], "T", "so. Answer: B", marks).endswith(
        "answer\nso. Answer: B<|im_end|>"
    )
    assert assistant_text(TOKENIZERS["qwen2.5"], "T", "B", marks).endswith("answer\nAnswer: B<|im_end|>")
