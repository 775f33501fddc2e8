"""The labels: exactly thinking, answer and the end of the assistant's turn, to the token."""

from __future__ import annotations

from pathlib import Path

import pytest
from m1.errors import UserError
from m1.records import Sample
from m1.train.sft import encode_all
from m1.train.text import IGNORED, assistant_text, encode
from transformers import AutoTokenizer, PreTrainedTokenizerBase

PROMPT = "Which drug is two steps from the marker x?\nA. the a\nB. the b"


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


def test_the_loss_is_on_the_assistants_turn_only(tokenizer: PreTrainedTokenizerBase) -> None:
    example = encode(tokenizer, PROMPT, "Okay, two steps.\nWait, again.", "\\boxed{the a}")
    learned = [token for token, label in zip(example["input_ids"], example["labels"]) if label != IGNORED]
    assert tokenizer.decode(learned) == (
        "<|im_start|>think\nOkay, two steps.\nWait, again.\n<|im_start|>answer\nAnswer: \\boxed{the a}<|im_end|>"
    )
    assert all(label in (IGNORED, token) for token, label in zip(example["input_ids"], example["labels"]))


def test_the_whole_text_is_the_papers(tokenizer: PreTrainedTokenizerBase) -> None:
    example = encode(tokenizer, PROMPT, "T", "\\boxed{the a}")
    assert tokenizer.decode(example["input_ids"]) == (
        f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
        "<|im_start|>think\nT\n<|im_start|>answer\nAnswer: \\boxed{the a}<|im_end|>"
    )
    # Encoded in one piece, independently: the seam between prompt and answer is at a special token, so ids agree.
    whole = tokenizer.encode(tokenizer.decode(example["input_ids"]), add_special_tokens=False)
    assert whole == example["input_ids"]


def test_answer_is_stated_once() -> None:
    assert assistant_text("T", "so. Answer: B").endswith("answer\nso. Answer: B")
    assert assistant_text("T", "B").endswith("answer\nAnswer: B")


def test_a_sample_beyond_the_block_is_an_error_not_a_cut(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    sample = Sample("id7", "medqa", "", PROMPT, "many words " * 30, "B", "m1k", "all", 0)
    with pytest.raises(
        UserError, match=r"m1k.parquet: 1 of 1 samples are longer than 40 tokens \(the first: id7, \d+ tokens\).*block_size"
    ):
        encode_all(tokenizer, [sample], 40, tmp_path / "m1k.parquet")
