"""The contamination audit: which pairs it lists and why, and what it counts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from m1.core import records
from m1.core.errors import UserError
from m1.core.records import Question
from m1.pools import audit

CASE = "A man of forty comes to the ward with fever and cough for a week and asks what the cause of it may be"
WRAPPED = (
    f"The nurse on duty tells the story of the day before. {CASE} and what she should do about "
    "it until the morning comes"
)
NEAR = CASE.replace("forty", "sixty").replace("fever", "pains").replace("week", "month")
ABSTRACT = " ".join(f"word{number}" for number in range(200))


def question(
    identity: str, stem: str, options: tuple[str, ...] = ("One answer", "another"), context: str | None = None
) -> Question:
    return Question(identity, identity[0], stem, context, options, "A")


POOLS = {
    "same": [
        question("p1", "Which drug?", ("one answer.", "green")),
        question("p2", WRAPPED),
        question("p3", CASE + "."),
        question("p4", NEAR, ("red", "blue")),
        question("p5", "Does it help\nor not?", context=ABSTRACT),
        question("p6", "Which enzyme makes it?"),
    ],
    "b": [question("q1", "Is it safe, and for how long may it be given?", context=ABSTRACT)],
    "empty": [],
}
BENCHMARKS = {
    "b": [
        question("b2", CASE),
        question("b1", "Which drug?"),
        question("b3", "Does it help\nor not?", context=ABSTRACT),
    ],
    "none": [],
}


def run(folder: Path, *, processes: int = 1, **settings: Any) -> tuple[list[dict[str, str]], pd.DataFrame]:
    files = {
        kind: [folder / kind / f"{name}.parquet" for name in sets]
        for kind, sets in (("pools", POOLS), ("benchmarks", BENCHMARKS))
    }
    for path, rows in zip(files["pools"] + files["benchmarks"], [*POOLS.values(), *BENCHMARKS.values()]):
        records.write(path, rows, Question)
    outputs = [
        "--output",
        str(folder / "pairs.csv"),
        "--summary",
        str(folder / "summary.csv"),
        "--manifest",
        str(folder / "contamination.json"),
        "--processes",
        str(processes),
    ]
    given = json.dumps({"thresholds": [80, 95], "ngram": 13, "containment": 0.3} | settings)
    inputs = ["--pools", *map(str, files["pools"]), "--benchmarks", *map(str, files["benchmarks"])]
    audit.main([*inputs, "--settings", given, *outputs])
    manifest = json.loads((folder / "contamination.json").read_text(encoding="utf-8"))
    assert list(manifest["outputs"]) == ["pairs.csv", "summary.csv"]
    with open(folder / "pairs.csv", encoding="utf-8", newline="") as stream:
        pairs = list(csv.DictReader(stream))
    return pairs, pd.read_csv(folder / "summary.csv", keep_default_na=False)


def test_every_pair_is_listed_with_what_finds_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pairs, _ = run(tmp_path)
    keys = ("pool", "question_id", "benchmark_id", "caught_by", "released", "same_answer")
    assert [tuple(row[key] for key in keys) for row in pairs] == [
        ("same", "p1", "b1", "both", "no", "yes"),
        ("same", "p5", "b3", "both", "yes", "yes"),
        ("same", "p3", "b2", "both", "no", "yes"),
        ("same", "p4", "b2", "near", "no", "no"),
        ("same", "p2", "b2", "ngram", "no", "yes"),
        ("b", "q1", "b3", "ngram", "yes", "yes"),  # another question on the same abstract
    ]
    assert {row["benchmark"] for row in pairs} == {"b"}
    first, wrapped = pairs[0], pairs[4]
    assert (first["question_text"], first["question_options"]) == ("Which drug?", "A. one answer. | B. green")
    assert (first["benchmark_text"], first["benchmark_options"]) == ("Which drug?", "A. One answer | B. another")
    assert (first["stem_similarity"], first["containment"]) == ("100", "1")
    assert float(first["released_similarity"]) < 60
    assert float(wrapped["stem_similarity"]) < 80
    assert wrapped["containment"] == "1"
    assert pairs[1]["benchmark_text"] == ABSTRACT + " Does it help or not?"
    assert (
        "7 questions and 3 of benchmarks in, 6 pairs out; 5 questions are in a benchmark, the released filter sees 2"
        in capfd.readouterr().out
    )


def test_no_question_is_a_formula_in_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stem = '=HYPERLINK("http://a", "b") \x1b[31m'
    monkeypatch.setitem(POOLS, "b", [question("+q1", stem)])
    monkeypatch.setitem(BENCHMARKS, "none", [question("@b1", stem)])
    found = next(pair for pair in run(tmp_path)[0] if pair["pool"] == "b")
    texts = [text for text in found.values() if text.lstrip("'")[:1] in set("=+-@")]
    assert len(texts) >= 4
    assert all(text.startswith("'") for text in texts)
    assert "\x1b" not in (tmp_path / "pairs.csv").read_text(encoding="utf-8")
    assert records.read(tmp_path / "pools/b.parquet", Question)[0].stem == stem, "Parquet has the text itself"


def test_the_summary_counts_what_the_released_filter_lets_through(tmp_path: Path) -> None:
    _, summary = run(tmp_path)
    assert len(summary) == 2 * 3 * 4  # benchmarks, pools, criteria: zeros are said, too
    cell = summary[(summary.benchmark == "b") & (summary.pool == "same")].set_index("criterion")
    columns = ["pairs", "questions", "benchmark_questions", "released_catches", "released_lets_through"]
    assert cell[columns].T.to_dict("list") == {
        "stem 80": [4, 4, 3, 1, 3],
        "stem 95": [3, 3, 3, 1, 2],
        "ngram": [4, 4, 3, 1, 3],
        "caught": [4, 4, 3, 1, 3],
    }
    assert summary[(summary.benchmark == "none") | (summary.pool == "empty")][columns].to_numpy().sum() == 0


def test_a_pair_that_only_the_released_filter_sees_is_listed(tmp_path: Path) -> None:
    pairs, summary = run(tmp_path, ngram=None)
    assert {row["containment"] for row in pairs} == {""}
    assert [(row["question_id"], row["caught_by"]) for row in pairs if row["pool"] == "b"] == [("q1", "released")]
    assert list(summary.criterion.unique()) == ["stem 80", "stem 95", "caught"]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for number in (1, 2):
        run(tmp_path / str(number), processes=number)
    for name in ("pairs.csv", "summary.csv"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_bad_thresholds_are_said(tmp_path: Path) -> None:
    for thresholds in ([], 95, [0], [101], ["95"], [True], None):
        with pytest.raises(UserError, match=r"thresholds(\[0\])? is .*(number|a list|at least one)"):
            run(tmp_path, thresholds=thresholds)
    assert not (tmp_path / "pairs.csv").exists()
