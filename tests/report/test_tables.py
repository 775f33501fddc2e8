"""Accuracy and Tables 1 to 4 from records made here, and the published tables from their own k and n."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core import records
from m1.core.errors import UserError
from m1.core.records import Domain, Question, Sample, Score, Trace
from m1.report import page, tables
from m1.report.files import read_csv, write_csv
from m1.report.scores import accuracies, average
from m1.report.settings import AccuracyRow, CountRow, Subset
from score_files import frame
from shown import accuracy_row, save_shown
from statsmodels.stats.proportion import proportion_confint

PAPER = Path(__file__).parents[2] / "resources" / "paper"
BENCHMARKS = pd.read_csv(PAPER / "benchmarks.csv")


def scored(model: str, benchmark: str, k: int, n: int, budget: int = 2048, forced: int = 0) -> list[Score]:
    """k correct scores of n."""
    return [
        Score(
            f"{benchmark}-{i}",
            benchmark,
            benchmark,
            model,
            budget,
            forced,
            True,
            7,
            3,
            "",
            "A" if i < k else "B",
            i < k,
            "boxed letter",
        )
        for i in range(n)
    ]


def make(
    tmp_path: Path, table: str, scores: Sequence[Score], rows: list[AccuracyRow], remark: str = ""
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run the command line on one file; the table as text, and the long form."""
    records.write(tmp_path / "j.parquet", scores, Score)
    arguments = [
        *("--shown", save_shown(tmp_path, **{table: tuple(rows)}, remark=remark)),
        *("--scores", tmp_path / "j.parquet"),
        *("--published", PAPER / f"{table}.csv"),
        *("--benchmarks", PAPER / "benchmarks.csv"),
        *("--output", tmp_path / "t.csv", "--long", tmp_path / "l.csv"),
    ]
    tables.main([table, *map(str, arguments)])
    return pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False), pd.read_csv(tmp_path / "l.csv")


row = accuracy_row


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_published_correct_answers_give_the_published_table(tmp_path: Path, name: str) -> None:
    paper = pd.read_csv(PAPER / f"{name}.csv", dtype=str)
    group, label = paper.columns[:2]
    scores: list[Score] = []
    rows = []
    for number, line in paper.iterrows():
        model = f"model {number}"
        for key, column, n in BENCHMARKS[["key", "column", "n"]].itertuples(index=False):
            scores += scored(model, key, round(float(line[column]) * n / 100), n)
        rows.append(row(model, label=line[label], group=line[group], published=line[label]))
    found = accuracies(frame(scores))
    published = pd.read_csv(PAPER / f"{name}.csv")
    headings = dict(zip(BENCHMARKS["key"], BENCHMARKS["column"]))
    wide, long = tables.accuracy_table(name, found, rows, "", published, headings)
    write_csv(wide, tmp_path / "ours.csv", missing=tables.MISSING)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "ours.csv", dtype=str).drop(columns="Budget"), paper)
    assert ((long["accuracy"] - long["published"]).abs() < 0.005 + 1e-9).all()
    assert long["published"].notna().all()


def test_cells_are_exact_and_only_at_the_rows_budget(tmp_path: Path) -> None:
    scores = [
        *scored("a", "medqa", 2, 3),
        *scored("a", "medqa", 0, 3, budget=128),
        *scored("a", "medqa", 3, 3, forced=1),
        *scored("a", "nejm", 1, 8),
        *scored("b", "medqa", 1, 3, budget=0),
    ]
    wide, long = make(tmp_path, "table1", scores, [row("a", published="m1-7B-1K"), row("b", budget=0)])
    assert list(wide.columns) == ["group", "model", *BENCHMARKS["column"], "Avg.", "Budget"]
    assert wide["Budget"].tolist() == ["2048", ""]
    first, second = wide.to_dict("records")
    assert (first["model"], first["MedQA"], first["NEJM"], first["Avg."], first["MedMC"]) == (
        "A",
        "66.67",
        "12.50",
        "39.58",
        "missing",
    )
    # b lacks a benchmark that the run has: its mean over the rest would not compare
    assert (second["MedQA"], second["NEJM"], second["Avg."]) == ("33.33", "missing", "missing")
    assert list(long.columns) == [
        "group",
        "model",
        "label",
        "benchmark",
        "budget",
        "k",
        "n",
        "accuracy",
        "low",
        "high",
        "published",
    ]
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


def test_the_best_budget_of_each_benchmark_is_shown_the_smallest_of_equal_ones(tmp_path: Path) -> None:
    scores = [
        *scored("a", "medqa", 2, 4, budget=128),
        *scored("a", "medqa", 3, 4, budget=512),
        *scored("a", "medqa", 3, 4, budget=256),
        *scored("a", "medqa", 4, 4, budget=512, forced=2),
        *scored("a", "medqa", 4, 4, budget=16384),
        *scored("a", "nejm", 1, 4, budget=128),
    ]
    wide, long = make(tmp_path, "table1", scores, [row("a", budgets=(128, 256, 512))])
    assert wide.loc[0, ["MedQA", "NEJM", "Avg.", "Budget"]].tolist() == ["75.00", "25.00", "50.00", "best"]
    assert long[["benchmark", "budget"]].to_numpy().tolist() == [["medqa", 256], ["nejm", 128]]
    with pytest.raises(UserError, match=r"on medqa has none at budget 64 .*; it has \(budget, forced\) \(128, 0\)"):
        make(tmp_path, "table1", scores, [row("a", budgets=(32, 64))])


def test_benchmarks_of_ones_own_come_after_those_of_the_paper_by_their_keys(tmp_path: Path) -> None:
    scores = [*scored("a", "mine", 1, 4), *scored("a", "extra", 1, 2), *scored("a", "medqa", 1, 1)]
    wide, long = make(tmp_path, "table1", scores, [row("a", published="m1-7B-1K")])
    assert list(wide.columns) == ["group", "model", *BENCHMARKS["column"], "extra", "mine", "Avg.", "Budget"]
    assert wide.loc[0, ["MedQA", "extra", "mine", "Avg."]].tolist() == ["100.00", "50.00", "25.00", "58.33"]
    assert long.set_index("benchmark")["published"].isna().to_dict() == {"medqa": False, "extra": True, "mine": True}


def test_every_row_of_the_embedded_world_says_so(tmp_path: Path) -> None:
    wide, long = make(tmp_path, "table1", scored("a", "medqa", 1, 2), [row("a")], remark="embedded world, not medicine")
    assert "not medicine" in wide.loc[0, "group"]
    assert "not medicine" in long.loc[0, "group"]


def test_equal_names_of_table_2_are_told_apart_by_scale(tmp_path: Path) -> None:
    rows = [row("a", label="Random", group=scale, published="Random") for scale in ("1K Scale", "23K Scale")]
    _, long = make(tmp_path, "table2", scored("a", "medqa", 1, 2), rows)
    paper = pd.read_csv(PAPER / "table2.csv")
    assert long["published"].tolist() == paper.loc[paper["Data Filtering"] == "Random", "MedQA"].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "c"}, "no scores of model 'c'; there are scores of a, b"),
        (
            {"budgets": (4096,)},
            r"model 'a' on medqa has none at budget 4096 with 0 forced; it has \(budget, forced\) \(2048, 0\)",
        ),
        ({"published": "m1-8B"}, "table1, row .*: no published row is named 'm1-8B'"),
    ],
)
def test_a_row_that_cannot_be_made_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    scores = [*scored("a", "medqa", 1, 2), *scored("b", "medqa", 1, 2)]
    with pytest.raises(UserError, match=message):
        make(tmp_path, "table1", scores, [dataclasses.replace(row("a"), **changes)])
    assert not (tmp_path / "t.csv").exists()


def test_repeated_scores_are_refused() -> None:
    with pytest.raises(
        UserError,
        match="2 questions are scored twice at one setting, the first at model a, benchmark medqa, budget 2048",
    ):
        accuracies(frame(scored("a", "medqa", 1, 2) * 2))


def test_a_configuration_without_table_2_says_so(tmp_path: Path) -> None:
    files = ["--published", "p", "--benchmarks", "b", "--output", "o", "--long", "l", "--scores"]
    with pytest.raises(UserError, match=r"table2: this configuration has none \(report.table2 is null\)"):
        tables.main(["table2", "--shown", str(save_shown(tmp_path)), *files])


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_accuracy_and_wilson_interval(counts: tuple[int, int]) -> None:
    k, n = counts
    (line,) = accuracies(frame(scored("a", "medqa", k, n))).to_dict("records")
    z, share = 1.959963984540054, k / n
    centre, half = (
        (share + z * z / (2 * n)) / (1 + z * z / n),
        z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5,
    )
    assert (line["k"], line["n"]) == counts
    assert (line["accuracy"], line["low"], line["high"]) == pytest.approx(
        (100 * share, 100 * (centre - half), 100 * (centre + half)), abs=1e-9
    )


def test_average_is_plain_and_needs_every_benchmark() -> None:
    assert average({"medqa": 10.0, "nejm": 40.0, "gpqa": 1.0}, ["medqa", "nejm"]) == 25.0
    assert pd.isna(average({"medqa": 10.0}, ["medqa", "nejm"]))


def questions(path: Path, **counts: int) -> Path:
    rows = [
        Question(f"{source}-{i}", source, "stem", None, ("x", "y"), "A")
        for source, count in counts.items()
        for i in range(count)
    ]
    records.write(path, rows, Question)
    return path


def table3(tmp_path: Path, rows: list[CountRow], pools: Sequence[str]) -> tuple[list, list]:
    """Table 3 and its long form; the questions of all pools are ``merged.parquet``."""
    shown = save_shown(tmp_path, table3=tuple(rows), pools=tuple(pools), questions="merged.parquet")
    arguments = ["--shown", shown, "--published", PAPER / "table3.csv"]
    arguments += ["--output", tmp_path / "t.csv", "--long", tmp_path / "l.csv"]
    tables.main(["table3", *map(str, arguments)])
    return tuple(list(csv.reader((tmp_path / name).read_text().splitlines())) for name in ("t.csv", "l.csv"))  # type: ignore[return-value]


def test_table_3_counts_by_pool_beside_the_published_counts(tmp_path: Path) -> None:
    questions(tmp_path / "merged.parquet", medqa=5, medmcqa=7, pubmedqa=1)
    questions(tmp_path / "none.parquet")
    rows = [CountRow("All", "Initial collection", ("merged.parquet",)), CountRow("None left", None, ("none.parquet",))]
    wide, long = table3(tmp_path, rows, ["medqa", "headqa", "medmcqa", "pubmedqa"])
    paper = pd.read_csv(PAPER / "table3.csv", dtype=str).iloc[0]
    head, first, second = wide
    columns = [f"{name}{end}" for name in paper.index[1:] for end in ("", " published")]
    assert head == ["Dataset", *columns, "as published"]
    assert first == [
        "All",
        *(part for ours, pool in zip(["5", "0", "7", "1", "13"], paper[1:]) for part in (ours, pool)),
        "no",
    ]
    assert second == ["None left", *["0", ""] * 5, ""]
    assert long[:3] == [
        ["dataset", "source", "count", "published", "equal"],
        ["All", "MedQA", "5", paper["MedQA"], "no"],
        ["All", "HeadQA", "0", paper["HeadQA"], "no"],
    ]
    assert long[-1] == ["None left", "Summation", "0", "", ""]


def test_table_3_says_where_it_is_the_published_one(tmp_path: Path) -> None:
    questions(tmp_path / "merged.parquet", medqa=78, headqa=10, medmcqa=909, pubmedqa=3)
    row = CountRow("Hard random 1K", "Hard random 1K", ("merged.parquet",))
    wide, long = table3(tmp_path, [row], ["medqa", "headqa", "medmcqa", "pubmedqa"])
    assert wide[1][-1] == "yes"
    assert {line[-1] for line in long[1:]} == {"yes"}
    wide, _ = table3(
        tmp_path, [CountRow("Kept", None, ("merged.parquet",), total=999)], ["medqa", "headqa", "medmcqa", "pubmedqa"]
    )
    assert wide[1][-3:] == ["1000", "999", "no"]


def test_table_3_has_no_published_column_for_a_pool_that_the_paper_lacks(tmp_path: Path) -> None:
    questions(tmp_path / "merged.parquet", mine=2)
    wide, _ = table3(tmp_path, [CountRow("All", None, ("merged.parquet",))], ["mine", "medqa"])
    assert wide == [
        ["Dataset", "mine", "MedQA", "MedQA published", "Summation", "Summation published", "as published"],
        ["All", "2", "0", "", "2", "", ""],
    ]


def traces(path: Path, identities: Sequence[str]) -> Path:
    records.write(
        path,
        [Trace(identity, "t", "so", "\\boxed{x}", "stop", 1, 2, 1, 0.0, "key", "correct") for identity in identities],
        Trace,
    )
    return path


def test_table_3_counts_traces_by_their_questions(tmp_path: Path) -> None:
    questions(tmp_path / "merged.parquet", medqa=3, medmcqa=2)
    row = CountRow("Correct", None, ("correct.parquet",))
    traces(tmp_path / "correct.parquet", ["medqa-2", "medmcqa-0", "medqa-0"])
    wide, _ = table3(tmp_path, [row], ["medqa", "medmcqa"])
    assert wide[1] == ["Correct", "2", "", "1", "", "3", "", ""]
    questions(tmp_path / "merged.parquet", medqa=3)
    with pytest.raises(
        UserError,
        match=r"correct.parquet: the source of 1 of 3 records is not known: .* \(the first is question medmcqa-0\)",
    ):
        table3(tmp_path, [row], ["medqa"])


def test_files_of_a_row_are_counted_together(tmp_path: Path) -> None:
    questions(tmp_path / "merged.parquet", medqa=3)
    questions(tmp_path / "more.parquet", medqa=2, headqa=4)
    wide, _ = table3(tmp_path, [CountRow("Both", None, ("merged.parquet", "more.parquet"))], ["medqa", "headqa"])
    assert wide[1] == ["Both", "5", "", "4", "", "9", "", ""]


def test_table_3_refuses_what_it_would_lose(tmp_path: Path) -> None:
    questions(tmp_path / "merged.parquet", medqa=2, other=1)
    row = CountRow("All", None, ("merged.parquet",))
    with pytest.raises(UserError, match="questions of other, not among the columns medqa"):
        table3(tmp_path, [row], ["medqa"])
    with pytest.raises(UserError, match="no published row is named 'All of it'"):
        table3(tmp_path, [dataclasses.replace(row, published="All of it")], ["medqa", "other"])
    with pytest.raises(UserError, match=r"gone\.parquet: no such file"):
        table3(tmp_path, [dataclasses.replace(row, files=("gone.parquet",))], ["medqa", "other"])
    (tmp_path / "text.parquet").write_text("no Parquet")
    with pytest.raises(UserError, match="not readable as Parquet"):
        table3(tmp_path, [dataclasses.replace(row, files=("text.parquet",))], ["medqa", "other"])
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no column question_id; it has a"):
        table3(tmp_path, [dataclasses.replace(row, files=("a.parquet",))], ["medqa", "other"])


PAPER4 = pd.read_csv(PAPER / "table4.csv")


def samples(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    """Question, source and own domain of each."""
    records.write(
        path,
        [Sample(id, source, domain, "prompt", "thinking", "answer", "m1k", "rule", 42) for id, source, domain in rows],
        Sample,
    )
    return path


def table4(tmp_path: Path, labelled: bool = True, **subsets: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 4 of subsets by their labels, and its long form."""
    names = {"q1": "Virology", "q2": "Analysis", "q3": "Virology", "q4": "Of ours"}
    records.write(tmp_path / "d.parquet", [Domain(question, "01", name) for question, name in names.items()], Domain)
    shown = tuple(Subset(label, path.name) for label, path in subsets.items())
    arguments = ["--shown", save_shown(tmp_path, table4=shown, domains="d.parquet" if labelled else None)]
    arguments += ["--published", PAPER / "table4.csv", "--output", tmp_path / "t.csv", "--long", tmp_path / "l.csv"]
    tables.main(["table4", *map(str, arguments)])
    return tuple(pd.read_csv(tmp_path / name, dtype=str, keep_default_na=False) for name in ("t.csv", "l.csv"))  # type: ignore[return-value]


def test_table_4_counts_by_domain_and_pool_beside_the_published_counts(tmp_path: Path) -> None:
    large = samples(
        tmp_path / "large.parquet",
        [("q1", "medmcqa", ""), ("q2", "medqa", ""), ("q3", "medmcqa", ""), ("q4", "headqa", "")],
    )
    small = samples(
        tmp_path / "small.parquet", [("q3", "medmcqa", "Analysis"), ("q9", "medqa", "Virology")]
    )  # their own labels go first
    wide, long = table4(tmp_path, m23K=large, m1K=small)
    assert list(wide.columns) == [
        "Domain",
        *(f"{heading}{end}" for heading in PAPER4.columns[1:] for end in ("", " published")),
    ]
    assert wide["Domain"].tolist() == [*PAPER4["Domain"], "Of ours"]
    table = wide.set_index("Domain")
    ours = table[[heading for heading in table.columns if not heading.endswith("published")]]
    assert ours.loc["Virology"].tolist() == ["0", "0", "0", "2", "2", "1", "0", "0", "0", "1"]
    assert ours.loc["Analysis"].tolist() == ["1", "0", "0", "0", "1", "0", "0", "0", "1", "1"]
    assert ours.loc["Of ours"].tolist() == ["0", "0", "1", "0", "1", *"00000"]
    assert set(ours.loc["Abnormalities"]) == {"0"}
    theirs = table.filter(like=" published")
    assert theirs.iloc[:-1].to_numpy().tolist() == PAPER4.drop(columns="Domain").astype(str).to_numpy().tolist()
    assert set(theirs.iloc[-1]) == {""}
    assert list(long.columns) == ["domain", "subset", "source", "count", "published"]
    assert len(long) == 77 * 2 * 5
    line = long[(long["domain"] == "Virology") & (long["subset"] == "m1K") & (long["source"] == "MedQA")].iloc[0]
    assert (line["count"], line["published"]) == ("1", str(PAPER4.set_index("Domain").loc["Virology", "m1K MedQA"]))


def test_table_4_of_the_published_counts_is_the_published_table(tmp_path: Path) -> None:
    subsets = {}
    for subset in ("m23K", "m1K"):
        rows = [
            (f"{subset}-{key}-{domain}-{i}", key, domain)
            for key, heading in tables.POOLS.items()
            for domain, count in zip(PAPER4["Domain"], PAPER4[f"{subset} {heading}"])
            for i in range(count)
        ]
        subsets[subset] = samples(tmp_path / f"{subset}.parquet", rows)
    wide, long = table4(tmp_path, labelled=False, **subsets)
    pd.testing.assert_frame_equal(wide[list(PAPER4.columns)], PAPER4.astype(str), check_dtype=False)
    assert (long["count"] == long["published"]).all()


def test_table_4_says_missing_where_a_subset_has_no_labels_at_all(tmp_path: Path) -> None:
    bare = samples(tmp_path / "bare.parquet", [("q1", "medmcqa", ""), ("q2", "medqa", "")])  # m23K is published so
    small = samples(tmp_path / "small.parquet", [("q3", "medmcqa", "Virology")])
    wide, long = table4(tmp_path, labelled=False, m23K=bare, m1K=small)
    virology = wide.set_index("Domain").loc["Virology"]
    assert (virology["m23K MedMCQA"], virology["m23K Summation"], virology["m1K MedMCQA"]) == (
        "missing",
        "missing",
        "1",
    )
    assert virology["m23K MedMCQA published"] == str(PAPER4.set_index("Domain").loc["Virology", "m23K MedMCQA"])
    assert set(long.loc[long["subset"] == "m23K", "count"]) == {""}


def test_table_4_needs_a_domain_for_every_sample_and_keeps_other_pools_and_subsets(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="subset m1K: question q9 has no domain of its own and none in the file"):
        table4(tmp_path, m1K=samples(tmp_path / "s.parquet", [("q9", "medqa", "")]))
    some = samples(tmp_path / "s.parquet", [("q8", "medqa", "Virology"), ("q9", "medqa", "")])
    with pytest.raises(UserError, match="question q9 has no domain"):
        table4(tmp_path, labelled=False, m1K=some)
    wide, _ = table4(tmp_path, mine=samples(tmp_path / "s.parquet", [("q4", "own", "")]))
    assert list(wide.columns) == [
        "Domain",
        "mine MedQA",
        "mine PubMedQA",
        "mine HeadQA",
        "mine MedMCQA",
        "mine own",
        "mine Summation",
    ]
    assert wide.iloc[-1].tolist() == ["Of ours", "0", "0", "0", "0", "1", "1"]
    wide, _ = table4(tmp_path, m1K=samples(tmp_path / "s.parquet", []))
    assert set(wide["m1K Summation"]) == {"0"}


def test_a_label_that_looks_like_a_formula_is_none_in_the_file_and_itself_when_read(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"model": ["=1+1", "+CoT", "plain"], "delta": ["+0.27", "-2.3", "0"], "accuracy": [-1.5, 2.0, 3]}
    )
    write_csv(table, tmp_path / "table.csv")
    text = (tmp_path / "table.csv").read_text(encoding="utf-8")
    assert text == "model,delta,accuracy\n'=1+1,+0.27,-1.50\n'+CoT,-2.3,2.00\nplain,0,3.00\n"
    assert list(read_csv(tmp_path / "table.csv")["model"]) == ["=1+1", "+CoT", "plain"]
    assert page.table(tmp_path / "table.csv")[1][0] == "=1+1"
