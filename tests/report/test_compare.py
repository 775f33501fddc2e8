"""compare.csv: each published cell beside ours, with intervals and tests that agree with formulas written out here."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asked import save_asked
from hypothesis import given
from hypothesis import strategies as st
from m1.core.errors import UserError
from m1.report import compare, statistics
from m1.report.settings import AccuracyRow, Model
from scipy.stats import norm
from score_files import PAPER, counted, save
from shown import accuracy_row, save_shown

BENCHMARKS = pd.read_csv(PAPER / "benchmarks.csv")
TABLES = [PAPER / "table1.csv", PAPER / "table2.csv"]
TABLE1 = pd.read_csv(TABLES[0])
Z = norm.ppf(0.975)


def row(model: str, published: str | None, **changes: Any) -> AccuracyRow:
    return accuracy_row(model, published=published, **changes)


def everywhere(model: str, k: int, n: int, budget: int = 2048) -> list[pa.Table]:
    return [counted(model, key, k, n, budget) for key in BENCHMARKS["key"]]


def run(
    folder: Path,
    parts: list[pa.Table],
    rows: list[AccuracyRow],
    published: list[Path] | None = None,
    singles: list[pa.Table] | None = None,
    **shown: Any,
) -> pd.DataFrame:
    keys = tuple(BENCHMARKS["key"]) if (folder / "benchmarks").is_dir() else save_asked(folder)
    arguments = [
        *("--shown", save_shown(folder, **{"table1": tuple(rows), "benchmarks": keys} | shown)),
        *("--scores", save(folder / "j.parquet", *parts)),
        *(("--singles", save(folder / "singles.parquet", *singles)) if singles else ()),
        *("--published", *(published or TABLES)),
        *("--benchmarks", PAPER / "benchmarks.csv"),
        *("--output", folder / "c.csv"),
    ]
    compare.main(list(map(str, arguments)))
    return pd.read_csv(folder / "c.csv", keep_default_na=False, na_values=[""])


def wilson(k: int, n: int) -> tuple[float, float]:
    share = k / n
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return 100 * (centre - half), 100 * (centre + half)


def z_test(k: int, n: int, other: int, m: int) -> float:
    pooled = (k + other) / (n + m)
    return float(2 * norm.sf(abs(k / n - other / m) / math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))))


def newcombe(k: int, n: int, other: int, m: int) -> tuple[float, float]:
    (low, high), (other_low, other_high) = wilson(k, n), wilson(other, m)
    one, two = 100 * k / n, 100 * other / m
    return one - two - math.hypot(one - low, other_high - two), one - two + math.hypot(high - one, two - other_low)


def test_a_cell_beside_ours(tmp_path: Path) -> None:
    found = run(tmp_path, everywhere("a", 120, 200), [row("a", "m1-7B-1K")])
    assert list(found.columns) == compare.COLUMNS
    assert len(found) == 11 * (25 + 6)
    line = found[(found["model"] == "a") & (found["benchmark"] == "medqa")].iloc[0]
    published = TABLE1.set_index("model").loc["m1-7B-1K", "MedQA"]
    k, n = line["published_k"], line["published_n"]
    assert (n, f"{100 * k / n:.2f}", line["published_accuracy"]) == (1273, f"{published:.2f}", published)
    assert (line["published_low"], line["published_high"]) == pytest.approx(wilson(k, n), abs=0.006)
    assert (line["k"], line["n"], line["accuracy"], line["budget"], line["label"]) == (120, 200, 60, 2048, "A")
    assert (line["low"], line["high"]) == pytest.approx(wilson(120, 200), abs=0.006)
    assert line["difference"] == pytest.approx(60 - 100 * k / n, abs=0.006)
    assert (line["difference_low"], line["difference_high"]) == pytest.approx(newcombe(120, 200, k, n), abs=0.006)
    assert line["p"] == pytest.approx(z_test(120, 200, k, n), rel=1e-3)
    assert (line["test"], line["margin"], line["verdict"]) == ("two proportions", 3, "differs")
    assert line["why"] == f"the difference is beyond chance (p = {line['p_holm']:.2g} after Holm)"
    lines = found[found["model"] == "a"]
    order = lines["p"].to_numpy().argsort(kind="stable")
    by_hand = np.minimum(1, np.maximum.accumulate(lines["p"].to_numpy()[order] * (11 - np.arange(11))))
    assert lines["p_holm"].to_numpy()[order] == pytest.approx(by_hand, rel=2e-3)


def test_rows_without_a_model_are_out_of_reach(tmp_path: Path) -> None:
    found = run(tmp_path, everywhere("a", 1, 2), [row("a", None)])
    assert set(found["verdict"]) == {"out of reach"}
    assert set(found["why"]) == {"no model of this run stands for it"}
    assert found["published_low"].notna().all()
    assert found[["model", "k", "p", "p_holm"]].isna().all(axis=None)


def test_a_missing_benchmark_and_the_average_over_it_are_out_of_reach(tmp_path: Path) -> None:
    lines = (
        run(tmp_path, [counted("a", "nejm", 3, 4)], [row("a", "m1-7B-1K")]).query("model == 'a'").set_index("benchmark")
    )
    assert lines.loc["nejm", "verdict"] == "cannot tell"
    assert lines.loc["medqa", ["verdict", "why"]].tolist() == ["out of reach", "benchmark missing"]
    assert lines.loc["average", ["verdict", "why"]].tolist() == ["out of reach", "an average needs every benchmark"]
    assert lines["p"].notna().sum() == 1


def test_a_remark_puts_every_verdict_out_of_reach_and_keeps_the_numbers(tmp_path: Path) -> None:
    lines = run(tmp_path, everywhere("a", 9, 10), [row("a", "m1-7B-1K")], remark="not medicine").query("model == 'a'")
    assert set(lines["verdict"]) == {"out of reach"}
    assert set(lines["why"]) == {"not medicine"}
    assert lines[["accuracy", "difference", "p", "p_holm"]].notna().all(axis=None)


def test_a_training_that_departs_from_the_papers_is_said_in_every_tested_line(tmp_path: Path) -> None:
    departure = "trained by LoRA (rank 8), which is not the paper's training"
    parts = [table for model in "ab" for table in everywhere(model, 120, 200)]
    models = Model("a", "A", None, departure=departure), Model("b", "B", None)
    found = run(tmp_path, parts, [row("a", "m1-7B-1K"), row("b", "m1-7B-1K")], models=models)
    own, other = (found[found["model"] == model].reset_index(drop=True) for model in "ab")
    assert len(own) == 11
    assert own["why"].str.contains(f"; {departure}", regex=False).all()
    rest = [why.replace(departure, "").strip(";, ") for why in own["why"]]
    assert rest == [why.replace("; ", "; , ") for why in other["why"]], "all else is said as before"
    assert own["verdict"].tolist() == other["verdict"].tolist(), "it is asked whether the accuracy is the published one"


def test_each_model_that_stands_for_a_row_has_lines_of_its_own(tmp_path: Path) -> None:
    parts = [*everywhere("a", 1, 2), *everywhere("b", 2, 2)]
    found = run(tmp_path, parts, [row("a", "m1-7B-1K"), row("b", "m1-7B-1K")])
    assert found.query("published == 'm1-7B-1K'")["model"].tolist() == ["a"] * 11 + ["b"] * 11
    table2 = tuple(row("a", "Random", group=scale) for scale in ("1K Scale", "23K Scale"))
    found = run(tmp_path, parts, [], table2=table2).query("model == 'a'")
    assert found["group"].tolist() == ["1K Scale"] * 11 + ["23K Scale"] * 11


def test_the_average_is_of_independent_benchmarks(tmp_path: Path) -> None:
    parts = [counted("a", key, k, 50) for key, k in zip(BENCHMARKS["key"], range(5, 50, 4), strict=False)]
    line = run(tmp_path, parts, [row("a", "m1-7B-1K")]).query("model == 'a' and benchmark == 'average'").iloc[0]
    k, n = np.array(range(5, 45, 4)), BENCHMARKS["n"].to_numpy()
    theirs = TABLE1.set_index("model").loc["m1-7B-1K"]
    paper = theirs[list(BENCHMARKS["column"])].to_numpy(dtype=float) / 100
    spread, their_spread = (100 * math.sqrt((p * (1 - p) / m).sum()) / 10 for p, m in ((k / 50, 50), (paper, n)))
    mean = 100 * (k / 50).mean()
    assert line["accuracy"] == pytest.approx(mean, abs=0.006)
    assert (line["low"], line["high"]) == pytest.approx((mean - Z * spread, mean + Z * spread), abs=0.006)
    assert line["published_high"] - line["published_low"] == pytest.approx(2 * Z * their_spread, abs=0.011)

    more, others = (k + 1) / 52, (paper * n + 1) / (n + 2)  # Agresti and Caffo
    error = 100 * math.sqrt((more * (1 - more) / 52 + others * (1 - others) / (n + 2)).sum()) / 10
    difference = mean - 100 * np.round(paper * n).dot(1 / n) / 10
    assert line["difference"] == pytest.approx(difference, abs=0.006)
    reach = (difference - Z * error, difference + Z * error)
    assert (line["difference_low"], line["difference_high"]) == pytest.approx(reach, abs=0.006)
    assert line["p"] == pytest.approx(2 * norm.sf(abs(difference) / error), rel=1e-3)
    assert (line["margin"], line["test"]) == (2, "mean of two proportions")
    assert line["p_margin"] == pytest.approx(norm.sf((2 - abs(difference)) / error), rel=1e-3)
    assert line["smallest_margin"] == pytest.approx(norm.ppf(0.95) * error, abs=0.006)
    assert line[["k", "n", "published_k"]].isna().all()


def test_same_bytes_and_a_model_more_changes_no_other_line(tmp_path: Path) -> None:
    parts = [*everywhere("a", 3, 5), *everywhere("b", 2, 5)]
    first = run(tmp_path, parts, [row("a", "m1-7B-1K")])
    text = (tmp_path / "c.csv").read_bytes()
    run(tmp_path, parts, [row("a", "m1-7B-1K")])
    assert (tmp_path / "c.csv").read_bytes() == text
    more = run(tmp_path, parts, [row("a", "m1-7B-1K"), row("b", "m1-7B-23K")])
    mine = more[more["model"] == "a"].drop(columns="p_holm").reset_index(drop=True)
    pd.testing.assert_frame_equal(first[first["model"] == "a"].drop(columns="p_holm").reset_index(drop=True), mine)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"published": "m1-8B"},
            "row 'A': no published row is named 'm1-8B' with group '<10B LLMs'; the names are MedLlama3-8B-v1",
        ),
        ({"model": "c"}, "no scores of model 'c'"),
        ({"published_budgets": (1,)}, "has none at budget 1 with 0 forced"),
    ],
)
def test_a_row_that_cannot_be_compared_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, everywhere("a", 1, 2), [dataclasses.replace(row("a", "m1-7B-1K"), **changes)])
    assert not (tmp_path / "c.csv").exists()


def test_budgets_are_chosen_by_the_published_rule_whatever_the_table_shows(tmp_path: Path) -> None:
    parts = [part for budget, k in ((128, 1), (256, 3)) for part in everywhere("a", k, 4, budget)]
    parts += [part for part in everywhere("a", 4, 4, 512) if part["benchmark"][0].as_py() == "nejm"]
    lines = run(
        tmp_path, parts, [accuracy_row("a", published="m1-7B-1K", budget=128, published_budgets=(128, 256, 512))]
    )
    mine = lines[lines["model"] == "a"].set_index("benchmark")
    assert mine.loc["medqa", ["budget", "k", "n"]].tolist() == [256, 3, 4]
    assert mine.loc["nejm", ["budget", "k"]].tolist() == [512, 4]
    assert np.isnan(mine.loc["average", "budget"])
    assert mine.loc["average", "accuracy"] == pytest.approx(77.5)


def test_every_published_cell_is_of_a_whole_number_and_a_mistyped_one_is_named(tmp_path: Path) -> None:
    for name in ("table1", "table2"):
        paper = pd.read_csv(PAPER / f"{name}.csv")
        for column, n in BENCHMARKS[["column", "n"]].itertuples(index=False):
            for accuracy in paper[column]:
                k = compare.published_k(accuracy, n, "here")
                assert round(100 * k / n, 2) == accuracy
    TABLE1.replace({"MedQA": 71.01}, 71.02).to_csv(tmp_path / "table1.csv", index=False)
    with pytest.raises(UserError, match=r"table1, m1-7B-1K, MedQA: 71.02 % is no whole number of 1273 questions"):
        run(tmp_path, everywhere("a", 1, 2), [row("a", "m1-7B-1K")], published=[tmp_path / "table1.csv", TABLES[1]])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    good = counted("a", "nejm", 1, 2)
    with pytest.raises(
        UserError,
        match=r"2 questions are scored twice at one setting, the first at model a, benchmark nejm, budget 2048",
    ):
        run(tmp_path, [good, good], [])
    shown = save_shown(tmp_path, benchmarks=save_asked(tmp_path))
    arguments = ["--shown", shown, "--published", *TABLES, "--benchmarks", PAPER / "benchmarks.csv"]
    arguments = [*map(str, arguments), "--output", str(tmp_path / "c.csv"), "--scores"]
    with pytest.raises(UserError, match=r"gone.parquet: no such file"):
        compare.main([*arguments, str(tmp_path / "gone.parquet")])
    (tmp_path / "text").write_text("text")
    with pytest.raises(UserError, match="text: not readable as Parquet"):
        compare.main([*arguments, str(tmp_path / "text")])
    for table, message in [
        (good.drop_columns(["correct"]), "not a file of scores: no column correct"),
        (good.set_column(4, "budget", pa.array(["1", "2"])), "column budget holds string, not int64"),
        (good.set_column(3, "model", pa.array(["a", None])), "field 'model': missing in 1 records"),
    ]:
        pq.write_table(table, tmp_path / "bad.parquet")
        with pytest.raises(UserError, match=message):
            compare.main([*arguments, str(tmp_path / "bad.parquet")])


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_tests_and_intervals_agree_with_formulas(n: int, m: int, data: st.DataObject) -> None:
    k, other = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    assert [float(end) for end in statistics.wilson(k, n)] == pytest.approx(wilson(k, n), abs=1e-9)
    found = statistics.unpaired(k, n, other, m, 3)
    p, low, high = found.p, found.low, found.high
    assert (low, high) == pytest.approx(newcombe(k, n, other, m), abs=1e-9)
    assert p == pytest.approx(1.0 if k + other in (0, n + m) else z_test(k, n, other, m), abs=1e-12)


def test_equal_models_differ_in_five_of_a_hundred_comparisons_and_ten_points_are_found() -> None:
    random = np.random.default_rng(0)
    for share in (0.2, 0.6, 0.9):
        null = [statistics.unpaired(*pair, 3).p for pair in simulated(random, share, share)]
        assert np.mean(np.array(null) < 0.05) == pytest.approx(0.05, abs=0.02)
    found = [statistics.unpaired(*pair, 3).p for pair in simulated(random, 0.6, 0.7)]
    assert np.mean(np.array(found) < 0.05) > 0.99


def simulated(
    random: np.random.Generator, share: float, other: float, times: int = 1000, n: int = 1000
) -> list[tuple[int, int, int, int]]:
    return [
        (int(one), n, int(two), n)
        for one, two in zip(random.binomial(n, share, times), random.binomial(n, other, times))
    ]


def test_a_benchmark_of_ones_own_is_beside_no_cell_and_changes_no_average(tmp_path: Path) -> None:
    rows = [row("a", "m1-7B-1K")]
    plain = run(tmp_path, everywhere("a", 120, 200), rows)
    own = run(tmp_path, [*everywhere("a", 120, 200), counted("a", "mine", 20, 20)], rows)
    pd.testing.assert_frame_equal(own, plain)
    nine = run(tmp_path, [*everywhere("a", 120, 200)[1:], counted("a", "mine", 20, 20)], rows)
    assert nine[(nine["model"] == "a") & (nine["benchmark"] == "average")]["accuracy"].isna().all(), (
        "an average of nine and one's own"
    )
