"""The figure of two runs: average accuracy against the thinking budget, a panel for each model."""

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from m1.core import style

COLUMNS = 3  # panels side by side, at most


def draw(points: pd.DataFrame, first: str, second: str) -> Figure:
    """Draw a panel for each model that thinks in both runs, with a curve for each run. Call it within
    ``plt.rc_context(style.RC)``.

    Args:
        points: from :func:`m1.report.runs_cells.curves`.
        first, second: names of the runs.
    """
    thinking = points[(points["budget"] > 0) & (points["forced"] == 0)]
    drawn = {
        model: rows
        for model, rows in thinking.groupby("model", sort=False)
        if rows[["accuracy_a", "accuracy_b"]].notna().any().all()
    }
    columns = max(1, min(COLUMNS, len(drawn)))
    rows = max(1, math.ceil(len(drawn) / columns))
    size = (max(4.2, 3.1 * columns), 2.6 * rows + 0.6)
    figure, grid = style.plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=True)
    for axes in grid.flat[len(drawn) :]:
        axes.set_axis_off()
    if not drawn:
        grid.flat[0].set_axis_on()
        style.empty(grid.flat[0], "no model thinks in both runs")
        return figure
    for axes, model_points in zip(grid.flat, drawn.values()):
        axes.set_title(model_points["label"].iloc[0])
        axes.set_xscale("log", base=2)
        axes.tick_params(axis="x", labelrotation=90)
        for number, side in enumerate("ab"):
            there = model_points.dropna(subset=f"accuracy_{side}")
            axes.plot(there["budget"], there[f"accuracy_{side}"], **_look(number))
        style.whole_ticks(axes, sorted({*model_points["budget"]}))
    sizes = {(row.benchmarks, row.n) for rows in drawn.values() for row in rows.dropna().itertuples()}
    about = " or ".join(f"{n:,} questions of {count} benchmarks" for count, n in sorted(sizes))
    handles = [Line2D([], [], **_look(number)) for number in range(2)]
    figure.legend(handles, [first, second], loc="outside upper center", ncols=2, fontsize=8)
    figure.supxlabel(f"thinking budget (tokens); {about}" if about else "thinking budget (tokens)", fontsize=8)
    figure.supylabel("average accuracy (%)", fontsize=8)
    return figure


def _look(number: int) -> dict[str, Any]:
    """The look of the first (0) or second (1) run. The second is dashed, so that an equal curve below it is seen."""
    return style.model_style(number) | ({"linestyle": "--"} if number else {})
