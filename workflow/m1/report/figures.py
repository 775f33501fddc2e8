"""Figure 1 (accuracy against the budget) and Figure 3 (accuracy against forced ``Wait``s): a panel for each benchmark
and one for their average."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from m1.core import style
from m1.core.errors import UserError, run
from m1.core.progress import say
from m1.report.files import FIGURE, POINTS, parser, read_benchmarks, read_csv
from m1.report.paragraphs import label_below, wrap
from m1.report.scores import accuracies, average, column_headings, read_scores, rows_at_setting, rows_of_model
from m1.report.settings import Model, Shown

BAND: dict[str, Any] = {"alpha": 0.15, "linewidth": 0}  # look of the regression's confidence band
LINE: dict[str, Any] = {"linestyle": ":", "linewidth": 0.8}  # look of the regression
SPAN = 4  # points that an axis of accuracies shows at least
PAPER: dict[str, Any] = {"linestyle": "none", "markerfacecolor": "none", "markeredgewidth": 0.6, "alpha": 0.7}
"""Look of the paper's own points: hollow and without a line, so that they stay behind the curves of this run."""
SLOT = 72  # points of print across the place of a panel, which titles and the legend may fill


def series(rows: pd.DataFrame, settings: Sequence[tuple[int, int]], benchmarks: Sequence[str]) -> pd.DataFrame:
    """One model's curves.

    Args:
        rows: one model's accuracies, from :func:`m1.report.scores.rows_of_model`.
        settings: (budget, forced) of each point, in the order of the x axis.
        benchmarks: keys of this run.

    Returns:
        Accuracy in %: one row for each point, one column for each benchmark and ``average``. A column is NaN throughout
        where the model lacks a benchmark.

    Raises:
        UserError: a point is missing on a benchmark that has others.
    """
    points = [rows_at_setting(rows, budget, forced)["accuracy"] for budget, forced in settings]
    return pd.DataFrame(
        [{key: point.get(key) for key in benchmarks} | {"average": average(point, benchmarks)} for point in points],
        dtype=float,
    )


def paper_points(
    points: pd.DataFrame, models: Sequence[Model], benchmarks: Mapping[str, str], keys: Sequence[str]
) -> dict[int, pd.DataFrame]:
    """The paper's own points for the models of this run that stand for one of its models.

    Args:
        points: ``model``, ``column``, ``budget`` (tokens), ``accuracy`` (%), as in ``resources/paper/figure1.csv``.
        models: of this run.
        benchmarks: key to heading.
        keys: benchmarks of this run; ``average`` is their mean.

    Returns:
        Number of the model to accuracies: budgets by keys and ``average``. NaN is a point that cannot be read off the
        paper's figure.
    """
    found = {}
    for number, model in enumerate(models):
        if len(rows := points[points["model"] == model.published]):
            wide = rows.pivot(index="budget", columns="column", values="accuracy")
            wide = wide.reindex(columns=[benchmarks[key] for key in keys]).set_axis(list(keys), axis=1)
            found[number] = wide.assign(average=wide.mean(axis=1, skipna=False))
    return found


def regression(budgets: Sequence[int], accuracy: Sequence[float], at_budgets: np.ndarray) -> pd.DataFrame:
    """Linear regression of accuracy (%) on log2 of the budget (tokens), as in Figure 1.

    The band says how well the line fits these budgets. It is not an interval over questions, because the questions are
    the same at every budget.

    Returns:
        One row for each of ``at_budgets``: ``mean``, and its 95 % band ``mean_ci_lower`` to ``mean_ci_upper``.
    """
    fit = sm.OLS(np.asarray(accuracy), sm.add_constant(np.log2(budgets))).fit()
    return fit.get_prediction(sm.add_constant(np.log2(at_budgets))).summary_frame(alpha=0.05)


def _draw_regression(axes: Axes, budgets: Sequence[int], accuracy: Sequence[float], color: str) -> None:
    where = np.geomspace(min(budgets), max(budgets), 200)
    line = regression(budgets, accuracy, where)
    # A straight line may leave the range of accuracies. It ends there; clipped, it would seem to turn.
    axes.plot(where, line["mean"].where(line["mean"].between(0, 100)), color=color, **LINE)
    low, high = (line[end].clip(0, 100) for end in ("mean_ci_lower", "mean_ci_upper"))
    axes.fill_between(where, low, high, color=color, **BAND)


def draw(
    found: pd.DataFrame,
    models: Sequence[Model],
    points: Mapping[int, tuple[int, int]],
    benchmarks: Mapping[str, str],
    axis: str,
    regress: bool,
    note: str,
    published: pd.DataFrame | None = None,
) -> Figure:
    """A grid of panels: every benchmark of this run, their average, the legend.

    Args:
        found: from :func:`m1.report.scores.accuracies`.
        models: in the order of the legend.
        points: place on the x axis to (budget, forced).
        benchmarks: key to heading of the paper's benchmarks, in order; this run's own ones follow.
        axis: label of the x axis, with its unit.
        regress: whether x is a budget; then the axis is logarithmic and has a regression line.
        note: printed at the foot; empty for none.
        published: the paper's points as :func:`paper_points` takes them; None to leave them out.

    Raises:
        UserError: a model or one of its points does not exist.
    """
    headings, keys = column_headings(found, benchmarks)
    places = list(points)
    curves = [series(rows_of_model(found, model.key), list(points.values()), keys) for model in models]
    paper = {} if published is None else paper_points(published, models, headings, keys)
    shown = found[found["model"].isin([model.key for model in models])]
    sizes = shown.groupby("benchmark")["n"].unique().map(lambda values: " or ".join(map(str, sorted(values))))
    regress_here = regress and len(places) > 2  # a line through two points has no residuals, so no band
    figure, (*panels, last) = style.grid(len(keys) + 2)
    titles = {key: f"{headings[key]} (n = {sizes[key]})" if key in sizes else headings[key] for key in keys}
    for axes, (key, title) in zip(panels, (titles | {"average": f"Average of {len(keys)}"}).items()):
        axes.set_title("\n".join(wrap(title, SLOT / style.RC["axes.titlesize"])))
        drawn = [
            (number, curve[key]) for number, curve in enumerate(curves) if key in curve and curve[key].notna().all()
        ]
        if not drawn:
            style.empty(axes, "no model has all" if key == "average" else "none of these models")
            continue
        if regress:
            axes.set_xscale("log", base=2)
            axes.tick_params(axis="x", labelrotation=90)
        _draw_curves(axes, places, drawn, {number: curve[key] for number, curve in paper.items()}, regress_here)
    _draw_legend(last, [model.label for model in models], regress_here, bool(paper))
    label_below(figure, axis, note)
    figure.supylabel("accuracy (%)")
    return figure


def _draw_curves(
    axes: Axes,
    places: Sequence[int],
    curves: Sequence[tuple[int, pd.Series]],
    paper: Mapping[int, pd.Series],
    regress: bool,
) -> None:
    """The curves of one panel, and the paper's own points, whose index is their places. Each comes with the number of
    its model, which decides colour and marker."""
    for number, accuracy in paper.items():
        there, look = accuracy.dropna(), style.model_style(number)
        axes.plot(there.index, there, **look | {"markeredgecolor": look["color"]} | PAPER)
    for number, accuracy in curves:
        look = style.model_style(number)
        axes.plot(places, accuracy, **look)
        if regress:
            _draw_regression(axes, places, accuracy, look["color"])
    style.whole_ticks(axes, sorted({*places, *(place for accuracy in paper.values() for place in accuracy.index)}))
    axes.locator_params(axis="y", nbins=5)
    bottom, top = axes.get_ylim()
    if top - bottom < SPAN:  # else the axis of a flat curve would be in billionths of a point
        bottom, top = (bottom + top - SPAN) / 2, (bottom + top + SPAN) / 2
    axes.set_ylim(max(bottom, -4), min(top, 104))  # room for the markers at 0 and 100 %


def _draw_legend(axes: Axes, labels: Sequence[str], regress: bool, paper: bool) -> None:
    axes.set_axis_off()
    handles: list[Any] = [Line2D([], [], **style.model_style(number)) for number in range(len(labels))]
    if regress:
        handles.append((Line2D([], [], color=style.MUTED, **LINE), Patch(color=style.MUTED, **BAND)))
        labels = [*labels, "linear regression, 95 % band"]
    if paper:
        handles.append(Line2D([], [], color=style.MUTED, marker="o", markeredgecolor=style.MUTED, **PAPER))
        labels = [*labels, "the paper’s points"]
    size = style.RC["legend.fontsize"]
    wrapped = ["\n".join(wrap(label, SLOT / size - 2)) for label in labels]  # the handle takes 2 ems
    # The legend begins where tick labels of other panels do. It stays out of the layout, which would take the room for
    # a long label from all panels of the column.
    axes.legend(handles, wrapped, loc="center left", bbox_to_anchor=(-0.3, 0.5)).set_in_layout(False)


def figure1(found: pd.DataFrame, shown: Shown, benchmarks: Mapping[str, str], published: pd.DataFrame) -> Figure:
    """Accuracy (%) against thinking budget (tokens, logarithmic), with linear regressions and their 95 % bands."""
    budgets = sorted(shown.budgets)
    if not budgets or budgets[0] <= 0:
        raise UserError(f"thinking.budgets {budgets}: each must be at least 1 token, because the axis is logarithmic")
    points = {budget: (budget, 0) for budget in budgets}
    paper = published if shown.figure1_published else None
    return draw(found, shown.figure_models, points, benchmarks, "thinking budget (tokens)", True, shown.note, paper)


def figure3(found: pd.DataFrame, shown: Shown, benchmarks: Mapping[str, str], published: pd.DataFrame) -> Figure:
    """Accuracy (%) against how many times ``Wait`` was forced, within one budget."""
    budget = shown.forced_budget
    points = {forced: (budget, forced) for forced in sorted(shown.forced)}
    axis = f"forced “Wait” (times, within {budget} thinking tokens)"
    return draw(found, shown.figure_models, points, benchmarks, axis, False, shown.note)


FIGURES = {"figure1": figure1, "figure3": figure3}


def main(argv: Sequence[str] | None = None) -> None:
    """Make one figure from scores."""
    command = parser(__doc__, "shown", "scores", "benchmarks", published=POINTS, output=FIGURE)
    command.add_argument("figure", choices=FIGURES)
    options = command.parse_args(argv)
    shown = Shown.load(options.shown)
    scores = read_scores(options.scores)
    with style.plt.rc_context(style.RC):
        published = read_csv(options.published, ["model", "column", "budget", "accuracy"])
        figure = FIGURES[options.figure](accuracies(scores), shown, read_benchmarks(options.benchmarks), published)
        style.save(figure, options.output)
    say(options.figure, f"{len(scores):,} scores of {len(shown.figures)} models -> {', '.join(options.output)}")


if __name__ == "__main__":
    run(main)
