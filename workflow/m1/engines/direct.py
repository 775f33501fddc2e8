"""Answers without thinking, by any engine (3.1, B.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from m1.core.chat import chat_ids, stop_ids
from m1.core.prompts import evaluation_prompt, question_text
from m1.core.records import Question
from m1.engines.cached import CachedEngine
from m1.engines.protocol import Request


def answer_directly(
    engine: CachedEngine, tokenizer: Any, questions: Sequence[Question], style: str, limit: int, where: str = ""
) -> list[tuple[str, int]]:
    """Greedy answers without thinking.

    Args:
        style: prompt style, see :func:`m1.core.prompts.evaluation_prompt`.
        limit: tokens of an answer at most.
        where: which questions these are, for the progress line.

    Returns:
        Answer text and its tokens, in the order of the questions.
    """
    stop = stop_ids(tokenizer)
    requests = [
        Request(tuple(chat_ids(tokenizer, evaluation_prompt(question_text(q), style))), limit, stop) for q in questions
    ]
    generations = engine.generate(requests, f"answers{where}")
    return [(tokenizer.decode(g.token_ids, skip_special_tokens=True), g.tokens) for g in generations]
