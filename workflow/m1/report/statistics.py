"""The tests and intervals of the report (docs/statistics.md), by statsmodels and scipy."""

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

LEVEL = 0.05  # of every test and, as 95 %, of every interval
FEW = 25  # below so many discordant pairs McNemar's test is exact; the chi-square approximation is meant for more
P = "{:.4g}"  # how p is written: four digits that count, however small it is


def wilson(k: int | np.ndarray, n: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson 95 % interval of k/n, in %."""
    low, high = proportion_confint(k, n, alpha=LEVEL, method="wilson")
    return 100 * low, 100 * high


def two_proportions(k: int, n: int, k_other: int, n_other: int) -> tuple[float, float, float]:
    """p of the z-test of k/n against k_other/n_other (pooled), and Newcombe's 95 % interval of their difference in
    points."""
    all_alike = k + k_other in (0, n + n_other)  # no variance at all, so that the test would divide by nothing
    p = 1.0 if all_alike else float(proportions_ztest([k, k_other], [n, n_other])[1])
    low, high = confint_proportions_2indep(k, n, k_other, n_other, method="newcomb", compare="diff", alpha=LEVEL)
    return p, 100 * low, 100 * high


def mcnemar_p(only_first: int, only_second: int) -> float:
    """p of McNemar's test from the discordant pairs: exact below :data:`FEW` of them, else uncorrected chi-square."""
    table = [[0, only_first], [only_second, 0]]  # the concordant pairs have no say
    return float(mcnemar(table, exact=only_first + only_second < FEW, correction=False).pvalue)


def holm(p: Sequence[float] | pd.Series) -> np.ndarray:
    """p after Holm's correction for all those that are not NaN, which stay so."""
    values = np.asarray(p, dtype=float)
    tested = ~np.isnan(values)
    corrected = np.full(len(values), np.nan)
    if tested.any():
        corrected[tested] = multipletests(values[tested], alpha=LEVEL, method="holm")[1]
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
