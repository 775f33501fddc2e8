"""Rows with several seeds: their mean and spread, and an interval that knows of questions and seeds, where the truth is
known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from benchmark_scripts import load
from m1.report import seeds, tables
from m1.report.settings import AccuracyRow, Margins
from m1.report.statistics import generator
from scipy.stats import norm, t
from score_files import PAPER, outcomes, save
from shown import accuracy_row, save_shown
from test_compare import BENCHMARKS, everywhere, run

MODELS = ("a", "a.seed43", "a.seed44")
MARGINS = Margins(average=2, cell=3)


def row(**changes: object) -> AccuracyRow:
    return accuracy_row("a", trainings=MODELS, **changes)


def answered(counts: tuple[int, ...], n: int, key: str, budget: int = 2048) -> list[pa.Table]:
    """Scores of each model: so many correct of n, other questions for each."""
    correct = [np.roll(np.arange(n) < k, 3 * place) for place, k in enumerate(counts)]
    return [outcomes(model, key, one, budget) for model, one in zip(MODELS, correct, strict=True)]


def means(count: int, spread: float, n: int = 1000, seed: int = 0) -> seeds.Mean:
    random = np.random.default_rng(seed)
    correct = load("seeds").answers(0.6 + random.normal(0, spread / 100, count), n, random)
    return seeds.mean_of(correct, load("seeds").draw_picks(count, random), random)


def test_both_levels_vary_as_formulas_say() -> None:
    random = np.random.default_rng(1)
    correct = load("seeds").answers(np.array([0.55, 0.6, 0.62]), 1000, random)
    mean = seeds.mean_of(correct, load("seeds").draw_picks(3, random), random)
    assert mean.value == pytest.approx(100 * correct.mean())
    questions = [*correct.mean(axis=1), 0, 1]
    assert mean.errors[0] == pytest.approx(100 * np.std(questions) / math.sqrt(1002), rel=0.03)
    # Of three seeds, draws with replacement vary by two thirds of what the spread says.
    assert mean.errors[1] == pytest.approx(100 * np.std(correct.mean(axis=0), ddof=1) / math.sqrt(3), rel=0.03)
    apart, theirs = mean.less(149, 198, random), 100 * math.sqrt(0.75 * 0.25 / 200)
    assert apart.value == pytest.approx(mean.value - 14900 / 198)
    assert apart.errors[0] == pytest.approx(math.hypot(mean.errors[0], theirs), rel=0.03)
    assert apart.errors[1] == mean.errors[1]


def test_the_interval_and_p_are_of_one_distribution_with_students_tail_for_seeds() -> None:
    mean = means(3, 2)
    for chance in (0.4, 0.025, 1e-5):
        assert mean.chance(mean.reach(chance)) == pytest.approx(chance, rel=1e-6)
        assert mean.chance(-mean.reach(chance)) == pytest.approx(1 - chance, rel=1e-6)
    only_seeds = seeds.Mean(0.0, np.zeros(4), np.array([-1.0, 1, -1, 1]), degrees=2)
    assert only_seeds.chance(4.0) == pytest.approx(t.sf(4.0, 2))
    only_questions = seeds.Mean(0.0, np.array([-1.0, 1, -1, 1]), np.zeros(4), degrees=2)
    assert only_questions.chance(4.0) == pytest.approx(norm.sf(4.0))
    assert only_questions.chance(1e3) == 0
    tested = seeds.difference(seeds.Mean(1.0, np.array([-1.0, 1, -1, 1]), np.zeros(4), degrees=2), margin=3)
    assert (tested.p, tested.p_margin) == pytest.approx((2 * norm.sf(1.0), norm.sf(2.0)))
    assert tested.smallest_margin == pytest.approx(norm.isf(0.05))
    assert (tested.n_needed, tested.test) == (None, "hierarchical bootstrap")


@pytest.mark.parametrize("count", [3, 10])
@pytest.mark.parametrize("spread", [0, 3])
def test_intervals_hold_the_truth(count: int, spread: float) -> None:
    held = load("seeds").coverage(count, spread, 1000, 250, seed=0)
    assert held["interval"] >= 92, "of 95, but for chance"
    if count == 10:
        assert held["interval"] <= 99.5, "not for being wide"
    if spread:
        assert held["questions"] < held["interval"] - 4, "an interval of questions only does not know the spread"
        assert count > 3 or held["normal"] < held["interval"] - 3, "nor does the normal quantile, of three seeds"


def test_equal_models_do_not_differ_and_those_five_points_off_are_not_reproduced() -> None:
    equal = load("seeds").verdicts(3, 2, 0, 30, MARGINS, seed=0)
    assert (equal["verdict"] == "differs").mean() <= 0.01
    off = load("seeds").verdicts(3, 1, -5, 20, MARGINS, seed=0)
    assert (off["verdict"] == "reproduced").mean() <= 0.05
    ten = load("seeds").rates(load("seeds").verdicts(10, 1, -5, 20, MARGINS, seed=0)).droplevel("n")
    assert ten.loc["average", "differs"] > 80, "ten seeds find it"


def test_seeds_are_the_same_on_all_benchmarks() -> None:
    apart = np.linspace(-1, 1, seeds.DRAWS)
    random = np.random.default_rng(0)
    parts = [seeds.Mean(60.0, random.standard_normal(seeds.DRAWS), apart, 2) for _ in range(10)]
    mean = seeds.average(parts)
    assert mean.errors[0] == pytest.approx(1 / math.sqrt(10), rel=0.03)
    assert mean.errors[1] == pytest.approx(apart.std()), "what a seed adds does not average out over benchmarks"


def test_a_cell_of_several_seeds_beside_the_published_one(tmp_path: Path) -> None:
    parts = [part for key in BENCHMARKS["key"] for part in answered((110, 120, 130), 200, key)]
    other = everywhere("b", 100, 200)
    rows = [row(published="m1-7B-1K"), accuracy_row("b", published="m1-7B-23K")]
    found = run(tmp_path, [*parts, *other], rows)
    text = (tmp_path / "c.csv").read_bytes()
    lines = found[found["model"] == "a"].set_index("benchmark")
    line = lines.loc["medqa"]
    assert (line["accuracy"], line["n"], line["budget"]) == (60, 200, 2048)
    assert np.isnan(line["k"])
    assert (lines["test"] == "hierarchical bootstrap").all()
    assert lines["n_needed"].isna().all()
    assert lines["why"].str.contains("mean of 3 trainings").all()
    assert line["why"].startswith("so few questions and seeds show no margin below")
    published = 100 * line["published_k"] / line["published_n"]
    assert line["difference"] == pytest.approx(60 - published, abs=0.006)
    wanted = [
        part["correct"].to_numpy(zero_copy_only=False).astype(float) for part in answered((110, 120, 130), 200, "")
    ]
    questions = np.std([*np.mean(wanted, axis=0), 0, 1]) / math.sqrt(202)
    share = (line["published_k"] + 1) / (line["published_n"] + 2)
    theirs = math.sqrt(share * (1 - share) / (line["published_n"] + 2))
    error = 100 * math.hypot(norm.isf(0.025) * math.hypot(questions, theirs), t.isf(0.025, 2) * 0.05 / math.sqrt(3))
    assert line["difference_high"] - line["difference"] == pytest.approx(error, rel=0.03)
    low, high = line[["low", "high"]]
    assert high - 60 == pytest.approx(60 - low, abs=0.011)
    assert lines.loc["average", "accuracy"] == 60
    assert lines.loc["average", "high"] - 60 > 100 * t.isf(0.025, 2) * 0.05 / math.sqrt(3) * 0.97, (
        "the seeds' part stays"
    )

    run(tmp_path, [*parts, *other], rows)
    assert (tmp_path / "c.csv").read_bytes() == text
    alone, beside = run(tmp_path, other, rows[1:]), found
    same = [one[one["model"] == "b"].drop(columns=["p_holm", "why"]).reset_index(drop=True) for one in (alone, beside)]
    pd.testing.assert_frame_equal(*same)  # but for Holm's correction, which is over all lines


def save_tables(folder: Path, parts: list[pa.Table], rows: list[AccuracyRow]) -> tuple[bytes, bytes]:
    folder.mkdir()
    arguments = [
        *("table1", "--shown", save_shown(folder, table1=tuple(rows)), "--scores", save(folder / "s.parquet", *parts)),
        *("--published", PAPER / "table1.csv", "--benchmarks", PAPER / "benchmarks.csv"),
        *("--output", folder / "t.csv", "--long", folder / "l.csv"),
    ]
    tables.main(list(map(str, arguments)))
    return (folder / "t.csv").read_bytes(), (folder / "l.csv").read_bytes()


def test_table_1_shows_the_mean_and_its_long_form_the_spread(tmp_path: Path) -> None:
    other = [outcomes("b", "medqa", np.arange(50) < 20), outcomes("b", "nejm", np.arange(50) < 30)]
    parts = [*answered((20, 25, 33), 50, "medqa"), *answered((30, 30, 30), 50, "nejm")]
    rows = [accuracy_row("b", published="m1-7B-23K"), row()]
    plain, plain_long = save_tables(tmp_path / "without", other, rows[:1])
    table, long = save_tables(tmp_path / "with", [*parts, *other], rows)
    assert table.splitlines()[:2] == plain.splitlines(), "a row without seeds is as it was"
    assert [line.removesuffix(b",,") for line in long.splitlines()[1:3]] == plain_long.splitlines()[1:]
    assert long.splitlines()[0] == plain_long.splitlines()[0] + b",seeds,sd"
    shown = pd.read_csv(tmp_path / "with" / "t.csv").set_index("model").loc["A"]
    assert [float(shown[column]) for column in ("MedQA", "NEJM", "Avg.")] == [52, 60, 56]
    cells = pd.read_csv(tmp_path / "with" / "l.csv").set_index(["model", "benchmark"])
    medqa = cells.loc["a", "medqa"]
    assert medqa["sd"] == pytest.approx(np.std([40, 50, 66], ddof=1), abs=0.005)
    assert medqa[["seeds", "n", "budget"]].tolist() == [3, 50, 2048]
    assert np.isnan(medqa["k"])
    assert cells.loc[("a", "nejm"), "sd"] == 0


def test_each_training_has_its_own_best_budget() -> None:
    parts = [*answered((20, 25, 30), 50, "medqa", 128), *answered((10, 35, 20), 50, "medqa", 256)]
    scores = pa.concat_tables(parts).to_pandas()
    found = seeds.spread(scores, row(), (128, 256), seed=1).cells.loc["medqa"]
    assert found["accuracy"] == pytest.approx(100 * (20 + 35 + 30) / 150)
    assert found["budget"] is pd.NA
    assert seeds.spread(scores, row(), (256,), seed=1).cells.loc["medqa", "budget"] == 256


def test_another_benchmark_changes_no_draws() -> None:
    scores = pa.concat_tables(answered((20, 25, 30), 50, "medqa")).to_pandas()
    more = pa.concat_tables([*answered((20, 25, 30), 50, "medqa"), *answered((9, 9, 8), 10, "nejm")]).to_pandas()
    alone, beside = (seeds.spread(one, row(), (2048,), seed=1) for one in (scores, more))
    assert alone.cells.loc["medqa"].to_dict() == beside.cells.loc["medqa"].to_dict()
    assert generator(1, "seeds", "a").random() != generator(2, "seeds", "a").random()
