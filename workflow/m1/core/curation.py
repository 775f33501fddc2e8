"""When a filter model's or the teacher's answer counts as correct (3.1); :mod:`m1.score.match` is the evaluation's."""

from typing import Literal

from m1.core.answers import extract_boxed, find_option, read_box
from m1.core.records import Question

CurationRule = Literal["released", "strict"]
CURATION_RULES: tuple[CurationRule, ...] = ("released", "strict")


def passes_curation(answer: str, question: Question, rule: CurationRule) -> bool:
    """Whether an answer text as sent, without the thinking, is correct (3.1); an empty box is wrong.

    By the rule ``released``, what is boxed (the whole text where nothing is) equals the correct option's text, or **its
    first character** is the correct letter, so that "Amoxicillin" counts as A; case folded, white space around it
    ignored. By ``strict``, the whole box names the correct option and nothing else, see :func:`find_option`.
    """
    if rule == "strict":
        named = find_option(read_box(answer), question)
        return named is not None and named.letter == question.answer
    extracted = extract_boxed(answer)
    same_text = extracted.strip().lower() == question.answer_text.strip().lower()
    return same_text or extracted[:1].strip().lower() == question.answer.lower()
