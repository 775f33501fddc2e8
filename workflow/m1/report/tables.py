"""Tables 1 to 4 of the paper from this run's own records, in the paper's layout.

Tables 1 and 2 are written beside a long form with k, n, the Wilson 95 % interval and the published accuracy; Table 3 beside a
long form with the published counts.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from m1.errors import UserError, run
from m1.files import replacing
from m1.progress import say
from m1.report import inputs
from m1.report.accuracy import accuracies, at, average, of_model, present

POOLS = {"medqa": "MedQA", "pubmedqa": "PubMedQA", "headqa": "HeadQA", "medmcqa": "MedMCQA"}
"""Headings of the training pools, in the order of Table 4; any other pool goes by its own key."""


def accuracy_table(
    found: pd.DataFrame, rows: Sequence[Mapping[str, Any]], remark: str, published: pd.DataFrame, benchmarks: Mapping[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 1 or 2, as the headings of ``published`` say, and its long form.

    Args:
        found: from :func:`m1.report.accuracy.accuracies`.
        rows: in the order shown, each with ``model`` (key), ``label`` (name shown), ``budget`` (tokens), ``published`` (name in the
            published table, or None) and the group, keyed by the first heading of ``published``.
        remark: follows the group in every row, in brackets (what these models are no claim about); empty for none.
        published: group, name, one accuracy (%) per benchmark, Avg.
        benchmarks: key to heading.

    Returns:
        The table (%, empty for a benchmark that the model lacks; Avg. only over all benchmarks of this run, so that averages compare), and
        one line per model and benchmark: group, model, label, benchmark, budget, k, n, accuracy, low, high, published.

    Raises:
        UserError: a row's model, budget or published name does not exist.
    """
    group, name = published.columns[:2]
    keys = present(found, benchmarks)
    wide, long = [], []
    for number, row in enumerate(rows):
        inputs.exact_keys(row, ["model", "label", group, "published", "budget"], f"--settings: row {number}")
        model = at(of_model(found, row["model"]), row["budget"], forced=0)
        reference = _published_row(published, row, group, name)
        shown = f"{row[group]} ({remark})" if remark else row[group]
        cells = {benchmarks[key]: model["accuracy"].get(key) for key in benchmarks}
        wide.append({group: shown, name: row["label"], **cells, "Avg.": average(model["accuracy"], keys)})
        long += [
            {group: shown, "model": row["model"], "label": row["label"], "benchmark": key, "budget": row["budget"]}
            | {column: model.loc[key, column] for column in ("k", "n", "accuracy", "low", "high")}
            | {"published": reference.get(benchmarks[key])}
            for key in keys
            if key in model.index
        ]
    return pd.DataFrame(wide), pd.DataFrame(long)


def _published_row(published: pd.DataFrame, row: Mapping[str, Any], group: str, name: str) -> dict[str, float]:
    """The published accuracies by heading; none for None. Names that occur in several groups (Random of Table 2) need the group, too."""
    if row["published"] is None:
        return {}
    matches = published[published[name] == row["published"]]
    if len(matches) > 1:
        matches = matches[matches[group] == row[group]]
    if len(matches) != 1:
        raise UserError(
            f"--settings: row {row['label']!r}: {len(matches)} published rows are named {row['published']!r} with {group} {row[group]!r}; "
            f"the names are {', '.join(published[name].drop_duplicates())}, or null for none"
        )
    return matches.iloc[0, 2:].to_dict()


def count_table(
    counts: Mapping[str, Mapping[str, int]], rows: Sequence[Mapping[str, Any]], columns: Sequence[str], published: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 3: questions per pool at each step of the curation, and its long form with the published counts.

    Args:
        counts: label to (pool key to number of questions).
        rows: in the order shown, each with ``label`` and ``published`` (name in the published table, or None).
        columns: pool keys in the order shown.
        published: Dataset, one column per pool, Summation.

    Raises:
        UserError: rows and counts have other labels; a question is of a pool without a column; a published name does not exist.
    """
    wide, long = [], []
    for number, row in enumerate(rows):
        inputs.exact_keys(row, ["label", "published"], f"--settings: row {number}")
    labels = [row["label"] for row in rows]
    if sorted(labels) != sorted(counts):
        raise UserError(f"--row names {', '.join(counts)}, but the rows in --settings are {', '.join(labels)}: they must be the same")
    for row in rows:
        found = counts[row["label"]]
        strays = sorted(set(found) - set(columns))
        if strays:
            raise UserError(f"row {row['label']!r}: questions of {', '.join(strays)}, not among the columns {', '.join(columns)}")
        cells = {POOLS.get(key, key): found.get(key, 0) for key in columns} | {"Summation": sum(found.values())}
        matches = published[published["Dataset"] == row["published"]]
        if row["published"] is not None and len(matches) != 1:
            raise UserError(
                f"--settings: row {row['label']!r}: no published row is named {row['published']!r}; "
                f"the names are {', '.join(published['Dataset'])}, or null for none"
            )
        reference = {} if matches.empty else matches.iloc[0].to_dict()
        wide.append({"Dataset": row["label"], **cells})
        long += [
            {"dataset": row["label"], "source": heading, "count": value, "published": reference.get(heading)}
            for heading, value in cells.items()
        ]
    return pd.DataFrame(wide), pd.DataFrame(long).astype({"published": "Int64"})


def domain_table(domains: Mapping[str, str], subsets: Mapping[str, Sequence[tuple[str, str]]]) -> pd.DataFrame:
    """Table 4: questions per domain and pool in each subset.

    Args:
        domains: question id to name of its domain.
        subsets: name to (question id, pool key) of each sample.

    Returns:
        One row per domain that occurs, in alphabetical order: Domain, then for each subset one column per pool (headings
        ``{subset} {pool}``) and their ``Summation``.

    Raises:
        UserError: a sample has no domain.
    """
    extra = {source for samples in subsets.values() for _, source in samples} - set(POOLS)
    pools = POOLS | {key: key for key in sorted(extra)}
    found: Counter[tuple[str, str, str]] = Counter()
    for subset, samples in subsets.items():
        for question, source in samples:
            if question not in domains:
                raise UserError(
                    f"subset {subset}: question {question} has no domain in the file given as --domains. Label it and run again."
                )
            found[domains[question], subset, source] += 1
    rows = []
    for domain in sorted({domain for domain, _, _ in found}):
        row: dict[str, str | int] = {"Domain": domain}
        for subset in subsets:
            cells = {f"{subset} {heading}": found[domain, subset, key] for key, heading in pools.items()}
            row |= cells | {f"{subset} Summation": sum(cells.values())}
        rows.append(row)
    headings = [f"{subset} {heading}" for subset in subsets for heading in [*pools.values(), "Summation"]]
    return pd.DataFrame(rows, columns=["Domain", *headings])


def write(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV, atomically, percentages with two decimals."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, float_format="%.2f", lineterminator="\n")


def _run_accuracy_table(options: argparse.Namespace) -> None:
    settings = inputs.settings(options.settings, ["rows", "remark"])
    benchmarks = inputs.benchmarks(options.benchmarks)
    published = inputs.table(options.published, benchmarks.values())
    judgements = inputs.judgements(options.judgements)
    wide, long = accuracy_table(accuracies(judgements), settings["rows"], settings["remark"], published, benchmarks)
    write(wide, options.output)
    write(long, options.long)
    say(options.table, f"{len(judgements):,} judgements -> {len(wide)} rows, {len(long)} accuracies: {options.output}")


def _run_table3(options: argparse.Namespace) -> None:
    settings = inputs.settings(options.settings, ["columns", "rows"])
    published = inputs.table(options.published, ["Dataset", "Summation"])
    counts: dict[str, Counter[str]] = {}
    for label, path in _named(options.row):
        counts.setdefault(label, Counter()).update(inputs.columns(path, ["source"])[0])
    wide, long = count_table(counts, settings["rows"], settings["columns"], published)
    write(wide, options.output)
    write(long, options.long)
    say(options.table, f"{len(options.row)} files -> {len(wide)} rows: {options.output}")


def _run_table4(options: argparse.Namespace) -> None:
    ids, names = inputs.columns(options.domains, ["question_id", "name"])
    subsets = {}
    for label, path in _named(options.subset):
        questions, sources = inputs.columns(path, ["id", "source"])
        subsets[label] = list(zip(questions, sources))
    table = domain_table(dict(zip(ids, names)), subsets)
    write(table, options.output)
    say(options.table, f"{sum(map(len, subsets.values())):,} samples -> {len(table)} domains: {options.output}")


def _named(values: Sequence[str]) -> list[tuple[str, str]]:
    """``Label=path`` arguments as label and path."""
    result = []
    for value in values:
        label, equals, path = value.partition("=")
        if not (label and equals and path):
            raise UserError(f"{value!r}: each must be Label=path.parquet")
        result.append((label, path))
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Make one table from files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="table", required=True)
    for name in ("table1", "table2"):
        command = commands.add_parser(name)
        command.set_defaults(run=_run_accuracy_table)
        command.add_argument("--judgements", nargs="+", required=True, help="judgements, any number of models in each file")
        command.add_argument("--published", required=True, help=f"resources/paper/{name}.csv")
        command.add_argument("--benchmarks", required=True, help="resources/paper/benchmarks.csv: keys and headings, in order")
        command.add_argument("--settings", required=True, help="JSON: rows, remark")
        command.add_argument("--long", required=True, help="CSV to write: k, n, interval and published accuracy of each cell")
        command.add_argument("--output", required=True, help="CSV to write")
    command = commands.add_parser("table3")
    command.set_defaults(run=_run_table3)
    command.add_argument(
        "--row", action="append", required=True, metavar="LABEL=PATH", help="records with a source; files of one label are counted together"
    )
    command.add_argument("--published", required=True, help="resources/paper/table3.csv")
    command.add_argument("--settings", required=True, help="JSON: columns, rows")
    command.add_argument("--long", required=True, help="CSV to write: each count beside the published one")
    command.add_argument("--output", required=True, help="CSV to write")
    command = commands.add_parser("table4")
    command.set_defaults(run=_run_table4)
    command.add_argument("--domains", required=True, help="domain records")
    command.add_argument("--subset", action="append", required=True, metavar="LABEL=PATH", help="samples, once per subset")
    command.add_argument("--output", required=True, help="CSV to write")
    options = parser.parse_args(argv)
    options.run(options)


if __name__ == "__main__":
    run(main)
