"""The paper's numbers as if they were predictions: the pipeline gives back Tables 1 and 2 to the last digit, and says
"reproduced" wherever that many questions can show it."""

from pathlib import Path

import pandas as pd
import pytest
from asked import save_asked
from m1.report import compare, tables
from m1.report.settings import AccuracyRow
from score_files import PAPER, counted, save
from shown import accuracy_row, save_shown

BENCHMARKS = pd.read_csv(PAPER / "benchmarks.csv")
BUDGETS = {"table1": 4096, "table2": 2048}


def rows_and_scores(folder: Path, name: str) -> tuple[list[AccuracyRow], Path]:
    """A model for each row of a table, with the published number of correct answers on all questions of each
    benchmark."""
    paper = pd.read_csv(PAPER / f"{name}.csv")
    group, label = paper.columns[:2]
    rows, parts = [], []
    for number, line in paper.iterrows():
        model = f"{name} row {number}"
        rows.append(
            accuracy_row(model, label=line[label], group=line[group], published=line[label], budget=BUDGETS[name])
        )
        for key, column, n in BENCHMARKS[["key", "column", "n"]].itertuples(index=False):
            parts.append(counted(model, key, round(line[column] * n / 100), n, BUDGETS[name]))
    return rows, save(folder / f"{name}.parquet", *parts)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[AccuracyRow]]]:
    folder = tmp_path_factory.mktemp("published")
    rows, files = {}, {}
    for name in BUDGETS:
        rows[name], files[name] = rows_and_scores(folder, name)
    fields = {name: tuple(some) for name, some in rows.items()}
    shown = ["--shown", save_shown(folder, **fields, benchmarks=save_asked(folder))]
    shown += ["--benchmarks", PAPER / "benchmarks.csv"]
    for name in BUDGETS:
        arguments = [*shown, "--scores", files[name], "--published", PAPER / f"{name}.csv"]
        arguments += ["--output", folder / f"{name}.csv", "--long", folder / f"{name}_long.csv"]
        tables.main([name, *map(str, arguments)])
    arguments = [*shown, "--scores", *files.values(), "--published", *(PAPER / f"{name}.csv" for name in BUDGETS)]
    compare.main(list(map(str, [*arguments, "--output", folder / "compare.csv"])))
    return folder, rows


@pytest.mark.parametrize("name", BUDGETS)
def test_tables_are_the_published_ones_to_the_last_digit(run: tuple[Path, dict], name: str) -> None:
    found = pd.read_csv(run[0] / f"{name}.csv", dtype=str, keep_default_na=False)
    assert set(found.pop("Budget")) == {str(BUDGETS[name])}
    pd.testing.assert_frame_equal(found, pd.read_csv(PAPER / f"{name}.csv", dtype=str))


def test_no_cell_differs_and_what_n_allows_is_reproduced(run: tuple[Path, dict]) -> None:
    folder, rows = run
    found = pd.read_csv(folder / "compare.csv")
    assert len(found) == 11 * sum(map(len, rows.values())) == 11 * (25 + 6)
    assert found["verdict"].value_counts().to_dict() == {"cannot tell": 193, "reproduced": 148}
    assert (found["difference"] == 0).all()
    assert ((found["smallest_margin"] < found["margin"]) == (found["verdict"] == "reproduced")).all()
    assert (found.query("benchmark == 'average'")["verdict"] == "reproduced").all()
    cells = found[found["benchmark"] != "average"]
    assert (cells["k"] == cells["published_k"]).all()
    assert (cells["n"] == cells["published_n"]).all()
    assert (cells["p"] == 1).all()
    for ours, theirs in (("accuracy", "published_accuracy"), ("low", "published_low"), ("high", "published_high")):
        pd.testing.assert_series_equal(cells[ours], cells[theirs], check_names=False)


def test_compared_cells_are_the_published_ones(run: tuple[Path, dict]) -> None:
    found = pd.read_csv(run[0] / "compare.csv", dtype=str)
    for name in BUDGETS:
        paper = pd.read_csv(PAPER / f"{name}.csv", dtype=str)
        lines = found[found["table"] == name]
        assert lines["published_accuracy"].tolist() == paper.iloc[:, 2:].to_numpy().ravel().tolist()
        assert lines["accuracy"].tolist() == paper.iloc[:, 2:].to_numpy().ravel().tolist()
