"""Lay out questions, and make the prompts of evaluation (B.3); the teacher's prompt is in :mod:`m1.distill.traces`."""

from m1.core.records import LETTERS, Question

BOXED = "Return your final response within \\boxed{}."  # the instruction of B.1 and B.3
HUATUO = "Please answer the following multiple-choice question:"
"""The instruction before the question for HuatuoGPT-o1, as its own authors evaluate it. The model then writes its
thinking after ``## Thinking`` and its answer, without a box, after ``## Final Response``
(:func:`m1.score.match.final_response`)."""


def question_text(question: Question) -> str:
    """The question as text: context if any, stem, and one line ``A. text`` for each option (B.3)."""
    context = [question.context] if question.context else []
    return "\n".join([*context, question.stem, *options_lines(question.options)])


def options_lines(options: tuple[str, ...]) -> list[str]:
    """The options as lines such as ``A. yes``; scoring knows this form, too."""
    return [f"{letter}. {text}" for letter, text in zip(LETTERS, options)]


def evaluation_prompt(text: str, style: str) -> str:
    """The user turn at evaluation (B.3).

    Args:
        text: the question, from :func:`question_text`.
        style: ``plain`` puts the instruction after the question, and ``cot`` (+CoT) a longer one; ``first`` puts it
            before the question (screening models). ``thinking`` equals ``plain``, and the generation prompt then opens
            the thinking (m1 models). ``thinking_bare`` has no instruction, as in the training of m1 models. ``huatuo``
            is for HuatuoGPT-o1.

    Raises:
        KeyError: there is no such style.
    """
    return {
        "plain": f"{text}\n{BOXED}",
        "cot": f"{text}\nLet's think step by step. {BOXED}",
        "first": f"{BOXED} {text}",
        "thinking": f"{text}\n{BOXED}",
        "thinking_bare": text,
        "huatuo": f"{HUATUO}\n{text}",
    }[style]
