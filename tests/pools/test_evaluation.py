"""The authors' evaluation file, whole and in its order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from m1.core.errors import UserError
from m1.core.files import read_json
from m1.core.records import Question, read
from m1.pools.evaluation import main


def row(stem: str, letter: str = "A") -> dict[str, Any]:
    return {"question": stem, "options": {"A": "yes", "B": "no"}, "answer": "yes", "answer_idx": letter}


def write(folder: Path, value: Any) -> list[str]:
    path = folder / "evaluation.json"
    path.write_text(json.dumps(value))
    settings = {"path": str(path), "layout": "eval", "names": {"MedQA_test": "medqa"}}
    return [
        "--settings",
        json.dumps(settings),
        "--output",
        str(folder / "q.parquet"),
        "--manifest",
        str(folder / "m.json"),
    ]


def test_lists_keep_their_order_and_unknown_ones_their_names(tmp_path: Path) -> None:
    main(write(tmp_path, {"HLE": [row("Other?"), row("Broken?", "Z")], "MedQA_test": [row("First?"), row("Second?")]}))
    found = [(question.source, question.stem) for question in read(tmp_path / "q.parquet", Question)]
    assert found == [("HLE", "Other?"), ("medqa", "First?"), ("medqa", "Second?")]
    counts = read_json(tmp_path / "m.json")["counts"]
    assert counts == {"HLE": {"questions": 1, "refused": 1}, "MedQA_test": {"questions": 2, "refused": 0}}


def test_a_broken_record_of_a_benchmark_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluation\.json: MedQA_test: record 1"):
        main(write(tmp_path, {"MedQA_test": [row("First?"), row("Second?", "Z")]}))


def test_an_option_that_is_not_read_is_named_in_a_benchmark_only(tmp_path: Path) -> None:
    main(write(tmp_path, {"HLE": [row("Other?") | {"option_c": "perhaps"}], "MedQA_test": [row("First?")]}))
    with pytest.raises(
        UserError, match=r"evaluation\.json: MedQA_test: record 0 \(from 0\), field 'option_c': 'perhaps' looks"
    ):
        main(write(tmp_path, {"MedQA_test": [row("First?") | {"option_c": "perhaps"}]}))


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"HLE": "none", "MedQA_test": []}, "HLE: a list of records is needed; there is str"),
        ({"MedQA_test": [row("First?"), 7]}, r"MedQA_test: record 1 \(from 0\) is no object with fields"),
    ],
)
def test_what_is_no_list_of_records_is_named(tmp_path: Path, lists: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        main(write(tmp_path, lists))


def test_what_is_no_object_of_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an object of lists is needed"):
        main(write(tmp_path, [row("First?")]))
