"""This run's answers beside the published ones to the same questions, against counts by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core.errors import UserError
from m1.report import compare, paired
from m1.report.scores import accuracies, read_scores
from score_files import counted, outcomes, save
from shown import accuracy_row

ROW = accuracy_row("a", budgets=(16,), published_budgets=(16, 32))
"""A row that the run's table shows at 16 tokens, and the paper's at the better of 16 and 32."""


def answers(model: str, benchmark: str, bits: str, budget: int = 16, forced: int = 0) -> pa.Table:
    """Scores of questions 0, 1, …: ``1`` is a correct one."""
    return outcomes(model, benchmark, [bit == "1" for bit in bits], budget, forced)


def frame(folder: Path, *parts: pa.Table) -> pd.DataFrame:
    return read_scores([save(folder / "scores.parquet", *parts)])


def test_each_question_is_counted_on_one_side_on_both_or_on_neither(tmp_path: Path) -> None:
    ours = frame(
        tmp_path, answers("a", "medqa", "1110000000"), answers("a", "nejm", "01"), answers("b", "medqa", "0" * 10)
    )
    theirs = frame(
        tmp_path, answers("a", "medqa", "1001100000"), answers("a", "nejm", "01"), answers("b", "nejm", "11")
    )
    found = paired.beside_published(ours, theirs, ROW)
    assert found.index.name == "benchmark"
    assert list(found.columns) == ["n", "only_ours", "only_theirs", "both", "neither", "k_theirs", "n_theirs", "budget"]
    assert set(found.dtypes) == {pd.Series([1]).dtype}
    assert found.to_dict("index") == {
        "medqa": dict(zip(paired.SINGLES, (10, 2, 2, 1, 5, 3, 10, 16))),
        "nejm": dict(zip(paired.SINGLES, (2, 0, 0, 1, 1, 1, 2, 16))),
    }


def test_only_shared_questions_are_paired_and_all_of_theirs_are_counted(tmp_path: Path) -> None:
    ours = frame(tmp_path, answers("a", "medqa", "11"), answers("a", "mine", "1"), answers("a", "nejm", "1"))
    theirs = frame(tmp_path, answers("a", "medqa", "01111"), answers("a", "nejm", "0"), answers("a", "gpqa", "1"))
    found = paired.beside_published(ours, theirs, ROW)
    assert list(found.index) == ["medqa", "nejm"]
    assert found.loc["medqa"].tolist() == [2, 1, 0, 1, 0, 4, 5, 16]


def test_each_side_is_at_the_budget_that_the_published_rule_chooses(tmp_path: Path) -> None:
    """Ours is better at 16 tokens on MedQA and at 32 on NEJM, theirs the other way round; no other budget counts, and
    no forcing. Of two that are as good, the smaller is it."""
    ours = frame(
        tmp_path,
        *(answers("a", "medqa", bits, budget) for bits, budget in (("1100", 16), ("0010", 32), ("1111", 64))),
        *(answers("a", "nejm", bits, budget) for bits, budget in (("0001", 16), ("0110", 32), ("1111", 64))),
        answers("a", "medqa", "1111", 16, forced=1),
    )
    theirs = frame(
        tmp_path,
        *(answers("a", "medqa", bits, budget) for bits, budget in (("1000", 16), ("0111", 32), ("1111", 64))),
        *(answers("a", "nejm", bits, budget) for bits, budget in (("1100", 16), ("0011", 32), ("1111", 64))),
        answers("a", "nejm", "1111", 32, forced=2),
    )
    found = paired.beside_published(ours, theirs, ROW)
    assert found["budget"].to_dict() == {"medqa": 32, "nejm": 16}
    assert found[["only_ours", "only_theirs", "both", "neither"]].to_numpy().tolist() == [[1, 2, 1, 0], [1, 1, 1, 1]]
    assert found["k_theirs"].tolist() == [3, 2]
    fixed = paired.beside_published(ours, theirs, accuracy_row("a", budget=64))
    assert fixed[["budget", "both"]].to_numpy().tolist() == [[64, 4], [64, 4]]


def test_a_budget_that_they_lack_is_not_chosen_from(tmp_path: Path) -> None:
    ours = frame(tmp_path, answers("a", "medqa", "10", 16), answers("a", "medqa", "11", 32))
    theirs = frame(tmp_path, answers("a", "medqa", "01", 16))
    assert paired.beside_published(ours, theirs, ROW).loc["medqa"].tolist() == [2, 1, 0, 1, 0, 1, 2, 16]


def test_nothing_is_paired_without_published_answers_or_at_other_budgets(tmp_path: Path) -> None:
    ours = frame(tmp_path, answers("a", "medqa", "10"), answers("b", "medqa", "10"))
    theirs = frame(tmp_path, answers("a", "medqa", "01", 64), answers("a", "medqa", "01", 16, forced=1))
    for row in (ROW, accuracy_row("b", budget=16)):
        found = paired.beside_published(ours, theirs, row)
        assert found.empty
        assert list(found.columns) == paired.SINGLES
    with pytest.raises(UserError, match="no scores of model 'c'"):
        paired.beside_published(ours, frame(tmp_path, answers("c", "medqa", "1")), accuracy_row("c", budget=16))


def test_our_side_is_that_of_the_lines_of_compare(tmp_path: Path) -> None:
    ours = frame(tmp_path, *(counted("a", "medqa", k, 9, budget) for k, budget in ((3, 16), (5, 32), (8, 64))))
    found = paired.beside_published(ours, frame(tmp_path, counted("a", "medqa", 4, 9, 16)), ROW).loc["medqa"]
    benchmarks = pd.DataFrame({"key": ["medqa"], "column": ["MedQA"], "n": [9]})
    line, _ = compare._own_side(
        compare.Found(ours, accuracies(ours), None, {}, seed=1, departures={}), ROW, None, benchmarks
    )
    assert found["only_ours"] + found["both"] == line["k"] == 5


@given(st.lists(st.sampled_from(["00", "01", "10", "11"]), min_size=1, max_size=40))
def test_counts_agree_with_their_definition(pairs: list[str]) -> None:
    sides = [
        outcomes("a", "medqa", [pair[side] == "1" for pair in pairs], 16)
        .select(["model", "benchmark", "budget", "forced", "question_id", "correct"])
        .to_pandas()
        for side in (0, 1)
    ]
    found = paired.beside_published(sides[0], sides[1].sample(frac=1, random_state=3), ROW).loc["medqa"]
    names = {"10": "only_ours", "01": "only_theirs", "11": "both", "00": "neither"}
    assert {name: found[name] for name in names.values()} == {name: pairs.count(pair) for pair, name in names.items()}
    assert found["n"] == found["n_theirs"] == len(pairs)
    assert found["k_theirs"] == found["only_theirs"] + found["both"]
