"""Accuracy and Tables 1 to 4 from records made here, and the published tables from their own k and n."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1 import records
from m1.errors import UserError
from m1.records import Domain, Judgement, Question, Sample
from m1.report import tables
from m1.report.accuracy import accuracies, average
from statsmodels.stats.proportion import proportion_confint

PAPER = Path(__file__).parents[2] / "resources" / "paper"
BENCHMARKS = pd.read_csv(PAPER / "benchmarks.csv")


def judged(model: str, benchmark: str, k: int, n: int, budget: int = 2048, forced: int = 0) -> list[Judgement]:
    """k right judgements of n."""
    return [
        Judgement(
            f"{benchmark}-{i}", benchmark, benchmark, model, budget, forced, True, 7, 3, "", "A" if i < k else "B", i < k, "boxed letter"
        )
        for i in range(n)
    ]


def make(
    tmp_path: Path, table: str, judgements: Sequence[Judgement], rows: list[dict], remark: str = ""
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run the command line on one file; the table as text, and the long form."""
    records.write(tmp_path / "j.parquet", judgements, Judgement)
    arguments = ["--published", PAPER / f"{table}.csv", "--benchmarks", PAPER / "benchmarks.csv", "--judgements", tmp_path / "j.parquet"]
    arguments += ["--settings", json.dumps({"rows": rows, "remark": remark}), "--output", tmp_path / "t.csv", "--long", tmp_path / "l.csv"]
    tables.main([table, *map(str, arguments)])
    return pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False), pd.read_csv(tmp_path / "l.csv")


def row(model: str, **changes: object) -> dict:
    return {"model": model, "label": model.upper(), "group": "<10B LLMs", "published": None, "budget": 2048} | changes


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_published_right_answers_give_the_published_table(tmp_path: Path, name: str) -> None:
    paper = pd.read_csv(PAPER / f"{name}.csv", dtype=str)
    group, label = paper.columns[:2]
    judgements: list[Judgement] = []
    rows = []
    for number, line in paper.iterrows():
        model = f"model {number}"
        for key, column, n in BENCHMARKS[["key", "column", "n"]].itertuples(index=False):
            judgements += judged(model, key, round(float(line[column]) * n / 100), n)
        rows.append({"model": model, "label": line[label], group: line[group], "published": line[label], "budget": 2048})
    found = accuracies(judgements)
    published = pd.read_csv(PAPER / f"{name}.csv")
    wide, long = tables.accuracy_table(found, rows, False, published, dict(zip(BENCHMARKS["key"], BENCHMARKS["column"])))
    tables.write(wide, tmp_path / "ours.csv")
    assert (tmp_path / "ours.csv").read_text() == (PAPER / f"{name}.csv").read_text()
    assert ((long["accuracy"] - long["published"]).abs() < 0.005 + 1e-9).all()
    assert long["published"].notna().all()


def test_cells_are_exact_and_only_at_the_rows_budget(tmp_path: Path) -> None:
    judgements = [
        *judged("a", "medqa", 2, 3),
        *judged("a", "medqa", 0, 3, budget=128),
        *judged("a", "medqa", 3, 3, forced=1),
        *judged("a", "nejm", 1, 8),
        *judged("b", "medqa", 1, 3, budget=0),
    ]
    wide, long = make(tmp_path, "table1", judgements, [row("a", published="m1-7B-1K"), row("b", budget=0)])
    assert list(wide.columns) == ["group", "model", *BENCHMARKS["column"], "Avg."]
    first, second = wide.to_dict("records")
    assert (first["model"], first["MedQA"], first["NEJM"], first["Avg."], first["MedMC"]) == ("A", "66.67", "12.50", "39.58", "")
    # b lacks a benchmark that the run has: its mean over the rest would not compare
    assert (second["MedQA"], second["NEJM"], second["Avg."]) == ("33.33", "", "")
    assert list(long.columns) == ["group", "model", "label", "benchmark", "budget", "k", "n", "accuracy", "low", "high", "published"]
    assert long[["model", "benchmark", "budget", "k", "n"]].to_numpy().tolist() == [
        ["a", "medqa", 2048, 2, 3],
        ["a", "nejm", 2048, 1, 8],
        ["b", "medqa", 0, 1, 3],
    ]
    low, high = proportion_confint(2, 3, method="wilson")
    assert long.loc[0, ["low", "high"]].tolist() == [round(100 * low, 2), round(100 * high, 2)]
    paper = pd.read_csv(PAPER / "table1.csv").set_index("model").loc["m1-7B-1K"]
    assert long["published"].tolist()[:2] == [paper["MedQA"], paper["NEJM"]]
    assert long["published"].isna().tolist() == [False, False, True]


def test_every_row_of_the_embedded_world_says_so(tmp_path: Path) -> None:
    wide, long = make(tmp_path, "table1", judged("a", "medqa", 1, 2), [row("a")], remark="embedded world, not medicine")
    assert "not medicine" in wide.loc[0, "group"]
    assert "not medicine" in long.loc[0, "group"]


def test_equal_names_of_table_2_are_told_apart_by_scale(tmp_path: Path) -> None:
    rows = [{"model": "a", "label": "Random", "scale": scale, "published": "Random", "budget": 2048} for scale in ("1K Scale", "23K Scale")]
    _, long = make(tmp_path, "table2", judged("a", "medqa", 1, 2), rows)
    paper = pd.read_csv(PAPER / "table2.csv")
    assert long["published"].tolist() == paper.loc[paper["Data Filtering"] == "Random", "MedQA"].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "c"}, "no judgements of model 'c'; there are judgements of a, b"),
        ({"budget": 4096}, r"model 'a' on medqa has none at budget 4096 with 0 forced; it has \(budget, forced\) \(2048, 0\)"),
        ({"published": "m1-8B"}, "0 published rows are named 'm1-8B'"),
        ({"colour": "red"}, "row 0: unknown colour. The keys are"),
    ],
)
def test_a_row_that_cannot_be_made_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    judgements = [*judged("a", "medqa", 1, 2), *judged("b", "medqa", 1, 2)]
    with pytest.raises(UserError, match=message):
        make(tmp_path, "table1", judgements, [row("a") | changes])
    assert not (tmp_path / "t.csv").exists()


def test_unknown_benchmark_and_repeated_judgements_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no heading for benchmark hle"):
        make(tmp_path, "table1", judged("a", "hle", 1, 2), [row("a")])
    with pytest.raises(UserError, match="2 questions are judged twice at one setting, the first at model a, benchmark medqa, budget 2048"):
        accuracies(judged("a", "medqa", 1, 2) * 2)


@pytest.mark.parametrize(("settings", "message"), [('{"rows": []}', "missing remark"), ("{", "not JSON"), ("[]", "not a mapping")])
def test_wrong_settings_are_refused(tmp_path: Path, settings: str, message: str) -> None:
    files = ["--published", "p", "--benchmarks", "b", "--judgements", "j", "--output", "o", "--long", "l"]
    with pytest.raises(UserError, match=message):
        tables.main(["table1", *files, "--settings", settings])


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_accuracy_and_wilson_interval(counts: tuple[int, int]) -> None:
    k, n = counts
    (line,) = accuracies(judged("a", "medqa", k, n)).to_dict("records")
    z, share = 1.959963984540054, k / n
    centre, half = (share + z * z / (2 * n)) / (1 + z * z / n), z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    assert (line["k"], line["n"]) == counts
    assert (line["accuracy"], line["low"], line["high"]) == pytest.approx(
        (100 * share, 100 * (centre - half), 100 * (centre + half)), abs=1e-9
    )


def test_average_is_plain_and_needs_every_benchmark() -> None:
    assert average({"medqa": 10.0, "nejm": 40.0, "gpqa": 1.0}, ["medqa", "nejm"]) == 25.0
    assert pd.isna(average({"medqa": 10.0}, ["medqa", "nejm"]))


def questions(path: Path, **counts: int) -> Path:
    rows = [Question(f"{source}-{i}", source, "stem", None, ("x", "y"), "A") for source, count in counts.items() for i in range(count)]
    records.write(path, rows, Question)
    return path


def table3(tmp_path: Path, rows: list[dict], columns: list[str], *named: str) -> tuple[list[list[str]], list[list[str]]]:
    arguments = [part for value in named for part in ("--row", value)]
    arguments += ["--published", str(PAPER / "table3.csv"), "--settings", json.dumps({"columns": columns, "rows": rows})]
    tables.main(["table3", *arguments, "--output", str(tmp_path / "t.csv"), "--long", str(tmp_path / "l.csv")])
    return [list(csv.reader((tmp_path / name).read_text().splitlines())) for name in ("t.csv", "l.csv")]  # type: ignore[return-value]


def test_table_3_counts_by_pool(tmp_path: Path) -> None:
    merged = questions(tmp_path / "merged.parquet", medqa=5, medmcqa=7, pubmedqa=1)
    none = questions(tmp_path / "none.parquet")
    rows = [{"label": "All", "published": "Initial collection"}, {"label": "None left", "published": None}]
    wide, long = table3(tmp_path, rows, ["medqa", "headqa", "medmcqa", "pubmedqa"], f"None left={none}", f"All={merged}")
    assert wide == [
        ["Dataset", "MedQA", "HeadQA", "MedMCQA", "PubMedQA", "Summation"],
        ["All", "5", "0", "7", "1", "13"],
        ["None left", "0", "0", "0", "0", "0"],
    ]
    paper = pd.read_csv(PAPER / "table3.csv", dtype=str).iloc[0]
    assert long[:3] == [
        ["dataset", "source", "count", "published"],
        ["All", "MedQA", "5", paper["MedQA"]],
        ["All", "HeadQA", "0", paper["HeadQA"]],
    ]
    assert long[-1] == ["None left", "Summation", "0", ""]


def test_table_3_refuses_what_it_would_lose(tmp_path: Path) -> None:
    merged = questions(tmp_path / "merged.parquet", medqa=2, other=1)
    row = {"label": "All", "published": None}
    with pytest.raises(UserError, match="questions of other, not among the columns medqa"):
        table3(tmp_path, [row], ["medqa"], f"All={merged}")
    with pytest.raises(UserError, match="must be the same"):
        table3(tmp_path, [row], ["medqa", "other"], f"Everything={merged}")
    with pytest.raises(UserError, match="no published row is named 'All of it'"):
        table3(tmp_path, [row | {"published": "All of it"}], ["medqa", "other"], f"All={merged}")
    with pytest.raises(UserError, match="must be Label=path"):
        table3(tmp_path, [row], ["medqa", "other"], str(merged))
    with pytest.raises(UserError, match="no such file"):
        table3(tmp_path, [row], ["medqa", "other"], f"All={tmp_path / 'gone.parquet'}")
    (tmp_path / "text.parquet").write_text("no Parquet")
    with pytest.raises(UserError, match="not readable as Parquet"):
        table3(tmp_path, [row], ["medqa", "other"], f"All={tmp_path / 'text.parquet'}")
    records.write(tmp_path / "domains.parquet", [Domain("q", "01", "Abnormalities")], Domain)
    with pytest.raises(UserError, match="no column source; it has question_id"):
        table3(tmp_path, [row], ["medqa", "other"], f"All={tmp_path / 'domains.parquet'}")


def samples(path: Path, pairs: list[tuple[str, str]]) -> Path:
    records.write(path, [Sample(id, source, "", "prompt", "thinking", "answer", "m1k", "rule", 42) for id, source in pairs], Sample)
    return path


def table4(tmp_path: Path, *subsets: str) -> list[list[str]]:
    names = {"q1": "Virology", "q2": "Analysis", "q3": "Virology", "q4": "Urine"}
    records.write(tmp_path / "d.parquet", [Domain(question, "01", name) for question, name in names.items()], Domain)
    arguments = [part for value in subsets for part in ("--subset", value)]
    tables.main(["table4", "--domains", str(tmp_path / "d.parquet"), *arguments, "--output", str(tmp_path / "t.csv")])
    return list(csv.reader((tmp_path / "t.csv").read_text().splitlines()))


def test_table_4_counts_by_domain_and_pool(tmp_path: Path) -> None:
    large = samples(tmp_path / "large.parquet", [("q1", "medmcqa"), ("q2", "medqa"), ("q3", "medmcqa")])
    small = samples(tmp_path / "small.parquet", [("q3", "medmcqa")])
    head, *body = table4(tmp_path, f"m23K={large}", f"m1K={small}")
    assert head == list(pd.read_csv(PAPER / "table4.csv").columns)
    assert body == [
        ["Analysis", "1", "0", "0", "0", "1", "0", "0", "0", "0", "0"],
        ["Virology", "0", "0", "0", "2", "2", "0", "0", "0", "1", "1"],
    ]


def test_table_4_of_the_published_counts_is_the_published_table() -> None:
    paper = pd.read_csv(PAPER / "table4.csv")
    domains, subsets = {}, {"m23K": [], "m1K": []}  # type: ignore[var-annotated]
    for line in paper.to_dict("records"):
        for subset in subsets:
            for key, heading in tables.POOLS.items():
                for i in range(line[f"{subset} {heading}"]):
                    question = f"{line['Domain']}-{key}-{i}"
                    domains[question] = line["Domain"]
                    subsets[subset].append((question, key))
    pd.testing.assert_frame_equal(tables.domain_table(domains, subsets), paper)


def test_table_4_needs_a_domain_for_every_sample_and_keeps_other_pools(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="subset m1K: question q9 has no domain"):
        table4(tmp_path, f"m1K={samples(tmp_path / 's.parquet', [('q9', 'medqa')])}")
    head, line = table4(tmp_path, f"m1K={samples(tmp_path / 's.parquet', [('q4', 'mine')])}")
    assert dict(zip(head, line))["m1K mine"] == "1"
    assert table4(tmp_path, f"m1K={samples(tmp_path / 's.parquet', [])}")[0][0] == "Domain"
