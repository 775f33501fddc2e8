"""How a question is laid out, and the prompts of evaluation (B.3); the teacher's is in :mod:`m1.distill.traces`."""

from m1.core.records import LETTERS, Question

BOXED = "Return your final response within \\boxed{}."  # the instruction of B.1 and B.3
HUATUO = "Please answer the following multiple-choice question:"
"""Goes before the question for HuatuoGPT-o1, as its own authors evaluate it: the model then writes ``## Thinking`` and,
after ``## Final Response``, its answer, without a box (:func:`m1.score.match.final_response`)."""


def question_text(question: Question) -> str:
    """Context if any, stem, and the options one to a line as ``A. text`` (B.3)."""
    context = [question.context] if question.context else []
    return "\n".join([*context, question.stem, *options_lines(question.options)])


def options_lines(options: tuple[str, ...]) -> list[str]:
    """``A. yes``, ``B. no``, ``C. maybe``: the form that the scoring knows, too."""
    return [f"{letter}. {text}" for letter, text in zip(LETTERS, options)]


def evaluation_prompt(text: str, style: str) -> str:
    """The user turn at evaluation (B.3).

    Args:
        text: from :func:`question_text`.
        style: ``plain`` (instruction after it), ``cot`` (+CoT), ``first`` (instruction before it: filter models),
            ``thinking`` (m1 models: as ``plain``; the generation prompt then opens their thinking), ``thinking_bare``
            (m1 models without instruction, as in their training) or ``huatuo`` (HuatuoGPT-o1).
    """
    return {
        "plain": f"{text}\n{BOXED}",
        "cot": f"{text}\nLet's think step by step. {BOXED}",
        "first": f"{BOXED} {text}",
        "thinking": f"{text}\n{BOXED}",
        "thinking_bare": text,
        "huatuo": f"{HUATUO}\n{text}",
    }[style]
