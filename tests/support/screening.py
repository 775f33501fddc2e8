"""A screening of a few questions by a model, with a store of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from m1.core.records import Question, write
from m1.screen import attempt

QUESTIONS = [Question(f"q{n}", "medqa", f"Which of {n}?", None, ("this", "that"), "AB"[n % 2]) for n in range(7)]

SERVE = {"engine": "transformers", "dtype": "float32", "options": {}}


def screened(model: Path, folder: Path, *more: str) -> tuple[bytes, dict[str, Any]]:
    """The attempts' file of a run with a store of its own, and its counts."""
    write(folder / "questions.parquet", QUESTIONS, Question)
    flags = {
        "--name": "small",
        "--model": model,
        "--questions": folder / "questions.parquet",
        "--settings": json.dumps({"prompt": "plain", "answer_limit": 6, "rule": "released"}),
        "--serve": json.dumps(SERVE),
        "--runtime": json.dumps({"batch": 4, "options": {}}),
        "--store": folder / "store",
        "--output": folder / "answers.parquet",
        "--manifest": folder / "answers.json",
    }
    attempt.main([*(str(part) for pair in flags.items() for part in pair), *more])
    return (folder / "answers.parquet").read_bytes(), json.loads((folder / "answers.json").read_text())["counts"]
