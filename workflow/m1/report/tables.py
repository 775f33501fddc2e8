"""Tables 1 to 4 of the paper from this run's own records, in the paper's layout.

Each is written beside a long form: Tables 1 and 2 with k, n, the Wilson 95 % interval and the published accuracy,
Tables 3 and 4 with the published count. In Tables 1, 2 and 4 ``missing`` stands where this run has nothing to show: a
benchmark that the run or the model lacks, an average over one, the domains of a subset without labels. Tables 3 and 4
have each count beside the published one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from m1.core.errors import UserError, run
from m1.core.files import replacing
from m1.core.progress import say
from m1.report import inputs, score_table
from m1.report.accuracy import accuracies, average, column_headings, rows_at_setting, rows_of_model
from m1.report.settings import HELP, AccuracyRow, CountRow, Shown

POOLS = {"medqa": "MedQA", "pubmedqa": "PubMedQA", "headqa": "HeadQA", "medmcqa": "MedMCQA"}
"""Headings of the training pools, in the order of Table 4; any other pool goes by its own key."""
MISSING = "missing"
"""What stands in a cell that this run cannot fill."""
YES_NO = {True: "yes", False: "no"}


def accuracy_table(
    found: pd.DataFrame,
    rows: Sequence[AccuracyRow],
    remark: str,
    published: pd.DataFrame,
    benchmarks: Mapping[str, str],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 1 or 2, as the headings of ``published`` say, and its long form.

    Args:
        found: from :func:`m1.report.accuracy.accuracies`.
        rows: in the order shown.
        remark: follows the group in every row, in brackets (what these models are no claim about); empty for none.
        published: group, name, one accuracy (%) per benchmark, Avg.
        benchmarks: key to heading of the paper's; columns of this run's own come after them.

    Returns:
        The table (%, NaN for a benchmark that the run or the model lacks; Avg. only over all benchmarks of this run, so
        that averages compare: NaN for a model that lacks one of them), and one line per model and benchmark: group,
        model, label, benchmark, budget, k, n, accuracy, low, high, published.

    Raises:
        UserError: a row's model, budget or published name does not exist.
    """
    group, name = published.columns[:2]
    headings, keys = column_headings(found, benchmarks)
    wide, long = [], []
    for row in rows:
        model = rows_at_setting(rows_of_model(found, row.model), row.budget, forced=0)
        reference = _published_row(published, row, group, name)
        shown = f"{row.group} ({remark})" if remark else row.group
        cells = {heading: model["accuracy"].get(key) for key, heading in headings.items()}
        wide.append({group: shown, name: row.label, **cells, "Avg.": average(model["accuracy"], keys)})
        long += [
            {group: shown, "model": row.model, "label": row.label, "benchmark": key, "budget": row.budget}
            | {column: model.loc[key, column] for column in ("k", "n", "accuracy", "low", "high")}
            | {"published": reference.get(headings[key])}
            for key in keys
            if key in model.index
        ]
    return pd.DataFrame(wide), pd.DataFrame(long)


def _published_row(published: pd.DataFrame, row: AccuracyRow, group: str, name: str) -> dict[str, float]:
    """The published accuracies by heading; none for None. Names that occur in several groups (Random of Table 2) need
    the group, too."""
    if row.published is None:
        return {}
    matches = published[published[name] == row.published]
    if len(matches) > 1:
        matches = matches[matches[group] == row.group]
    if len(matches) != 1:
        raise UserError(
            f"row {row.label!r}: {len(matches)} published rows are named {row.published!r} with {group} {row.group!r}; "
            f"the names are {', '.join(published[name].drop_duplicates())}, or null for none"
        )
    return matches.iloc[0, 2:].to_dict()


def count_table(
    rows: Sequence[CountRow], counts: Sequence[Mapping[str, int]], columns: Sequence[str], published: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 3: questions per pool at each step of the curation, and its long form with the published counts; both say
    whether they are equal.

    Args:
        rows: in the order shown.
        counts: pool key to number of questions, of each row.
        columns: pool keys in the order shown.
        published: Dataset, one column per pool, Summation.

    Raises:
        UserError: a question is of a pool without a column; a published name does not exist.
    """
    wide, long = [], []
    for row, found in zip(rows, counts, strict=True):
        strays = sorted(set(found) - set(columns))
        if strays:
            raise UserError(
                f"row {row.label!r}: questions of {', '.join(strays)}, not among the columns {', '.join(columns)}"
            )
        cells = {POOLS.get(key, key): found.get(key, 0) for key in columns} | {"Summation": sum(found.values())}
        matches = published[published["Dataset"] == row.published]
        if row.published is not None and len(matches) != 1:
            raise UserError(
                f"table3, row {row.label!r}: no published row is named {row.published!r}; "
                f"the names are {', '.join(published['Dataset'])}, or null for none"
            )
        reference = {} if row.total is None else {"Summation": row.total}
        reference |= {} if matches.empty else matches.iloc[0].to_dict()
        equal = {heading: value == reference[heading] for heading, value in cells.items() if heading in reference}
        whole = YES_NO[all(equal.values())] if equal else None
        wide.append({"Dataset": row.label, **_add_published(cells, reference, published), "as published": whole})
        long += [
            {"dataset": row.label, "source": heading, "count": value, "published": reference.get(heading)}
            | {"equal": YES_NO[equal[heading]] if heading in equal else None}
            for heading, value in cells.items()
        ]
    return pd.DataFrame(wide).convert_dtypes(), pd.DataFrame(long).astype({"published": "Int64"})


def _add_published(cells: Mapping[str, Any], reference: Mapping[str, int], published: pd.DataFrame) -> dict[str, Any]:
    """Cells with the published ones to their right, under ``{heading} published``; headings that the published table
    lacks have none."""
    row: dict[str, Any] = {}
    for heading, value in cells.items():
        row[heading] = value
        if heading in published:
            row[f"{heading} published"] = reference.get(heading)
    return row


def sample_domains(
    label: str, samples: Sequence[tuple[str, str, str]], domains: Mapping[str, str] | None
) -> Counter[tuple[str, str]] | None:
    """How many samples of a subset there are per domain and pool.

    Args:
        label: name of the subset.
        samples: question id, pool key and own domain (empty for none) of each.
        domains: question id to domain, for samples without one of their own; None where no file of them is given.

    Returns:
        Counts by (domain, pool key); None where there is no label at all (m23K is published without), so that nothing
        can be counted.

    Raises:
        UserError: some samples have a domain and others none.
    """
    if domains is None and samples and not any(own for _, _, own in samples):
        return None
    found: Counter[tuple[str, str]] = Counter()
    for question, source, own in samples:
        domain = own or (domains or {}).get(question)
        if not domain:
            raise UserError(
                f"subset {label}: question {question} has no domain of its own and none in the file of domains. "
                "Label it and run again."
            )
        found[domain, source] += 1
    return found


def domain_table(
    subsets: Mapping[str, Mapping[tuple[str, str], int] | None], published: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 4: questions per domain and pool in each subset, and its long form with the published counts.

    Args:
        subsets: name to counts from :func:`sample_domains`.
        published: Domain, then columns ``{subset} {pool}`` and ``{subset} Summation``.

    Returns:
        One row per domain: those of the published table in its order, then others in alphabetical order. Columns:
        Domain, then for each subset one per pool and their ``Summation``, each followed by the published count where
        the paper has that subset and pool; ``missing`` in the columns of a subset without counts. The long form has one
        line per domain, subset and pool: domain, subset, source, count, published.
    """
    known = published.set_index("Domain")
    others = sorted({domain for counts in subsets.values() for domain, _ in counts or {}} - set(known.index))
    extra = {source for counts in subsets.values() for _, source in counts or {}} - set(POOLS)
    pools = POOLS | {key: key for key in sorted(extra)}
    wide, long = [], []
    for domain in [*known.index, *others]:
        reference = known.loc[domain].to_dict() if domain in known.index else {}
        row: dict[str, Any] = {"Domain": domain}
        for subset, counts in subsets.items():
            cells: dict[str, int | None] = dict.fromkeys([*pools.values(), "Summation"])
            if counts is not None:
                cells = {heading: counts.get((domain, key), 0) for key, heading in pools.items()}
                cells["Summation"] = sum(filter(None, cells.values()))
            shown = {f"{subset} {heading}": MISSING if value is None else value for heading, value in cells.items()}
            row |= _add_published(shown, reference, published)
            long += [
                {
                    "domain": domain,
                    "subset": subset,
                    "source": heading,
                    "count": value,
                    "published": reference.get(f"{subset} {heading}"),
                }
                for heading, value in cells.items()
            ]
        wide.append(row)
    return pd.DataFrame(wide).convert_dtypes(), pd.DataFrame(long).astype({"count": "Int64", "published": "Int64"})


def write(table: pd.DataFrame, path: str | Path, missing: str = "") -> None:
    """Write a table as CSV, atomically, percentages with two decimals; ``missing`` stands for NaN."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, float_format="%.2f", lineterminator="\n", na_rep=missing)


def _write_accuracies(options: argparse.Namespace, shown: Shown) -> None:
    if (rows := shown.accuracy_tables.get(options.table)) is None:
        raise UserError(
            f"{options.table}: this configuration has none (report.{options.table} is null). "
            "Give its models and budget in the configuration, or ask for the other tables only."
        )
    benchmarks = inputs.benchmarks(options.benchmarks)
    published = inputs.table(options.published, benchmarks.values())
    scores = score_table.read(options.scores)
    wide, long = accuracy_table(accuracies(scores), rows, shown.remark, published, benchmarks)
    write(wide, options.output, MISSING)
    write(long, options.long)
    say(options.table, f"{len(scores):,} scores -> {len(wide)} rows, {len(long)} accuracies: {options.output}")


def _write_counts(options: argparse.Namespace, shown: Shown) -> None:
    published = inputs.table(options.published, ["Dataset", "Summation"])
    folder = options.shown.parent
    sources = dict(zip(*inputs.read_columns(folder / shown.questions, ["id", "source"])))
    counts = [
        Counter(source for file in row.files for source in _sources(folder / file, sources)) for row in shown.table3
    ]
    wide, long = count_table(shown.table3, counts, shown.pools, published)
    write(wide, options.output)
    write(long, options.long)
    files = sum(len(row.files) for row in shown.table3)
    say(options.table, f"{files} files -> {len(wide)} rows: {options.output}")


def _sources(path: Path, sources: Mapping[str, str]) -> list[str]:
    """The source of each record of a file: its own, or that of its question (traces)."""
    if "source" in inputs.column_names(path):
        return inputs.read_columns(path, ["source"])[0]
    identities = inputs.read_columns(path, ["question_id"])[0]
    strays = [identity for identity in identities if identity not in sources]
    if strays:
        raise UserError(
            f"{path}: the source of {len(strays)} of {len(identities)} records is not known (the first: "
            f"question {strays[0]}): it is not among the questions of all pools."
        )
    return [sources[identity] for identity in identities]


def _write_domains(options: argparse.Namespace, shown: Shown) -> None:
    published = inputs.table(options.published, ["Domain"])
    folder, domains = options.shown.parent, None
    if shown.domains is not None:
        domains = dict(zip(*inputs.read_columns(folder / shown.domains, ["question_id", "name"])))
    subsets, total = {}, 0
    for subset in shown.table4:
        samples = list(zip(*inputs.read_columns(folder / subset.file, ["id", "source", "domain"])))
        subsets[subset.label] = sample_domains(subset.label, samples, domains)
        total += len(samples)
    wide, long = domain_table(subsets, published)
    write(wide, options.output)
    write(long, options.long)
    say(options.table, f"{total:,} samples -> {len(wide)} domains: {options.output}")


def _add_shown(command: argparse.ArgumentParser) -> None:
    command.add_argument("--shown", type=Path, required=True, help=HELP)
    command.add_argument("--published", required=True, help="the table of that name in resources/paper")
    command.add_argument("--output", required=True, help="CSV to write, in the paper's layout")
    command.add_argument("--long", required=True, help="CSV to write, a line for each cell, beside the published one")


def main(argv: Sequence[str] | None = None) -> None:
    """Make one table from files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="table", required=True)
    for name in ("table1", "table2"):
        command = commands.add_parser(name)
        command.set_defaults(run=_write_accuracies)
        _add_shown(command)
        command.add_argument("--scores", nargs="*", required=True, help="scores, any number of models in each file")
        command.add_argument(
            "--benchmarks", required=True, help="resources/paper/benchmarks.csv: keys and headings, in order"
        )
    for name, write_table in (("table3", _write_counts), ("table4", _write_domains)):
        command = commands.add_parser(name)
        command.set_defaults(run=write_table)
        _add_shown(command)
    options = parser.parse_args(argv)
    options.run(options, Shown.load(options.shown))


if __name__ == "__main__":
    run(main)
