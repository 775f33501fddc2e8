"""Each claim by the paper's own numbers, and each function of a claim by numbers made for it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from asked import save_asked
from m1.core.errors import UserError
from m1.report import choice, claims, compare, evidence, tables
from m1.report.evidence import Evidence, LackingError
from m1.report.scores import read_scores
from m1.report.settings import Model, Shown
from score_files import PAPER, counted, outcomes, save
from shown import NOTHING, accuracy_row, save_shown

CLAIMS = pd.read_csv(PAPER / "claims.csv", dtype=str, keep_default_na=False)
OF_THE_PAPER = {
    "budget-helps": (100, "seen"),
    "steady": (94.44, "contradicted"),  # m1-7B-1K falls from 4,096 to 8,192
    "7b-1k-gains": (6.18, "shown"),
    "optimum-7b-1k": (4096, "shown"),
    "optimum-7b-23k": (8192, "not seen"),
    "optimum-32b-1k": (8192, "not seen"),
    "overthinking": (-0.15, "seen"),
    "saturates": (-0.92, "shown"),
    "sota": (0.03, "seen"),
    "sota-accuracy": (60.32, "shown"),
    "sota-at-4k": (-0.63, "not seen"),
    "huatuogpt-7b": (2.84, "shown"),
    "huatuogpt-8b": (0.89, "seen"),
    "ultramedical": (0.03, "seen"),
    "ultramedical-match": (0.03, "seen"),
    "various": (30, "seen"),
    "rivals-70b": (3.88, "shown"),
    "outperforms-70b": (-2.89, "contradicted"),
    "larger-steeper": (-0.71, "not seen"),
    "32b-highest": (100, "seen"),
    "32b-leads": (95.71, "shown"),
    "capacity": (100, "seen"),
    "capacity-gain": (10.49, "shown"),
    "challenging": (4.64, "shown"),
    "knowledge": (2.57, "shown"),
    "filter-1k": (0.26, "seen"),
    "domain": (0.43, "seen"),
    "dataset": (1.10, "seen"),
    "dataset-accuracy": (56.55, "shown"),
    "filter-23k": (0.95, "other number"),  # the text says 0.65
    "filter-largest": (-0.84, "not seen"),
    "scale": (3.78, "shown"),
    "larger-consistent": (90, "not seen"),
    "filtered-consistent": (70, "contradicted"),
    "diverse-consistent": (80, "contradicted"),
    "collected": (196157, "shown"),
    "filtered": (37816, "shown"),
    "m23k": (23493, "shown"),
    "m1k": (1000, "shown"),
    "imbalanced": (93.20, "shown"),
    "balanced": (-34.56, "shown"),
    "nine-benchmarks": (10, "contradicted"),
    "eight-benchmarks": (10, "contradicted"),
    "medmcqa-size": (4183, "contradicted"),
    "gpqa-size": (390, "contradicted"),
    "medbullets-size": (308, "contradicted"),
    "medxpertqa-size": (1449, "contradicted"),
    "lengths-m23k": (985, "shown"),
    "lengths-tail": (1791, "shown"),
    "limit-8k": (7461, "shown"),
}
PICTURES = {"forcing", "forcing-minimal", "forcing-errors", "forcing-unable", "longest-thinking", "lengths-s1k"}
"""Claims on what the paper prints as a picture only."""


@pytest.fixture(scope="module")
def paper() -> Evidence:
    names = ("table1", "table2", "table3", "figure1", "lengths", "benchmarks")
    return evidence.published({name: pd.read_csv(PAPER / f"{name}.csv") for name in names}, seed=42)


@pytest.fixture(scope="module")
def assessed(paper: Evidence) -> pd.DataFrame:
    return claims.assess(CLAIMS, paper, Evidence({}, 10), "", "claims.csv").set_index("id")


def test_the_documentation_lists_the_claims_that_the_papers_numbers_do_not_carry() -> None:
    page = (PAPER.parents[1] / "docs/verified.md").read_text(encoding="utf-8")
    verdicts = pd.Series({key: verdict for key, (_, verdict) in OF_THE_PAPER.items()})
    listed = dict(re.findall(r"^\| `([\w-]+)` \| .+ \| ([a-z ]+) \|$", page, re.MULTILINE))
    assert listed == verdicts[~verdicts.isin(["shown", "seen"])].to_dict()
    counts = {**verdicts.value_counts(), "out of reach": len(PICTURES)}
    said = ", ".join(
        f"{counts[name]} `{name}`" for name in ("shown", "seen", "not seen", "contradicted", "other number")
    )
    assert f"{said} and {counts['out of reach']} `out of reach`" in page


def test_every_claim_has_its_own_id_function_and_place(assessed: pd.DataFrame) -> None:
    assert CLAIMS["id"].is_unique
    assert set(CLAIMS["id"]) == {*OF_THE_PAPER, *PICTURES}
    assert set(CLAIMS["function"]) == set(claims.FUNCTIONS)
    assert all(
        re.fullmatch(r"Abstract|(Figure|Table) \d|[1-5](\.\d)?|[A-C](\.\d)?", place) for place in CLAIMS["section"]
    )
    assert ((CLAIMS["test"] != "") | (CLAIMS["number"] != "")).all()


@pytest.mark.parametrize("claim", OF_THE_PAPER)
def test_claim_by_the_papers_own_numbers(assessed: pd.DataFrame, claim: str) -> None:
    value, verdict = OF_THE_PAPER[claim]
    assert assessed.loc[claim, "tables"] == pytest.approx(value, abs=0.005)
    assert assessed.loc[claim, "tables_verdict"] == verdict
    assert assessed.loc[claim, "why"].startswith("this run has no")


@pytest.mark.parametrize("claim", sorted(PICTURES))
def test_what_is_only_a_picture_is_out_of_reach(assessed: pd.DataFrame, claim: str) -> None:
    assert assessed.loc[claim, "tables_verdict"] == assessed.loc[claim, "verdict"] == "out of reach"
    assert assessed.loc[claim, "why"].startswith("the paper prints no")


def test_intervals_are_those_of_binomials(paper: Evidence) -> None:
    row = pd.read_csv(PAPER / "table1.csv").set_index("model").loc["m1-7B-23K"]
    sizes = pd.read_csv(PAPER / "benchmarks.csv")
    p = row[sizes["column"]].to_numpy(float) / 100
    spread = 100 * np.sqrt((p * (1 - p) / sizes["n"]).sum()) / len(p)
    drawn = claims.average(paper, "table1/<10B LLMs/m1-7B-23K")[1:]
    assert drawn.std() == pytest.approx(spread, rel=0.05)
    drawn = claims.average(paper, "figure1/m1-7B-23K/4096")[1:]
    assert drawn.std() == pytest.approx(spread, rel=0.06)


def cells(**found: list[list[float]]) -> Evidence:
    """Evidence of cells, the estimate and then draws; double underscores stand for slashes."""
    return Evidence({name.replace("__", "/"): np.array(values, float) for name, values in found.items()}, 2)


def test_rows_against_rows() -> None:
    found = cells(g__a=[[50, 70], [40, 60]], g__b=[[40, 60], [50, 70]], g__c=[[20, 90], [20, 90]])
    assert claims.average(found, "g/a").tolist() == [60, 50]
    assert claims.difference(found, "g/a", "g/b").tolist() == [10, -10]
    assert claims.difference_of_gains(found, "g/a", "g/b", "g/c", "g/b").tolist() == [5, -5]
    assert claims.lead(found, "g/a", "g/b", "g/c").tolist() == [5, -10]
    assert claims.above_mean(found, "g/a", "g/b", "g/c").tolist() == [7.5, -7.5]
    assert claims.benchmarks_ahead(found, "g/a", "g/b").tolist() == [100, 0]
    assert claims.benchmarks_ahead(found, "g/a", "g/b", "g/c").tolist() == [50, 0]
    assert claims.first_step_lead(found, "g/b", "g/a", "g/c").tolist() == [10 + 5, -10 - 5]
    assert claims.gain_on_hard(found, "g/a", "g/c").tolist() == [30 + 20, 20 + 30]
    assert claims.mean_of(found, "g/a", "g/b").tolist() == [55, 55]
    assert claims.number_of(found, "g").tolist() == [3]


def test_a_group_leaves_the_papers_own_rows_out() -> None:
    found = Evidence(
        {f"g/{name}": np.array([[value]]) for name, value in {"m1-x": 9.0, "m1-y": 99.0, "b": 4.0}.items()}, 1
    )
    assert claims.lead(found, "g/m1-x", "g").tolist() == [5]
    assert found.used >= {"g/m1-x", "g/b"}


def test_curves() -> None:
    found = cells(f__16=[[10, 50]], f__32=[[20, 40]], f__64=[[21, 60]], o__16=[[5, 55]], o__32=[[5, 5]], o__64=[[5, 5]])
    assert claims.rising(found, "f").tolist() == [100]
    assert claims.rising(found, "f", "o").tolist() == [50]
    assert claims.steps_up(found, "f").tolist() == [50]  # 30, 30, 40.5
    assert claims.best_budget(found, "f").tolist() == [64]
    assert claims.best_budget(found, "o").tolist() == [16]
    assert claims.mean_change(found, "16", "64", "f", "o").tolist() == [(10.5 - 25) / 2]
    assert claims.saturation(found, "32", "f").tolist() == [10.5]
    assert claims.leading_points(found, "f", "o").tolist() == [pytest.approx(100 * 5 / 6)]
    del found.cells["o/16"]
    assert claims.leading_points(found, "f", "o").tolist() == [100]
    equal = cells(f__16=[[10.0]], f__128=[[10.0]], f__64=[[10.0]])
    assert claims.best_budget(equal, "f").tolist() == [16]


def test_forced_counts_and_shares() -> None:
    found = cells(f__0=[[10, 20]], f__1=[[12, 20]], f__8=[[6, 20]], part=[[30]], whole=[[120]], other=[[60]])
    assert claims.forcing_change(found, "f").tolist() == [-0.5]
    assert claims.forcing_gain(found, "f").tolist() == [1]
    assert claims.share(found, "part", "whole").tolist() == [25]
    assert claims.share_change(found, "part", "whole", "other", "whole").tolist() == [-25]


def claim(**changes: str) -> dict[str, str]:
    return {"id": "x", "function": "average", "cells": "a", "test": "> 0", "number": ""} | changes


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [((1, 1, 1), "shown"), ((1, -1, 1), "seen"), ((-1, 1, -1), "not seen"), ((-1, -1, -1), "contradicted")],
)
def test_verdict_goes_by_the_estimate_and_the_share_of_draws(drawn: tuple, expected: str) -> None:
    estimate, *rest = drawn
    values = np.array([estimate, *np.repeat(rest, 50)], float)
    assert claims.verdict(values, claim(), "claims.csv") == expected


def test_a_number_is_seen_inside_the_interval() -> None:
    values = np.array([2.0, *np.linspace(1, 3, 99)])
    assert claims.verdict(values, claim(test="", number="2.9"), "claims.csv") == "seen"
    assert claims.verdict(values, claim(test="", number="3.1"), "claims.csv") == "contradicted"


def test_printed_numbers_may_differ_by_one_in_the_last_digit() -> None:
    assert claims.printed(0.2631, "0.27")
    assert not claims.printed(0.95, "0.65")
    assert claims.printed(50, "50")


def test_a_remark_leaves_numbers_and_takes_the_verdict() -> None:
    found = cells(a=[[5.0], [4.0]])
    table = pd.DataFrame([claim()]).assign(section="1", words="", says="", unit="points", note="")
    line = claims.assess(table, found, found, "embedded world", "claims.csv").iloc[0]
    assert (line["found"], line["verdict"], line["why"]) == (5, "out of reach", "embedded world")
    assert line["tables_verdict"] == "shown"


def test_a_claim_that_rests_on_a_training_unlike_the_papers_says_so(tmp_path: Path) -> None:
    keys = BENCHMARKS["key"].tolist()
    scores = read_scores([save(tmp_path / "s.parquet", *(counted(m, key, 6, 10, 2048) for m in "ab" for key in keys))])
    models = Model("a", "A", None, departure="trained by LoRA"), Model("b", "B", None)
    rows = tuple(accuracy_row(model, published=model.upper(), group="g") for model in "ab")
    shown = Shown(**vars(NOTHING) | {"models": models, "table1": rows})
    found = evidence.of_run(scores, shown, BENCHMARKS, None)
    table = pd.DataFrame([claim(id=name, cells=f"table1/g/{name}") for name in "AB"])
    lines = claims.assess(table.assign(section="1", words="", says="", unit="points", note=""), found, found, "", "c")
    assert lines["found"].tolist() == [60, 60]
    assert lines["why"].tolist() == ["trained by LoRA", ""]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"function": "guess"}, "claim 'x', field 'function': 'guess'; it must be one of average, "),
        ({"cells": "a; a"}, "claim 'x', field 'cells': 'a; a': "),
        ({"test": "above 0"}, "claim 'x', field 'test': 'above 0'; it must be like '> 0'"),
    ],
)
def test_a_claim_that_cannot_be_computed_is_named(changes: dict[str, str], message: str) -> None:
    found = cells(a=[[5.0], [4.0]])
    with pytest.raises(UserError, match=re.escape(f"claims.csv: {message}")):
        claims.assess(pd.DataFrame([claim(**changes)]), found, found, "", "claims.csv")


def test_missing_cells_are_named() -> None:
    with pytest.raises(LackingError, match="no table1/x"):
        Evidence({}, 10)["table1/x"]
    with pytest.raises(LackingError, match="only 0 of figure3/x"):
        claims.forcing_gain(cells(figure3__x__0=[[1.0]]), "figure3/x")
    with pytest.raises(LackingError, match="nothing of figure3/x"):
        Evidence({}, 10).below("figure3/x")


MODELS = (
    Model("small", "small", None, "m1-7B-1K"),
    Model("more", "more", None, "m1-7B-23K"),
    Model("large", "large", None, "m1-32B-1K"),
)
GROUPS = {"m1-7B-1K": "<10B LLMs", "m1-7B-23K": "<10B LLMs", "m1-32B-1K": ">10B LLMs"}
BENCHMARKS = pd.read_csv(PAPER / "benchmarks.csv")
POINTS = pd.read_csv(PAPER / "figure1.csv")


def figure1_as_scores() -> list[pa.Table]:
    """The authors' points as if they were predictions: the nearest whole number of correct answers."""
    keys = {model.published: model.key for model in MODELS}
    return [
        counted(keys[model], key, round(wide.loc[budget, column] * n / 100), n, int(budget))
        for model, wide in evidence.fill_hidden(POINTS, list(BENCHMARKS["column"])).items()
        for budget in wide.index
        for key, column, n in BENCHMARKS[["key", "column", "n"]].itertuples(index=False)
    ]


@pytest.fixture(scope="module")
def as_predictions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figure1")
    budgets = tuple(sorted(set(POINTS["budget"])))
    rows = [
        accuracy_row(
            model.key,
            label=model.published,
            group=GROUPS[str(model.published)],
            published=model.published,
            budgets=budgets,
        )
        for model in MODELS
    ]
    fields = {"models": MODELS, "figures": tuple(model.key for model in MODELS), "seed": 42}
    fields |= {"benchmarks": save_asked(folder)}
    fields |= {"table1": tuple(rows), "budgets": budgets, "forced": (0,), "forced_budget": 2048}
    shown = save_shown(folder, **fields)
    scores = save(folder / "scores.parquet", *figure1_as_scores())
    common = ["--shown", shown, "--scores", scores]
    headings = ["--benchmarks", PAPER / "benchmarks.csv"]
    table1 = [*common, *headings, "--published", PAPER / "table1.csv", "--output", folder / "table1.csv"]
    tables.main(["table1", *map(str, [*table1, "--long", folder / "long.csv"])])
    compared = [*common, *headings, "--published", PAPER / "table1.csv", "--output", folder / "compare.csv"]
    compare.main([*map(str, compared)])
    chosen = [*common, *headings, "--table1", PAPER / "table1.csv", "--points", PAPER / "figure1.csv"]
    choice.main([*map(str, [*chosen, "--output", folder / "budget_choice.csv"])])
    pd.read_csv(PAPER / "table3.csv").to_csv(folder / "table3.csv", index=False)
    lengths = pd.DataFrame([{"subset": "m23K", "25 %": 625, "50 %": 985, "75 %": 1791, "max": 7461}])
    lengths.to_csv(folder / "figure8a.csv", index=False)
    own = ["--counts", folder / "table3.csv", "--lengths", folder / "figure8a.csv", "--output", folder / "claims.csv"]
    claims.main([*map(str, [*common, "--claims", PAPER / "claims.csv", *own])])
    return folder


def test_the_best_budget_of_the_authors_points_gives_their_table_1(as_predictions: Path) -> None:
    ours = pd.read_csv(as_predictions / "table1.csv").set_index("model")
    theirs = pd.read_csv(PAPER / "table1.csv").set_index("model")
    assert set(ours["Budget"]) == {"best"}
    columns = list(BENCHMARKS["column"])
    difference = (ours[columns] - theirs.loc[ours.index, columns]).abs()
    whole = 50 / BENCHMARKS.set_index("column")["n"]  # from a reading to the nearest whole number of correct answers
    assert difference.loc["m1-32B-1K", "GPQA"] < 0.55
    difference.loc["m1-32B-1K", "GPQA"] = 0
    assert (difference <= 0.25 + whole[columns]).all().all()
    assert (ours["Avg."] - theirs.loc[ours.index, "Avg."]).abs().max() < 0.12
    budgets = pd.read_csv(as_predictions / "long.csv").set_index(["model", "benchmark"])["budget"]
    assert (budgets["large", "gpqa"], budgets["more", "nejm"], budgets["more", "gpqa"]) == (512, 2048, 8192)


def test_no_cell_of_the_authors_points_differs_and_their_averages_are_reproduced(as_predictions: Path) -> None:
    found = pd.read_csv(as_predictions / "compare.csv")
    found = found[found["model"].notna()]
    assert set(found["verdict"]) == {"reproduced", "cannot tell"}
    assert (found.query("benchmark == 'average'")["verdict"] == "reproduced").all()
    assert found["model"].notna().sum() == 33


def test_what_table_1_is(as_predictions: Path) -> None:
    found = pd.read_csv(as_predictions / "budget_choice.csv")
    ours, paper = (found[found["source"] == source].set_index("model") for source in dict.fromkeys(found["source"]))
    averages = ["at_fixed", "best_budget", "at_best", "at_best_of_each", "table1", "gain"]
    pd.testing.assert_frame_equal(ours[averages], paper.loc[ours.index, averages], atol=0.06)
    assert (ours["gain_by_choice"] > 0).all()


def test_claims_by_the_authors_points(as_predictions: Path) -> None:
    found = pd.read_csv(as_predictions / "claims.csv", keep_default_na=False).set_index("id")
    for claim, value in {"sota": -0.06, "sota-accuracy": 60.24, "huatuogpt-7b": 2.76, "rivals-70b": 3.79}.items():
        assert float(found.loc[claim, "found"]) == pytest.approx(value, abs=0.04), claim
    assert found.loc["huatuogpt-7b", ["verdict", "why"]].tolist() == ["shown", "as published: HuatuoGPT-o1-7B"]
    assert found.loc["7b-1k-gains", "verdict"] == "shown"
    assert found.loc["optimum-7b-1k", ["found", "verdict"]].tolist() == ["4096.00", "shown"]
    assert found.loc["outperforms-70b", "verdict"] == "contradicted"
    assert found.loc["medmcqa-size", ["found", "verdict"]].tolist() == ["4183.00", "contradicted"]
    assert found.loc["filter-1k", ["verdict", "why"]].tolist() == [
        "out of reach",
        "this run has no table2/1K Scale/Hard Random",
    ]
    assert found.loc["forcing-errors", "verdict"] == "out of reach"
    assert found.loc["forcing", "why"].endswith("this run has only 0 of figure3/m1-7B-1K")


def test_turns_and_lengths_of_thinking_are_counted_on_the_same_questions() -> None:
    plain, forced = np.repeat([True, True, False], [6, 2, 2]), np.repeat([True, False, True, False], [6, 2, 1, 1])
    parts = [outcomes("small", "medqa", plain, 2048, 0, tokens=50), outcomes("small", "medqa", forced, 2048, 4)]
    frame = pa.concat_tables(parts).to_pandas()
    shown = Shown(
        **vars(NOTHING)
        | {"models": MODELS, "figures": ("small",), "budgets": (2048,)}
        | {"forced": (0, 1, 4), "forced_budget": 2048}
    )
    found = evidence.of_run(frame, shown, BENCHMARKS[BENCHMARKS["key"] == "medqa"], None)
    assert found["turns/m1-7B-1K/lost"][0].tolist() == [25]
    assert found["turns/m1-7B-1K/won"][0].tolist() == [50]
    assert found["thinking/m1-7B-1K"][0].tolist() == [50]
    assert found["figure3/m1-7B-1K/4"][0].tolist() == [70]
    assert "figure3/m1-7B-1K/1" not in found.cells
    gain = claims.difference(found, "figure3/m1-7B-1K/4", "figure3/m1-7B-1K/0")
    turned = plain.astype(int) - forced
    assert gain[0] == -10
    assert gain[1:].std() == pytest.approx(100 * turned.std() / np.sqrt(10), rel=0.1)  # paired


def test_a_run_with_fewer_benchmarks_is_compared_over_these(paper: Evidence) -> None:
    few = evidence.published(
        {name: pd.read_csv(PAPER / f"{name}.csv") for name in ("table1", "table2", "table3", "figure1", "lengths")}
        | {"benchmarks": BENCHMARKS[:2]},
        seed=42,
    )
    line = claims.assess(CLAIMS[CLAIMS["id"] == "huatuogpt-7b"], paper, few, "", "claims.csv").iloc[0]
    assert line["found"] == pytest.approx((62.54 + 75.81 - 63.47 - 71.56) / 2, abs=0.01)
    assert line["why"] == "over 2 of 10 benchmarks"
