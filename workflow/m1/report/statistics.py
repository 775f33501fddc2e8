"""The tests and intervals of the report (docs/statistics.md), by statsmodels and scipy."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom, chi2, norm
from statsmodels.stats.power import normal_sample_size_one_tail
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    test_proportions_2indep,
    tost_proportions_2indep,
)

LEVEL = 0.05  # of every test and, as 95 %, of every interval
POWER = 0.8  # of what is planned
FEW = 25  # below so many discordant pairs McNemar's test is exact; the chi-square approximation is meant for more
P = "{:.4g}"  # how p is written: four digits that count, however small it is


def wilson(k: int | np.ndarray, n: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson 95 % interval of k/n, in %."""
    low, high = proportion_confint(k, n, alpha=LEVEL, method="wilson")
    return 100 * low, 100 * high


@dataclass(frozen=True)
class Difference:
    """One accuracy less another one, in points, and how sure that is. Fields are arrays where the counts were arrays.

    ``margin`` of the functions that make it is what counts as equal, in points.
    """

    difference: Any
    error: Any  # standard error of the difference
    low: Any  # 95 % interval
    high: Any
    p: Any  # two-sided: are they equal?
    p_margin: Any  # two one-sided tests: do they differ by the margin or more? Small where they do not
    smallest_margin: Any  # points, the smallest that these n show where both are equal
    n_needed: Any  # questions at which equal ones lie inside the margin with a chance of :data:`POWER`
    test: str


def unpaired(k: Any, n: Any, k_other: Any, n_other: Any, margin: float) -> Difference:
    """k of n against k_other of n_other, of independent answers.

    Equality is tested by the z-test (pooled), the margin by two one-sided tests with the standard error of Agresti and
    Caffo; the interval is Newcombe's. ``n_needed`` is of each side.
    """
    sides = k, n, k_other, n_other
    with np.errstate(invalid="ignore", divide="ignore"):  # ratios of the sides, which nobody asks for, may be 0/0
        z = test_proportions_2indep(*sides, method="score", correction=False)
        within = tost_proportions_2indep(*sides, -margin / 100, margin / 100, method="agresti-caffo")
    all_alike = (k + k_other == 0) | (k + k_other == n + n_other)  # no variance at all: the test divides by nothing
    low, high = confint_proportions_2indep(*sides, method="newcomb", compare="diff", alpha=LEVEL)
    # Agresti and Caffo's: one correct and one incorrect answer more on each side
    one, other = _variance(k + 1, n + 2) / (n + 2), _variance(k_other + 1, n_other + 2) / (n_other + 2)
    shared = _variance(k + k_other + 2, n + n_other + 4)
    return Difference(
        difference=100 * (k / n - k_other / n_other),
        error=100 * np.sqrt(one + other),
        low=100 * low,
        high=100 * high,
        p=np.where(all_alike, 1.0, z.pvalue),
        p_margin=within.pvalue,
        smallest_margin=_smallest(100 * np.sqrt(shared * (1 / (n + 2) + 1 / (n_other + 2)))),
        n_needed=_needed(100 * np.sqrt(2 * shared), margin),
        test="two proportions",
    )


def paired(only_first: Any, only_second: Any, n: Any, margin: float) -> Difference:
    """Two sides on the same n questions, from the numbers that only one of them answered correctly.

    Equality is tested by McNemar's test; interval and margin have the standard error of Agresti and Min (2005), who add
    half a question to each of the four outcomes.
    """
    more, total = only_first + only_second + 1, n + 2
    middle = 100 * (only_first - only_second) / total
    error = 100 * np.sqrt(more / total - (middle / 100) ** 2) / np.sqrt(total)
    reach = norm.isf(LEVEL / 2) * error
    return Difference(
        difference=100 * (only_first - only_second) / n,
        error=error,
        low=middle - reach,
        high=middle + reach,
        p=mcnemar_p(only_first, only_second),
        p_margin=norm.sf((margin - np.abs(middle)) / error),
        smallest_margin=_smallest(100 * np.sqrt(more) / total),
        n_needed=_needed(100 * np.sqrt(more / total), margin),
        test="McNemar",
    )


def average(cells: Sequence[Difference], n: int, margin: float) -> Difference:
    """The plain mean of differences on benchmarks, each with questions of its own, n in all: a z-test with the error of
    the mean of independent parts."""
    difference = np.mean([cell.difference for cell in cells], axis=0)
    error = np.sqrt(np.sum([np.square(cell.error) for cell in cells], axis=0)) / len(cells)
    reach = norm.isf(LEVEL / 2) * error
    return Difference(
        difference=difference,
        error=error,
        low=difference - reach,
        high=difference + reach,
        p=2 * norm.sf(np.abs(difference) / error),
        p_margin=norm.sf((margin - np.abs(difference)) / error),
        smallest_margin=_smallest(error),
        n_needed=_needed(error * np.sqrt(n), margin),
        test="mean of " + " and ".join(sorted({cell.test for cell in cells})),
    )


def mean_interval(k: np.ndarray, n: np.ndarray) -> tuple[float, float]:
    """95 % interval (%) of the plain mean of benchmarks' k/n."""
    mean, error = 100 * np.mean(k / n), 100 * np.sqrt(np.sum(_variance(k, n) / n)) / len(n)
    reach = norm.isf(LEVEL / 2) * error
    return float(mean - reach), float(mean + reach)


def _variance(k: Any, n: Any) -> Any:
    """Variance of one answer, of which k of n are correct."""
    return k / n * (1 - k / n)


def _smallest(error: Any) -> Any:
    """The smallest margin that is shown where the difference is zero, from its standard error."""
    return norm.isf(LEVEL) * error


def _needed(deviation: Any, margin: float) -> Any:
    """Questions needed, from the standard deviation of one question's difference, in points. Both one-sided tests must
    pass, so each may fail half as often as :data:`POWER` allows."""
    size = normal_sample_size_one_tail(margin, 1 - (1 - POWER) / 2, LEVEL, std_null=deviation)
    return np.ceil(size).astype(int)


def mcnemar_p(only_first: Any, only_second: Any) -> Any:
    """p of McNemar's test from the discordant pairs: exact below :data:`FEW` of them, else uncorrected chi-square.
    Counts, or arrays of them (statsmodels' function takes one pair of counts)."""
    pairs = np.add(only_first, only_second)
    exact = np.minimum(1.0, 2 * binom.cdf(np.minimum(only_first, only_second), pairs, 0.5))
    statistic = np.square(np.subtract(only_first, only_second)) / np.maximum(1, pairs)
    return np.where(pairs < FEW, exact, chi2.sf(statistic, 1))[()]


def holm(p: Sequence[float] | pd.Series) -> np.ndarray:
    """p after Holm's correction for all those that are not NaN, which stay so. Not by statsmodels' function, which
    collects garbage at every call."""
    values = np.asarray(p, dtype=float)
    tested = np.count_nonzero(~np.isnan(values))
    order = values.argsort()[:tested]  # NaN comes last
    corrected = np.full(len(values), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(tested, 0, -1)))
    return corrected


def generator(seed: int, *name: str) -> np.random.Generator:
    """A generator of its own for each name, so that a model or benchmark more changes no other's interval."""
    return np.random.default_rng([seed, zlib.crc32("\0".join(name).encode())])


def percentiles(draws: np.ndarray, method: str = "linear") -> tuple[float, float]:
    """The middle 95 % of bootstrap draws; ``inverted_cdf`` as the method gives one of the draws itself."""
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2], method=method)  # type: ignore[call-overload]
    return float(low), float(high)


def bootstrap_p(differences: np.ndarray) -> float:
    """Two-sided p of bootstrap draws of a difference: twice the share beyond zero on the rarer side, never below 2 /
    (draws + 1)."""
    rarer = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1.0, 2 * (1 + rarer) / (1 + len(differences))))
