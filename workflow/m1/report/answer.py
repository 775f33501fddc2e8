"""What the report's page opens on: verdicts of averages, counts of verdicts, and the claims.

Everything comes from the tables of the page as they are written; a column that a table lacks is empty. The script of
the page only draws what is made here.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

VERDICTS = ("reproduced", "differs", "cannot tell", "out of reach")
"""Verdicts of ``compare.csv``, in the order of the page."""
OUT_OF_REACH = VERDICTS[-1]
CLAIM_VERDICTS = ("shown", "seen", "not seen", "contradicted", "other number", OUT_OF_REACH)
"""Verdicts of ``claims.csv``, in the order of the page."""
AVERAGE = "average"  # what the column ``benchmark`` has on the line of an average
NOTHING = "No model of this run stands for a published row, so nothing is compared with the paper."
UNKNOWN = "At the published numbers of questions, most single cells can only be “cannot tell”."
FIRST = "Read the averages first."

Table = Sequence[Sequence[str]]
"""A table as it is written, headings first."""
Line = Mapping[str, str]


def answer(tables: Mapping[str, Table], note: str) -> dict[str, Any]:
    """What the page opens on: ``note`` (what this run says nothing about; empty for none), and of the tables by name
    ``comparison``, from :func:`comparison`, if there is a table ``compare``, and ``claims``, from :func:`count_claims`,
    if there is a table ``claims``."""
    found: dict[str, Any] = {"note": note}
    if "compare" in tables:
        found["comparison"] = comparison(_lines(tables["compare"]))
    if "claims" in tables:
        found["claims"] = count_claims(_lines(tables["claims"]))
    return found


def comparison(lines: Sequence[Line]) -> dict[str, Any]:
    """What ``compare.csv`` says.

    - ``lead``: what can be known, as text (:func:`what_is_known`).
    - ``averages``: one for each published row that a model stands for.
    - ``reach``: the largest absolute value of their intervals and margins, in points.
    - ``counts``: for the averages and the cells of each table, ``name`` and ``counts``, pairs ``[verdict, lines]``.
    - ``reasons``: pairs ``(why, lines)`` of the cells out of reach.
    - ``absent``: sentences about the rows that no model stands for.

    All but ``lead`` are empty where no model stands for a row, and where every line is out of reach.
    """
    compared = [line for line in lines if line["model"]]
    if not compared:
        return _only(NOTHING)
    if all(line["verdict"] == OUT_OF_REACH for line in compared):
        whys = Counter(line["why"] for line in compared)
        listed = (f"{why} ({number:,} lines)" if len(whys) > 1 else why for why, number in whys.most_common())
        return _only(f"Every comparison with the paper is out of reach: {'; '.join(listed)}.")
    averages = [line for line in compared if line["benchmark"] == AVERAGE]
    cells = [line for line in compared if line["benchmark"] != AVERAGE]
    bars = [bar for bar in map(_bar, averages) if bar]
    return {
        "lead": what_is_known(cells),
        "averages": [_average(line) for line in averages],
        "reach": max((abs(end) for bar in bars for end in bar.values()), default=0),
        "counts": _counts(compared),
        "absent": _absent(lines),
        "reasons": Counter(line["why"] for line in cells if line["verdict"] == OUT_OF_REACH).most_common(),
    }


def _only(lead: str) -> dict[str, Any]:
    """A comparison with nothing to show."""
    return {"lead": lead, "averages": [], "reach": 0, "counts": [], "absent": [], "reasons": []}


def what_is_known(cells: Sequence[Line]) -> str:
    """What can be known about single cells, from the smallest margin (in points) that each could have shown."""
    margins = [(_number(line["smallest_margin"]), _number(line["margin"])) for line in cells]
    known = [(smallest, margin) for smallest, margin in margins if smallest is not None and margin is not None]
    if not known:
        return f"{UNKNOWN} {FIRST}"
    within = " or ".join(f"{margin:g}" for margin in sorted({margin for _, margin in known}))
    few = sum(smallest > margin for smallest, margin in known)
    if not few:
        return f"All {len(known):,} single cells have enough questions to be shown equal within {within} points."
    short = f"Of {len(known):,} single cells, {few:,} have too few questions to be shown equal within {within} points"
    return f"{short}. Unless such a cell differs clearly, it can only be “cannot tell”. {FIRST}"


def count_claims(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The verdicts of ``claims.csv`` by this run and by the paper's own tables: ``name`` and ``counts``, pairs
    ``[verdict, claims]``."""
    sides = {"This run": "verdict", "The paper’s own tables": "tables_verdict"}
    return [_count(name, (line[column] for line in lines), CLAIM_VERDICTS) for name, column in sides.items()]


def claim_rows(table: Table) -> list[list[str]]:
    """``claims.csv`` as the page shows it: each value with its interval and unit in one cell, headings first."""
    rows = [["verdict", "claim", "says", "this run", "the paper’s tables", "tables verdict", "why"]]
    rows[0] += ["section", "test", "note"]
    for line in _lines(table):
        run, paper = _value(line, "found", "low", "high"), _value(line, "tables", "tables_low", "tables_high")
        row = [line["verdict"], line["words"], line["says"], run, paper, line["tables_verdict"], line["why"]]
        rows.append([*row, line["section"], line["test"], line["note"]])
    return rows


def _lines(table: Table) -> list[Line]:
    """The rows by their headings. What the row or the table lacks is empty."""
    heads, *rows = table
    return [defaultdict(str, zip(heads, row)) for row in rows]


def _number(text: str) -> float | None:
    """The number that a text is; None where it is no finite number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _between(low: str, high: str, form: str) -> str:
    """An interval as text; empty where an end is missing."""
    ends = _number(low), _number(high)
    return "" if None in ends else " to ".join(map(form.format, ends)).replace("-", "−")


def _value(line: Line, name: str, low: str, high: str) -> str:
    """A value with its interval and unit; empty where there is none."""
    value = _number(line[name])
    if value is None:
        return ""
    whole = all(end is None or end == int(end) for end in map(_number, (line[name], line[low], line[high])))
    form = "{:,.0f}" if whole else "{:,.2f}"
    between = _between(line[low], line[high], form)
    return " ".join(filter(None, (form.format(value).replace("-", "−"), between and f"[{between}]", line["unit"])))


def _average(line: Line) -> dict[str, Any]:
    """An average as the page shows it: accuracies in %, differences in points, each with its 95 % interval."""
    difference = _number(line["difference"])
    return {
        "table": _label(line["table"]),
        "published": line["published"],
        "label": line["label"] or line["model"],
        "ours": [line["accuracy"], _between(line["low"], line["high"], "{:.2f}")],
        "theirs": [line["published_accuracy"], _between(line["published_low"], line["published_high"], "{:.2f}")],
        "difference": [
            "" if difference is None else f"{difference:+.2f}".replace("-", "−"),
            _between(line["difference_low"], line["difference_high"], "{:+.2f}"),
        ],
        "bar": _bar(line),
        "verdict": line["verdict"],
        "why": line["why"],
    }


def _bar(line: Line) -> dict[str, float] | None:
    """What is drawn of a difference, in points: without a margin if the line has none; None if it has no interval."""
    found = {"difference": line["difference"], "low": line["difference_low"], "high": line["difference_high"]}
    values = {name: _number(text) for name, text in (found | {"margin": line["margin"]}).items()}
    bar = {name: value for name, value in values.items() if value is not None}
    return bar if set(found) <= set(bar) else None


def _counts(compared: Sequence[Line]) -> list[dict[str, Any]]:
    """Number of lines by verdict, for the averages and the cells of each table."""
    groups: dict[str, list[str]] = {}
    for table in dict.fromkeys(line["table"] for line in compared):
        groups |= {f"{_label(table)}, averages": [], f"{_label(table)}, cells": []}
    for line in compared:
        kind = "averages" if line["benchmark"] == AVERAGE else "cells"
        groups[f"{_label(line['table'])}, {kind}"].append(line["verdict"])
    return [_count(name, verdicts, VERDICTS) for name, verdicts in groups.items() if verdicts]


def _count(name: str, verdicts: Iterable[str], order: Sequence[str]) -> dict[str, Any]:
    """Number of each verdict, in the given order; verdicts that are not in it come last."""
    count = Counter(verdicts)
    return {"name": name, "counts": [[verdict, count[verdict]] for verdict in dict.fromkeys([*order, *count])]}


def _absent(lines: Sequence[Line]) -> list[str]:
    """Sentences that say how many published rows of each table no model stands for."""
    rows: dict[str, dict[tuple[str, str], bool]] = {}
    for line in lines:
        rows.setdefault(line["table"], {})[line["group"], line["published"]] = bool(line["model"])
    absent = {table: sum(not stands for stands in found.values()) for table, found in rows.items()}
    which = {table: "any" if absent[table] == len(found) else absent[table] for table, found in rows.items()}
    return [
        f"No model of this run stands for {which[table]} of the {len(found)} published rows of {_label(table)}."
        for table, found in rows.items()
        if absent[table]
    ]


def _label(table: str) -> str:
    """Name of a table in words."""
    return re.sub(r"^table(\d)$", r"Table \1", table)
