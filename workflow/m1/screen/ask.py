"""Ask a screening model behind a URL every question of the collection (3.1).

m1.screen.attempt does the same with a model whose weights are here.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from m1.client.complete import Provider, Request, add_call_arguments, complete_all, look_up_in
from m1.core.curation import passes_curation
from m1.core.errors import run
from m1.core.files import write_manifest
from m1.core.progress import say
from m1.core.prompts import evaluation_prompt, question_text
from m1.core.records import Question, ScreenAnswer, read, writing
from m1.core.store import Store, Stored
from m1.screen.settings import AskSettings


class CallInputs(NamedTuple):
    """The step's flags, and the requests that follow from them."""

    arguments: argparse.Namespace
    provider: Provider
    settings: AskSettings
    questions: list[Question]
    requests: list[Request]


def prepare(argv: Sequence[str] | None) -> CallInputs:
    """Read the flags and questions, and make the request for each question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the model's key in screen.providers")
    parser.add_argument("--questions", required=True, type=Path, help="questions, Parquet")
    add_call_arguments(parser, "provider", by="by name, ")
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {AskSettings.keys()}")
    parser.add_argument("--output", required=True, type=Path, help="attempts, Parquet")
    parser.add_argument("--manifest", required=True, type=Path, help="JSON: counts, tokens, dollars")
    arguments = parser.parse_args(argv)
    settings = AskSettings.from_json(arguments.settings)
    own = {**arguments.provider, **arguments.calls[arguments.name]}
    provider = Provider.from_settings(own, f"screen.providers.{arguments.name}")
    questions = read(arguments.questions, Question)
    requests = [
        Request(evaluation_prompt(question_text(question), settings.prompt), question=question.id)
        for question in questions
    ]
    return CallInputs(arguments, provider, settings, questions, requests)


def count_stored(argv: Sequence[str]) -> Stored:
    """Count the calls that the store has already."""
    asked = prepare(argv)
    return look_up_in(asked.arguments.store, asked.requests, asked.provider)


def main(argv: Sequence[str] | None = None) -> None:
    """Write one answer for each question, judged by the curation rule; a refused question counts as not solved."""
    started = time.time()
    arguments, provider, settings, questions, requests = prepare(argv)
    title = f"screen {arguments.name}"
    counts = {"questions": len(questions), "correct": 0}
    with Store(arguments.store) as store:
        completions, spending = complete_all(requests, provider, store, title)
        with writing(arguments.output, ScreenAnswer) as answers:
            for question, completion in zip(questions, completions):
                passed = passes_curation(completion.answer, question, settings.rule)
                answers.add([ScreenAnswer(question.id, arguments.name, completion.answer, passed)])
                counts["correct"] += passed
    inputs, told = (
        {"questions": arguments.questions},
        [asdict(settings), arguments.provider, arguments.calls[arguments.name]],
    )
    spent = asdict(spending)
    write_manifest(arguments.manifest, inputs=inputs, settings=told, counts=counts, started=started, spending=spent)
    say(title, f"{counts['correct']:,} of {len(questions):,} questions correct · {spending}")


if __name__ == "__main__":
    run(main)
