"""What claims are computed from: the paper's own tables, or this run's results, at the same addresses.

=============================================== ===================================================================
address                                         cell
=============================================== ===================================================================
``table1/<10B LLMs/m1-7B-23K``, ``table2/…``    accuracies (%) of a row, one for each benchmark
``figure1/m1-7B-1K/4096``, ``figure3/…/2``      accuracies at a thinking budget (tokens), at a forced count
``turns/m1-7B-1K/lost``, ``…/won``              % of correct answers that forcing makes incorrect, and the reverse
``thinking/m1-7B-1K``                           mean tokens of thinking at the largest budget
``table3/Initial collection/MedMCQA``           questions
``benchmarks/MedMC``                            questions
``lengths/m23K/50 %``                           tokens of training samples
=============================================== ===================================================================

A cell is an array: its first row is the estimate, the others are bootstrap draws (of one row where nothing is drawn).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from m1.report.statistics import generator

DRAWS = 2_000
"""Bootstrap draws of every accuracy."""
CORRELATION = 0.8
"""Of one model's answers to a question at two budgets, assumed for the paper's Figure 1, whose single answers are not
known. It is what the figure's own changes from 4,096 to 8,192 tokens say if these budgets do not differ
(:func:`correlation`; 0.78)."""


class LackingError(LookupError):
    """There is no such cell; the text says which."""


@dataclass
class Evidence:
    """Cells by address, and what there is to say of them."""

    cells: dict[str, np.ndarray]
    benchmarks: int
    """How many of the paper's benchmarks each row has."""
    published: frozenset[str] = frozenset()
    """Addresses of the cells of a run that are taken from the paper, as the run lacks them."""
    used: set[str] = field(default_factory=set)
    """Addresses that were asked for."""

    def __getitem__(self, address: str) -> np.ndarray:
        """The cell: 1 + draws by benchmarks.

        Raises:
            LackingError: there is none.
        """
        if address not in self.cells:
            raise LackingError(f"no {address}")
        self.used.add(address)
        return self.cells[address]

    def below(self, address: str) -> dict[str, np.ndarray]:
        """The cells below an address, by the rest of theirs, in their order.

        Raises:
            LackingError: there are none.
        """
        start = f"{address}/"
        found = {name.removeprefix(start): self[name] for name in self.cells if name.startswith(start)}
        if not found:
            raise LackingError(f"nothing of {address}")
        return found


def correlation(points: pd.DataFrame, sizes: Mapping[str, int], first: int, second: int) -> float:
    """Correlation of answers at two budgets that would make the changes between them, if the budgets did not differ.

    Two budgets with equal accuracy p differ by chance with variance 2 p (1 - p) (1 - correlation) / n.

    Args:
        points: ``model``, ``column``, ``budget`` (tokens), ``accuracy`` (%).
        sizes: column to its number of questions.
        first: a budget.
        second: another one.
    """
    wide = points.pivot(index=["model", "column"], columns="budget", values="accuracy")[[first, second]].dropna() / 100
    n, p = wide.index.get_level_values("column").map(sizes).to_numpy(), wide.mean(axis=1)
    return float(1 - ((wide[second] - wide[first]) ** 2 / (2 * p * (1 - p) / n)).mean())


def draw_points(
    accuracy: np.ndarray, n: np.ndarray, random: np.random.Generator, shared: float = CORRELATION
) -> np.ndarray:
    """Draws of one model's accuracies (%) at several budgets, whose answers go together.

    Args:
        accuracy: budgets by benchmarks, in %.
        n: questions of each benchmark.
        shared: correlation of the answers to a question at two budgets.

    Returns:
        :data:`DRAWS` by budgets by benchmarks, by the normal approximation of the binomial.
    """
    p = accuracy / 100
    common = random.standard_normal((DRAWS, 1, len(n)))
    noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * random.standard_normal((DRAWS, *accuracy.shape))
    return 100 * (p + noise * np.sqrt(p * (1 - p) / n))


def fill_hidden(points: pd.DataFrame, columns: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The points of Figure 1 by model: accuracy (%), budgets by columns.

    A point that is hidden behind another mark lies on the line between its neighbours on log2 of the budget; at the
    end of a curve it is as its neighbour.
    """
    filled = {}
    for model, rows in points.groupby("model", sort=False):
        wide = rows.pivot(index="budget", columns="column", values="accuracy")[list(columns)]
        doublings = np.log2(wide.index.to_numpy())
        for column in columns:
            there = wide[column].notna().to_numpy()
            wide[column] = np.interp(doublings, doublings[there], wide[column][there])
        filled[str(model)] = wide
    return filled


def published(
    tables: Mapping[str, pd.DataFrame],
    points: pd.DataFrame,
    counts: pd.DataFrame,
    lengths: pd.DataFrame,
    benchmarks: pd.DataFrame,
    seed: int,
) -> Evidence:
    """The paper's own numbers.

    Args:
        tables: Tables 1 and 2 by name: group, row, accuracies (%) by column.
        points: of Figure 1: ``model``, ``column``, ``budget``, ``accuracy``.
        counts: Table 3.
        lengths: tokens of training samples: ``subset``, ``part``, then statistics.
        benchmarks: ``key``, ``column``, ``n``; those that the cells are of.
        seed: of the draws.
    """
    columns, n = list(benchmarks["column"]), benchmarks["n"].to_numpy()
    cells = {}
    for name, table in tables.items():
        for group, row, *_ in table.itertuples(index=False):
            chosen = (table.iloc[:, 0] == group) & (table.iloc[:, 1] == row)
            accuracy = table.loc[chosen, columns].to_numpy(float)
            drawn = 100 * generator(seed, name, group, row).binomial(n, accuracy / 100, (DRAWS, len(n))) / n
            cells[f"{name}/{group}/{row}"] = np.vstack([accuracy, drawn])
    for model, wide in fill_hidden(points, columns).items():
        drawn = draw_points(wide.to_numpy(), n, generator(seed, "figure1", model))
        for place, budget in enumerate(wide.index):
            cells[f"figure1/{model}/{budget}"] = np.vstack([wide.to_numpy()[place], drawn[:, place]])
    cells |= _single(count_cells(counts))
    cells |= _single({f"benchmarks/{column}": size for column, size in zip(columns, n)})
    thinking = lengths[lengths["part"] == "thinking"].drop(columns="part")
    cells |= _single(length_cells(thinking))
    return Evidence(cells, len(columns))


def count_cells(counts: pd.DataFrame) -> dict[str, float]:
    """Questions by address, from Table 3; columns with the published counts beside are left out."""
    own = [column for column in counts.columns[1:] if not column.endswith(" published")]
    return {f"table3/{row['Dataset']}/{name}": row[name] for row in counts.to_dict("records") for name in own}


def length_cells(lengths: pd.DataFrame) -> dict[str, float]:
    """Tokens of training samples by address."""
    rows = lengths.set_index("subset").to_dict("index")
    return {f"lengths/{subset}/{name}": value for subset, row in rows.items() for name, value in row.items()}


def _single(values: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Cells without draws."""
    return {address: np.array([[float(value)]]) for address, value in values.items()}


def draw_questions(correct: pd.DataFrame, random: np.random.Generator) -> np.ndarray:
    """One benchmark's accuracies (%) with its questions drawn anew, with replacement, the same ones for every column.

    Args:
        correct: 1.0, 0.0, or NaN for a question without an answer; questions by columns.

    Returns:
        1 + :data:`DRAWS` by columns, the estimate first.
    """
    values = correct.to_numpy(float)
    n = len(values)
    weights = np.vstack([np.ones(n), random.multinomial(n, np.full(n, 1 / n), DRAWS)])
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return 100 * (weights @ np.where(there, values, 0)) / (weights @ there)


def stack(parts: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Each column of several benchmarks' draws as one cell: 1 + draws by benchmarks."""
    for place in range(parts[0].shape[1]):
        yield np.stack([part[:, place] for part in parts], axis=1)
