"""The second decontamination: training prompts, with their options, against the evaluation's questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from m1.core import records
from m1.core.records import Question
from m1.pools import leaks

LONG = "A man of forty comes to the ward with fever and cough for a week. " * 3


def question(
    identity: str, source: str, stem: str, options: tuple[str, ...] = ("a", "b"), context: str | None = None
) -> Question:
    return Question(identity, source, stem, context, options, "A")


def test_questions_close_to_one_of_the_evaluation_are_found(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = {
        "medqa": [question("q1", "medqa", LONG), question("q2", "medqa", LONG, ("long option " * 5,) * 2)],
        "pubmedqa": [question("q3", "pubmedqa", "Is it?", context=LONG), question("q4", "pubmedqa", "Short?")],
        "evaluation": [question("e1", "nejm", LONG, ("other options",) * 4), question("e2", "nejm", "Short?")],
    }
    paths = {name: str(tmp_path / f"{name}.parquet") for name in files}
    for name, rows in files.items():
        records.write(paths[name], rows, Question)
    outputs = ["--output", str(tmp_path / "leaks.parquet"), "--manifest", str(tmp_path / "leaks.json")]
    inputs = ["--questions", paths["medqa"], paths["pubmedqa"], "--evaluation", paths["evaluation"]]
    leaks.main([*inputs, "--settings", '{"threshold": 95}', *outputs])
    found = [one.id for one in records.read(tmp_path / "leaks.parquet", Question)]
    assert found == ["q1", "q3"], "the options of q2 make its prompt another text, and those of q4 a longer one"
    counts = json.loads((tmp_path / "leaks.json").read_text())["counts"]
    assert counts == {"questions": 4, "evaluation": 2, "leaks": 2, "sources": {"medqa": 1, "pubmedqa": 1}}
    assert "4 questions against 2 of the evaluation, 2 found in it" in capfd.readouterr().out


def test_the_manifest_tells_a_pool_from_a_benchmark_of_its_name(tmp_path: Path) -> None:
    paths = {kind: str(tmp_path / kind / "medqa.parquet") for kind in ("pools", "benchmarks")}
    for kind, path in paths.items():
        records.write(path, [question(kind, "medqa", f"Which of {kind}?")], Question)
    given = ["--questions", paths["pools"], "--evaluation", paths["benchmarks"], "--settings", '{"threshold": 95}']
    leaks.main([*given, "--output", str(tmp_path / "leaks.parquet"), "--manifest", str(tmp_path / "leaks.json")])
    inputs = json.loads((tmp_path / "leaks.json").read_text())["inputs"]
    assert set(inputs) == {"medqa", "evaluation medqa"}
