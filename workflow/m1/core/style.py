"""The look of every figure: fonts, colours, the grid of panels, and how a figure is saved."""

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
"""One more than there are colours, so that pairs of both repeat only after 56 models."""
MUTED = "0.4"  # grey of what is not data; it has a contrast of 5.7 to 1 on white
WIDTH = 3.3
"""Inches: a column of the paper. Figures are drawn at this size, so that no font is smaller in print than here."""
COLUMNS = 3
"""Panels side by side: ten benchmarks, their average and the legend of Figures 1 and 3 fill four rows."""

RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that the bytes are the same everywhere
    "font.size": 6.5,
    "axes.titlesize": 6.5,
    "axes.titlepad": 3,
    "axes.labelsize": 7,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.4,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "xtick.major.pad": 1.5,
    "ytick.major.pad": 1.5,
    "lines.linewidth": 0.9,
    "lines.markersize": 3,
    "legend.frameon": False,
    "legend.fontsize": 6,
    "legend.handlelength": 1.6,
    "legend.handletextpad": 0.5,
    "figure.labelsize": 7,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.01,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.wspace": 0.0,
    "figure.constrained_layout.hspace": 0.03,
    "text.hinting": "none",  # letters stand in the PNG where they stand in the PDF
    "pdf.fonttype": 42,  # TrueType: text stays text, which journals ask for
    "savefig.dpi": 200,
}
PLACED: Any = RC | {"figure.constrained_layout.use": False}
"""For figures that place everything by themselves, in inches."""


def model_style(number: int) -> dict[str, Any]:
    """Colour and marker of the ``number``-th model in every panel. The marker tells models apart in grey; its white
    edge keeps the points of a line apart."""
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    return {"color": colour, "marker": marker, "markeredgecolor": "white", "markeredgewidth": 0.3}


def grid(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure with ``panels`` axes, at most :data:`COLUMNS` side by side. Made within ``plt.rc_context(RC)``."""
    columns = min(COLUMNS, panels)
    rows = -(-panels // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 1.25 * rows + 0.3), squeeze=False)
    for unused in axes.flat[panels:]:
        unused.set_axis_off()
    return figure, list(axes.flat[:panels])


def column(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure with ``panels`` axes one above the other over one x and one y axis, made as by :func:`grid`."""
    size = (WIDTH, 1.2 * panels + 0.4)
    figure, axes = plt.subplots(panels, 1, figsize=size, squeeze=False, sharex=True, sharey=True)
    return figure, list(axes.flat)


def save(figure: Figure, paths: Iterable[str | Path]) -> None:
    """Save as PDF (vector, fonts embedded) or PNG (200 dpi), by suffix; atomic, and the same bytes each time."""
    metadata: dict[str, Any] = {".pdf": {"CreationDate": None}, ".png": {"Software": None}}
    for path in map(Path, paths):
        if path.suffix not in metadata:
            raise UserError(f"{path}: a figure is saved as {' or '.join(metadata)}")
        with replacing(path) as partial:
            figure.savefig(partial, format=path.suffix[1:], metadata=metadata[path.suffix])
    plt.close(figure)


def empty(axes: Axes, text: str) -> None:
    """A panel without data says so."""
    axes.set(xticks=[], yticks=[])
    axes.spines[["left", "bottom"]].set_color("0.8")
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED)


def whole_ticks(axes: Axes, values: Sequence[int]) -> None:
    """Ticks of the x axis at these whole numbers and nowhere else."""
    axes.set_xticks(list(values), labels=[str(value) for value in values])
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
