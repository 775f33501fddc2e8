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

LEVEL = 0.05  # of every test; every interval is one of 95 %
POWER = 0.8  # chance that a planned number of questions shows what it should
FEW = 25  # with fewer discordant pairs McNemar's test is exact, because chi-square does not approximate it well
P = "{:.4g}"  # p has four significant digits, however small it is


def wilson(k: int | np.ndarray, n: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson 95 % interval of k/n, in %."""
    low, high = proportion_confint(k, n, alpha=LEVEL, method="wilson")
    return 100 * low, 100 * high


@dataclass(frozen=True)
class Difference:
    """One accuracy less another one, in points, with interval and tests. Fields are arrays if the counts are.

    The functions that make it take a ``margin``: differences below it, in points, count as none.
    """

    difference: Any
    error: Any  # standard error of the difference
    low: Any  # 95 % interval
    high: Any
    p: Any  # two-sided, of equality
    p_margin: (
        Any  # of a difference of the margin or more, by two one-sided tests; small where the difference is smaller
    )
    smallest_margin: Any  # points; the smallest margin that these n can show if both are equal
    n_needed: Any  # questions that show equal accuracies to be inside the margin with a chance of :data:`POWER`
    test: str


def unpaired(k: Any, n: Any, k_other: Any, n_other: Any, margin: float) -> Difference:
    """k of n less k_other of n_other, of independent answers.

    The test of equality is the pooled z-test. The margin is tested by two one-sided tests with the standard error of
    Agresti and Caffo. The interval is Newcombe's. ``n_needed`` holds for each side.
    """
    sides = k, n, k_other, n_other
    with np.errstate(invalid="ignore", divide="ignore"):  # statsmodels also computes ratios, which may be 0/0
        z = test_proportions_2indep(*sides, method="score", correction=False)
        within = tost_proportions_2indep(*sides, -margin / 100, margin / 100, method="agresti-caffo")
    all_alike = (k + k_other == 0) | (k + k_other == n + n_other)  # no variance, so the test divides by 0
    low, high = confint_proportions_2indep(*sides, method="newcomb", compare="diff", alpha=LEVEL)
    # Agresti and Caffo add one correct and one incorrect answer to each side.
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
    """Two sides on the same n questions, from the numbers of questions that only one of them answered correctly.

    The test of equality is McNemar's. Interval and margin use the standard error of Agresti and Min (2005), who add
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
    """The plain mean of differences on benchmarks, which have n questions in total and none in common. The test is a
    z-test with the standard error of a mean of independent parts."""
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
    """The smallest margin that a difference of zero shows, from its standard error."""
    return norm.isf(LEVEL) * error


def _needed(deviation: Any, margin: float) -> Any:
    """Questions needed, from the standard deviation of the difference on one question, in points. Both one-sided tests
    must pass, so each may only fail half as often as :data:`POWER` allows."""
    size = normal_sample_size_one_tail(margin, 1 - (1 - POWER) / 2, LEVEL, std_null=deviation)
    return np.ceil(size).astype(int)


def mcnemar_p(only_first: Any, only_second: Any) -> Any:
    """p of McNemar's test from the discordant pairs: exact for fewer than :data:`FEW` of them, else by the uncorrected
    chi-square. It takes arrays of counts; statsmodels' function takes one pair."""
    pairs = np.add(only_first, only_second)
    exact = np.minimum(1.0, 2 * binom.cdf(np.minimum(only_first, only_second), pairs, 0.5))
    statistic = np.square(np.subtract(only_first, only_second)) / np.maximum(1, pairs)
    return np.where(pairs < FEW, exact, chi2.sf(statistic, 1))[()]


def holm(p: Sequence[float] | pd.Series) -> np.ndarray:
    """p after Holm's correction. NaN stays NaN and does not count.

    This is not statsmodels' function, because that collects garbage at every call.
    """
    values = np.asarray(p, dtype=float)
    tested = np.count_nonzero(~np.isnan(values))
    order = values.argsort()[:tested]  # numpy sorts NaN to the end
    corrected = np.full(len(values), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(tested, 0, -1)))
    return corrected


def generator(seed: int, *name: str) -> np.random.Generator:
    """A random generator for a name. With its own generator, no interval changes when a model or benchmark is added."""
    return np.random.default_rng([seed, zlib.crc32("\0".join(name).encode())])


def percentiles(draws: np.ndarray, method: str = "linear") -> tuple[float, float]:
    """The middle 95 % of bootstrap draws. The method ``inverted_cdf`` returns values that were drawn."""
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2], method=method)  # type: ignore[call-overload]
    return float(low), float(high)


def bootstrap_p(differences: np.ndarray) -> float:
    """Two-sided p of bootstrap draws of a difference: twice the share of draws on the rarer side of zero, at least
    2 / (draws + 1)."""
    rarer = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1.0, 2 * (1 + rarer) / (1 + len(differences))))
