"""Rows of Tables 1 and 2 whose model was trained with several seeds: the mean over seeds, with an interval that covers
the choice of both questions and seeds (docs/statistics.md)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

from m1.report.paired import outcomes
from m1.report.scores import accuracies, rows_at_best, rows_of_model
from m1.report.settings import AccuracyRow
from m1.report.statistics import LEVEL, Difference, generator

DRAWS = 10_000
TEST = "hierarchical bootstrap"
LEAST = 1e-100  # smaller chances count as 0, because the search for them works on their logarithm


@dataclass(frozen=True)
class Mean:
    """A mean over questions and seeds, with a bootstrap on each of these two levels.

    Each level has its own quantile. The spread over three seeds is known from three numbers only, so it needs Student's
    quantile. One quantile for both levels, with Satterthwaite's degrees of freedom, covers the truth in 92 % instead of
    95 % of the cases, because a spread that is small by chance then counts as none.
    """

    value: float  # %, or points
    questions: np.ndarray  # draws of the mean with new questions, the same ones for all seeds
    seeds: np.ndarray  # draws of what other seeds would add to the mean
    degrees: int  # of freedom, of the spread over seeds

    @cached_property
    def errors(self) -> tuple[float, float]:
        """Standard errors by level: questions, seeds."""
        return float(self.questions.std()), float(self.seeds.std())

    def reach(self, chance: float) -> float:
        """The distance that the truth exceeds to one side with this chance."""
        questions, seeds = self.errors
        return math.hypot(ndtri(chance) * questions, stdtrit(self.degrees, chance) * seeds)

    def chance(self, distance: float) -> float:
        """The chance that the truth exceeds a distance to one side; the inverse of :meth:`reach`."""
        if distance <= 0:
            return 1 - self.chance(-distance) if distance else 0.5
        if self.reach(LEAST) <= distance:
            return 0.0
        found = brentq(lambda power: self.reach(math.exp(power)) - distance, math.log(LEAST), math.log(0.5))
        return math.exp(found)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        reach = self.reach(LEVEL / 2)
        return self.value - reach, self.value + reach

    def less(self, k: int, n: int, random: np.random.Generator) -> "Mean":
        """This mean less k of n independent answers, which are drawn from a binomial distribution."""
        theirs = 100 * random.binomial(n + 2, (k + 1) / (n + 2), DRAWS) / (n + 2)
        return replace(self, value=self.value - 100 * k / n, questions=self.questions - theirs)


def mean_of(correct: np.ndarray, picks: np.ndarray, random: np.random.Generator) -> Mean:
    """The accuracy (%) of several trainings on the questions of one benchmark.

    ``correct`` has 1.0 or 0.0, questions by seeds (at least two); ``picks`` has the share of each seed in each draw of
    seeds, :data:`DRAWS` by seeds.
    """
    n, count = correct.shape
    # As Agresti and Caffo do, add a question that every training answers correctly and one that none does. Without
    # them, a benchmark on which all answers are correct would have no spread.
    values, numbers = np.unique([*correct.mean(axis=1), 0.0, 1.0], return_counts=True)
    questions = 100 * random.multinomial(n + 2, numbers / (n + 2), DRAWS) @ values / (n + 2)
    apart = 100 * (correct.mean(axis=0) - correct.mean())
    # The variance of draws from S seeds is (S - 1) / S of the variance of new seeds.
    return Mean(100 * float(correct.mean()), questions, math.sqrt(count / (count - 1)) * (picks @ apart), count - 1)


def average(means: Sequence[Mean]) -> Mean:
    """The plain mean over benchmarks. Each has its own questions; the seeds are the same on all."""
    return Mean(
        float(np.mean([one.value for one in means])),
        np.mean([one.questions for one in means], axis=0),
        np.mean([one.seeds for one in means], axis=0),
        means[0].degrees,
    )


def difference(apart: Mean, margin: float) -> Difference:
    """A difference (points) with the fields that other rows have. ``n_needed`` is None, because more questions do not
    narrow the spread over seeds."""
    low, high = apart.interval
    distance = abs(apart.value)
    return Difference(
        difference=apart.value,
        error=math.hypot(*apart.errors),
        low=low,
        high=high,
        p=2 * apart.chance(distance),
        p_margin=apart.chance(margin - distance),
        smallest_margin=apart.reach(LEVEL),
        n_needed=None,
        test=TEST,
    )


@dataclass(frozen=True)
class Spread:
    """The trainings of one row at its budgets."""

    cells: pd.DataFrame
    """By benchmark: ``budget`` (tokens; NA where seeds have different ones), ``k`` (NA), ``n``, ``accuracy`` (%),
    ``low`` and ``high`` of its 95 % interval, ``seeds``, and ``sd`` over seeds (points; divisor: seeds - 1)."""
    means: Mapping[str, Mean]
    seed: int

    def interval(self, benchmarks: Sequence[str]) -> tuple[float, float]:
        """95 % interval (%) of the average over benchmarks."""
        return average([self.means[key] for key in benchmarks]).interval

    def difference(self, line: Mapping[str, Any], margin: float) -> Difference:
        """The accuracy on a benchmark less the published one, from a line of ``compare.csv``."""
        return difference(self._less(line), margin)

    def average_difference(self, lines: Sequence[Mapping[str, Any]], margin: float) -> Difference:
        """The average accuracy over the benchmarks of some lines less the published average."""
        return difference(average([self._less(line) for line in lines]), margin)

    def _less(self, line: Mapping[str, Any]) -> Mean:
        name = [line[field] for field in ("table", "group", "published", "benchmark")]
        random = generator(self.seed, "seeds", line["model"], *name)
        return self.means[line["benchmark"]].less(line["published_k"], line["published_n"], random)


def spread(scores: pd.DataFrame, row: AccuracyRow, budgets: tuple[int, ...], seed: int) -> Spread:
    """The mean and spread of a row with ``trainings``, over the questions that all of them were asked. Of several
    ``budgets`` (thinking tokens), each training takes its own best one on each benchmark, as a single training does."""
    own = scores[scores["model"].isin(row.trainings)]
    found, count = accuracies(own), len(row.trainings)
    chosen = [rows_at_best(rows_of_model(found, model), budgets)["budget"] for model in row.trainings]
    correct = outcomes(own, [replace(row, model=model, budgets=budgets) for model in row.trainings]).dropna()
    picks = generator(seed, "seeds", row.model).multinomial(count, np.full(count, 1 / count), DRAWS) / count
    means, cells = {}, {}
    for key, one in correct.groupby(level="benchmark"):
        mean = mean_of(one.to_numpy(), picks, generator(seed, "seeds", row.model, key))
        low, high = mean.interval
        at = {int(budget[key]) for budget in chosen}
        means[key] = mean
        cells[key] = {
            "budget": at.pop() if len(at) == 1 else pd.NA,
            **{"k": pd.NA, "n": len(one), "accuracy": mean.value, "low": max(low, 0), "high": min(high, 100)},
            **{"seeds": count, "sd": 100 * one.mean().std()},
        }
    return Spread(pd.DataFrame.from_dict(cells, orient="index").rename_axis("benchmark"), means, seed)
