"""The table of what sweeps cost, from their manifests."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from m1.core.errors import UserError
from m1.report.sweep_cost import main

COUNTS = {
    "questions": 500,
    "predictions": 5000,
    "rollout_tokens": 33537,
    "forced_tokens": 43056,
    "answer_tokens": 29220,
    "companion_tokens": 0,
    "anew_thinking_tokens": 353086,
    "anew_answer_tokens": 42067,
    "settings": 10,
    "generated_now": 105813,
}


def manifest(folder: Path, name: str, **changes: Any) -> str:
    counts = {**COUNTS, **changes}
    path = folder / f"{name}.json"
    path.write_text(
        json.dumps({"counts": {k: v for k, v in counts.items() if v is not None}, "name": name, "seconds": 32.0})
    )
    return str(path)


def test_a_row_for_each_model_in_the_order_given(tmp_path: Path) -> None:
    from_store = manifest(tmp_path, "a", generated_now=0)
    output = tmp_path / "sweep_cost.csv"
    main(["--manifests", manifest(tmp_path, "b"), from_store, "--output", str(output)])
    with open(output, newline="") as stream:
        first, second = csv.DictReader(stream)
    assert (first["model"], second["model"]) == ("b", "a")
    assert (first["tokens"], first["anew_tokens"], first["share"]) == ("105813", "395153", "0.2678")
    assert (first["generated_now"], first["tokens_per_second"]) == ("105813", "3307")
    changed = {"model", "generated_now", "tokens_per_second"}
    assert {key: first[key] for key in first.keys() - changed} == {
        key: second[key] for key in second.keys() - changed
    }, "no hit hides a cost"
    assert (second["generated_now"], second["tokens_per_second"]) == ("0", "")


def test_companions_are_part_of_the_cost(tmp_path: Path) -> None:
    main(["--manifests", manifest(tmp_path, "a", companion_tokens=187), "--output", str(tmp_path / "cost.csv")])
    with open(tmp_path / "cost.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["companion_tokens"], row["tokens"]) == ("187", "106000")


@pytest.mark.parametrize("text", ["[]", "{}", '{"counts": {"questions": 3}, "name": "x", "seconds": 1}'])
def test_what_is_no_sweep_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(UserError, match=r"other\.json: not the manifest of a budget sweep: no .*rollout_tokens"):
        main(["--manifests", str(tmp_path / "other.json"), "--output", str(tmp_path / "sweep_cost.csv")])
    assert not (tmp_path / "sweep_cost.csv").exists()


def test_a_manifest_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"old\.json: .* no answer_tokens\. Delete it"):
        main(
            ["--manifests", manifest(tmp_path, "old", answer_tokens=None), "--output", str(tmp_path / "sweep_cost.csv")]
        )
