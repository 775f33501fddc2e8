"""Answers of models that answer at once, plain or +CoT (B.3): the bases in Table 1."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m1.errors import run
from m1.files import write_manifest
from m1.infer.engine import KeptEngine, Request, add_arguments, opened
from m1.progress import say
from m1.prompts import evaluation_prompt, question_text
from m1.records import Prediction, Question, read, write


def stop_ids(tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end an answer: end of text, end of turn, and the start of another turn or part."""
    names = {tokenizer.eos_token, "<|im_end|>", "<|endoftext|>", "<|im_start|>"}
    known = tokenizer.get_vocab()
    return tuple(sorted(known[name] for name in names if name in known))


def chat_ids(tokenizer: Any, user: str) -> list[int]:
    """Token ids of one user turn and the opening of the assistant's, by the model's chat template."""
    text = tokenizer.apply_chat_template([{"role": "user", "content": user}], add_generation_prompt=True, tokenize=False)
    return tokenizer.encode(text, add_special_tokens=False)


def answer_at_once(engine: KeptEngine, tokenizer: Any, questions: Sequence[Question], style: str, limit: int) -> list[tuple[str, int]]:
    """Greedy answers without thinking.

    Args:
        style: prompt style, see :func:`m1.prompts.evaluation_prompt`.
        limit: tokens of an answer at most.

    Returns:
        Answer text and its tokens, in the order of the questions.
    """
    stop = stop_ids(tokenizer)
    requests = [Request(tuple(chat_ids(tokenizer, evaluation_prompt(question_text(q), style))), limit, stop) for q in questions]
    generations = engine.generate(requests, "answers")
    return [(tokenizer.decode(g.token_ids, skip_special_tokens=True), g.tokens) for g in generations]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the predictions of one model on all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--benchmarks", required=True, nargs="+", type=Path, help="question files, named by benchmark")
    parser.add_argument("--settings", required=True, type=json.loads, help="JSON: prompt (plain or cot), answer_limit (tokens)")
    arguments = parser.parse_args(argv)
    started = time.time()
    asked = [(path.stem, question) for path in arguments.benchmarks for question in read(path, Question)]
    with opened(arguments, f"infer {arguments.name}") as (engine, tokenizer, identity):
        settings = arguments.settings
        answers = answer_at_once(engine, tokenizer, [question for _, question in asked], settings["prompt"], settings["answer_limit"])
    predictions = [
        Prediction(question.id, benchmark, arguments.name, 0, 0, 0, True, text, tokens)
        for (benchmark, question), (text, tokens) in zip(asked, answers)
    ]
    write(arguments.output, predictions, Prediction)
    counts = {"questions": len(asked), "tokens_generated": engine.generated}
    inputs = {"model": arguments.model, **{path.stem: path for path in arguments.benchmarks}}
    write_manifest(
        arguments.manifest, inputs=inputs, settings=[settings, arguments.serve], counts=counts, started=started, known={"model": identity}
    )
    say(f"infer {arguments.name}", f"{len(asked):,} questions answered, {engine.generated:,} tokens generated")


if __name__ == "__main__":
    run(main)
