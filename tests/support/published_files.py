"""Files as the authors published them, made of what a project has."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from m1.core import records
from m1.core.records import LETTERS, Prediction, Question
from project import Project

LISTS = {
    "medmcqa": "MedMCQA_validation",
    "medqa": "MedQA_USLME_test",
    "pubmedqa": "PubMedQA_test",
    "medxpertqa": "MedXpertQA",
}


def benchmark(project: Project, name: str) -> list[Question]:
    return records.read(project.path(f"results/short/benchmarks/{name}.parquet"), Question)


def in_evaluation_layout(question: Question) -> dict[str, Any]:
    """Convert a question into the layout of the authors' evaluation file: context and question are one text."""
    text = f"{question.context}\n{question.stem}" if question.context else question.stem
    options = dict(zip(LETTERS, question.options))
    return {"question": text, "options": options, "answer": options[question.answer], "answer_idx": question.answer}


def write_results(project: Project, model: str) -> list[dict[str, Any]]:
    """The predictions of a model, a file for each budget and forced count; where they are, for `published`."""
    questions = {question.id: question for name in LISTS for question in benchmark(project, name)}
    settings: dict[tuple[int, int], dict[str, list[Any]]] = defaultdict(lambda: {name: [] for name in LISTS.values()})
    for prediction in records.read(project.path(f"results/short/infer/{model}/predictions.parquet"), Prediction):
        settings[prediction.budget, prediction.forced][LISTS[prediction.benchmark]].append(
            in_evaluation_layout(questions[prediction.question_id])
            | {
                "thinking_text": "thinking",
                "response_text": prediction.answer,
                "thinking_finish_reason": "stop" if prediction.ended else "length",
                "num_gen_tokens": prediction.thinking_tokens + prediction.answer_tokens,
            }
        )
    places = []
    for (budget, forced), lists in settings.items():
        path = f"results-{budget}-{forced}.json"
        (project.folder / path).write_text(json.dumps(lists), encoding="utf-8")
        places.append({"from": "m1_results", "path": path, "budget": budget, "forced": forced})
    return places
