"""Answers without thinking, by any engine (3.1, B.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from m1.core.chat import chat, stop_ids
from m1.core.prompts import evaluation_prompt, question_text
from m1.core.records import Question
from m1.engines.cached import CachedEngine
from m1.engines.protocol import Request


def answer_directly(
    engine: CachedEngine,
    tokenizer: Any,
    questions: Sequence[Question],
    style: str,
    limit: int,
    where: str = "",
    *,
    own_stop: bool = False,
    bos: bool = False,
) -> list[tuple[str, int]]:
    """Greedy answers without thinking.

    Args:
        style: prompt style, see :func:`m1.core.prompts.evaluation_prompt`.
        limit: tokens of an answer at most.
        where: which questions these are, for the progress line.
        own_stop: only the model's own end tokens end an answer, not every token that ends or opens a turn.
        bos: the tokenizer's special tokens go before those of the chat template, as a server adds them to text.

    Returns:
        Answer text and its tokens, in the order of the questions.
    """
    stop = () if own_stop else stop_ids(tokenizer)
    prompts = [chat(tokenizer, evaluation_prompt(question_text(question), style)) for question in questions]
    requests = [Request(tuple(tokenizer.encode(prompt, add_special_tokens=bos)), limit, stop) for prompt in prompts]
    generations = engine.generate(requests, f"answers{where}")
    return [(tokenizer.decode(g.token_ids, skip_special_tokens=True), g.tokens) for g in generations]
