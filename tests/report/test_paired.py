"""paired.csv: models against each other on the same questions, with McNemar's test as written out here."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core.errors import UserError
from m1.report import paired, statistics
from m1.report.settings import AccuracyRow
from scipy.stats import binomtest, chi2
from score_files import PAPER, counted, outcomes, save
from shown import accuracy_row, save_shown


def run(folder: Path, parts: list[pa.Table], **tables: list[AccuracyRow]) -> pd.DataFrame:
    shown = save_shown(folder, **{name: tuple(rows) for name, rows in tables.items()})
    arguments = ["--shown", shown, "--scores", save(folder / "j.parquet", *parts)]
    arguments += ["--benchmarks", PAPER / "benchmarks.csv", "--output", folder / "p.csv"]
    paired.main(list(map(str, arguments)))
    return pd.read_csv(folder / "p.csv")


def row(model: str, budget: int = 2048) -> AccuracyRow:
    return accuracy_row(model, budget=budget)


def mcnemar(only_first: int, only_second: int) -> float:
    n = only_first + only_second
    if n < 25:
        return binomtest(only_first, n).pvalue if n else 1.0
    return float(chi2.sf((only_first - only_second) ** 2 / n, 1))


def test_pairs_on_each_benchmark_and_on_all(tmp_path: Path) -> None:
    parts = [
        outcomes("a", "medqa", [True] * 30 + [False] * 10),
        outcomes("b", "medqa", [False] * 30 + [True] * 2 + [False] * 8),
        outcomes("a", "nejm", [True, True, False, False]),
        outcomes("b", "nejm", [True, False, True, False]),
        outcomes("b", "nejm", [True] * 4, budget=128),
        outcomes("a", "nejm", [False] * 4, forced=1),
    ]
    found = run(tmp_path, parts, table1=[row("a"), row("b")])
    assert list(found.columns) == paired.COLUMNS
    assert found["benchmark"].tolist() == ["medqa", "nejm", "all"]
    assert found["column"].tolist() == ["MedQA", "NEJM", "all"]
    assert set(found["table"]) == {"table1"}
    assert found[["first", "first_label", "first_budget", "second"]].drop_duplicates().to_numpy().tolist() == [
        ["a", "A", 2048, "b"]
    ]
    counts = found[["n", "both_correct", "only_first", "only_second", "both_incorrect"]].to_numpy().tolist()
    assert counts == [[40, 0, 30, 2, 8], [4, 1, 1, 1, 1], [44, 1, 31, 3, 9]]
    assert found["difference"].tolist() == [70, 0, 63.64]
    assert found["p"].to_numpy() == pytest.approx([mcnemar(30, 2), 1, mcnemar(31, 3)], rel=1e-3)
    assert found["p_holm"].to_numpy() == pytest.approx([3 * mcnemar(30, 2), 1, 2 * mcnemar(31, 3)], rel=1e-3)
    assert found["better"].tolist() == ["a", "no difference shown", "a"]
    other_way = run(tmp_path, parts, table1=[row("b"), row("a")])
    assert other_way["better"].tolist() == ["a", "no difference shown", "a"]
    assert other_way["difference"].tolist() == [-70, 0, -63.64]


def test_only_questions_of_both_models_count(tmp_path: Path) -> None:
    parts = [
        counted("a", "medqa", 3, 5),
        counted("b", "medqa", 3, 3),
        counted("a", "nejm", 1, 2),
        counted("b", "gpqa", 1, 2),
    ]
    found = run(tmp_path, parts, table1=[row("a"), row("b")])
    assert found[["benchmark", "n", "both_correct"]].to_numpy().tolist() == [["medqa", 3, 3], ["all", 3, 3]]


def test_each_table_has_its_own_budgets_pairs_and_correction(tmp_path: Path) -> None:
    parts = [
        counted(model, "medqa", k, 100, budget) for model, k in (("a", 20), ("b", 40), ("c", 60)) for budget in (16, 32)
    ]
    found = run(tmp_path, parts, table1=[row("a", 16), row("b", 16), row("c", 16)], table2=[row("a", 32), row("b", 32)])
    one, two = (found[found["table"] == table] for table in ("table1", "table2"))
    assert one[["first", "second"]].drop_duplicates().to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert len(one) == 6
    assert set(two["first_budget"]) == {32}
    assert two["p_holm"].to_numpy() == pytest.approx(2 * two["p"].to_numpy(), rel=1e-3)
    assert one["p_holm"].max() > two["p_holm"].max()
    alone = run(tmp_path, parts, table1=[row("a", 16)], table2=[])
    assert list(alone.columns) == paired.COLUMNS
    assert alone.empty


def test_the_best_budget_is_each_benchmarks_own(tmp_path: Path) -> None:
    parts = [
        counted("a", key, k, 10, budget) for key, budget, k in (("medqa", 16, 5), ("medqa", 32, 2), ("nejm", 16, 1))
    ]
    parts += [counted("a", "nejm", 7, 10, 32), counted("b", "medqa", 0, 10, 32), counted("b", "nejm", 0, 10, 32)]
    found = run(tmp_path, parts, table1=[accuracy_row("a", budgets=(16, 32)), row("b", 32)], table2=[])
    assert found.set_index("benchmark")["difference"].to_dict() == {"medqa": 50, "nejm": 70, "all": 60}
    assert (found["first_budget"] == "best").all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "c"}, "no scores of model 'c'"),
        ({"budgets": (1,)}, "has none at budget 1"),
    ],
)
def test_a_row_that_cannot_be_compared_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, [counted("a", "medqa", 1, 2)], table1=[dataclasses.replace(row("a"), **changes)])
    assert not (tmp_path / "p.csv").exists()


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_agrees_with_its_formulas(only_first: int, only_second: int) -> None:
    expected = pytest.approx(mcnemar(only_first, only_second), abs=1e-12)
    assert statistics.mcnemar_p(only_first, only_second) == expected
    assert statistics.mcnemar_p(np.array([only_first, 7]), np.array([only_second, 7]))[0] == expected


@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), max_size=30))
def test_holm_agrees_with_its_definition(p: list[float]) -> None:
    tested = sorted((value, place) for place, value in enumerate(p) if value == value)
    expected, least = [float("nan")] * len(p), 0.0
    for rank, (value, place) in enumerate(tested):
        least = max(least, min(1.0, value * (len(tested) - rank)))
        expected[place] = least
    np.testing.assert_allclose(statistics.holm(p), expected, atol=1e-12)


def test_equal_models_differ_in_five_of_a_hundred_comparisons_and_ten_points_are_found() -> None:
    """Answers to the same question go together: each model has the question's difficulty in common."""
    random = np.random.default_rng(0)

    def share_found(effect: float, n: int, times: int = 1000) -> float:
        found = 0
        for _ in range(times):
            difficulty = random.beta(2, 1.5, n) * (1 - 0.1)
            one, two = random.random(n) < difficulty, random.random(n) < difficulty + effect
            found += statistics.mcnemar_p(int((one & ~two).sum()), int((~one & two).sum())) < 0.05
        return found / times

    assert share_found(0, 1000) == pytest.approx(0.05, abs=0.02)
    assert share_found(0, 40) <= 0.07  # the exact test is careful
    assert share_found(0.1, 1000) > 0.99


def test_p_of_one_pair_of_counts_is_a_number() -> None:
    """An array, of whatever shape, would be written with all its digits (``cells.csv`` of two runs)."""
    assert isinstance(statistics.paired(3, 5, 20, 3.0).p, float)
