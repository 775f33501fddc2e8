"""scaling.csv and best_budget.csv: against counting by hand, drawing questions one by one, and simulated models of
known behaviour."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core.errors import UserError
from m1.report import scaling
from m1.report.settings import Model
from scipy.stats import pointbiserialr
from score_files import PAPER, counted, outcomes, save
from shown import save_shown
from statsmodels.api import OLS


def run(folder: Path, parts: list[pa.Table], *models: str, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    shown = tuple(Model(model, model.upper(), None) for model in models)
    arguments = ["--shown", save_shown(folder, models=shown, figures=models, seed=seed)]
    arguments += ["--scores", save(folder / "j.parquet", *parts), "--benchmarks", PAPER / "benchmarks.csv"]
    scaling.main([*map(str, arguments), "--output", str(folder / "s.csv"), str(folder / "b.csv")])
    return pd.read_csv(folder / "s.csv"), pd.read_csv(folder / "b.csv")


def a_sweep(
    correct: np.ndarray, settings: list[tuple[int, int]] | None = None, benchmark: str = "medqa"
) -> scaling.Sweep:
    n, width = correct.shape
    settings = settings or [(2 ** (7 + place), 0) for place in range(width)]
    return scaling.Sweep(
        settings, np.array([benchmark] * n), correct, np.ones((n, width)), np.zeros((n, width), dtype=bool)
    )


def test_a_small_sweep_by_hand(tmp_path: Path) -> None:
    parts = [
        outcomes("a", "medqa", [True, True, False, False], budget=16, tokens=16, ended=False),
        outcomes(
            "a", "medqa", [True, False, True, True], budget=32, tokens=[20, 32, 18, 30], ended=[True, False, True, True]
        ),
        outcomes("a", "medqa", [True, False, True, False], budget=32, forced=1, tokens=[25, 32, 24, 32], ended=True),
        outcomes("a", "medqa", [False, False, True, False], budget=32, forced=4, tokens=[29, 32, 30, 32], ended=True),
        counted("b", "nejm", 1, 2),
    ]
    table, best = run(tmp_path, parts, "a")
    assert list(table.columns) == scaling.SCALING
    assert table["benchmark"].tolist() == ["medqa"] * 4 + ["all"] * 4
    mine = table[table["benchmark"] == "medqa"].set_index(["budget", "forced"])
    assert mine[["k", "n", "accuracy", "cut", "tokens"]].to_numpy().tolist() == [
        [2, 4, 50, 100, 16],
        [3, 4, 75, 25, 25],
        [2, 4, 50, 0, 28.25],
        [1, 4, 25, 0, 30.75],
    ]
    assert mine.loc[(32, 0), ["tokens_correct", "tokens_incorrect"]].tolist() == [22.67, 32]
    turns = [
        "before_budget",
        "before_forced",
        "correct_to_incorrect",
        "incorrect_to_correct",
        "correct_to_incorrect_rate",
        "incorrect_to_correct_rate",
    ]
    assert mine.loc[(16, 0), [*turns, "p"]].isna().all()
    assert mine.loc[(32, 0), turns].tolist() == [16, 0, 1, 2, 50, 100]
    assert mine.loc[(32, 1), turns].tolist() == [32, 0, 1, 0, 33.33, 0]
    assert mine.loc[(32, 4), turns].tolist() == [32, 1, 1, 0, 50, 0]
    assert mine["p"].tolist()[1:] == [1, 1, 1]
    expected = pointbiserialr([True, False, True, True], [20, 32, 18, 30])
    assert mine.loc[(32, 0), ["length_r", "length_p"]].tolist() == pytest.approx(
        [expected.statistic, expected.pvalue], abs=1e-3
    )
    assert mine.loc[(16, 0), ["length_r", "length_p"]].isna().all()  # every length is 16
    assert best[["benchmark", "over", "within", "best", "n", "accuracy", "degrades_at"]].fillna(
        -1
    ).to_numpy().tolist() == [
        ["medqa", "budget", -1, 32, 4, 75, "nowhere"],
        ["medqa", "forced", 32, 0, 4, 75, "nowhere"],
        ["all", "budget", -1, 32, 4, 75, "nowhere"],
        ["all", "forced", 32, 0, 4, 75, "nowhere"],
        ["average", "budget", -1, 32, -1, 75, "nowhere"],
        ["average", "forced", 32, 0, -1, 75, "nowhere"],
    ]


def test_all_weighs_questions_and_the_average_benchmarks(tmp_path: Path) -> None:
    parts = [
        counted("a", "medqa", 30, 30, 16),
        counted("a", "medqa", 0, 30, 32),
        counted("a", "nejm", 0, 10, 16),
        counted("a", "nejm", 10, 10, 32),
    ]
    table, best = run(tmp_path, parts, "a")
    assert table[table["benchmark"] == "all"]["accuracy"].tolist() == [75, 25]
    best = best.set_index("benchmark")
    assert best.loc["all", ["best", "accuracy", "degrades_at", "degrades_by"]].tolist() == [16, 75, "32", 50]
    assert best.loc["average", ["best", "accuracy", "degrades_at"]].tolist() == [
        16,
        50,
        "nowhere",
    ]  # of equal ones the smallest
    assert best.loc["medqa", "degrades_at"] == "32"
    assert best.loc["nejm", ["best", "best_low", "best_high"]].tolist() == [32, 32, 32]


def test_a_model_with_one_setting_has_no_best_one(tmp_path: Path) -> None:
    table, best = run(tmp_path, [counted("a", "medqa", 1, 2)], "a")
    assert len(table) == 2
    assert best.empty
    assert list(best.columns) == scaling.BEST


def test_same_seed_same_bytes_and_a_model_more_changes_no_other_line(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    parts = [outcomes(model, "medqa", random.random(40) < 0.5, budget) for model in "ab" for budget in (16, 32, 64)]
    _, alone = run(tmp_path, parts, "a")
    text = (tmp_path / "b.csv").read_bytes()
    run(tmp_path, parts, "a")
    assert (tmp_path / "b.csv").read_bytes() == text
    _, both = run(tmp_path, parts, "b", "a")
    pd.testing.assert_frame_equal(both[both["model"] == "a"].reset_index(drop=True), alone)


def test_a_question_without_a_setting_is_named(tmp_path: Path) -> None:
    parts = [counted("a", "medqa", 1, 3, 16), counted("a", "medqa", 1, 2, 32)]
    with pytest.raises(
        UserError, match="model 'a' on medqa: question medqa-2 has none at budget 32 with 0 forced, which others have"
    ):
        run(tmp_path, parts, "a")
    with pytest.raises(UserError, match="no scores of model 'c'; there are scores of a"):
        run(tmp_path, parts, "c")
    assert not (tmp_path / "s.csv").exists()


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_turns_are_counted(pairs: list[tuple[bool, bool]]) -> None:
    earlier, now = (np.array(side) for side in zip(*pairs))
    found = scaling.turns(earlier, now)
    lost, won = pairs.count((True, False)), pairs.count((False, True))
    assert (found["correct_to_incorrect"], found["incorrect_to_correct"]) == (lost, won)
    assert now.sum() == earlier.sum() + won - lost
    if earlier.any():
        assert found["correct_to_incorrect_rate"] == 100 * lost / earlier.sum()


def test_drawing_patterns_is_drawing_questions() -> None:
    """The middle and the ends of the bootstrap are those of drawing question after question."""
    random = np.random.default_rng(0)
    correct = random.random((60, 3)) < [0.4, 0.5, 0.6]
    one = scaling.redraw(correct, random)
    other = 100 * correct[random.integers(60, size=(scaling.DRAWS, 60))].mean(axis=1)
    for share in (2.5, 50, 97.5):
        assert np.percentile(one, share, axis=0) == pytest.approx(
            np.percentile(other, share, axis=0), abs=1.7
        )  # a question is 1.67 points
    assert np.corrcoef(one.T) == pytest.approx(np.corrcoef(other.T), abs=0.05)
    assert one.mean(axis=0) == pytest.approx(100 * correct.mean(axis=0), abs=0.3)


def test_length_within_benchmarks_is_not_confused_with_hard_benchmarks() -> None:
    random = np.random.default_rng(0)
    hard = np.repeat([0, 1], 500)
    tokens, correct = 100 + 400 * hard + random.integers(0, 50, 1000), random.random(1000) < 0.8 - 0.6 * hard
    assert pointbiserialr(correct, tokens).statistic < -0.5

    def found(lengths: np.ndarray) -> tuple[float, float]:
        return scaling.length_and_outcome(
            *(scaling.within_benchmarks(values, hard)[:, 0] for values in (lengths, correct)), 2
        )

    r, p = found(tokens)
    assert abs(r) < 0.1
    assert p > 0.01
    within = 100 + 400 * hard + 50 * ~correct
    assert found(within + random.integers(0, 9, 1000))[0] < -0.9


def test_each_benchmark_takes_a_degree_of_freedom_from_the_correlation(tmp_path: Path) -> None:
    """``all`` has the p of the tokens in a regression with a constant for each benchmark."""
    random = np.random.default_rng(1)
    sides = [(key, random.random(4) < 0.5, random.integers(10, 60, 4)) for key in ("gpqa", "lancet", "medqa", "nejm")]
    parts = [outcomes("a", key, correct.tolist(), 64, tokens=tokens.tolist()) for key, correct, tokens in sides]
    table, _ = run(tmp_path, parts, "a")
    correct, tokens = (np.concatenate(values).astype(float) for values in list(zip(*sides))[1:])
    design = np.column_stack([tokens, np.kron(np.eye(4), np.ones((4, 1)))])
    found = table[table["benchmark"] == "all"]["length_p"].item()
    assert found == pytest.approx(OLS(correct, design).fit().pvalues[0], rel=1e-3)


def simulate(random: np.random.Generator, shares: list[float], n: int, renewed: float = 0.3) -> np.ndarray:
    """Outcomes that go together over the budgets: only a part of the questions is answered anew at each."""
    luck = random.random(n)
    columns = []
    for share in shares:
        luck = np.where(random.random(n) < renewed, random.random(n), luck)
        columns.append(luck < share)
    return np.array(columns).T


def test_the_best_budget_and_its_harm_are_found_at_the_stated_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "DRAWS", 500)
    random = np.random.default_rng(0)

    def lines(shares: list[float], times: int, renewed: float) -> list[dict]:
        return [next(scaling.best(a_sweep(simulate(random, shares, 1000, renewed)), "a", 1)) for _ in range(times)]

    flat = [line["degrades_at"] != "nowhere" for renewed in (0.3, 1.0) for line in lines([0.6] * 7, 200, renewed)]
    assert np.mean(flat) <= 0.05
    harmed = lines([0.4, 0.5, 0.6, 0.7, 0.6, 0.5], 200, 0.3)
    assert np.mean([line["best"] == 1024 for line in harmed]) > 0.99
    assert np.mean([line["degrades_at"] == 2048 for line in harmed]) > 0.99  # ten points worse
    peaked = lines([0.5, 0.58, 0.6, 0.58], 200, 0.3)
    assert np.mean([line["best_low"] <= 512 <= line["best_high"] for line in peaked]) >= 0.95
