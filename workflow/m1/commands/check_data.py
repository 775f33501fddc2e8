"""Check that each data set that a run uses exists and is the expected one (make data-check; 3.1, 4.1).

The results are a table on the terminal and in data_check.csv. The counts of the curation that exist already are
compared with the paper's in counts_check.csv. The exit code is 1 if a set cannot be used.
"""

import argparse
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from m1.commands import add_configfile, silence
from m1.core import sources
from m1.core.counts import published_counts
from m1.core.errors import UserError, tell
from m1.core.files import csv_cell, read_json, write_text
from m1.core.progress import Progress, align_columns
from m1.wiring.config import load
from m1.wiring.run import Run

THREADS = 4  # sets read at a time; most of the work is waiting for the hub
PATIENCE = 10  # seconds for the hub's first answer; without one, only the hub client's cache is searched


@dataclass(frozen=True, kw_only=True)
class DataSet(sources.Source):
    """A published set that a configuration reads, and the keys that use it."""

    used_by: tuple[str, ...]  # keys of the configuration
    layout: str | None = None  # a key of m1.core.layouts.LAYOUTS; None if its records are not questions
    optional: bool = False  # whether the run goes on without it
    strict: bool = False  # whether the run stops at a record that is not a question
    lists: tuple[str, ...] = ()  # for a file of published answers: its names of the benchmarks of this run


@dataclass
class Finding:
    """The result of checking one set: a row of the table."""

    entry: str
    used_by: str
    status: str = "found"
    """``found``; ``missing`` (nothing to read); ``left out`` (missing but optional, so the run goes on without it);
    ``problem``."""
    records: int | None = None
    expected: int | None = None  # None if any number is accepted
    questions: int | None = None
    refused: str = ""  # the three most frequent reasons for refused records, with their counts
    options: str = ""  # how many questions have each number of options
    answers: str = ""  # how many questions have each letter as the correct one
    checksum: str = ""  # ok, or not pinned; another checksum than the pinned one is a problem
    odd: str = ""  # oddities of the set as a whole, with which the run goes on
    note: str = ""  # what is wrong, and how to get the set
    questions_sha256: str = ""  # of all questions (m1.core.records.questions_sha256)


def data_sets(run: Run) -> dict[str, DataSet]:
    """The sets that a run reads, by their entry of ``data``, except the embedded world's, which the run makes."""
    found: dict[str, DataSet] = {}
    for user, entry in run.config["read_from"].items():
        kind, name = user.split(".")
        source = run.config[kind][name]
        if (source["path"] or "").startswith(f"{run.config['pathvars']['results']}/world/"):
            continue
        one = found.get(entry) or DataSet.from_parts(source, {"used_by": [], "optional": True})
        strict = source["invalid"] == "error" and not source["part"]  # a bad record may be in the unused part
        optional = one.optional and source["optional"]
        found[entry] = replace(one, used_by=(*one.used_by, user), optional=optional, strict=one.strict or strict)
    for name, entry in run.published["subsets"].items():
        found[entry] = DataSet.from_parts(run.config["data"][entry], {"used_by": [f"published.subsets.{name}"]})
    for label, entry in run.config["report"]["figure8a"]["beside"].items():
        used_by = {"used_by": [f"report.figure8a.beside.{label}"], "optional": True}
        found[entry] = found.get(entry) or DataSet.from_parts(run.config["data"][entry], used_by)
    return found | answer_files(run)


def answer_files(run: Run) -> dict[str, DataSet]:
    """The files of published answers that a run reads, by their entry of ``data`` and their file."""
    found: dict[str, DataSet] = {}
    models = [(kind, name, files) for kind in ("results", "beside") for name, files in run.published[kind].items()]
    for user, one in ((f"published.{kind}.{name}", one) for kind, name, files in models for one in files):
        entry = run.config["data"][one["from"]]
        lists = [place["key"] for benchmark, place in entry["sets"].items() if benchmark in run.config["benchmarks"]]
        # `key` and `rows` of the entry describe one benchmark's list; a file of results holds all benchmarks.
        told = {"used_by": [], "lists": lists, "layout": None, "key": None, "rows": None}
        label = f"{one['from']}: {one.get('path') or one.get('file')}"
        same = found.get(label) or DataSet.from_parts(entry, one, told)
        found[label] = replace(same, used_by=tuple(dict.fromkeys((*same.used_by, user))))
    return found


def look(name: str, source: DataSet, silent: str = "") -> Finding:
    """Read one set, and convert its records to questions as a run would; ``silent`` is why the hub does not answer."""
    from m1.core.records import questions_sha256  # it needs pyarrow, which `make doctor` must do without
    from m1.infer.published import read_results
    from m1.pools import collect

    finding = Finding(name, " ".join(source.used_by), expected=source.rows)
    try:
        if source.lists:
            answers = read_results(source, source.lists, name)
            finding.records = sum(map(len, answers.values()))
            finding.checksum = "ok" if source.checksum else "not pinned"
            lacking = ", ".join(key for key, found in answers.items() if not found)
            finding.odd = f"no answer to a question of {lacking}" if lacking else ""
            if not finding.records:
                raise UserError(
                    f"{source.path or source.file}: {finding.odd}. Give a file as the authors published it."
                )
            return finding
        place, rows = sources.read(replace(source, rows=None), name, attempts=1)
        finding.records = len(rows)
        finding.checksum = "ok" if source.checksum else "not pinned"
        if source.layout is not None:
            found = collect.read_all(rows, source.layout)
            parts, refused = collect.to_parts(enumerate(found), place, drop_invalid=True)
            finding.questions = len(parts)
            finding.questions_sha256 = questions_sha256(collect.to_questions(name, parts))
            reasons = collect.by_reason(refused)
            finding.refused = "; ".join(f"{count} {reason}" for reason, count in list(reasons.items())[:3])
            finding.options, finding.answers, odd = collect.describe(rows, parts)
            finding.odd = "; ".join(odd)
            collect.check_set(rows, found, source.layout, place)
            if not parts:
                raise collect.no_question(place, len(rows), refused)
            if refused and source.strict:
                collect.to_parts(enumerate(found), place, drop_invalid=False)
        sources.check_rows(place, name, len(rows), source.rows)
    except sources.Missing as error:
        finding.status, finding.note = "left out" if source.optional else "missing", str(error)
    except sources.Unreachable as error:
        not_cached = f"the hub does not answer ({silent}), and its cache here does not hold {source.hub}"
        finding.status, finding.note = "problem", not_cached if silent else str(error)
    except UserError as error:
        finding.status, finding.note = "problem", str(error)
    return finding


def hub_failure() -> str:
    """Why the hub does not answer within :data:`PATIENCE` seconds; an empty text if it does."""
    from huggingface_hub import constants

    if silent := silence(constants.ENDPOINT, PATIENCE):
        constants.HF_HUB_OFFLINE = True  # otherwise the client's own retries would take minutes for each set
    return silent


def table(findings: Iterable[Finding]) -> list[str]:
    """The table as lines for the terminal, followed by what is odd or wrong."""
    hidden = ("used_by", "odd", "note", "questions_sha256")  # too wide for a terminal, or shown below
    shown = [field.name for field in fields(Finding) if field.name not in hidden]
    rows = [shown, *([_cell(getattr(finding, name)) for name in shown] for finding in findings)]
    numbers = ("records", "expected", "questions")
    lines = align_columns(rows, left={place for place, name in enumerate(shown) if name not in numbers})
    notes: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        if finding.odd:
            notes.setdefault(("odd", finding.odd), []).append(f"{finding.entry} (for {finding.used_by})")
        if finding.note:
            notes.setdefault((finding.status, finding.note), []).append(f"{finding.entry} (for {finding.used_by})")
    return lines + [f"{status}: {', '.join(entries)}: {note}" for (status, note), entries in notes.items()]


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else value


def step_counts(run: Run) -> list[dict[str, Any]]:
    """The paper's counts at each step of the curation, and those found in the manifests of this run (None before they
    are there); an empty list if the configuration does not have the paper's pools."""
    results, rows = Path(run.config["pathvars"]["results"]), []
    for file in run.published_counts:
        for step, counts in published_counts(file).items():
            manifest = results / f"{step}.json"
            beside = read_json(manifest).get("published", {}) if manifest.exists() else {}
            for name, number in counts.items():
                found = beside.get(name, {}).get("found")
                equal = "" if name not in beside else "yes" if found == number else "no"
                rows.append({"step": step, "count": name, "published": number, "found": found, "equal": equal})
    return rows


def tell_counts(rows: Sequence[Mapping[str, Any]], output: Path) -> None:
    """Print for each step how many of its counts equal the paper's, and write all of them to a CSV."""
    if not rows:
        return
    _write_csv(output, list(rows[0]), rows)
    tell(f"counts of the curation beside the paper's, all of them in {output}:")
    for step, group in groupby(rows, lambda row: row["step"]):
        counts = list(group)
        made = [row for row in counts if row["equal"]]
        others = [f"{r['count']} {r['found']} (published {r['published']:,})" for r in made if r["equal"] == "no"]
        said = f"{len(made) - len(others)} of {len(counts)} as published" if made else "not made yet"
        tell(f"  {step}: " + "; ".join([said, *others[:3], *(["…"] if others[3:] else [])]))


def _write_csv(output: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    write_text(output, text.getvalue())


def check(sets: Mapping[str, DataSet], output: Path) -> None:
    """Check every set, print the table, and write it to a CSV.

    Raises:
        UserError: a set that the run needs is missing, or is not the expected one.
    """
    silent = hub_failure() if any(source.path is None and source.hub for source in sets.values()) else ""
    findings = []
    with Progress("data-check", len(sets), "sets") as progress, ThreadPoolExecutor(THREADS) as pool:
        for finding in pool.map(partial(look, silent=silent), sets, sets.values()):
            findings.append(finding)
            progress.advance(note=f"{finding.entry}: {finding.status}")
    _write_csv(output, [field.name for field in fields(Finding)], map(asdict, findings))
    for line in table(findings):
        tell(line)
    if wrong := [finding.entry for finding in findings if finding.status in ("missing", "problem")]:
        count = f"{len(wrong)} of {len(findings)}"
        raise UserError(f"{count} sets cannot be used. The table above, also in {output}, says why.")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="m1 check-data", description=__doc__)
    add_configfile(parser)
    arguments = parser.parse_args(argv)
    config = load(arguments.configfile)
    run, results = Run(config), Path(config["pathvars"]["results"])
    tell_counts(step_counts(run), results / "counts_check.csv")
    check(data_sets(run), results / "data_check.csv")
