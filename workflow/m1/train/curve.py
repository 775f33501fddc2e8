"""Draw the loss curve of a training from its log, also while it runs (``scratch/train/{model}/…/log.jsonl``)."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from m1.core import style
from m1.core.errors import UserError, run
from m1.train.checkpoints import losses


def draw(log: Path, title: str, output: Path) -> None:
    """Draw loss and learning rate by step, of a log of JSON lines with ``step``, ``loss`` and ``learning_rate``.

    Raises:
        UserError: the log has no loss yet.
    """
    import matplotlib.pyplot as plt

    lines = losses(log)
    if not lines:
        raise UserError(f"{log}: no loss is logged yet; wait for the first steps")
    steps = [line["step"] for line in lines]
    with plt.rc_context(style.RC):
        figure, axes = plt.subplots(figsize=(5.5, 3))
        axes.plot(steps, [line["loss"] for line in lines], color=style.COLOURS[0], label="loss")
        axes.set(title=title, xlabel="step", ylabel="loss (nats a token)", ylim=(0, None), xlim=(0, None))
        rate = axes.twinx()
        rate.plot(steps, [line["learning_rate"] for line in lines], color=style.MUTED, linewidth=0.8, linestyle="--")
        rate.set(ylabel="learning rate (dashed)", ylim=(0, None))
        rate.grid(False)
        rate.spines["right"].set_visible(True)
        rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        style.save(figure, [output])


def main(argv: Sequence[str] | None = None) -> None:
    """Draw one curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", required=True, type=Path, help="log.jsonl of a training")
    parser.add_argument("--title", required=True, help="title of the figure")
    parser.add_argument("--output", required=True, type=Path, help="figure to write, PNG or PDF")
    arguments = parser.parse_args(argv)
    draw(arguments.log, arguments.title, arguments.output)


if __name__ == "__main__":
    run(main)
