"""The look of every figure: fonts, colours and the grid of panels; and saving figures reproducibly."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from m1.core.errors import UserError
from m1.core.files import replacing

COLOURS = ["#0072B2", "#E69F00", "#000000", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"]
"""Okabe and Ito's colours for colour-blind readers, in an order in which the first three differ most in grey."""
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
"""Eight markers for seven colours, so that a pair of both repeats only after 56 models."""
MUTED = "0.45"  # grey for everything that is not data
COLUMNS = 6
"""Panels side by side: ten benchmarks, their average and the legend are two rows, as in Figures 1 and 3."""

RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that the bytes are the same everywhere
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.wspace": 0.04,
    "figure.constrained_layout.hspace": 0.06,
    "text.hinting": "none",  # letters stand in the PNG where they stand in the PDF
    "pdf.fonttype": 42,  # TrueType: text stays text, which journals ask for
    "savefig.dpi": 150,
}
PLACED: Any = RC | {"figure.constrained_layout.use": False}
"""Settings for figures that place everything by themselves, in inches."""


def model_style(number: int) -> dict[str, Any]:
    """Colour and marker of the ``number``-th model (from 0); the white edge separates points on one line."""
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    return {"color": colour, "marker": marker, "markeredgecolor": "white", "markeredgewidth": 0.4}


def grid(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure with a grid of ``panels`` axes, each about 2 by 2.2 inches; call it within ``plt.rc_context(RC)``.

    A row has :data:`COLUMNS` panels, or one more if the last panel would otherwise have a row to itself.
    """
    columns = COLUMNS + (panels > COLUMNS and panels % COLUMNS == 1)
    rows = -(-panels // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(13, 2.3 * rows + 0.5), squeeze=False)
    for unused in axes.flat[panels:]:
        unused.set_axis_off()
    return figure, list(axes.flat[:panels])


def column(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure with ``panels`` axes one above the other that share their x and y axes; call it as :func:`grid`."""
    figure, axes = plt.subplots(panels, 1, figsize=(6, 1.9 * panels + 0.5), squeeze=False, sharex=True, sharey=True)
    return figure, list(axes.flat)


def save(figure: Figure, paths: Iterable[str | Path]) -> None:
    """Save a figure atomically as PDF (vector, fonts embedded) or PNG (150 dpi), by suffix.

    The files have no dates, so equal figures have equal bytes, and Snakemake reruns nothing that uses them.

    Raises:
        UserError: a path has another suffix.
    """
    metadata: dict[str, Any] = {".pdf": {"CreationDate": None}, ".png": {"Software": None}}
    for path in map(Path, paths):
        if path.suffix not in metadata:
            raise UserError(f"{path}: a figure is saved as {' or '.join(metadata)}")
        with replacing(path) as partial:
            figure.savefig(partial, format=path.suffix[1:], metadata=metadata[path.suffix])
    plt.close(figure)


def empty(axes: Axes, text: str) -> None:
    """Show a text in a panel without data."""
    axes.set(xticks=[], yticks=[])
    axes.spines[["left", "bottom"]].set_color("0.8")
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED)


def whole_ticks(axes: Axes, values: Sequence[int]) -> None:
    """Set the ticks of the x axis to these whole numbers only."""
    axes.set_xticks(list(values), labels=[str(value) for value in values])
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
