"""Compare two runs: what differs between them, each line of Tables 1 and 2 with a paired difference, the scaling
curves, and the questions that are correct in one run only (docs/statistics.md). A run is a folder of results, which may
come from another machine.

The output folder gets settings.csv, cells.csv, curves.csv, curves.pdf, curves.png, changed.html and manifest.json.
"""

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from m1.core import style
from m1.core.errors import UserError, run, tell
from m1.core.files import remove, write_manifest
from m1.core.progress import align_columns, say
from m1.report.files import add_own_benchmarks, parser, read_benchmarks, write_csv
from m1.report.page import FIELDS
from m1.report.runs_cells import Run, cells, curves, pair_rows
from m1.report.runs_curves import draw
from m1.report.runs_page import VERDICTS, write_page
from m1.report.runs_settings import count_questions, differences
from m1.report.scores import read_scores
from m1.report.settings import Shown, files_to_compare
from m1.report.statistics import P

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
FORM = "give it as NAME=FOLDER, with a name of letters, digits, `_`, `.` and `-`"
STAGES = ("pools", "benchmarks", "select", "train", "infer", "score")  # any of these folders shows that a run has begun
TOLD = 12  # lines of settings.csv that the terminal shows


def name_runs(first: str, second: str) -> list[tuple[str, Path]]:
    """Names and folders of two runs, each given as FOLDER or NAME=FOLDER. Without a name, it is the last part of the
    path.

    Raises:
        UserError: a folder is missing, both folders are the same, both names are the same, or a name is not allowed.
    """
    found = []
    for text in (first, second):
        name, given, folder = text.partition("=")
        path = Path(folder if given and not Path(text).is_dir() else text)
        if not path.is_dir():
            raise UserError(f"{path}: no such folder; name the folder of a run's results")
        if not given or path == Path(text):
            name = Path(os.path.abspath(path)).name
        if not NAME.fullmatch(name):
            raise UserError(f"{text}: {name!r} becomes a folder's name; {FORM}")
        found.append((name, path))
    (name, path), (other, other_path) = found
    if path.resolve() == other_path.resolve():
        raise UserError(f"{path} and {other_path} are the same folder; two runs have a folder each (`pathvars`)")
    if name == other:
        raise UserError(f"{path} and {other_path}: both runs would be called {name!r}; {FORM}")
    return found


def read_shown(folder: Path) -> Shown:
    """What the report of a run shows.

    Raises:
        UserError: the folder is no folder of results, or the run is not finished.
    """
    path = folder / "shown.json"
    if path.is_file():
        try:
            return Shown.load(path)
        except UserError as error:
            remedy = "Another version of this package may have written it. Delete it; making it again takes a second"
            raise UserError(f"{error} {remedy}. {finish(path)}") from None
    if any((folder / stage).is_dir() for stage in STAGES):
        raise UserError(f"{path}: no such file: the run is not finished. {finish(path)}")
    raise UserError(f"{folder}: no folder of results: it has no shown.json, nor anything else that a run makes")


def finish(path: Path) -> str:
    """How to get a file that a run has not made yet."""
    return f"Make it with the configuration of that run: snakemake {path} --configfile … (or copy it from its machine)."


def open_runs(named: Sequence[tuple[str, Path]]) -> tuple[Run, Run]:
    """Both runs, restricted to the benchmarks and models that they have in common.

    Raises:
        UserError: they have no benchmark or no model in common, or a file is missing that the report of one shows.
    """
    shown = [read_shown(folder) for _, folder in named]
    names = [name for name, _ in named]
    benchmarks = _shared("benchmark", names, [list(side.benchmarks) for side in shown])
    models = _shared("model", names, [[model.key for model in side.models] for side in shown])
    runs = []
    for (name, folder), side in zip(named, shown):
        files = [folder / file for file in files_to_compare(side, models, benchmarks)]
        if missing := [file for file in files if not file.is_file()]:
            more = f" (and {len(missing) - 1} further files)" if len(missing) > 1 else ""
            lacking = f"no such file{more}, though {folder / 'shown.json'} shows it: the run is not finished"
            raise UserError(f"{missing[0]}: {lacking}. {finish(missing[0])}")
        scores = read_scores([folder / f"score/{model}.parquet" for model in models], FIELDS)
        runs.append(Run(name, folder, side, scores[scores["benchmark"].isin(benchmarks)]))
    return runs[0], runs[1]


def _shared(kind: str, names: Sequence[str], keys: Sequence[Sequence[str]]) -> list[str]:
    """The keys that both runs have, in the order of the first; a :class:`UserError` where there are none."""
    first, second = keys
    if found := [key for key in first if key in second]:
        return found
    sides = "; ".join(f"{name} has {', '.join(own) or 'none'}" for name, own in zip(names, keys))
    raise UserError(f"the runs have no {kind} in common: {sides}")


def left_out(first: Run, second: Run) -> list[str]:
    """Clauses that say what only one of the runs has."""
    found = []
    for one, other in ((first, second), (second, first)):
        models, there = ([model.key for model in side.shown.models] for side in (one, other))
        benchmarks = one.shown.benchmarks, other.shown.benchmarks
        for kind, mine, theirs in (("models", models, there), ("benchmarks", *benchmarks)):
            if only := [key for key in mine if key not in theirs]:
                found.append(f"only {one.name} has the {kind} {', '.join(only)}")
        for table, rows in one.shown.accuracy_tables.items():
            beside = {row.model for row in other.shown.accuracy_tables.get(table, ())}
            if only := [row.model for row in rows if row.model in there and row.model not in beside]:
                found.append(f"only {one.name} has {', '.join(only)} in {table}")
    return found


def summary(first: Run, second: Run, lines: pd.DataFrame, settings: pd.DataFrame) -> list[str]:
    """The comparison as lines of text, averages first."""
    averages = lines[lines["benchmark"] == "average"]
    rows = [["table", "model", first.name, second.name, "difference", "95 % interval", "verdict"]]
    for line in averages.to_dict("records"):
        interval = f"{line['difference_low']:+.2f} to {line['difference_high']:+.2f}"
        accuracy = [f"{line[f'accuracy_{side}']:.2f}" for side in "ab"]
        rows.append([line["table"], line["label"], *accuracy, f"{line['difference']:+.2f}", interval, line["verdict"]])
    said = [f"Averages (%), and {second.name} minus {first.name} in points:", *align_columns(rows, left={0, 1, 6})]
    single = lines[lines["benchmark"] != "average"]
    counts = single["verdict"].value_counts()
    said.append(f"Single cells: {', '.join(f'{counts[one]} {one}' for one in VERDICTS if one in counts)}.")
    said += [f"Left out: {sentence}." for sentence in left_out(first, second)]
    said.append(f"What differs ({len(settings)} lines in settings.csv):")
    heads = ["part", "step", "key", first.name, second.name, "what"]
    told = [[_clip(cell) for cell in row] for row in settings.head(TOLD).to_numpy().tolist()]
    said += align_columns([heads, *told], left=range(len(heads)))
    return said


def _clip(text: str) -> str:
    """A value, cut to the room that a line of the terminal has for it."""
    return text if len(text) <= 40 else f"{text[:39]}…"


def main(argv: Sequence[str] | None = None) -> None:
    """Compare two runs."""
    command = parser(__doc__, "benchmarks", output={"type": Path, "help": "folder to write into"})
    command.add_argument("runs", nargs=2, metavar="RUN", help="folder of a run's results, or NAME=FOLDER")
    options = command.parse_args(argv)
    compare(name_runs(*options.runs), options.benchmarks, options.output, options.started)


def compare(named: Sequence[tuple[str, Path]], benchmarks: str, folder: Path, started: float | None = None) -> None:
    """Compare two runs, write the comparison into a folder, and print a summary.

    Args:
        named: from :func:`name_runs`.
        benchmarks: path of ``resources/paper/benchmarks.csv``.
        folder: to write into.
        started: time of the start, in seconds since 1970; by default now.

    Raises:
        UserError: the runs cannot be compared, or a file is missing or damaged.
    """
    started = started or time.time()
    first, second = open_runs(named)
    models = [model.key for model in first.shown.models if model.key in {one.key for one in second.shown.models}]
    questions = count_questions(first.scores, second.scores)
    if not questions["both"].any():
        keys = ", ".join(questions.index)
        raise UserError(f"{first.name} and {second.name}: no question in common on {keys}, so nothing can be paired")
    headings = add_own_benchmarks(read_benchmarks(benchmarks), questions.index)
    pairs = list(pair_rows(first, second))
    if not pairs:
        raise UserError(
            f"{first.name} and {second.name}: no row of Table 1 or 2 in common; {'; '.join(left_out(first, second))}"
        )
    lines = cells(pairs, headings, first.shown.margins)
    points = curves(first, second, models)
    settings = differences((first.folder, first.shown), (second.folder, second.shown), questions)
    remove(folder / "manifest.json")  # of an earlier comparison: its hashes do not match the new tables
    write_csv(lines, folder / "cells.csv", {"p": P, "p_holm": P, "p_margin": P})
    write_csv(points, folder / "curves.csv")
    write_csv(settings, folder / "settings.csv")
    with style.plt.rc_context(style.RC):
        style.save(draw(points, first.name, second.name), [folder / "curves.pdf", folder / "curves.png"])
    said = summary(first, second, lines, settings)
    changed = write_page(first, second, pairs, headings, left_out(first, second), folder)
    read = ["shown.json", *(f"score/{model}.parquet" for model in models)]
    inputs = {f"{name} {file}": where / file for name, where in named for file in read}
    counts = {
        "lines": len(lines),
        "questions": int(questions["both"].sum()),
        "changed": changed,
        "settings": len(settings),
    }
    write_manifest(folder / "manifest.json", inputs=inputs, settings=None, counts=counts, started=started)
    about = f"{len(models)} models, {len(questions)} benchmarks, {counts['questions']:,} questions in both"
    say("compare-runs", f"{first.name} ({first.folder}) and {second.name} ({second.folder}): {about}")
    for line in said:
        tell(line)
    say("compare-runs", f"{changed:,} answers are correct in one run only; open {folder / 'changed.html'}")


if __name__ == "__main__":
    run(main)
