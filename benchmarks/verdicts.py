"""How often does each verdict of compare.csv come, when the truth is known? Simulates reproductions of Table 1.

    python benchmarks/verdicts.py                 # the tables of docs/statistics.md, in Markdown

Each simulated row has the ten benchmarks at their published n, with the accuracies of m1-7B-23K as the truth of the
published side, and this side off by a number of points. The other 24 rows of the table are simulated as equal, for
Holm's correction. With paired answers, both sides' answers to a question correlate by :data:`CORRELATION`. Tests and
verdicts are the package's own (m1.report.statistics, m1.report.compare).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from m1.report import compare  # noqa: E402
from m1.report.settings import Margins  # noqa: E402
from m1.report.statistics import Difference, average, holm, paired, unpaired  # noqa: E402

PAPER = ROOT / "resources" / "paper"
CORRELATION = 0.6
"""Of two trainings' answers to one question, assumed: one model's at two budgets go together by some 0.8 (claims.csv),
another training's less."""
OTHERS = 264  # lines of Table 1 in the other 24 rows
VERDICTS = (compare.REPRODUCED, compare.DIFFERS, compare.CANNOT_TELL)


def outcomes(
    share: np.ndarray, other: np.ndarray, n: np.ndarray, times: int, correlation: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts of questions that both sides, only this one and only the other answer correctly.

    Args:
        share: this side's probabilities by benchmark.
        other: the other side's.
        n: questions by benchmark.
        times: simulated rows.
        correlation: of the sides' answers to a question.

    Returns:
        Three arrays of ``times`` by benchmarks.
    """
    both = share * other + correlation * np.sqrt(share * (1 - share) * other * (1 - other))
    both = np.minimum(both, np.minimum(share, other))
    chances = np.stack([both, share - both, other - both, 1 - share - other + both], axis=-1)
    found = random.multinomial(n, chances, (times, len(n)))
    return found[..., 0], found[..., 1], found[..., 2]


def simulate(shift: float, pairs: bool, times: int, margins: Margins, seed: int) -> pd.DataFrame:
    """Verdicts of simulated rows.

    Args:
        shift: points by which this side is off.
        pairs: whether single answers of both sides are known.
        times: rows.
        margins: of the verdicts.
        seed: of all of it.

    Returns:
        A line for each row's benchmark, and its average: ``row``, ``benchmark``, ``n``, ``verdict``.
    """
    random = np.random.default_rng(seed)
    keys, other, n = published_row()
    share = np.clip(other + shift / 100, 0, 1)
    both, ours, theirs = outcomes(share, other, n, times, CORRELATION if pairs else 0.0, random)
    wide = np.broadcast_to(n, both.shape)
    cells = (
        paired(ours, theirs, wide, margins.cell)
        if pairs
        else unpaired(both + ours, wide, both + theirs, wide, margins.cell)
    )
    each = [Difference(**_fields(cells, place)) for place in range(len(n))]
    lines = [*each, average(each, int(n.sum()), margins.average)]
    p = np.stack([line.p for line in lines], axis=1)
    p_holm = np.stack([holm([*row, *random.random(OTHERS)])[: len(lines)] for row in p], axis=1)
    names, sizes = [*keys, "average"], [*n, n.sum()]
    parts = []
    for line, name, size, corrected in zip(lines, names, sizes, p_holm, strict=True):
        margin = margins.average if name == "average" else margins.cell
        beside = {"benchmark": name, "n": size, "margin": margin, "p_holm": corrected, "why": ""}
        parts.append(pd.DataFrame({"row": range(times), **vars(line), **beside}))
    found = pd.concat(parts, ignore_index=True)
    found["verdict"] = [compare.verdict(line)[0] for line in found.to_dict("records")]
    return found[["row", "benchmark", "n", "verdict"]]


def _fields(cells: Difference, place: int) -> dict[str, Any]:
    """The fields of one benchmark's differences, of arrays of rows by benchmarks."""
    return {name: value[:, place] if isinstance(value, np.ndarray) else value for name, value in vars(cells).items()}


def published_row() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Keys of the benchmarks, the accuracies (0 to 1) of m1-7B-23K on them, and their published n."""
    benchmarks = pd.read_csv(PAPER / "benchmarks.csv")
    row = pd.read_csv(PAPER / "table1.csv").set_index("model").loc["m1-7B-23K", list(benchmarks["column"])]
    return list(benchmarks["key"]), row.to_numpy(float) / 100, benchmarks["n"].to_numpy()


def rates(found: pd.DataFrame) -> pd.DataFrame:
    """Share of each verdict (%) by benchmark, in the order of n, the average last."""
    shares = pd.crosstab([found["n"], found["benchmark"]], found["verdict"], normalize="index") * 100
    return shares.reindex(columns=list(VERDICTS), fill_value=0.0)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1000, help="simulated rows for each shift")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args(argv)
    for pairs in (False, True):
        print(f"\n{'Paired' if pairs else 'Unpaired'}, % reproduced / differs / cannot tell:\n")
        columns = {}
        for shift in (0, -2, -5):
            found = rates(simulate(shift, pairs, options.times, Margins(average=2, cell=3), options.seed))
            columns[shift] = [" / ".join(f"{value:.0f}" for value in line) for line in found.to_numpy()]
        print("| n | benchmark | equal | 2 points off | 5 points off |\n|---|---|---|---|---|")
        for number, (n, key) in enumerate(found.index):
            print(f"| {n:,} | {key} | " + " | ".join(columns[shift][number] for shift in columns) + " |")


if __name__ == "__main__":
    main()
