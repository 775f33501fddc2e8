"""Figure 8a: the lengths of the training samples in tokens of the model's own tokenizer, with their quartiles (A,
"Token length statistics").

The count covers what the loss covers: the assistant's turn as :func:`m1.core.chat.assistant_text` forms it (markers,
thinking, answer) and the token that ends it, but not the question. The table also has what the authors printed of all
their traces, for thinking and answer separately.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from m1.core import records, style
from m1.core.chat import TurnTokens, assistant_text
from m1.core.errors import UserError, run
from m1.core.pretrained import load
from m1.core.progress import Progress, say
from m1.core.records import Sample
from m1.core.tokens import encode, guard, is_guarded
from m1.report.files import FIGURE, parser, read_csv, write_csv, write_step_manifest
from m1.report.paragraphs import label_below
from m1.report.settings import Shown

BATCH = 500  # samples encoded at a time; the tokenizer spreads them over the cores
QUARTILES = (25, 50, 75)
MAX_BINS = 60


def token_lengths(tokenizer: Any, samples: Sequence[Sample], title: str) -> np.ndarray:
    """Tokens of each sample's assistant turn, including the token that ends it, by a fast Hugging Face tokenizer;
    ``title`` is that of the progress line."""
    # The backend gives the same tokens as the tokenizer in two thirds of the time, because it computes no offsets.
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    marks = TurnTokens.from_tokenizer(tokenizer)
    lengths: list[int] = []
    with Progress(title, len(samples), "samples") as progress:
        for start in range(0, len(samples), BATCH):
            pairs = [(guard(tokenizer, s.thinking), guard(tokenizer, s.answer)) for s in samples[start : start + BATCH]]
            texts = [assistant_text(thinking, answer, marks) for thinking, answer in pairs]
            found = zip(texts, backend.encode_batch_fast(texts, add_special_tokens=False))
            lengths += [len(encode(tokenizer, text) if is_guarded(text) else ids) for text, ids in found]
            progress.advance(len(texts))
    return np.array(lengths, dtype=np.int64)


def summary(lengths: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """One row for each subset: subset, n, and in tokens mean, 25 %, 50 %, 75 %, 95 % (interpolated) and max."""
    rows = []
    for subset, found in lengths.items():
        quantiles = {f"{percent} %": np.percentile(found, percent) for percent in (*QUARTILES, 95)}
        rows.append({"subset": subset, "n": len(found), "mean": found.mean(), **quantiles, "max": found.max()})
    return pd.DataFrame(rows)


def paper_lines(published: pd.DataFrame) -> pd.DataFrame:
    """What the authors printed, as lines of :func:`summary`. They give thinking and answer separately, and no 95 %
    quantile."""
    names = "the paper's " + published["subset"] + ", " + published["part"]
    return published.drop(columns=["part", "std", "min"]).assign(subset=names)


def bin_edges(lengths: Mapping[str, np.ndarray]) -> np.ndarray:
    """Edges in tokens, the same for all subsets: from 0 in steps of 1, 2 or 5 times a power of ten.

    There are at most :data:`MAX_BINS` bins, and fewer where the largest subset is small.
    """
    longest = max(found.max() for found in lengths.values())
    bins = min(MAX_BINS, max(10, 2 * int(max(len(found) for found in lengths.values()) ** 0.5)))
    step = next(s for power in range(9) for s in (10**power, 2 * 10**power, 5 * 10**power) if s * bins > longest)
    return np.arange(0, longest + step + 1, step)


def draw(lengths: Mapping[str, np.ndarray], note: str) -> Figure:
    """Figure 8a: a histogram of each subset over one axis of tokens, with the quartiles as dotted lines, and a note at
    the foot. There is at least one subset, and none is empty."""
    edges = bin_edges(lengths)
    figure, panels = style.column(len(lengths))
    for number, (axes, (subset, found)) in enumerate(zip(panels, lengths.items())):
        share = np.full(len(found), 100 / len(found))
        axes.hist(found, bins=list(edges), weights=share, color=style.COLOURS[number % len(style.COLOURS)], alpha=0.75)
        axes.set_title(f"{subset} (n = {len(found):,})")
        axes.set_axisbelow(True)
        _mark_quartiles(axes, found, edges[-1])
    # All panels share the limits. The room above the bars is for the quartiles' names.
    panels[0].set(xlim=(0, edges[-1]), ylim=(0, 1.5 * panels[0].get_ylim()[1]))
    panels[0].locator_params(axis="y", nbins=5)
    panels[0].xaxis.set_major_formatter("{x:,.0f}")
    label_below(figure, "thinking and answer (tokens)", note)
    figure.supylabel("samples (%)")
    return figure


def _mark_quartiles(axes: Axes, found: np.ndarray, end: float) -> None:
    """Lines with a name at their tops. The tops fall towards the emptier side, so that no name meets another line."""
    right = np.percentile(found, 75) < 0.8 * end
    aside: dict[str, Any] = {"xytext": (3 if right else -3, 0), "ha": "left" if right else "right"}
    aside |= {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top", "fontsize": 6}
    for percent, height in zip(QUARTILES, (0.96, 0.86, 0.76) if right else (0.76, 0.86, 0.96)):
        tokens = np.percentile(found, percent)
        axes.axvline(tokens, ymax=height, color="black", linestyle=":", linewidth=0.9, alpha=0.5)
        axes.annotate(f"{percent} %: {tokens:,.0f}", (tokens, height), **aside)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the lengths of the subsets and write their quartiles."""
    command = parser(
        __doc__,
        "shown",
        "manifest",
        tokenizer={"type": Path, "help": "folder of the model's tokenizer"},
        published="resources/paper/lengths.csv: what the authors printed of theirs",
        output=FIGURE,
        table="CSV to write: n, mean, quartiles, 95 %% and max of each subset, in tokens",
    )
    options = command.parse_args(argv)
    shown = Shown.load(options.shown)
    subsets = {subset.label: records.read(options.shown.parent / subset.file, Sample) for subset in shown.figure8a}
    optional = {subset.label for subset in shown.figure8a if subset.optional}
    subsets = {label: samples for label, samples in subsets.items() if samples or label not in optional}
    if empty := ", ".join(label for label, samples in subsets.items() if not samples):
        raise UserError(f"no sample in {empty}, so its lengths cannot be drawn.")
    if not (options.tokenizer / "tokenizer.json").is_file():
        lacking = "no tokenizer here (tokenizer.json is missing)"
        raise UserError(f"{options.tokenizer}: {lacking}. Check `bases` in the config.")
    from transformers import AutoTokenizer  # takes a second, so it waits until the inputs are known to be right

    tokenizer = load(AutoTokenizer, options.tokenizer)
    lengths = {label: token_lengths(tokenizer, samples, f"figure8a {label}") for label, samples in subsets.items()}
    table = summary(lengths)
    published = paper_lines(read_csv(options.published, ["subset", "part"]))
    with style.plt.rc_context(style.RC):
        style.save(draw(lengths, shown.note), options.output)
    write_csv(pd.concat([table, published]), options.table, fraction="{:.1f}")
    medians = ", ".join(f"{row['subset']} {row['50 %']:,.0f}" for row in table.to_dict("records"))
    write_step_manifest(options)
    say("figure8a", f"{table['n'].sum():,} samples -> {', '.join(options.output)}; median tokens: {medians}")


if __name__ == "__main__":
    run(main)
