"""Which budget Table 1's rows are from, and what choosing it on the test questions adds."""

import numpy as np
import pandas as pd
import pytest
from m1.report import choice, evidence
from score_files import PAPER

POINTS = pd.read_csv(PAPER / "figure1.csv")
BENCHMARKS = pd.read_csv(PAPER / "benchmarks.csv")
TABLE1 = pd.read_csv(PAPER / "table1.csv").set_index("model")
SIZES = dict(zip(BENCHMARKS["column"], BENCHMARKS["n"]))


def test_points_are_those_of_three_models_at_seven_budgets() -> None:
    assert len(POINTS) == 210
    assert POINTS["accuracy"].isna().sum() == 4
    assert set(POINTS["column"]) == set(BENCHMARKS["column"])
    assert sorted(set(POINTS["budget"])) == [128, 256, 512, 1024, 2048, 4096, 8192]


def test_changes_from_4096_to_8192_are_those_of_correlated_answers() -> None:
    assert evidence.correlation(POINTS, SIZES, 4096, 8192) == pytest.approx(0.78, abs=0.005)


def test_correlation_is_found_again_in_draws() -> None:
    n = np.full(200, 1000)
    drawn = evidence.draw_points(np.full((2, 200), 60.0), n, np.random.default_rng(1))[0]
    points = pd.DataFrame(
        {"model": "m", "column": np.tile(range(200), 2), "budget": np.repeat([1, 2], 200), "accuracy": drawn.ravel()}
    )
    assert evidence.correlation(points, dict.fromkeys(range(200), 1000), 1, 2) == pytest.approx(0.8, abs=0.05)
    assert drawn.std() == pytest.approx(100 * np.sqrt(0.24 / 1000), rel=0.15)


def test_hidden_points_lie_between_their_neighbours() -> None:
    filled = evidence.fill_hidden(POINTS, list(BENCHMARKS["column"]))
    wide = filled["m1-7B-1K"]
    assert wide.loc[1024, "PubMed"] == pytest.approx((75.43 + 76.38) / 2)
    assert filled["m1-7B-23K"].loc[128, "Lancet"] == 61.10
    assert wide.loc[128, "MedMC"] == 55.90


def test_the_papers_rows_are_the_best_of_each_benchmark() -> None:
    lines = pd.DataFrame(choice.paper_lines(POINTS, TABLE1["Avg."], BENCHMARKS, 42)).set_index("model")
    expected = {"m1-7B-1K": (57.35, 4096, 57.35), "m1-7B-23K": (59.67, 8192, 59.73), "m1-32B-1K": (67.46, 8192, 67.73)}
    for model, (fixed, best, at_best) in expected.items():
        line = lines.loc[model]
        assert (line["best_budget"], line["fixed_budget"]) == (best, 4096)
        assert (line["at_fixed"], line["at_best"]) == pytest.approx((fixed, at_best), abs=0.006)
        assert line["at_best_of_each"] == pytest.approx(TABLE1.loc[model, "Avg."], abs=0.11)
        assert line["gain"] == pytest.approx(line["at_best_of_each"] - line["at_fixed"])
        assert 0.9 < line["gain_by_choice"] < 1.2  # more than the gain: the choice alone explains it
        assert line["gain_by_choice"] > line["gain"]


def test_of_equal_budgets_the_smallest_is_the_best() -> None:
    found = choice.summarise(
        pd.DataFrame({"a": [50.0, 60, 60], "b": [50.0, 40, 40]}, index=[128, 8192, 256]).sort_index()
    )
    assert (found["best_budget"], found["at_best"], found["at_best_of_each"]) == (128, 50, 55)
    assert (found["fixed_budget"], found["at_fixed"], found["gain"]) == (256, 50, 5)
    assert choice.summarise(pd.DataFrame({"a": [1.0]}, index=[8192]))["fixed_budget"] == 8192


def test_choosing_among_equal_budgets_gains_on_the_chosen_half_only() -> None:
    random = np.random.default_rng(3)
    correct = {f"b{number}": pd.DataFrame(random.random((300, 7)) < 0.6, columns=range(7)) for number in range(40)}
    line = choice.run_line(correct, 42, "m")
    best_of_seven = 1.352 * 100 * np.sqrt(0.24 / 300)  # the expected largest of seven standard normal draws
    assert line["gain_by_choice"] == pytest.approx(best_of_seven, rel=0.15)
    assert line == choice.run_line(correct, 42, "m")


def test_a_budget_that_is_better_is_no_gain_by_choice() -> None:
    better = pd.DataFrame({128: np.arange(400) % 4 == 0, 256: np.arange(400) % 4 != 0})
    line = choice.run_line({"a": better}, 42, "m")
    assert line["gain_by_choice"] == pytest.approx(0, abs=0.05)
    assert (line["at_best_of_each"], line["best_budget"]) == (75, 256)


def test_gain_by_choice_without_difference_between_budgets() -> None:
    n = np.full(50, 400)
    found = choice.gain_by_choice(np.full(50, 60.0), n, 7, np.random.default_rng(1))
    spread = 100 * np.sqrt(0.24 / 400)
    assert found == pytest.approx(1.352 * np.sqrt(1 - evidence.CORRELATION) * spread, rel=0.03)
    assert choice.gain_by_choice(np.full(50, 60.0), n, 1, np.random.default_rng(1)) == pytest.approx(0, abs=0.03)
