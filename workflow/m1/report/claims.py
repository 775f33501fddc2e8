"""``claims.csv``: what the paper claims, what its own tables say, and what this run finds.

Each line of ``resources/paper/claims.csv`` names the cells that a claim rests on and the function of this module that
computes its value from them (:data:`FUNCTIONS`). A function takes cells from :class:`m1.report.evidence.Evidence`,
which both the published tables and this run fill, and returns an array: the estimate, then bootstrap draws of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m1.core.errors import UserError, run
from m1.core.progress import say
from m1.report import evidence
from m1.report.evidence import Evidence, LackingError
from m1.report.files import parser, read_csv, write_csv, write_step_manifest
from m1.report.scores import read_scores
from m1.report.settings import Shown
from m1.report.statistics import LEVEL, percentiles

SHOWN, SEEN, NOT_SEEN, CONTRADICTED = "shown", "seen", "not seen", "contradicted"
OTHER_NUMBER, OUT_OF_REACH = "other number", "out of reach"
OWN = "m1-"
"""The names of the paper's own rows of Table 1 begin with it."""
COLUMNS = [
    *("id", "section", "words", "says", "unit", "test", "tables", "tables_low", "tables_high", "tables_verdict"),
    *("found", "low", "high", "verdict", "why", "note"),
]


def average(evidence: Evidence, cell: str) -> np.ndarray:
    """Mean over benchmarks; a single number is its own mean."""
    return evidence[cell].mean(axis=1)


def mean_of(evidence: Evidence, *cells: str) -> np.ndarray:
    """Mean of the cells over the benchmarks that have a value."""
    return np.nanmean([np.nanmean(evidence[cell], axis=1) for cell in cells], axis=0)


def difference(evidence: Evidence, first: str, second: str) -> np.ndarray:
    """The first average less the second, in points."""
    return average(evidence, first) - average(evidence, second)


def difference_of_gains(evidence: Evidence, high: str, low: str, other_high: str, other_low: str) -> np.ndarray:
    """One gain less another one, in points."""
    return difference(evidence, high, low) - difference(evidence, other_high, other_low)


def lead(evidence: Evidence, cell: str, *others: str) -> np.ndarray:
    """An average less the highest of others, in points. Of a group, the rows that are not the paper's own count."""
    return average(evidence, cell) - np.max(_others(evidence, others), axis=0)


def above_mean(evidence: Evidence, cell: str, *others: str) -> np.ndarray:
    """An average less the mean of others, in points."""
    return average(evidence, cell) - np.mean(_others(evidence, others), axis=0)


def _others(evidence: Evidence, addresses: tuple[str, ...]) -> list[np.ndarray]:
    """Averages of cells; an address of several rows stands for those that are not the paper's own."""
    found = []
    for address in addresses:
        if address in evidence.cells:
            found.append(average(evidence, address))
        else:
            rows = [cell for name, cell in evidence.below(address).items() if not name.startswith(OWN)]
            found += [cell.mean(axis=1) for cell in rows]
    return found


def benchmarks_ahead(evidence: Evidence, cell: str, *others: str) -> np.ndarray:
    """Percentage of the benchmarks on which a row is above all others."""
    return 100 * (evidence[cell] > np.max([evidence[other] for other in others], axis=0)).mean(axis=1)


def gain_on_hard(evidence: Evidence, high: str, low: str) -> np.ndarray:
    """The gain on the half of the benchmarks with the lowest accuracies of the second row, less the gain on the other
    half."""
    order = np.argsort(evidence[low][0], kind="stable")
    gain, half = evidence[high] - evidence[low], len(order) // 2
    return gain[:, order[:half]].mean(axis=1) - gain[:, order[half:]].mean(axis=1)


def first_step_lead(evidence: Evidence, *steps: str) -> np.ndarray:
    """The gain of the first step less the largest gain of a later step."""
    gains = np.diff([average(evidence, step) for step in steps], axis=0)
    return gains[0] - gains[1:].max(axis=0)


def curve(evidence: Evidence, address: str) -> tuple[np.ndarray, np.ndarray]:
    """Budgets or forced counts, ascending, and the accuracies at them: settings by draws by benchmarks. Fewer than two
    are a :class:`LackingError`."""
    points = {int(name): cell for name, cell in evidence.below(address).items()}
    if len(settings := sorted(points)) < 2:
        raise LackingError(f"only {settings[0]} of {address}")
    return np.array(settings), np.array([points[setting] for setting in settings])


def rising(evidence: Evidence, *curves: str) -> np.ndarray:
    """Percentage of curves, one for each model and benchmark, whose regression on log2 of the budget rises."""
    shares = []
    for address in curves:
        budgets, accuracy = curve(evidence, address)
        doublings = np.log2(budgets)
        slopes = np.tensordot(
            doublings - doublings.mean(), accuracy, axes=1
        )  # times a positive factor, which does not matter here
        shares.append(100 * (slopes > 0).mean(axis=1))
    return np.mean(shares, axis=0)


def steps_up(evidence: Evidence, *curves: str) -> np.ndarray:
    """Percentage of the steps from one budget to the next at which the average of the benchmarks rises."""
    return np.mean(
        [100 * (np.diff(curve(evidence, address)[1].mean(axis=2), axis=0) > 0).mean(axis=0) for address in curves],
        axis=0,
    )


def best_budget(evidence: Evidence, address: str) -> np.ndarray:
    """The budget with the best average, the smallest of equal ones."""
    budgets, accuracy = curve(evidence, address)
    return budgets[accuracy.mean(axis=2).round(9).argmax(axis=0)]


def mean_change(evidence: Evidence, low: str, high: str, *curves: str) -> np.ndarray:
    """The change of the average from one budget to another one, as the mean of models."""
    return np.mean([difference(evidence, f"{address}/{high}", f"{address}/{low}") for address in curves], axis=0)


def saturation(evidence: Evidence, at: str, *curves: str) -> np.ndarray:
    """The gain of the doubling after a budget less that of the doubling before it, as the mean of models."""
    half, double = str(int(at) // 2), str(2 * int(at))
    return mean_change(evidence, at, double, *curves) - mean_change(evidence, half, at, *curves)


def leading_points(evidence: Evidence, address: str, *others: str) -> np.ndarray:
    """Percentage of the points at which a curve is above the others: one point for each benchmark and shared budget."""
    curves = [evidence.below(one) for one in (address, *others)]
    shared = [name for name in curves[0] if all(name in one for one in curves)]
    own, *rest = (np.array([one[name] for name in shared]) for one in curves)
    return 100 * (own > np.max(rest, axis=0)).mean(axis=(0, 2))


def forcing_change(evidence: Evidence, *curves: str) -> np.ndarray:
    """The mean over all forced counts less the unforced average, as the mean of models."""
    return np.mean([_forced_gains(evidence, address).mean(axis=0) for address in curves], axis=0)


def forcing_gain(evidence: Evidence, *curves: str) -> np.ndarray:
    """The average at the best forced count less the unforced one, as the mean of models."""
    return np.mean([_forced_gains(evidence, address).max(axis=0) for address in curves], axis=0)


def _forced_gains(evidence: Evidence, address: str) -> np.ndarray:
    """The average at each forced count less the unforced one: counts by draws."""
    _, accuracy = curve(evidence, address)
    return accuracy[1:].mean(axis=2) - accuracy[0].mean(axis=1)


def share(evidence: Evidence, part: str, whole: str) -> np.ndarray:
    """A number as a percentage of another one."""
    return 100 * average(evidence, part) / average(evidence, whole)


def share_change(evidence: Evidence, part: str, whole: str, other_part: str, other_whole: str) -> np.ndarray:
    """One share less another one, in points."""
    return share(evidence, part, whole) - share(evidence, other_part, other_whole)


def number_of(evidence: Evidence, address: str) -> np.ndarray:
    """The number of cells below an address."""
    return np.array([len(evidence.below(address))])


FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function
    for function in (
        *(average, mean_of, difference, difference_of_gains, lead, above_mean, benchmarks_ahead, gain_on_hard),
        *(first_step_lead, rising, steps_up, best_budget, mean_change, saturation, leading_points),
        *(forcing_change, forcing_gain, share, share_change, number_of),
    )
}
"""The functions that the field ``function`` of a claim can name."""


def satisfied(values: np.ndarray, test: str, where: str) -> np.ndarray:
    """Whether values pass a test such as ``> 0``, ``>= 0``, ``< 0``, ``<= 0``, or ``2..3`` (from 2 to 3, inclusive); a
    :class:`UserError` if the test has another form."""
    compare = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}
    try:
        if ".." in test:
            low, high = map(float, test.split(".."))
            return (low <= values) & (values <= high)
        sign, limit = test.split()
        return compare[sign](values.round(9), float(limit))
    except (KeyError, ValueError):
        raise UserError(f"{where}, field 'test': {test!r}; it must be like '> 0', '<= 1' or '2..3'") from None


def verdict(values: np.ndarray, claim: Mapping[str, str], where: str) -> str:
    """The verdict of values (the estimate, then draws) on a claim.

    ``shown`` if the estimate and at least 97.5 % of the draws pass the test. ``contradicted`` if the estimate and at
    least 97.5 % of the draws fail it. Otherwise the estimate decides between ``seen`` and ``not seen``. A ``number``
    without a ``test`` is ``seen`` inside the 95 % interval, else ``contradicted``.
    """
    if not claim["test"]:
        low, high = percentiles(values)
        return SEEN if low <= float(claim["number"]) <= high else CONTRADICTED
    passed = satisfied(values, claim["test"], where)
    draws = passed[1:].mean() if len(passed) > 1 else float(passed[0])
    if passed[0]:
        return SHOWN if draws >= 1 - LEVEL / 2 else SEEN
    return CONTRADICTED if draws <= LEVEL / 2 else NOT_SEEN


def printed(value: float, number: str) -> bool:
    """Whether a value is the printed number. It may differ by one in the last digit, because the paper subtracts
    rounded numbers."""
    last = 10.0 ** -len(number.partition(".")[2])
    return abs(round(value / last) - round(float(number) / last)) <= 1


def compute(claim: Mapping[str, str], evidence: Evidence, where: str) -> np.ndarray:
    """The value of a claim: the estimate, then draws. A missing cell is a :class:`LackingError`; an unknown function,
    or one that takes another number of cells, is a :class:`UserError`."""
    function = FUNCTIONS.get(claim["function"])
    if function is None:
        raise UserError(f"{where}, field 'function': {claim['function']!r}; it must be one of {', '.join(FUNCTIONS)}")
    evidence.used.clear()
    try:
        return np.asarray(function(evidence, *claim["cells"].split("; ")), dtype=float)
    except TypeError as error:
        raise UserError(f"{where}, field 'cells': {claim['cells']!r}: {error}") from None


def assess(claims: pd.DataFrame, paper: Evidence, run: Evidence, remark: str, where: str) -> pd.DataFrame:
    """Assess every claim by the paper's own tables and by this run: :data:`COLUMNS`, with NaN for a missing cell.

    ``remark`` says why this run's models say nothing about the paper's claims; empty where they do. ``where`` names the
    file of claims in messages.

    Raises:
        UserError: a claim's function, cells or test do not exist.
    """
    lines = []
    for claim in claims.to_dict("records"):
        at = f"{where}: claim {claim['id']!r}"
        line: dict[str, Any] = {**claim, "tables_verdict": OUT_OF_REACH, "verdict": OUT_OF_REACH}
        reasons = []
        try:
            values = compute(claim, paper, at)
        except LackingError as lacking:
            reasons.append(f"the paper prints {lacking}")
        else:
            line |= dict(zip(("tables", "tables_low", "tables_high"), _interval(values)))
            line["tables_verdict"] = _published_verdict(values, claim, at)
        try:
            values = compute(claim, run, at)
        except LackingError as lacking:
            reasons.append(f"this run has {lacking}")
        else:
            line |= dict(zip(("found", "low", "high"), _interval(values)))
            reasons += _remarks(run, paper)
            if np.isnan(values[0]):
                reasons.append("an average needs every benchmark")
            elif remark:
                reasons.append(remark)
            else:
                line["verdict"] = verdict(values[~np.isnan(values)], claim, at)
        lines.append(line | {"why": "; ".join(reasons)})
    return pd.DataFrame(lines, columns=COLUMNS)


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """The estimate and the middle 95 % of its draws, which are NaN if there are no draws."""
    drawn = values[1:][~np.isnan(values[1:])]
    return (float(values[0]), *(percentiles(drawn) if len(drawn) else (np.nan, np.nan)))


def _published_verdict(values: np.ndarray, claim: Mapping[str, str], where: str) -> str:
    """As :func:`verdict`, but ``other number`` where the tables pass the test and the paper prints another number."""
    same = not claim["number"] or printed(float(values[0]), claim["number"])
    found = verdict(values, claim, where) if claim["test"] else SHOWN
    return found if same or found in (NOT_SEEN, CONTRADICTED) else OTHER_NUMBER


def _remarks(run: Evidence, paper: Evidence) -> list[str]:
    """What a reader must know about the cells that the last claim used."""
    taken = sorted(address.rpartition("/")[2] for address in run.used & run.published)
    remarks = [f"as published: {', '.join(taken)}"] if taken else []
    remarks += sorted({run.departures[address] for address in run.used & run.departures.keys()})
    averaged = any(address.startswith(("table1", "table2", "figure")) for address in run.used)
    if averaged and run.benchmarks < paper.benchmarks:
        remarks.append(f"over {run.benchmarks} of {paper.benchmarks} benchmarks")
    return remarks


def main(argv: Sequence[str] | None = None) -> None:
    """Assess every claim."""
    command = parser(
        __doc__,
        "shown",
        "manifest",
        "scores",
        claims={"type": Path, "help": "resources/paper/claims.csv; the published numbers lie beside it"},
        counts="table3.csv of this run",
        lengths="figure8a.csv of this run",
        output="CSV to write",
    )
    options = command.parse_args(argv)
    shown = Shown.load(options.shown)
    names = ("table1", "table2", "table3", "figure1", "lengths", "benchmarks")
    paper = {name: read_csv(options.claims.parent / f"{name}.csv") for name in names}
    benchmarks = paper["benchmarks"]
    scores = read_scores(options.scores, ["thinking_tokens"])
    sizes = scores.groupby("benchmark")["question_id"].nunique()
    here = benchmarks[benchmarks["key"].isin(sizes.index)]
    baselines = None if shown.remark else evidence.published(paper | {"benchmarks": here}, shown.seed)
    own = evidence.of_run(scores, shown, here, baselines)
    cells = evidence.count_cells(read_csv(options.counts)) | evidence.length_cells(read_csv(options.lengths))
    cells |= evidence.size_cells({column: int(sizes[key]) for key, column in zip(here["key"], here["column"])})
    claims = read_csv(options.claims, ["id", "function", "cells", "test", "number"], text=True)
    own, published = replace(own, cells=own.cells | cells), evidence.published(paper, shown.seed)
    lines = assess(claims, published, own, shown.remark, str(options.claims))
    write_csv(lines, options.output)
    counts = {side: lines[side].value_counts() for side in ("tables_verdict", "verdict")}
    told = [", ".join(f"{n} {word}" for word, n in counts[side].items()) for side in counts]
    write_step_manifest(options)
    say("claims", f"{len(lines)} claims; by the paper's tables {told[0]}; by this run {told[1]}: {options.output}")


if __name__ == "__main__":
    run(main)
