"""Write ``changed.html`` of two runs: averages, what differs, tables and figure. The reader of :mod:`m1.report.page`
shows the questions that are correct in one run only, with the texts of both runs side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from m1.core.files import write_text
from m1.core.records import LETTERS, Question
from m1.report.page import (
    Setting,
    Source,
    add_texts,
    arrange,
    lead_with_verdict,
    page,
    picture,
    read_caption,
    read_questions,
    scored_questions,
    table,
)
from m1.report.runs_cells import BETTER, EQUAL, NO_DIFFERENCE, OTHER_QUESTIONS, WORSE, RowPair, Run

TABLES = ("cells", "curves", "settings")  # in the order of the page; what comes from the manifests is last
VERDICTS = (BETTER, WORSE, EQUAL, NO_DIFFERENCE, OTHER_QUESTIONS)
"""Verdicts of ``cells.csv``, in the order of the page."""
Changed = dict[tuple[str, str, str], tuple[Setting, Setting]]
"""Answers that are correct in one run only: benchmark, question id and model, to the setting in each run."""


def changed_answers(pairs: Sequence[RowPair]) -> Changed:
    """The answers that are correct in one run only, at the settings of the tables. For a model in both tables, the
    setting is that of the first table in which the answer changed."""
    found: Changed = {}
    for pair in pairs:
        for benchmark, question in pair.changed.index:
            settings = [(int(budgets[benchmark]), 0) for budgets in pair.budgets]
            found.setdefault((benchmark, question, pair.rows[0].model), (settings[0], settings[1]))
    return found


def changed_scores(run: Run, changed: Changed) -> pd.DataFrame:
    """The scores of one run for the questions and models in ``changed``."""
    keys = pd.MultiIndex.from_frame(run.scores[["benchmark", "question_id", "model"]])
    return run.scores[keys.isin(list(changed))]


def translate_letters(
    scores: pd.DataFrame, own: Mapping[tuple[str, str], Question], other: Mapping[tuple[str, str], Question]
) -> pd.DataFrame:
    """The scores with letters in the other run's order of options, for the questions in ``own``.

    Args:
        scores: of the run whose letters are translated.
        own: questions whose options have another order in the other run, as this run asked them.
        other: the questions as the other run asked them.
    """
    letters = {
        (*key, letter): LETTERS[other[key].options.index(text)]
        for key, question in own.items()
        for letter, text in zip(LETTERS, question.options)
    }
    chosen = zip(scores["benchmark"], scores["question_id"], scores["letter"])
    return scores.assign(letter=[letters.get(key, "" if key[:2] in own else key[2]) for key in chosen])


def write_page(
    first: Run,
    second: Run,
    pairs: Sequence[RowPair],
    headings: Mapping[str, str],
    notes: Sequence[str],
    folder: Path,
) -> int:
    """Write ``changed.html`` into the folder, which already has the tables and the figure.

    Args:
        first, second: the runs.
        pairs: from :func:`m1.report.runs_cells.pair_rows`.
        headings: benchmark to the heading of its column, in order.
        notes: further sentences about both runs.
        folder: of the comparison.

    Returns:
        The number of answers that are correct in one run only.

    Raises:
        UserError: a file is missing, damaged or not of its kind; a question or a score is missing.
    """
    changed = changed_answers(pairs)
    runs = (first, second)
    sides = [changed_scores(run, changed) for run in runs]
    keys = sorted({key[0] for key in changed})
    asked, others = (
        read_questions([run.folder / "benchmarks" / f"{key}.parquet" for key in keys], scored_questions(side))
        for run, side in zip(runs, sides)
    )
    reordered = {key for key, question in asked.items() if others[key].options != question.options}
    sides[1] = translate_letters(sides[1], {key: others[key] for key in reordered}, asked)
    scores = pd.concat([side.assign(model=_key(run, "") + side["model"]) for run, side in zip(runs, sides)])
    opened = {
        (*key[:2], _key(run, key[2])): settings[number]
        for key, settings in changed.items()
        for number, run in enumerate(runs)
    }
    if reordered:
        said = f"{len(reordered)} changed questions have their options in another order in {second.name}. Its letters"
        notes = [*notes, f"{said} are translated to the order of {first.name}, except in the model's own text."]
    models = [model for model in first.shown.models if any(model.key == key[2] for key in changed)]
    labels: list[dict[str, Any]] = [{"model": _key(first, model.key), "label": model.label} for model in models]
    labels += [
        one | {"model": _key(second, model.key), "of": of} for of, (one, model) in enumerate(zip(labels, models))
    ]
    content = arrange(scores, asked, list(headings), [one["model"] for one in labels], opened)
    tables = {name: table(folder / f"{name}.csv") for name in TABLES}
    facts = {
        "runs": front(first, second, tables, len(changed), notes),
        "remark": "",
        "models": labels,
        "benchmarks": [{"key": key, "label": label} for key, label in headings.items()],
        **content.facts,
        "tables": [
            {**read_caption(f"runs_{name}"), "name": name, "rows": lead_with_verdict(rows)}
            for name, rows in tables.items()
        ],
        "figures": [read_caption("runs_figure")],
        "steps": [],
        "versions": {},
        "megabytes": first.shown.page_megabytes,
    }
    data = {"figure-0": picture(folder / "curves.png"), **content.data}
    scored = [f"score/{model.key}.parquet" for model in models]
    sources = [
        Source(run.folder, run.shown.models, [run.folder / file for file in scored], _key(run, "")) for run in runs
    ]
    add_texts(facts, data, content, sources, first.shown.page_megabytes)
    write_text(folder / "changed.html", page(facts, data))
    return len(changed)


def _key(run: Run, model: str) -> str:
    """The key of a model on the page, where each model is there once for each run."""
    return f"{run.name}: {model}"


def front(
    first: Run, second: Run, tables: Mapping[str, Sequence[Sequence[str]]], changed: int, notes: Sequence[str]
) -> dict[str, Any]:
    """What the page opens on, from the tables as they are written.

    Args:
        first, second: the runs.
        tables: rows of each table in :data:`TABLES`, headings first.
        changed: number of answers that are correct in one run only.
        notes: further sentences about both runs.
    """
    heads, *rows = tables["cells"]
    lines = [dict(zip(heads, row)) for row in rows]
    averages = [_average(line) for line in lines if line["benchmark"] == "average"]
    cells = pd.Series([line["verdict"] for line in lines if line["benchmark"] != "average"]).value_counts()
    ends = [abs(end) for one in averages for end in one["bar"].values()]
    said = f"{changed:,} answers are correct in one run and incorrect in the other, at the settings of the tables."
    (*place, _, _, what), *differs = tables["settings"]
    notes = [f"{note[0].upper()}{note[1:]}" for note in notes]
    return {
        "names": [first.name, second.name],
        "title": f"{first.name} and {second.name}, side by side",
        "about": [f"{first.name} is {first.folder}, {second.name} is {second.folder}. {said}"],
        "heads": ["Verdict", "Model", "Average", first.name, second.name, "Difference", "", "On"],
        "averages": averages,
        "reach": max(ends, default=0),
        "counts": [[verdict, int(cells[verdict])] for verdict in VERDICTS if verdict in cells],
        "left": notes,
        "differs": [[*place, first.name, second.name, what], *differs],
    }


def _average(line: Mapping[str, str]) -> dict[str, Any]:
    """An average as the page shows it."""
    ends = [float(line[f"difference_{end}"]) for end in ("low", "high")]
    bar = {"difference": float(line["difference"]), "low": ends[0], "high": ends[1], "margin": float(line["margin"])}
    unshared = f"; {int(line['unshared']):,} in one run only" if int(line["unshared"]) else ""
    interval = f"{ends[0]:+.2f} to {ends[1]:+.2f}".replace("-", "−")
    return {
        "verdict": line["verdict"],
        "label": line["label"],
        "published": line["column"],
        "table": f"Table {line['table'].removeprefix('table')}",
        "ours": [line["accuracy_a"], ""],
        "theirs": [line["accuracy_b"], ""],
        "difference": [f"{bar['difference']:+.2f}".replace("-", "−"), interval],
        "bar": bar,
        "why": f"{int(line['n']):,} questions in both runs{unshared}",
    }
