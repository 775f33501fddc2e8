"""Tables 1 to 4 of the paper from this run's own records, in the paper's layout.

Each table is also written in a long form, with a line for each cell beside the published one. In Tables 1, 2 and 4,
``missing`` stands where this run has nothing to show: a benchmark that the run or the model lacks, an average over such
a benchmark, the domains of a subset without labels.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from m1.core.errors import UserError, run
from m1.core.progress import say
from m1.core.records import open_parquet
from m1.report.files import (
    FLAGS,
    add_flags,
    parser,
    read_benchmarks,
    read_columns,
    read_csv,
    write_csv,
    write_step_manifest,
)
from m1.report.scores import (
    accuracies,
    average,
    column_headings,
    find_published,
    read_scores,
    rows_at_best,
    rows_of_model,
)
from m1.report.seeds import Spread, spread
from m1.report.settings import AccuracyRow, CountRow, Shown

POOLS = {"medqa": "MedQA", "pubmedqa": "PubMedQA", "headqa": "HeadQA", "medmcqa": "MedMCQA"}
"""Headings of the training pools, in the order of Table 4. Any other pool has its key as heading."""
MISSING = "missing"  # what stands in a cell that this run cannot fill
BUDGET = "Budget"
"""Heading of a row's thinking budget: tokens, ``best`` of each benchmark, or empty for a model without thinking."""
YES_NO = {True: "yes", False: "no"}
Made = tuple[pd.DataFrame, pd.DataFrame, str]  # a table, its long form, and a message about them


def accuracy_table(
    table: str,
    found: pd.DataFrame,
    rows: Sequence[AccuracyRow],
    remark: str,
    published: pd.DataFrame,
    benchmarks: Mapping[str, str],
    spreads: Mapping[str, Spread] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 1 or 2 with the headings of ``published``, and its long form.

    Args:
        table: its name, for messages.
        found: from :func:`m1.report.scores.accuracies`.
        rows: in the order shown.
        remark: follows the group in every row, in brackets; empty for none.
        published: group, name, one accuracy (%) per benchmark, Avg.
        benchmarks: key to heading of the paper's benchmarks; a user's own benchmarks follow them.
        spreads: by model, for the rows with several trainings, which show the mean over these.

    Returns:
        The table, with accuracies in % and :data:`BUDGET`; and a line per model and benchmark, with k, n, the interval
        and the published accuracy, and with ``spreads`` the number of seeds and the standard deviation over them, in
        points. A cell is NaN for a benchmark that the run or the model lacks. So is Avg. for a model that lacks one of
        the run's benchmarks, because it could not be compared with the other averages.

    Raises:
        UserError: a row's model, budget or published name does not exist.
    """
    group, name = published.columns[:2]
    headings, keys = column_headings(found, benchmarks)
    spreads, wide, long = spreads or {}, [], []
    for row in rows:
        several = spreads.get(row.model)
        model = several.cells if several else rows_at_best(rows_of_model(found, row.model), row.budgets)
        place = find_published(published, row, table)
        reference = {} if place is None else published.iloc[place, 2:].to_dict()
        shown = f"{row.group} ({remark})" if remark else row.group
        cells = {heading: model["accuracy"].get(key) for key, heading in headings.items()}
        wide.append({group: shown, name: row.label, **cells, "Avg.": average(model["accuracy"], keys)})
        wide[-1][BUDGET] = row.budget if any(row.budgets) else ""
        counts = model[["budget", "k", "n", "accuracy", "low", "high"]].to_dict("index")
        for key in filter(counts.__contains__, keys):
            setting = {group: shown, "model": row.model, "label": row.label, "benchmark": key}
            more = model.loc[key, ["seeds", "sd"]].to_dict() if several else {}
            long.append({**setting, **counts[key], "published": reference.get(headings[key]), **more})
    whole = dict.fromkeys(("budget", "k", "n", "seeds"), "Int64") if spreads else {}
    return pd.DataFrame(wide), pd.DataFrame(long).astype(whole)


def count_table(
    rows: Sequence[CountRow], counts: Sequence[Mapping[str, int]], columns: Sequence[str], published: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 3: questions per pool at each step of the curation, and its long form. Both say whether the counts equal
    the published ones.

    ``counts`` has for each row the number of questions by pool; ``columns`` are the pools in the order shown;
    ``published`` has Dataset, one column for each pool, Summation. A question from a pool without a column is a
    :class:`UserError`.
    """
    wide, long = [], []
    for row, found in zip(rows, counts, strict=True):
        if strays := ", ".join(sorted(set(found) - set(columns))):
            raise UserError(f"row {row.label!r}: questions of {strays}, not among the columns {', '.join(columns)}")
        matches = published[published["Dataset"] == row.published]
        if row.published is not None and len(matches) != 1:
            lacking = f"no published row is named {row.published!r}"
            names = ", ".join(published["Dataset"])
            raise UserError(f"table3, row {row.label!r}: {lacking}; the names are {names}, or null for none")
        reference = {} if row.total is None else {"Summation": row.total}
        reference |= {} if matches.empty else matches.iloc[0].to_dict()
        cells = {POOLS.get(key, key): found.get(key, 0) for key in columns} | {"Summation": sum(found.values())}
        equal = {heading: value == reference[heading] for heading, value in cells.items() if heading in reference}
        whole = YES_NO[all(equal.values())] if equal else None
        wide.append({"Dataset": row.label, **_add_published(cells, reference, published), "as published": whole})
        for heading, value in cells.items():
            line = {"dataset": row.label, "source": heading, "count": value, "published": reference.get(heading)}
            long.append(line | {"equal": YES_NO[equal[heading]] if heading in equal else None})
    return pd.DataFrame(wide).convert_dtypes(), pd.DataFrame(long).astype({"published": "Int64"})


def _add_published(cells: Mapping[str, Any], reference: Mapping[str, int], published: pd.DataFrame) -> dict[str, Any]:
    """The cells, each followed by the published one (``{heading} published``) if that table has the heading."""
    row: dict[str, Any] = {}
    for heading, value in cells.items():
        beside = {f"{heading} published": reference.get(heading)} if heading in published else {}
        row |= {heading: value, **beside}
    return row


def sample_domains(
    label: str, samples: Sequence[tuple[str, str, str]], domains: Mapping[str, str] | None
) -> Counter[tuple[str, str]] | None:
    """Number of samples of a subset by (domain, pool key); None where no sample has a label (the published m23K has
    none).

    A sample is its question id, pool key and own domain (empty for none). ``domains`` has those of samples without
    their own, by question id. If only some samples have a domain, that is a :class:`UserError`.
    """
    if domains is None and samples and not any(own for _, _, own in samples):
        return None
    found: Counter[tuple[str, str]] = Counter()
    for question, source, own in samples:
        domain = own or (domains or {}).get(question)
        if not domain:
            lacking = f"question {question} has no domain of its own and none in the file of domains"
            raise UserError(f"subset {label}: {lacking}. Label it and run again.")
        found[domain, source] += 1
    return found


def domain_table(
    subsets: Mapping[str, Mapping[tuple[str, str], int] | None], published: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 4: questions of each domain and pool in each subset, and its long form with a line per domain, subset and
    pool.

    ``subsets`` has the counts of :func:`sample_domains` by name; ``published`` has Domain, then columns ``{subset}
    {pool}`` and ``{subset} Summation``. The domains are those of the published table in its order, then others by the
    alphabet. A count is followed by the published one if the paper has it; the cells of a subset without counts are
    ``missing``.
    """
    known = published.set_index("Domain")
    counted = [pair for counts in subsets.values() for pair in counts or {}]
    others = sorted({domain for domain, _ in counted} - set(known.index))
    pools = POOLS | {key: key for key in sorted({source for _, source in counted} - set(POOLS))}
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
            for heading, value in cells.items():
                line = {"domain": domain, "subset": subset, "source": heading, "count": value}
                long.append(line | {"published": reference.get(f"{subset} {heading}")})
        wide.append(row)
    return pd.DataFrame(wide).convert_dtypes(), pd.DataFrame(long).astype({"count": "Int64", "published": "Int64"})


def _make_accuracies(options: argparse.Namespace, shown: Shown) -> Made:
    if (rows := shown.accuracy_tables.get(options.table)) is None:
        raise UserError(
            f"{options.table}: this configuration has none (report.{options.table} is null). "
            "Name its models and budget in the configuration, or ask only for the other tables."
        )
    benchmarks = read_benchmarks(options.benchmarks)
    published = read_csv(options.published, benchmarks.values())
    scores = read_scores(options.scores)
    spreads = {row.model: spread(scores, row, row.budgets, shown.seed) for row in rows if row.trainings}
    wide, long = accuracy_table(options.table, accuracies(scores), rows, shown.remark, published, benchmarks, spreads)
    return wide, long, f"{len(scores):,} scores -> {len(wide)} rows, {len(long)} accuracies"


def _make_counts(options: argparse.Namespace, shown: Shown) -> Made:
    published = read_csv(options.published, ["Dataset", "Summation"])
    folder = options.shown.parent
    sources = dict(zip(*read_columns(folder / shown.questions, ["id", "source"])))
    counts = [
        Counter(source for file in row.files for source in _sources(folder / file, sources)) for row in shown.table3
    ]
    wide, long = count_table(shown.table3, counts, shown.pools, published)
    return wide, long, f"{sum(len(row.files) for row in shown.table3)} files -> {len(wide)} rows"


def _sources(path: Path, sources: Mapping[str, str]) -> Iterable[str]:
    """The source of each record of a file. Traces have none, so the source is that of their question."""
    with open_parquet(path) as file:
        own = "source" in file.schema_arrow.names
    if own:
        return read_columns(path, ["source"])[0]
    identities = read_columns(path, ["question_id"])[0]
    if strays := [identity for identity in identities if identity not in sources]:
        unknown = f"the source of {len(strays)} of {len(identities)} records is not known"
        first = f"the first is question {strays[0]}"
        raise UserError(f"{path}: {unknown}: they are not among the questions of all pools ({first}).")
    return [sources[identity] for identity in identities]


def _make_domains(options: argparse.Namespace, shown: Shown) -> Made:
    published = read_csv(options.published, ["Domain"])
    folder, domains = options.shown.parent, None
    if shown.domains is not None:
        domains = dict(zip(*read_columns(folder / shown.domains, ["question_id", "name"])))
    subsets, total = {}, 0
    for subset in shown.table4:
        samples = list(zip(*read_columns(folder / subset.file, ["id", "source", "domain"])))
        subsets[subset.label] = sample_domains(subset.label, samples, domains)
        total += len(samples)
    wide, long = domain_table(subsets, published)
    return wide, long, f"{total:,} samples -> {len(wide)} domains"


def main(argv: Sequence[str] | None = None) -> None:
    """Make one table from files."""
    command = parser(__doc__)
    commands = command.add_subparsers(dest="table", required=True)
    scores: dict[str, Any] = {"scores": FLAGS["scores"] | {"nargs": "*"}, "benchmarks": FLAGS["benchmarks"]}
    tables = {"table1": (_make_accuracies, scores), "table2": (_make_accuracies, scores)}
    tables |= {"table3": (_make_counts, {}), "table4": (_make_domains, {})}
    for name, (_, flags) in tables.items():
        add_flags(
            commands.add_parser(name),
            "shown",
            "manifest",
            published="the table of that name in resources/paper",
            output="CSV to write, in the paper's layout",
            long="CSV to write, a line for each cell, beside the published one",
            **flags,
        )
    options = command.parse_args(argv)
    make, _ = tables[options.table]
    wide, long, done = make(options, Shown.load(options.shown))
    write_csv(wide, options.output, missing=MISSING if make is _make_accuracies else "")
    write_csv(long, options.long)
    write_step_manifest(options)
    say(options.table, f"{done}: {options.output}")


if __name__ == "__main__":
    run(main)
