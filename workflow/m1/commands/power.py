"""Compute how many questions a benchmark needs before a run can show that its models equal the paper's
(docs/statistics.md)."""

from dataclasses import dataclass

from m1.core.places import source_file
from m1.report.settings import Margins
from m1.wiring.report import ReportRules
from m1.wiring.run import Run


@dataclass
class Power:
    """The power of the comparison in one column of Table 1; ranges are the least and the most over this run's rows."""

    column: str
    questions: int  # the benchmark's published number
    margin: float  # margin of equivalence, in points
    needed: tuple[int, int]  # questions for a chance of 80 % to show equivalence
    smallest_margin: tuple[float, float]  # smallest margin, in points, that the published number of questions can show


def powers(run: Run) -> list[Power]:
    """The power of each column of Table 1, ``Avg.`` first, for unpaired answers; empty if the run makes no claim about
    the paper."""
    if run.config["report"]["remark"]:
        return []
    from m1.report.compare import published_k  # imports pandas and statsmodels, which take a second
    from m1.report.files import read_csv
    from m1.report.scores import find_published
    from m1.report.statistics import Difference, average, unpaired

    rules = ReportRules(run)
    margins = Margins(**run.config["report"]["margins"])
    benchmarks, paper = (read_csv(source_file(f"resources/paper/{name}.csv")) for name in ("benchmarks", "table1"))
    own = [rules.table1_row(key) for key in rules.table_models("table1")]
    places = sorted({place for row in own if (place := find_published(paper, row, "table1")) is not None})
    if not places:
        return []
    found: dict[str, list[Difference]] = {}
    for cells in paper.iloc[places].to_dict("records"):
        each = []
        for column, n in benchmarks[["column", "n"]].itertuples(index=False):
            k = published_k(cells[column], n, column)
            each.append(unpaired(k, n, k, n, margins.cell))
            found.setdefault(column, []).append(each[-1])
        found.setdefault("Avg.", []).append(average(each, int(benchmarks["n"].sum()), margins.average))
    sizes = {"Avg.": int(benchmarks["n"].sum()), **dict(zip(benchmarks["column"], benchmarks["n"].tolist()))}
    return [
        Power(
            column,
            n,
            margins.average if column == "Avg." else margins.cell,
            (int(min(one.n_needed for one in found[column])), int(max(one.n_needed for one in found[column]))),
            tuple(float(end(one.smallest_margin for one in found[column])) for end in (min, max)),  # type: ignore[arg-type]
        )
        for column, n in sizes.items()
    ]


def rows(found: list[Power]) -> list[list[str]]:
    """The columns as a table of texts, headings first."""
    header = ["equal to the paper", "questions", "within", "needed", "can show"]
    lines = []
    for one in found:
        needed = " to ".join(f"{count:,}" for count in dict.fromkeys(one.needed))
        smallest = " to ".join(dict.fromkeys(f"{margin:.1f}" for margin in one.smallest_margin))
        lines.append([one.column, f"{one.questions:,}", f"{one.margin:g} points", needed, f"{smallest} points"])
    return [header, *lines]


NOTE = (
    "A model that is equal to the paper's is shown to be so in four of five runs where a benchmark has the questions "
    "needed; what its own number can show at best is in the last column. With the authors' single answers "
    "(`published.beside`) two fifths as many do, if both sides' answers correlate by 0.6 (docs/statistics.md)."
)
