"""Folders of tiny finished runs, for tests that compare two of them: all files are real, only models are not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from byte_tokenizer import bytes_tokenizer
from m1.core import records
from m1.core.files import sha256_file
from m1.core.records import Prediction, Question, Rollout, Score
from m1.report.settings import AccuracyRow, Model, RuleManifests
from shown import save_shown

Setting = tuple[int, int]
Answers = Mapping[str, Mapping[str, Mapping[Setting, str]]]
"""Model, benchmark and setting (budget, forced) to verdicts: T correct, F incorrect, `.` for a question that is not
asked; the i-th is that of the question ``{benchmark}-{i}``."""
PACKAGES = {"torch": "2.0", "pandas": "3.0"}


def make_run(
    folder: Path,
    answers: Answers,
    budgets: Mapping[str, Sequence[int]],
    texts: Mapping[str, str] | None = None,
    table2: Sequence[str] = (),
    manifests: Mapping[str, Any] | None = None,
    **shown: Any,
) -> Path:
    """Write the files of a finished run.

    Args:
        budgets: model to the budgets of its row in Table 1 (Table 2 for those in ``table2``, too); a model whose
            answers have budgets above 0 thinks.
        texts: model to what it thinks and answers.
        manifests: by rule and artifact (``train_sft m1``), what is other than by default in its manifest.
        shown: further keys of ``shown.json``.
    """
    asked = {key for of_model in answers.values() for key in of_model}
    questions = {key: _questions(key, answers) for key in sorted(asked)}
    made = dict.fromkeys(("pools_collect_benchmark", "train_sft", "infer_sweep", "score_predictions"), ())
    for key, rows in questions.items():
        records.write(folder / f"benchmarks/{key}.parquet", rows, Question)
        made["pools_collect_benchmark"] += (f"benchmarks/{key}.json",)
    models = []
    for model, of_model in answers.items():
        thinks = any(budget for settings in of_model.values() for budget, _ in settings)
        text = (texts or {}).get(model, f"{folder.name} thinks")
        _write_answers(folder, model, of_model, text, thinks)
        models.append(Model(model, model.upper(), f"train/{model}" if thinks else None))
        made["infer_sweep"] += (f"infer/{model}/manifest.json",)
        made["score_predictions"] += (f"score/{model}.json",)
        if thinks:
            made["train_sft"] += (f"train/{model}",)
    for rule, files in made.items():
        for name in files:
            _write_manifest(folder, rule, name, manifests or {})
    rows = {
        model: AccuracyRow(model, model.upper(), "<10B LLMs", None, tuple(own), tuple(own), False)
        for model, own in budgets.items()
    }
    known = {
        "models": tuple(models),
        "table1": tuple(rows.values()),
        "table2": tuple(rows[model] for model in table2) if table2 else None,
        "benchmarks": tuple(questions),
        "manifests": tuple(RuleManifests(rule, files) for rule, files in made.items() if files),
    }
    save_shown(folder, **(known | shown))
    return folder


def _questions(key: str, answers: Answers) -> list[Question]:
    verdicts = [word for of_model in answers.values() for word in of_model.get(key, {}).values()]
    numbers = {i for word in verdicts for i, verdict in enumerate(word) if verdict != "."}
    return [Question(f"{key}-{i}", key, f"Stem {i} of {key}?", None, ("yes", "no"), "A") for i in sorted(numbers)]


def _write_answers(folder: Path, model: str, of_model: Mapping, text: str, thinks: bool) -> None:
    tokenizer = bytes_tokenizer(folder / "train" / model)
    thinking = tuple(tokenizer.encode(text).ids)
    scores, predictions, rollouts = [], [], []
    for key, settings in of_model.items():
        seen = set()
        for (budget, forced), verdicts in settings.items():
            for i, verdict in enumerate(verdicts):
                if verdict == ".":
                    continue
                place, correct = (f"{key}-{i}", key), verdict == "T"
                answer = f"{text} so {'yes' if correct else 'no'}"
                counted = (min(budget, len(thinking)), len(thinking) < budget)
                predictions.append(Prediction(*place, model, budget, forced, *counted, answer, 3))
                decided = (answer, "A" if correct else "B", correct, "boxed letter")
                scores.append(Score(place[0], key, key, model, budget, forced, counted[1], counted[0], 3, *decided))
                if thinks and i not in seen:
                    seen.add(i)
                    rollouts.append(Rollout(*place, model, thinking, "stop"))
    records.write(folder / f"infer/{model}/predictions.parquet", predictions, Prediction)
    records.write(folder / f"score/{model}.parquet", scores, Score)
    if thinks:
        records.write(folder / f"infer/{model}/rollouts.parquet", rollouts, Rollout)


def _write_manifest(folder: Path, rule: str, name: str, changes: Mapping[str, Any]) -> None:
    """A manifest beside an artifact, with the hashes of what is there of it."""
    path = folder / name if name.endswith(".json") else folder / name / "manifest.json"
    artifact = path.parent.name if path.name == "manifest.json" else path.stem
    files = path.parent.glob("*.parquet") if path.name == "manifest.json" else [path.with_suffix(".parquet")]
    manifest = {
        "made_by": {"commit": "0123456789abcdef", "dirty": False, "packages": dict(PACKAGES)},
        "inputs": {"base": {"path": f"{folder}/bases/tiny", "sha256": "b" * 64}} if rule == "train_sft" else {},
        "outputs": {file.name: sha256_file(file) for file in files},
        "settings": {"path": f"{folder}/data/{artifact}.jsonl", "seed": 42},
        "counts": {"questions": 7},
        "seconds": 1.0,
    }
    path.write_text(json.dumps(manifest | changes.get(f"{rule} {artifact}", {})), encoding="utf-8")
