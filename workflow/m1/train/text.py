"""Make the paper's training text: thinking and answer inside the assistant's turn, and loss on that turn only (B.2)."""

from typing import Any

from m1.core.chat import TurnTokens, assistant_text, chat
from m1.core.tokens import encode as token_ids
from m1.core.tokens import guard

IGNORED = -100
"""The label of a token without loss."""


def encode(tokenizer: Any, prompt: str, thinking: str, answer: str, marks: TurnTokens) -> dict[str, list[int]]:
    """Encode one example for training.

    The prompt is the user's turn, without an instruction (B.2).

    Returns:
        ``input_ids`` and ``labels`` of equal length. The labels are :data:`IGNORED` in the prompt, and the token ids in
        the assistant's turn including its end.
    """
    before = token_ids(tokenizer, chat(tokenizer, prompt))
    after = token_ids(tokenizer, assistant_text(guard(tokenizer, thinking), guard(tokenizer, answer), marks))
    return {"input_ids": before + after, "labels": [IGNORED] * len(before) + after}
