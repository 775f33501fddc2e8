"""``compare.csv``: each published cell of Tables 1 and 2 beside this run's own, with intervals, tests, a verdict and
its reason. docs/statistics.md says what the tests answer and what they do not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m1.core.errors import UserError, run
from m1.core.progress import say
from m1.report import seeds
from m1.report.files import parser, read_csv, write_csv, write_step_manifest
from m1.report.paired import beside_published
from m1.report.questions import Asked, read_asked
from m1.report.scores import accuracies, find_published, read_scores, rows_at_best, rows_of_model
from m1.report.settings import AccuracyRow, Margins, Shown
from m1.report.statistics import LEVEL, Difference, P, average, holm, mean_interval, paired, unpaired, wilson

REPRODUCED, DIFFERS, CANNOT_TELL, OUT_OF_REACH = "reproduced", "differs", "cannot tell", "out of reach"
COUNTS = ["published_k", "published_n", "budget", "k", "n", "n_needed"]
COLUMNS = [
    *("table", "group", "published", "benchmark", "column"),
    *("published_k", "published_n", "published_accuracy", "published_low", "published_high"),
    *("model", "label", "budget", "k", "n", "accuracy", "low", "high"),
    *("difference", "difference_low", "difference_high", "test", "p", "p_holm"),
    *("margin", "p_margin", "smallest_margin", "n_needed", "verdict", "why"),
]
SINGLES = "scores of the published answers, of the models whose single answers the authors published"


@dataclass(frozen=True)
class Found:
    """What a run compares with the paper."""

    scores: pd.DataFrame  # from :func:`m1.report.scores.read_scores`
    accuracies: pd.DataFrame  # of these scores
    published: pd.DataFrame | None  # scores of the published answers, by the keys of the models that stand for them
    asked: Mapping[str, Asked]  # what is known of the questions of each benchmark
    seed: int  # of the bootstraps
    departures: Mapping[str, str]  # how the training of a model departs from the paper's, by its key


def published_k(accuracy: float, n: int, where: str) -> int:
    """The number of correct answers behind a published accuracy (%, two decimals); a :class:`UserError` if no whole
    number gives it, so that the cell or n was mistyped."""
    k = round(accuracy * n / 100)
    if f"{100 * k / n:.2f}" != f"{accuracy:.2f}":
        mistyped = f"{accuracy:.2f} % is no whole number of {n} questions"
        raise UserError(f"{where}: {mistyped}; check it, and n in the file given as --benchmarks")
    return k


def compare(
    found: Found,
    tables: Mapping[str, Sequence[AccuracyRow]],
    remark: str,
    margins: Margins,
    published: Mapping[str, pd.DataFrame],
    benchmarks: pd.DataFrame,
) -> pd.DataFrame:
    """One line for each published cell and each model that stands for its row; a row that no model stands for has lines
    without a model.

    Args:
        found: this run's answers.
        tables: rows by table.
        remark: why no model stands for what the paper claims; empty where each does.
        margins: differences that count as none, in points.
        published: the published tables by the same names: group, name, one accuracy (%) for each benchmark, Avg.
        benchmarks: ``key``, ``column`` and published ``n``, in order; a run's own benchmarks have no line.

    Returns:
        :data:`COLUMNS`; accuracies in %, differences (ours less published) and margins in points, budget in tokens.
        ``benchmark`` is ``average`` for Avg., which has no k and n. ``p_holm`` corrects for all lines of its table.

    Raises:
        UserError: a model, budget or published name does not exist, or a published cell fits no whole number.
    """
    parts = []
    for table, paper in published.items():
        group, name = paper.columns[:2]
        standing: dict[int | None, list[AccuracyRow]] = {}
        for own in tables.get(table, ()):
            standing.setdefault(find_published(paper, own, table), []).append(own)
        lines: list[dict[str, Any]] = []
        for place, cells in enumerate(paper.to_dict("records")):
            row = {"table": table, "group": cells[group], "published": cells[name]}
            theirs = _published_side(row, cells, benchmarks)
            for own in standing.get(place, []):
                lines += _compare_row(found, own, theirs, margins, benchmarks)
            if place not in standing:
                why = "no model of this run stands for it"
                lines += [line | {"verdict": OUT_OF_REACH, "why": why} for line in theirs]
        frame = pd.DataFrame(lines, columns=COLUMNS)
        parts.append(_with_verdicts(frame.assign(p_holm=holm(frame["p"])), remark))
    return pd.concat(parts, ignore_index=True).astype(dict.fromkeys(COUNTS, "Int64"))


def _published_side(row: Mapping[str, str], cells: Mapping[str, Any], benchmarks: pd.DataFrame) -> list[dict[str, Any]]:
    """The published side of the eleven lines of a row, from its table, group and name, and its accuracies (%)."""
    columns, n = benchmarks["column"], benchmarks["n"].to_numpy()
    where = f"{row['table']}, {row['published']}"
    k = np.array([published_k(cells[column], size, f"{where}, {column}") for column, size in zip(columns, n)])
    names = ["benchmark", "column", *(f"published_{field}" for field in ("k", "n", "accuracy", "low", "high"))]
    fields = zip(benchmarks["key"], columns, k, n, (cells[column] for column in columns), *wilson(k, n))
    last = ("average", "Avg.", None, None, cells["Avg."], *mean_interval(k, n))
    return [{**row, **dict(zip(names, values))} for values in [*fields, last]]


def _own_side(
    found: Found, row: AccuracyRow, spread: seeds.Spread | None, benchmarks: pd.DataFrame
) -> list[dict[str, Any]]:
    """Our side of the eleven lines of a row. The published rule chooses its budgets. A missing benchmark has no
    accuracy, nor has an average over it."""
    keys = list(benchmarks["key"])
    best = spread.cells if spread else rows_at_best(rows_of_model(found.accuracies, row.model), row.published_budgets)
    chosen = best[["budget", "k", "n", "accuracy", "low", "high"]]
    cells = chosen.to_dict("index")
    shared: dict[str, Any] = {"model": row.model, "label": row.label}
    shared |= {"budget": row.published_budgets[0]} if len(row.published_budgets) == 1 else {}
    lines: list[dict[str, Any]] = [{**shared, **cells.get(key, {})} for key in keys]
    if not set(keys) <= cells.keys():
        return [*lines, shared]
    counts = chosen.loc[keys]
    low, high = spread.interval(keys) if spread else mean_interval(counts["k"].to_numpy(), counts["n"].to_numpy())
    return [*lines, shared | {"accuracy": counts["accuracy"].mean(), "low": low, "high": high}]


def _compare_row(
    found: Found, row: AccuracyRow, theirs: Sequence[dict[str, Any]], margins: Margins, benchmarks: pd.DataFrame
) -> list[dict[str, Any]]:
    """The lines of a row with both sides, their differences and tests; the average comes last. ``why`` has the remarks
    on training and questions. Lines that cannot be tested have their verdict already."""
    spread = seeds.spread(found.scores, row, row.published_budgets, found.seed) if row.trainings else None
    ours = _own_side(found, row, spread, benchmarks)
    of_seeds = f"mean of {len(row.trainings)} trainings" if spread else ""
    of_training = _join(of_seeds, found.departures.get(row.model, ""))
    *cells, last = [published | own for published, own in zip(theirs, ours, strict=True)]
    pairs = pd.DataFrame() if found.published is None else beside_published(found.scores, found.published, row)
    lines, tested = [], []
    for line in cells:
        asked = found.asked.get(line["benchmark"])
        if "accuracy" not in line or asked is None:
            lines.append(line | {"verdict": OUT_OF_REACH, "why": "benchmark missing"})
        elif asked.other:
            lines.append(line | {"verdict": OUT_OF_REACH, "why": asked.remark})
        else:
            pair = pairs.loc[line["benchmark"]] if line["benchmark"] in pairs.index else None
            tested.append(spread.difference(line, margins.cell) if spread else _difference(line, pair, margins.cell))
            said = _join(of_training, asked.remark, "" if pair is None else _other_count(line, pair))
            lines.append(line | _fields(tested[-1], margins.cell, said))
    if len(tested) < len(lines):
        other = [line["column"] for line in lines if line.get("why", "").startswith("other questions")]
        missing = f"other questions: {', '.join(other)}" if other else "an average needs every benchmark"
        return [*lines, last | {"verdict": OUT_OF_REACH, "why": missing}]
    mean = (
        spread.average_difference(lines, margins.average)
        if spread
        else average(tested, sum(line["n"] for line in lines), margins.average)
    )
    return [*lines, last | _fields(mean, margins.average, _join(of_training, _average_marks(lines)))]


def _difference(line: Mapping[str, Any], pair: pd.Series | None, margin: float) -> Difference:
    """Our accuracy less the published one. Where the single answers of both are known, the test is paired."""
    if pair is not None:
        return paired(int(pair["only_ours"]), int(pair["only_theirs"]), int(pair["n"]), margin)
    return unpaired(line["k"], line["n"], line["published_k"], line["published_n"], margin)


def _fields(found: Difference, margin: float, mark: str) -> dict[str, Any]:
    """The fields of a line that a difference fills; ``mark`` has the remarks on training and questions."""
    return {
        "difference": found.difference,
        "difference_low": found.low,
        "difference_high": found.high,
        **{name: getattr(found, name) for name in ("test", "p", "p_margin", "smallest_margin", "n_needed")},
        "margin": margin,
        "why": mark,
    }


def _other_count(line: Mapping[str, Any], pair: pd.Series) -> str:
    """A remark where the published answers do not add up to the published cell; else empty."""
    if pair["k_theirs"] == line["published_k"] or pair["n_theirs"] != line["published_n"]:
        return ""
    return f"{pair['k_theirs']} of the published answers are correct by our scoring, {line['published_k']} in the table"


def _average_marks(lines: Sequence[Mapping[str, Any]]) -> str:
    """A remark on the questions of an average: on which benchmarks they are only a part, or not verified."""
    part = [line["column"] for line in lines if line["n"] < line["published_n"]]
    unknown = [line["column"] for line in lines if "not verified" in line["why"]]
    return _join(
        f"part of the questions of {', '.join(part)}" if part else "",
        f"questions of {', '.join(unknown)} not verified" if unknown else "",
    )


def _join(*remarks: str) -> str:
    return ", ".join(filter(None, remarks))


def _with_verdicts(lines: pd.DataFrame, remark: str) -> pd.DataFrame:
    """The lines of a table, with verdicts for those that have none yet."""
    decided = [
        (OUT_OF_REACH, remark)
        if remark and isinstance(line["model"], str)
        else (line["verdict"], line["why"])
        if isinstance(line["verdict"], str)
        else verdict(line)
        for line in lines.to_dict("records")
    ]
    return lines.assign(**dict(zip(("verdict", "why"), map(list, zip(*decided)))) if decided else {})


def verdict(line: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict of a tested line, and its reason followed by the remarks in ``why``.

    ``reproduced`` comes first: a difference inside the margin does not matter, even if it is beyond chance. Where
    neither test shows anything, the verdict is ``cannot tell``.
    """
    margin, beyond_chance = f"{line['margin']:g} points", line["p_holm"] < LEVEL
    if line["p_margin"] < LEVEL:
        found, reason = REPRODUCED, f"the difference is less than {margin}"
        reason += f", though beyond chance (p = {line['p_holm']:.2g} after Holm)" if beyond_chance else ""
    elif beyond_chance:
        found, reason = DIFFERS, f"the difference is beyond chance (p = {line['p_holm']:.2g} after Holm)"
    elif line["smallest_margin"] > line["margin"]:
        few = "questions and seeds" if line.get("test") == seeds.TEST else "questions"
        found, reason = CANNOT_TELL, f"so few {few} show no margin below {line['smallest_margin']:.2f} points"
    else:
        found, reason = CANNOT_TELL, f"neither less than {margin} nor beyond chance"
    return found, "; ".join(filter(None, (reason, line["why"])))


def main(argv: Sequence[str] | None = None) -> None:
    """Compare this run's scores with the published Tables 1 and 2."""
    command = parser(
        __doc__,
        "shown",
        "manifest",
        "scores",
        singles={"nargs": "*", "default": [], "required": False, "help": SINGLES},
        published={"nargs": "+", "type": Path, "help": "resources/paper/table1.csv and table2.csv"},
        benchmarks="resources/paper/benchmarks.csv: keys, headings and n, in order",
        output="CSV to write",
    )
    options = command.parse_args(argv)
    shown = Shown.load(options.shown)
    benchmarks = read_csv(options.benchmarks, ["key", "column", "n"])
    columns = [*benchmarks["column"], "Avg."]
    published = {path.stem: read_csv(path, columns) for path in options.published}
    scores = read_scores(options.scores)
    theirs = read_scores(options.singles) if options.singles else None
    asked = read_asked(options.shown.parent, benchmarks)
    found = Found(scores, accuracies(scores), theirs, asked, shown.seed, shown.departures)
    lines = compare(found, shown.accuracy_tables, shown.remark, shown.margins, published, benchmarks)
    write_csv(lines, options.output, {"p": P, "p_holm": P, "p_margin": P, "margin": "{:g}"})
    counts = ", ".join(f"{count} {verdict}" for verdict, count in lines["verdict"].value_counts().items())
    write_step_manifest(options)
    say("compare", f"{len(scores):,} scores -> {len(lines)} lines ({counts}): {options.output}")


if __name__ == "__main__":
    run(main)
