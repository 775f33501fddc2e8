"""The paper's training text: thinking and answer inside the assistant's turn, and the loss on that turn only (B.2)."""

from __future__ import annotations

from typing import Any

IGNORED = -100
"""Label of a token without loss."""


def assistant_text(thinking: str, answer: str) -> str:
    """The assistant's turn; ``Answer: `` goes before the answer unless it is in it, as in the released data."""
    answer = answer.strip()
    stated = answer if "Answer:" in answer else f"Answer: {answer}"
    return f"<|im_start|>think\n{thinking.strip()}\n<|im_start|>answer\n{stated}"


def encode(tokenizer: Any, prompt: str, thinking: str, answer: str) -> dict[str, list[int]]:
    """Token ids of one example, and labels: the assistant's text and the token that ends the turn; everything before is ignored.

    Args:
        prompt: the user's turn, without an instruction.

    Returns:
        ``input_ids`` and ``labels``, of equal length.
    """
    opening = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False)
    before = tokenizer.encode(opening, add_special_tokens=False)
    after = [*tokenizer.encode(assistant_text(thinking, answer), add_special_tokens=False), tokenizer.eos_token_id]
    return {"input_ids": before + after, "labels": [IGNORED] * len(before) + after}
