"""A screening model attempts every question of the collection, answering at once (3.1)."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from m1.curation import is_right_curated
from m1.errors import run
from m1.files import write_manifest
from m1.infer.answer import answer_at_once
from m1.infer.engine import start_engine
from m1.progress import say
from m1.records import Attempt, Question, read, write
from m1.store import Store


def main(argv: Sequence[str] | None = None) -> None:
    """Write one attempt for each question, judged by the curation rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the screening model's key")
    parser.add_argument("--model", required=True, type=Path, help="folder of the model")
    parser.add_argument("--questions", required=True, type=Path, help="questions, Parquet")
    parser.add_argument("--settings", required=True, type=json.loads, help="JSON: prompt, answer_limit (tokens), rule (released or strict)")
    parser.add_argument("--serve", required=True, type=json.loads, help="JSON: engine, dtype")
    parser.add_argument("--batch", required=True, type=int, help="requests at a time; decides no answer")
    parser.add_argument("--store", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path, help="attempts, Parquet")
    parser.add_argument("--manifest", required=True, type=Path)
    arguments = parser.parse_args(argv)
    started = time.time()
    from transformers import AutoTokenizer

    settings, title = arguments.settings, f"screen {arguments.name}"
    questions = read(arguments.questions, Question)
    with Store(arguments.store) as store:
        engine = start_engine(arguments.model, arguments.serve, arguments.batch, store, title)
        tokenizer = AutoTokenizer.from_pretrained(arguments.model)
        answers = answer_at_once(engine, tokenizer, questions, settings["prompt"], settings["answer_limit"])
    attempts = [
        Attempt(question.id, arguments.name, text, is_right_curated(text, question, settings["rule"]))
        for question, (text, _) in zip(questions, answers)
    ]
    write(arguments.output, attempts, Attempt)
    right = sum(attempt.correct for attempt in attempts)
    counts = {"questions": len(questions), "right": right, "tokens_generated": engine.generated}
    inputs = {"model": arguments.model, "questions": arguments.questions}
    write_manifest(arguments.manifest, inputs=inputs, settings=[settings, arguments.serve], counts=counts, started=started)
    say(title, f"{right:,} of {len(questions):,} questions right")


if __name__ == "__main__":
    run(main)
