"""The paper's training text: thinking and answer inside the assistant's turn, and the loss on that turn only (B.2)."""

from typing import Any

from m1.core import chat

IGNORED = -100
"""Label of a token without loss."""


def encode(tokenizer: Any, prompt: str, thinking: str, answer: str, marks: chat.TurnTokens) -> dict[str, list[int]]:
    """``input_ids`` and ``labels``, of equal length, of one example: labels are ids in the assistant's text and the end
    of its turn, and :data:`IGNORED` before. The prompt is the user's turn, without an instruction."""
    before = chat.encode(tokenizer, chat.chat(tokenizer, prompt))
    after = chat.encode(tokenizer, chat.assistant_text(tokenizer, thinking, answer, marks))
    return {"input_ids": before + after, "labels": [IGNORED] * len(before) + after}
