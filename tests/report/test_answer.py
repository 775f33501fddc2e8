"""What the page opens on: verdicts of averages, counts and claims, from the tables as they are written."""

from typing import Any

import pytest
from m1.report.answer import answer, claim_rows

COLUMNS = [
    *("table", "group", "published", "benchmark", "column"),
    *("published_k", "published_n", "published_accuracy", "published_low", "published_high"),
    *("model", "label", "budget", "k", "n", "accuracy", "low", "high"),
    *("difference", "difference_low", "difference_high", "test", "p", "p_holm"),
    *("margin", "p_margin", "smallest_margin", "n_needed", "verdict", "why"),
]
NO_MODEL = {"verdict": "out of reach", "why": "no model of this run stands for it"}
NOTHING = {"averages": [], "reach": 0, "counts": [], "absent": [], "reasons": []}


def line(verdict: str, benchmark: str, **fields: str) -> dict[str, str]:
    """A line of ``compare.csv`` of the model m1-small, whose row is m1-7B-1K."""
    row = {"table": "table1", "group": "<10B LLMs", "published": "m1-7B-1K", "benchmark": benchmark}
    return row | {"model": "m1-small", "label": "m1 (small)", "verdict": verdict, "why": f"why {verdict}"} | fields


def average(verdict: str, **fields: str) -> dict[str, str]:
    published = {"published_accuracy": "57.76", "published_low": "57.02", "published_high": "58.50"}
    ours = {"accuracy": "57.26", "low": "56.50", "high": "58.00"}
    difference = {"difference": "-0.50", "difference_low": "-1.75", "difference_high": "0.75", "margin": "2"}
    return line(verdict, "average", **(published | ours | difference | fields))


RUN = [
    *({"table": "table1", "group": ">10B LLMs", "published": "m1-32B-1K", "benchmark": b} | NO_MODEL for b in "ab"),
    line("reproduced", "medmcqa", smallest_margin="1.79", margin="3"),
    line("differs", "medqa", smallest_margin="2.88", margin="3"),
    line("cannot tell", "gpqa", smallest_margin="5.90", margin="3"),
    line("cannot tell", "nejm", smallest_margin="4.60", margin="3"),
    line("out of reach", "pubmedqa", why="other questions"),
    average("reproduced"),
    line(
        "cannot tell", "gpqa", table="table2", group="1K Scale", published="Random", smallest_margin="5.9", margin="3"
    ),
    average(
        "out of reach",
        table="table2",
        group="1K Scale",
        published="Random",
        difference="",
        difference_low="",
        difference_high="",
    ),
    {"table": "table2", "group": "23K Scale", "published": "Random", "benchmark": "average"} | NO_MODEL,
]
"""Lines with all four verdicts, in two tables with a row each that no model stands for."""


def table(lines: list[dict[str, str]], columns: list[str] = COLUMNS) -> list[list[str]]:
    return [columns, *([one.get(name, "") for name in columns] for one in lines)]


def compared(lines: list[dict[str, str]], columns: list[str] = COLUMNS) -> dict[str, Any]:
    found = answer({"compare": table(lines, columns)}, "")
    assert set(found) == {"note", "comparison"}, "claims are not given"
    return found["comparison"]


def test_averages_are_those_of_the_models_with_both_sides_and_what_is_drawn() -> None:
    found = compared(RUN)
    assert found["averages"] == [
        {
            "table": "Table 1",
            "published": "m1-7B-1K",
            "label": "m1 (small)",
            "ours": ["57.26", "56.50 to 58.00"],
            "theirs": ["57.76", "57.02 to 58.50"],
            "difference": ["−0.50", "−1.75 to +0.75"],
            "bar": {"difference": -0.5, "low": -1.75, "high": 0.75, "margin": 2.0},
            "verdict": "reproduced",
            "why": "why reproduced",
        },
        found["averages"][1] | {"table": "Table 2", "difference": ["", ""], "bar": None, "verdict": "out of reach"},
    ]
    assert found["reach"] == 2, "the margin is further out than the interval"
    assert compared([average("differs", difference_low="-7.5")])["reach"] == 7.5


def test_cells_and_averages_are_counted_apart_for_each_table_without_rows_that_no_model_stands_for() -> None:
    found = compared(RUN)
    counts = {one["name"]: [number for _, number in one["counts"]] for one in found["counts"]}
    assert [verdict for verdict, _ in found["counts"][0]["counts"]] == [
        "reproduced",
        "differs",
        "cannot tell",
        "out of reach",
    ]
    assert counts == {
        "Table 1, averages": [1, 0, 0, 0],
        "Table 1, cells": [1, 1, 2, 1],
        "Table 2, averages": [0, 0, 0, 1],
        "Table 2, cells": [0, 0, 1, 0],
    }
    assert found["reasons"] == [("other questions", 1)]
    assert found["absent"] == [
        "No model of this run stands for 1 of the 2 published rows of Table 1.",
        "No model of this run stands for 1 of the 2 published rows of Table 2.",
    ]
    assert compared([average("better")])["counts"][0]["counts"][-1] == ["better", 1], "a verdict of another kind"


def test_the_lead_says_how_many_cells_have_too_few_questions() -> None:
    short = "Of 5 single cells, 3 have too few questions to be shown equal within 3 points"
    rest = "Unless such a cell differs clearly, it can only be “cannot tell”. Read the averages first."
    assert compared(RUN)["lead"] == f"{short}. {rest}"
    enough = compared([line("reproduced", "medqa", smallest_margin="3.00", margin="3")])
    assert enough["lead"] == "All 1 single cells have enough questions to be shown equal within 3 points."


def test_a_run_out_of_reach_says_so_once() -> None:
    remark = "embedded world, not medicine"
    world = [one | {"verdict": "out of reach", "why": remark} if one.get("model") else one for one in RUN]
    assert compared(world) == NOTHING | {"lead": f"Every comparison with the paper is out of reach: {remark}."}
    other = [*world, line("out of reach", "nejm", why="benchmark missing")]
    reasons = f"{remark} (8 lines); benchmark missing (1 lines)"
    assert compared(other) == NOTHING | {"lead": f"Every comparison with the paper is out of reach: {reasons}."}


def test_a_run_without_published_rows_says_so() -> None:
    nothing = "No model of this run stands for a published row, so nothing is compared with the paper."
    assert compared([one for one in RUN if "model" not in one]) == NOTHING | {"lead": nothing}
    assert compared([]) == NOTHING | {"lead": nothing}


@pytest.mark.parametrize("lacking", COLUMNS)
def test_a_table_without_a_column_is_shown_with_what_it_has(lacking: str) -> None:
    """A table of before has no margin; what another one lacks must not break the page either."""
    found = compared(RUN, [name for name in COLUMNS if name != lacking])
    if lacking in ("margin", "smallest_margin"):
        assert found["lead"].startswith("At the published numbers of questions, most single cells can only be")
    if lacking == "margin":
        assert found["averages"][0]["bar"] == {"difference": -0.5, "low": -1.75, "high": 0.75}
    assert bool(found["averages"]) is (lacking not in ("model", "benchmark"))


@pytest.mark.parametrize("text", ["nan", "inf", "", "missing"])
def test_what_is_no_finite_number_is_not_drawn_and_not_counted(text: str) -> None:
    """JSON has no such numbers, and the page could not be read."""
    found = compared(
        [average("cannot tell", difference_low=text), line("cannot tell", "gpqa", smallest_margin=text, margin="3")]
    )
    assert found["averages"][0]["bar"] is None
    assert found["averages"][0]["difference"] == ["−0.50", ""]
    assert found["reach"] == 0
    assert found["lead"].startswith("At the published numbers of questions")


def test_claims_are_counted_by_the_run_and_by_the_papers_tables_and_listed() -> None:
    columns = "id,section,words,says,unit,test,tables,tables_low,tables_high,tables_verdict,found,low,high,verdict,why"
    rows = [
        "a,1,m1 gains,gain,points,> 0,6.18,5.40,6.93,shown,-0.50,-1.25,0.25,not seen,",
        "b,1,about 4K,4K,tokens,2..3,8192.00,4096.00,8192.00,not seen,,,,out of reach,this run has no curve",
        "c,1,23K,23K,questions,2..3,23493.00,,,shown,23000.00,,,not seen,",
    ]
    table = [columns.split(","), *(row.split(",") for row in rows)]
    found = answer({"claims": table}, "a note")
    assert found["note"] == "a note"
    assert "comparison" not in found
    counts = {one["name"]: {verdict: n for verdict, n in one["counts"] if n} for one in found["claims"]}
    assert counts == {
        "This run": {"not seen": 2, "out of reach": 1},
        "The paper’s own tables": {"shown": 2, "not seen": 1},
    }
    heads, *shown = claim_rows(table)
    assert heads[:7] == ["verdict", "claim", "says", "this run", "the paper’s tables", "tables verdict", "why"]
    assert [row[:7] for row in shown] == [
        ["not seen", "m1 gains", "gain", "−0.50 [−1.25 to 0.25] points", "6.18 [5.40 to 6.93] points", "shown", ""],
        ["out of reach", "about 4K", "4K", "", "8,192 [4,096 to 8,192] tokens", "not seen", "this run has no curve"],
        ["not seen", "23K", "23K", "23,000 questions", "23,493 questions", "shown", ""],
    ]
