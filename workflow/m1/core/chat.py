"""TurnTokens of thinking and answering in a model's own chat template (B.2, B.3).

The paper opens thinking and answer as Qwen2.5 opens a turn: ``<|im_start|>think`` and ``<|im_start|>answer`` in place
of ``<|im_start|>user``. Other templates open turns with other special tokens, so the marks are read from the template:

| template | thinking opens with | end of a turn |
|---|---|---|
| Qwen2.5, Qwen3 (ChatML) | ``<|im_start|>think\\n`` | ``<|im_end|>`` |
| Llama 3 | ``<|start_header_id|>think<|end_header_id|>\\n\\n`` | ``<|eot_id|>`` |
| Mistral (with control tokens, from v3 on) | ``[INST]think\\n`` | ``</s>`` |
| Gemma | ``<start_of_turn>think\\n`` | ``<end_of_turn>`` |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m1.core.errors import UserError
from m1.core.pretrained import load
from m1.core.tokens import guard

DATE = "26 Jul 2024"
"""What some templates put into their system turn (Llama 3.2: today's date), or a prompt would change every day."""


def tokenizer_of(model: Path, template: Path | None) -> Any:
    """The tokenizer of a model's folder; its chat template is that of ``template``, where one is borrowed."""
    from transformers import AutoTokenizer

    tokenizer = load(AutoTokenizer, model)
    if template:
        tokenizer.chat_template = load(AutoTokenizer, template).chat_template
    return tokenizer


def chat(tokenizer: Any, user: str, assistant: str | None = None) -> str:
    """One user turn by the model's chat template, and the opening of the assistant's turn, or that turn; the texts are
    guarded, for :func:`m1.core.tokens.encode`.

    Raises:
        UserError: there is no chat template, it cannot render a user turn or leaves its text out, or it opens thinking
            of its own, which would stay open before the paper's mark.
    """
    name = tokenizer.name_or_path
    if not tokenizer.chat_template:
        raise UserError(f"{name}: its tokenizer has no chat template; name one to borrow by `tokenizer` in the recipe")
    asked = guard(tokenizer, user)
    turns = [{"role": "user", "content": asked}]
    turns += [{"role": "assistant", "content": guard(tokenizer, assistant)}] if assistant else []
    options = {"add_generation_prompt": not assistant, "tokenize": False, "date_string": DATE}
    try:
        text: str = tokenizer.apply_chat_template(turns, **options)
    except Exception as error:  # of the template's own making: Jinja's, or what it raises itself
        found = f"its chat template cannot render a question ({error})"
        raise UserError(f"{name}: {found}; borrow another by `tokenizer`") from None
    place = text.rfind(asked.strip())
    if place < 0:
        found = "its chat template leaves the question's text out"
        raise UserError(f"{name}: {found}; choose a model of text, or borrow another template by `tokenizer`")
    thinking = [tag for tag in _THINKING.findall(text, place + len(asked.strip())) if not assistant]
    if thinking and not _CLOSES.match(thinking[-1]):
        found = f"its chat template opens thinking of its own ({thinking[-1]} at the end of the prompt)"
        raise UserError(f"{name}: {found}; choose another base, or borrow another template by `tokenizer`")
    return text


_THINKING = re.compile(r"<[^<>\s]*(?:think|thought|reason)[^<>\s]*>|\[/?THINK\w*\]|◁/?think\w*▷", re.IGNORECASE)
_CLOSES = re.compile(r"[<\[◁]\|?(?:/|end)", re.IGNORECASE)


@dataclass(frozen=True)
class TurnTokens:
    """How a chat template opens a turn (special token, role, what follows) and ends the assistant's (special token)."""

    opening: str
    closing: str
    end: str

    def header(self, role: str) -> str:
        """The opening of a turn; ``think`` and ``answer`` are the paper's roles inside the assistant's."""
        return f"{self.opening}{role}{self.closing}"

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> TurnTokens:
        """The marks of a tokenizer's chat template.

        Raises:
            UserError: it opens turns without a special token, so that the end of thinking could not be seen.
        """
        special = [re.escape(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special]
        token = f"({'|'.join(sorted(special, key=len, reverse=True)) or '(?!)'})"
        before, found, _ = chat(tokenizer, "QUESTION").partition("QUESTION")
        named = re.search(rf"{token}\s*user({token}?\s*)$", before)
        opening = named or re.search(rf"{token}\s*$", before)
        if not found or not opening:
            fault = f"opens a turn without a special token ({before[-40:]!r} goes before the user's text)"
            remedy = "so thinking cannot be marked; choose a base of the kinds that docs/training.md lists"
            raise UserError(f"{tokenizer.name_or_path}: its chat template {fault}, {remedy}")
        after = chat(tokenizer, "QUESTION", "REPLY").rpartition("REPLY")[2]
        end = re.search(token, after)
        return cls(opening[1], named[2] if named else "\n", end[1] if end else tokenizer.eos_token)


def stop_ids(tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end an answer: end of text, end of turn (also Llama 3's), and the start of another turn or part."""
    names = {tokenizer.eos_token, "<|im_end|>", "<|endoftext|>", "<|im_start|>", "<|eot_id|>"}
    known = tokenizer.get_vocab()
    return tuple(sorted(known[name] for name in names if name in known))


def assistant_text(thinking: str, answer: str, marks: TurnTokens) -> str:
    """The assistant's turn; ``Answer: `` goes before the answer unless it is in it, as in the released data."""
    answer = answer.strip()
    stated = answer if "Answer:" in answer else f"Answer: {answer}"
    return f"{marks.header('think')}{thinking.strip()}\n{marks.header('answer')}{stated}{marks.end}"
