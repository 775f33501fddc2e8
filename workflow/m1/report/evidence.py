"""The numbers that claims are computed from: those of the paper's own tables or of this run, at the same addresses.

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

A cell is an array. Its first row is the estimate; the other rows, if any, are bootstrap draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from m1.report.scores import accuracies, rows_at_best, rows_of_model
from m1.report.settings import LARGEST, Shown
from m1.report.statistics import generator

DRAWS = 2_000
"""Number of bootstrap draws of every accuracy."""
CORRELATION = 0.8
"""Assumed correlation of one model's answers to a question at two budgets, for the paper's Figure 1, whose single
answers are not published. If budgets of 4,096 and 8,192 tokens do not differ, the changes between them in the figure
give 0.78 (:func:`correlation`)."""


class LackingError(LookupError):
    """A cell does not exist; the text says which."""


@dataclass
class Evidence:
    """Cells by address, and where they come from."""

    cells: dict[str, np.ndarray]
    benchmarks: int  # of the paper, in each row
    published: frozenset[str] = frozenset()  # addresses of cells that a run lacks; the paper's take their place
    departures: Mapping[str, str] = field(default_factory=dict)  # address to how a training departs from the paper's
    used: set[str] = field(default_factory=set)  # addresses that have been read

    def __getitem__(self, address: str) -> np.ndarray:
        """The cell at an address, with 1 + draws rows and a column per benchmark; a :class:`LackingError` if there is
        none."""
        if address not in self.cells:
            raise LackingError(f"no {address}")
        self.used.add(address)
        return self.cells[address]

    def below(self, address: str) -> dict[str, np.ndarray]:
        """The cells whose addresses begin with ``{address}/``, by the rest of the address, in order; a
        :class:`LackingError` if there are none."""
        start = f"{address}/"
        found = {name.removeprefix(start): self[name] for name in self.cells if name.startswith(start)}
        if not found:
            raise LackingError(f"nothing of {address}")
        return found


def correlation(points: pd.DataFrame, sizes: Mapping[str, int], first: int, second: int) -> float:
    """The correlation of answers at two budgets (tokens) that explains the changes between them as chance alone.

    Two budgets with equal accuracy p differ by chance with variance 2 p (1 - p) (1 - correlation) / n. ``points`` has
    ``model``, ``column``, ``budget``, ``accuracy`` (%); ``sizes`` has the number of questions of each column.
    """
    wide = points.pivot(index=["model", "column"], columns="budget", values="accuracy")[[first, second]].dropna() / 100
    n, p = wide.index.get_level_values("column").map(sizes).to_numpy(), wide.mean(axis=1)
    return float(1 - ((wide[second] - wide[first]) ** 2 / (2 * p * (1 - p) / n)).mean())


def draw_points(
    accuracy: np.ndarray, n: np.ndarray, random: np.random.Generator, shared: float = CORRELATION
) -> np.ndarray:
    """Draw one model's accuracies at several budgets, by the normal approximation of the binomial.

    Args:
        accuracy: in %, budgets by benchmarks.
        n: number of questions of each benchmark.
        random: source of the draws.
        shared: correlation of the answers to a question at two budgets.

    Returns:
        Accuracies in %, :data:`DRAWS` by budgets by benchmarks.
    """
    p = accuracy / 100
    common = random.standard_normal((DRAWS, 1, len(n)))
    noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * random.standard_normal((DRAWS, *accuracy.shape))
    return 100 * (p + noise * np.sqrt(p * (1 - p) / n))


def fill_hidden(points: pd.DataFrame, columns: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The points of Figure 1 by model: accuracy (%), budgets by columns. A point that another mark hides is
    interpolated between its neighbours, linearly in log2 of the budget; at the end of a curve it equals its
    neighbour."""
    filled = {}
    for model, rows in points.groupby("model", sort=False):
        wide = rows.pivot(index="budget", columns="column", values="accuracy")[list(columns)]
        doublings = np.log2(wide.index.to_numpy())
        for column in columns:
            there = wide[column].notna().to_numpy()
            wide[column] = np.interp(doublings, doublings[there], wide[column][there])
        filled[str(model)] = wide
    return filled


def published(paper: Mapping[str, pd.DataFrame], seed: int) -> Evidence:
    """The paper's own numbers, from the tables of that name in ``resources/paper``; ``benchmarks`` holds only those
    that accuracies are wanted for."""
    columns, n = list(paper["benchmarks"]["column"]), paper["benchmarks"]["n"].to_numpy()
    cells = {}
    for name in ("table1", "table2"):
        table = paper[name]
        for group, row, *_ in table.itertuples(index=False):
            chosen = (table.iloc[:, 0] == group) & (table.iloc[:, 1] == row)
            accuracy = table.loc[chosen, columns].to_numpy(float)
            drawn = 100 * generator(seed, name, group, row).binomial(n, accuracy / 100, (DRAWS, len(n))) / n
            cells[f"{name}/{group}/{row}"] = np.vstack([accuracy, drawn])
    for model, wide in fill_hidden(paper["figure1"], columns).items():
        drawn = draw_points(wide.to_numpy(), n, generator(seed, "figure1", model))
        for place, budget in enumerate(wide.index):
            cells[f"figure1/{model}/{budget}"] = np.vstack([wide.to_numpy()[place], drawn[:, place]])
    thinking = paper["lengths"][paper["lengths"]["part"] == "thinking"].drop(columns="part")
    cells |= count_cells(paper["table3"]) | size_cells(dict(zip(columns, n))) | length_cells(thinking)
    return Evidence(cells, len(columns))


def of_run(scores: pd.DataFrame, shown: Shown, benchmarks: pd.DataFrame, paper: Evidence | None) -> Evidence:
    """This run's numbers at the paper's addresses, without those that :func:`count_cells` and :func:`length_cells` take
    from other results. Each draw uses the same questions for all cells. Rows of Table 1 are at the budgets that the
    published rule chooses.

    Args:
        scores: from :func:`m1.report.scores.read_scores`, with ``thinking_tokens``.
        shown: what the report shows.
        benchmarks: ``key`` and ``column`` of those of the paper's benchmarks that this run has.
        paper: the published numbers for these benchmarks, which stand in for baselines that this run lacks; None where
            this run's models say nothing about them.
    """
    keys = list(benchmarks["key"])
    wide = {key: _outcomes(scores[scores["benchmark"] == key], shown) for key in keys}
    drawn = {key: draw_questions(one, generator(shown.seed, "claims", key)) for key, one in wide.items()}

    def cell(columns: Sequence[Column]) -> np.ndarray | None:
        """The cell of the given column of each benchmark; None where a benchmark lacks its column."""
        if any(column not in wide[key].columns for key, column in zip(keys, columns)):
            return None
        return np.stack([drawn[key][:, wide[key].columns.get_loc(one)] for key, one in zip(keys, columns)], axis=1)

    found = accuracies(scores)
    wanted: dict[str, Sequence[Column]] = {}
    for name, rows in shown.accuracy_tables.items():
        for row in (row for row in rows if row.published):
            best = rows_at_best(rows_of_model(found, row.model), row.published_budgets)["budget"]
            chosen = [(row.model, int(best.get(key, -1)), 0, "correct") for key in keys]
            wanted[f"{name}/{row.group}/{row.published}"] = chosen
    for model in (model for model in shown.figure_models if model.published):
        same: dict[str, Column] = {
            f"figure1/{model.published}/{budget}": (model.key, budget, 0, "correct")
            for budget in shown.budgets
            if budget <= LARGEST
        }
        for count in shown.forced:
            same[f"figure3/{model.published}/{count}"] = (model.key, shown.forced_budget, count, "correct")
        most = max(shown.forced)
        for turn in ("lost", "won") if most else ():
            same[f"turns/{model.published}/{turn}"] = (model.key, shown.forced_budget, most, turn)
        same[f"thinking/{model.published}"] = (model.key, max(shown.budgets), 0, "tokens")
        wanted |= {address: [column] * len(keys) for address, column in same.items()}
    cells = {address: one for address, columns in wanted.items() if (one := cell(columns)) is not None}
    taken = {}
    if paper is not None:
        baselines = {
            name: one for name, one in paper.cells.items() if name.startswith("table1/") and "/m1-" not in name
        }
        taken = {name: one for name, one in baselines.items() if name not in cells}
    departing = shown.departures
    departures = {name: departing[one[0][0]] for name, one in wanted.items() if one[0][0] in departing}
    return Evidence(cells | taken, len(keys), frozenset(taken), departures)


Column = tuple[str, int, int, str]
"""Model, budget, forced count, and what is counted: ``correct``, ``lost``, ``won`` or ``tokens``."""


def _outcomes(scores: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """The outcomes of one benchmark, questions by :data:`Column`: 1.0 or 0.0. ``lost`` and ``won`` compare the largest
    forced count with none, and are NaN for a question with nothing to lose or win. ``tokens`` are in hundreds, because
    every column is multiplied by 100 later."""
    settings = ["model", "budget", "forced"]
    columns = {
        (model, int(budget), int(forced), "correct"): one.set_index("question_id")["correct"].astype(float)
        for (model, budget, forced), one in scores.groupby(settings)
    }
    for model in shown.figures:
        plain = columns.get((model, shown.forced_budget, 0, "correct"))
        forced = columns.get((model, shown.forced_budget, max(shown.forced), "correct"))
        if plain is not None and forced is not None:
            here = (model, shown.forced_budget, max(shown.forced))
            columns[*here, "lost"] = (1 - forced).where(plain == 1)
            columns[*here, "won"] = forced.where(plain == 0)
        budget = max(shown.budgets)
        at_most = scores[(scores["model"] == model) & (scores["budget"] == budget) & (scores["forced"] == 0)]
        if len(at_most):
            columns[model, budget, 0, "tokens"] = at_most.set_index("question_id")["thinking_tokens"] / 100
    table = pd.DataFrame(dict(enumerate(columns.values())))
    return table.set_axis(pd.Index(list(columns), tupleize_cols=False), axis=1)


def count_cells(counts: pd.DataFrame) -> dict[str, np.ndarray]:
    """Numbers of questions by address, from Table 3, without its columns of published counts."""
    own = [column for column in counts.columns[1:] if not column.endswith(" published")]
    return _single({f"table3/{row['Dataset']}/{name}": row[name] for row in counts.to_dict("records") for name in own})


def length_cells(lengths: pd.DataFrame) -> dict[str, np.ndarray]:
    """Tokens of training samples by address."""
    rows = lengths.set_index("subset").to_dict("index")
    return _single({f"lengths/{subset}/{name}": value for subset, row in rows.items() for name, value in row.items()})


def size_cells(sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Number of questions of each benchmark, by address."""
    return _single({f"benchmarks/{column}": size for column, size in sizes.items()})


def _single(values: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Cells without draws."""
    return {address: np.array([[float(value)]]) for address, value in values.items()}


def draw_questions(correct: pd.DataFrame, random: np.random.Generator) -> np.ndarray:
    """One benchmark's accuracies (%) with its questions drawn again with replacement, the same draw for every column.

    ``correct`` has questions by columns: 1.0, 0.0, or NaN without an answer. The result has 1 + :data:`DRAWS` rows, the
    estimate first.
    """
    values = correct.to_numpy(float)
    n = len(values)
    weights = np.vstack([np.ones(n), random.multinomial(n, np.full(n, 1 / n), DRAWS)])
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return 100 * (weights @ np.where(there, values, 0)) / (weights @ there)
