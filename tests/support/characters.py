"""A tokenizer whose tokens are characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AddedToken

SPECIAL = {"<|im_start|>": 1, "<|im_end|>": 2}


class Characters:
    """A tokenizer of characters: ``Wait`` is four tokens, so that inserted and generated tokens are never confused."""

    eos_token, chat_template, name_or_path = "<|im_end|>", "{{ messages[0].content }}", "characters"

    def get_vocab(self) -> dict[str, int]:
        return SPECIAL

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        for name, token in SPECIAL.items():
            text = text.replace(name, chr(token))
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        return "".join(chr(token) for token in ids if token not in SPECIAL.values())

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        return {token: AddedToken(name, special=True) for name, token in SPECIAL.items()}

    def get_chat_template(self) -> str:
        return self.chat_template

    def apply_chat_template(self, messages: list[dict[str, str]], add_generation_prompt: bool, **_: Any) -> str:
        turns = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages)
        return turns + ("<|im_start|>assistant\n" if add_generation_prompt else "")
