"""Decide whether a screening model's or the teacher's answer is correct (3.1); scoring has :mod:`m1.score.match`."""

from typing import Literal

from m1.core.answers import extract_boxed, find_option, read_box
from m1.core.records import Question

CurationRule = Literal["released", "strict"]
CURATION_RULES: tuple[CurationRule, ...] = ("released", "strict")


def passes_curation(answer: str, question: Question, rule: CurationRule) -> bool:
    """Whether an answer is correct by a rule of curation (3.1); an empty box is incorrect.

    The rule ``released`` is the authors' code. It accepts a box (or, without one, a text) that equals the correct
    option's text, or whose **first character** is the correct letter, so that "Amoxicillin" counts as A. It ignores
    letter case and surrounding white space. The rule ``strict`` accepts a box that names the correct option and nothing
    else (:func:`find_option`).

    Args:
        answer: the answer as the model sent it, without its thinking.
    """
    if rule == "strict":
        named = find_option(read_box(answer), question)
        return named is not None and named.letter == question.answer
    extracted = extract_boxed(answer)
    same_text = extracted.strip().lower() == question.answer_text.strip().lower()
    return same_text or extracted[:1].strip().lower() == question.answer.lower()
