"""Tokenizers made here in the layouts of four families of models: their special tokens, their chat template, and a
small vocabulary."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AddedToken, PreTrainedTokenizerFast

TEXTS = [
    "Which drug is two steps from the marker x? A. the a B. the b",
    "Okay, two steps. Wait, again. So the answer is the a.",
    "Answer: \\boxed{A}",
]
SHIPPED = Path(trl.__file__).parent / "chat_templates"
"""Chat templates of the hub's models, as trl carries them."""
MISTRAL_V3 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
"""Mistral's form from tokenizer v3 on, as its documentation states it."""
TEKKEN = MISTRAL_V3.replace("'[INST] '", "'[INST]'").replace("' ' + m.content", "m.content")


def _bytes(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    return tokenizer


def _pieces(special: list[str]) -> Tokenizer:
    """As sentencepiece: spaces are a mark before the word, and the text begins with one."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first", split=False)]
    )
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=700, special_tokens=[*special, *alphabet]))
    return tokenizer


FAMILIES: dict[str, tuple[Callable[[list[str]], Tokenizer], list[str], str, str | None, str]] = {
    "qwen2.5": (_bytes, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "qwen2_5.jinja", None, "<|im_end|>"),
    "qwen3": (_bytes, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "qwen3.jinja", None, "<|im_end|>"),
    "llama3": (
        _bytes,
        ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "llama3_2.jinja",
        "<|begin_of_text|>",
        "<|eot_id|>",
    ),
    "mistral v3": (_pieces, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], MISTRAL_V3, "<s>", "</s>"),
    "mistral tekken": (_bytes, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], TEKKEN, "<s>", "</s>"),
    "gemma": (_bytes, ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"], "gemma.jinja", "<bos>", "<eos>"),
}
"""By name: how it cuts text, special tokens, chat template (or the file that holds it), begin of text, end of text."""


TAGS = {"qwen3": ["<think>", "</think>"]}
"""Added tokens of a family that are not called special, as Qwen3's."""


_TOKENS = re.compile(r"<\|[^<>|\s'\"{}]*\|?>|<[a-z]\w*\|>|<(?:start|end)_of_turn>|<｜[^<>]*｜>|\[gMASK\]|<sop>")


def tokenizer_with(template: str) -> PreTrainedTokenizerFast:
    """Make a tokenizer for a chat template, which has the template's control tokens."""
    special = sorted({"<bos>", "<|endoftext|>", *_TOKENS.findall(template)})
    made = PreTrainedTokenizerFast(
        tokenizer_object=_bytes(special),
        bos_token="<bos>",
        eos_token="<|endoftext|>",
        chat_template=template,
        additional_special_tokens=special,
    )
    made.add_tokens([AddedToken(tag) for tag in ("<think>", "</think>")])
    return made


def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    """Make a tokenizer in the layout of a family."""
    build, special, template, bos, eos = FAMILIES[family]
    text = (SHIPPED / template).read_text(encoding="utf-8") if template.endswith(".jinja") else template
    made = PreTrainedTokenizerFast(
        tokenizer_object=build(special),
        bos_token=bos,
        eos_token=eos,
        chat_template=text,
        additional_special_tokens=special,
    )
    made.add_tokens([AddedToken(tag) for tag in TAGS.get(family, [])])
    return made
