"""The figure of two runs: average accuracy against the thinking budget, a panel for each model."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from m1.core import style
from m1.report.figures import SLOT
from m1.report.paragraphs import label_below, wrap


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
    figure, panels = style.grid(max(1, len(drawn)))
    if not drawn:
        style.empty(panels[0], "no model thinks in both runs")
        return figure
    figure.set_figheight(figure.get_figheight() + 0.6)  # for the legend
    for axes, model_points in zip(panels, drawn.values()):
        axes.sharey(panels[0])
        axes.set_title("\n".join(wrap(model_points["label"].iloc[0], 0.75 * SLOT / style.RC["axes.titlesize"])))
        axes.set_xscale("log", base=2)
        axes.tick_params(axis="x", labelrotation=90)
        for number, side in enumerate("ab"):
            there = model_points.dropna(subset=f"accuracy_{side}")
            axes.plot(there["budget"], there[f"accuracy_{side}"], **_look(number))
        style.whole_ticks(axes, sorted({*model_points["budget"]}))
    handles = [Line2D([], [], **_look(number)) for number in range(2)]
    names = ["\n".join(wrap(name, 1.3 * SLOT / style.RC["legend.fontsize"])) for name in (first, second)]
    figure.legend(handles, names, loc="outside upper center", ncols=2)
    sizes = {(row.benchmarks, row.n) for rows in drawn.values() for row in rows.dropna().itertuples()}
    about = " or ".join(f"{n:,} questions of {count} benchmarks" for count, n in sorted(sizes))
    label_below(figure, "thinking budget (tokens)", about)
    figure.supylabel("average accuracy (%)")
    return figure


def _look(number: int) -> dict[str, Any]:
    """The look of the first (0) or second (1) run. The second is dashed, so that an equal curve below it is seen."""
    return style.model_style(number) | ({"linestyle": "--"} if number else {})
