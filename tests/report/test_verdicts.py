"""The verdicts of compare.csv: what decides them, what is said of the questions, and how often each comes where the
truth is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from asked import save_asked
from benchmark_scripts import load
from hypothesis import given
from hypothesis import strategies as st
from m1.report import compare, statistics
from m1.report.settings import Margins
from scipy.stats import norm
from score_files import counted, outcomes
from statsmodels.stats.proportion import confint_proportions_2indep
from test_compare import BENCHMARKS, TABLE1, row, run

MARGINS = Margins(average=2, cell=3)
N = dict(zip(BENCHMARKS["key"], BENCHMARKS["n"]))
K = {
    key: compare.published_k(TABLE1.set_index("model").loc["m1-7B-1K", column], n, "here")
    for key, column, n in BENCHMARKS[["key", "column", "n"]].itertuples(index=False)
}


def line(**changes: Any) -> dict[str, Any]:
    """A tested line of which nothing is known."""
    return {"p_holm": 0.5, "p_margin": 0.5, "smallest_margin": 4.0, "margin": 3.0, "why": ""} | changes


@pytest.mark.parametrize(
    ("changes", "verdict", "why"),
    [
        ({"p_margin": 0.04}, "reproduced", "the difference is less than 3 points"),
        (
            {"p_margin": 0.04, "p_holm": 0.01, "why": "questions not verified"},
            "reproduced",
            "the difference is less than 3 points, though beyond chance (p = 0.01 after Holm); questions not verified",
        ),
        ({"p_holm": 0.01}, "differs", "the difference is beyond chance (p = 0.01 after Holm)"),
        ({}, "cannot tell", "so few questions show no margin below 4.00 points"),
        ({"smallest_margin": 2.5}, "cannot tell", "neither less than 3 points nor beyond chance"),
        ({"p_margin": 0.05, "p_holm": 0.05}, "cannot tell", "so few questions show no margin below 4.00 points"),
    ],
)
def test_what_decides(changes: dict[str, Any], verdict: str, why: str) -> None:
    assert compare.verdict(line(**changes)) == (verdict, why)


def ours(**k: int) -> list[Any]:
    """The published numbers of m1-7B-1K, but for some benchmarks."""
    return [counted("a", key, k.get(key, K[key]), n) for key, n in N.items()]


def lines_of(found: pd.DataFrame) -> pd.DataFrame:
    return found[found["model"] == "a"].set_index("benchmark")


def test_of_a_row_each_line_has_the_verdict_that_its_n_allows(tmp_path: Path) -> None:
    found = lines_of(run(tmp_path, ours(medqa=K["medqa"] - 90, nejm=K["nejm"] - 15), [row("a", "m1-7B-1K")]))
    assert found["verdict"].to_dict() == {
        **dict.fromkeys(["medmcqa", "mmlu_pro", "medxpertqa"], "reproduced"),
        **dict.fromkeys(["pubmedqa", "gpqa", "lancet", "medbullets_op4", "medbullets_op5", "nejm"], "cannot tell"),
        "medqa": "differs",
        "average": "cannot tell",
    }
    assert found.loc["average", "why"] == "neither less than 2 points nor beyond chance"
    assert found.loc["average", "difference"] == pytest.approx((-9000 / 1273 - 1500 / 603) / 10, abs=0.006)


def test_the_margins_are_those_of_the_configuration(tmp_path: Path) -> None:
    found = lines_of(run(tmp_path, ours(), [row("a", "m1-7B-1K")], margins=Margins(average=1, cell=7)))
    assert found["margin"].tolist() == [7] * 10 + [1]
    assert found["verdict"].tolist() == ["reproduced"] * 10 + ["cannot tell"]


def test_what_is_not_sure_of_the_questions_is_said_and_other_questions_have_no_verdict(tmp_path: Path) -> None:
    save_asked(tmp_path, {"medqa": 1000}, verified=False)
    parts = [part for part in ours() if part["benchmark"][0].as_py() != "medqa"]
    found = lines_of(run(tmp_path, [*parts, counted("a", "medqa", 700, 1000)], [row("a", "m1-7B-1K")]))
    assert found.loc["medmcqa", "why"] == "the difference is less than 3 points; questions not verified"
    assert found.loc["medqa", "why"].endswith("; 1,000 of 1,273 published questions, questions not verified")
    assert "; part of the questions of MedQA, questions of MedMC, MedQA, " in found.loc["average", "why"]

    other = tmp_path / "benchmarks" / "medqa.json"
    other.write_text(other.read_text().replace('"published": 1273', '"published": 1000'))
    found = lines_of(run(tmp_path, [*parts, counted("a", "medqa", 700, 1000)], [row("a", "m1-7B-1K")]))
    assert found.loc["medqa", "verdict"] == found.loc["average", "verdict"] == "out of reach"
    assert found.loc["medqa", "why"] == "other questions: 1,000 records, the published benchmark has 1,273"
    assert found.loc["average", "why"] == "other questions: MedQA"
    assert found.loc[["medqa", "average"], ["p", "p_holm", "difference"]].isna().all(axis=None)
    assert found.loc["medmcqa", "verdict"] == "reproduced"


def test_single_answers_of_both_sides_are_paired(tmp_path: Path) -> None:
    n, k = N["gpqa"], K["gpqa"]
    correct = np.arange(n) < k
    mine = correct.copy()
    mine[:9], mine[-4:] = False, True
    parts = [part for part in ours() if part["benchmark"][0].as_py() != "gpqa"]
    singles = [outcomes("a", "gpqa", correct), counted("a", "medqa", K["medqa"] - 1, N["medqa"])]
    found = lines_of(run(tmp_path, [*parts, outcomes("a", "gpqa", mine)], [row("a", "m1-7B-1K")], singles=singles))
    gpqa, total = found.loc["gpqa"], n + 2
    assert (gpqa["test"], gpqa["verdict"]) == ("McNemar", "reproduced"), "unpaired, n is too small by far"
    assert gpqa["p"] == pytest.approx(2 * sum(math.comb(13, i) for i in range(5)) / 2**13, rel=1e-3)
    middle, error = -5 / total, math.sqrt(14 / total - (5 / total) ** 2) / math.sqrt(total)
    reach = [100 * (middle + side * norm.ppf(0.975) * error) for side in (-1, 1)]
    assert gpqa[["difference_low", "difference_high"]].tolist() == pytest.approx(reach, abs=0.006)
    assert gpqa["difference"] == pytest.approx(-500 / n, abs=0.006)
    assert gpqa["p_margin"] == pytest.approx(norm.sf((0.03 + middle) / error), rel=1e-3)
    said = f"{K['medqa'] - 1} of the published answers are correct by our scoring, {K['medqa']} in the table"
    assert found.loc["medqa", "why"].endswith(f"; {said}")
    assert found.loc["average", "test"] == "mean of McNemar and two proportions"
    assert found.loc["medmcqa", "test"] == "two proportions"
    unpaired = lines_of(run(tmp_path, [*parts, outcomes("a", "gpqa", mine)], [row("a", "m1-7B-1K")]))
    assert found.loc["average", "smallest_margin"] < unpaired.loc["average", "smallest_margin"]


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0.5, 20), st.data())
def test_the_margin_is_passed_where_the_interval_of_ninety_percent_lies_inside(
    n: int, m: int, margin: float, data: st.DataObject
) -> None:
    k, other = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    found = statistics.unpaired(k, n, other, m, margin)
    ends = confint_proportions_2indep(k, n, other, m, method="agresti-caffo", compare="diff", alpha=0.1)
    inside = max(abs(100 * end) for end in ends)
    if abs(inside - margin) > 1e-6:
        assert (found.p_margin < 0.05) == (inside < margin)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_so_many_questions_as_are_needed_show_equality_in_four_of_five(share: float) -> None:
    random = np.random.default_rng(0)
    many = 1_000_000  # so that the estimate of the share is the share
    n = int(statistics.unpaired(share * many, many, share * many, many, MARGINS.cell).n_needed)
    k, other = random.binomial(n, share, 4000), random.binomial(n, share, 4000)
    shown = statistics.unpaired(k, np.full(4000, n), other, np.full(4000, n), MARGINS.cell).p_margin < 0.05
    assert shown.mean() == pytest.approx(0.8, abs=0.02)
    together = np.full(4000, 0.1)
    pairs = random.multinomial(1700, [0.1, 0.1, 0.8], 4000)
    found = statistics.paired(pairs[:, 0], pairs[:, 1], np.full(4000, 1700), MARGINS.cell)
    needed = int(np.median(found.n_needed))
    pairs = random.multinomial(needed, [*together[:2], 0.8], 4000)
    shown = statistics.paired(pairs[:, 0], pairs[:, 1], np.full(4000, needed), MARGINS.cell).p_margin < 0.05
    assert shown.mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("pairs", [False, True])
def test_intervals_and_margins_hold_at_their_level(pairs: bool) -> None:
    """Intervals cover the truth in 95 of 100, and a difference as large as the margin passes in 5 at most."""
    random, n = np.random.default_rng(1), np.full(4000, 400)
    for share, margin in ((0.2, 6.0), (0.5, 9.0)):
        both, one, other = load("verdicts").outcomes(
            np.full(4000, share + margin / 100), np.full(4000, share), n, 1, 0.5 * pairs, random
        )
        sides = (one[0], other[0], n) if pairs else ((both + one)[0], n, (both + other)[0], n)
        found = (statistics.paired if pairs else statistics.unpaired)(*sides, margin)
        assert ((found.low < margin) & (margin < found.high)).mean() == pytest.approx(0.95, abs=0.012)
        assert (found.p_margin < 0.05).mean() < 0.06


@pytest.mark.parametrize("pairs", [False, True])
def test_how_often_each_verdict_comes(pairs: bool) -> None:
    """At the published n, with margin 3 (2 for averages); the table is in docs/statistics.md."""
    module = load("verdicts")
    equal, two, five = (
        module.rates(module.simulate(shift, pairs, 200, MARGINS, seed=0)).droplevel("n") for shift in (0, -2, -5)
    )
    assert (equal["differs"] <= 1).all()
    assert (five["reproduced"] <= 5).all()
    assert (equal.loc[["medbullets_op4", "gpqa", "lancet"], "cannot tell"] > 95).all()
    assert five.loc["average", "differs"] > 90
    assert two.loc["average", "reproduced"] < 12
    if pairs:
        assert equal.loc["average", "reproduced"] > 85
        assert (equal.loc[["medqa", "medxpertqa", "medmcqa"], "reproduced"] > 65).all()
    else:
        assert 35 < equal.loc["average", "reproduced"] < 65
        assert 60 < equal.loc["medmcqa", "reproduced"] < 90
