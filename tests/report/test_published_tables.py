"""The published tables hold together: whole numbers of correct answers, averages, and sums (resources/paper)."""

from pathlib import Path

import pandas as pd
import pytest

PAPER = Path(__file__).parents[2] / "resources" / "paper"


def published(name: str) -> pd.DataFrame:
    """As text, so that the last digit counts."""
    return pd.read_csv(PAPER / f"{name}.csv", dtype=str)


def correct(table: pd.DataFrame) -> pd.DataFrame:
    """The whole number of correct answers nearest to each cell, one column per benchmark."""
    sizes = published("benchmarks").set_index("column")["n"].astype(int)
    return (table[sizes.index].astype(float) * sizes / 100).round().astype(int)


@pytest.mark.parametrize(("name", "rows"), [("table1", 25), ("table2", 6)])
def test_accuracies_are_of_whole_numbers_and_averages_of_their_rows(name: str, rows: int) -> None:
    table = published(name)
    sizes = published("benchmarks").set_index("column")["n"].astype(int)
    accuracy = 100 * correct(table) / sizes
    assert len(table) == rows
    assert list(table.columns[2:]) == [*sizes.index, "Avg."]
    pd.testing.assert_frame_equal(accuracy.map("{:.2f}".format), table[sizes.index], check_dtype=False)
    pd.testing.assert_series_equal(
        accuracy.mean(axis=1).map("{:.2f}".format), table["Avg."], check_names=False, check_dtype=False
    )


def test_names_are_unique_within_their_group() -> None:
    assert published("table1")["model"].is_unique
    assert not published("table2").duplicated(["scale", "Data Filtering"]).any()


def test_rows_of_table_3_add_up() -> None:
    table = published("table3").set_index("Dataset").astype(int)
    assert len(table) == 9
    assert (table.drop(columns="Summation").sum(axis=1) == table["Summation"]).all()


def test_table_4_adds_up_to_table_3() -> None:
    table3 = published("table3").set_index("Dataset").astype(int)
    table4 = published("table4").set_index("Domain").astype(int)
    assert len(table4) == 76
    assert list(table4.index) == sorted(table4.index)
    for subset in ("m23K", "m1K"):
        pools = table4.filter(regex=f"^{subset} ").rename(columns=lambda heading: heading.partition(" ")[2])
        assert (pools.drop(columns="Summation").sum(axis=1) == pools["Summation"]).all()
        row = table3[table3.index.str.contains(f"({subset})", regex=False)].iloc[0]
        assert pools.sum().to_dict() == row.to_dict()
