"""Which claims of the paper a run could tell, before it runs: the chance of a verdict that is sure, if the published
numbers are true (part of ``python -m m1 fit``; docs/fit.md).

A run of a given size is simulated: accuracies scatter about the published ones, as answers to so many questions do, and
each simulated run assesses the claims as a real one does (:mod:`m1.report.claims`). Answers of models to one question
go together, because questions are easy or hard for all: without that, differences would look harder to tell than they
are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd

from m1.core.places import source_file
from m1.report import evidence
from m1.report.claims import CONTRADICTED, SHOWN, compute, satisfied, verdict
from m1.report.evidence import Evidence, LackingError
from m1.report.files import read_csv
from m1.report.statistics import generator, mean_interval, percentiles

MODELS = 0.5
"""Correlation of two models' answers to a question, assumed; of one model's at two budgets it is
:data:`m1.report.evidence.CORRELATION`."""
RUNS = 200
"""Simulated runs: the chance of a verdict is known to 3 points where it is 0.8."""
CLAIMS = "resources/paper/claims.csv"


@dataclass(frozen=True)
class ClaimPower:
    """What a run of a given size could tell of a claim."""

    claim: str
    chance: float | None  # of the verdict that is right; None where no published number says which one that is
    half_width: float | None  # of the 95 % interval, in the claim's unit; None for what does not scatter


@cache
def paper() -> dict[str, pd.DataFrame]:
    """The published numbers, by the name of their file."""
    names = ("table1", "table2", "table3", "figure1", "lengths", "benchmarks")
    return {name: read_csv(source_file(f"resources/paper/{name}.csv")) for name in names}


@cache
def claims() -> pd.DataFrame:
    return read_csv(source_file(CLAIMS), ["id", "function", "cells", "test", "number"], text=True)


def simulate(sizes: Mapping[str, int], budgets: Sequence[int], seed: int) -> Evidence:
    """The published numbers as runs on so many questions would find them.

    Args:
        sizes: questions of each benchmark, by its column in Table 1.
        budgets: those of the run; a claim is about these.

    Returns:
        Cells of ``1 + RUNS`` by benchmarks: the published accuracies (%), then simulated ones.
    """
    here = paper()["benchmarks"]
    here = here[here["column"].isin(list(sizes))]
    found = evidence.published(paper() | {"benchmarks": here}, seed)
    n = np.array([sizes[column] for column in here["column"]])
    common = generator(seed, "questions").standard_normal((RUNS, len(n)))
    cells = {}
    for address, cell in found.cells.items():
        if address.startswith("figure1/") and int(address.rpartition("/")[2]) not in budgets:
            continue
        if cell.shape[1] != len(n):
            cells[address] = cell[:1]
            continue
        model = address.split("/")[1 if address.startswith("figure") else 2]
        own = [generator(seed, *name).standard_normal((RUNS, len(n))) for name in (("model", model), (address,))]
        within = (evidence.CORRELATION - MODELS) / (1 - MODELS)
        noise = np.sqrt(MODELS) * common + np.sqrt(1 - MODELS) * (
            np.sqrt(within) * own[0] + np.sqrt(1 - within) * own[1]
        )
        p = cell[:1] / 100
        cells[address] = 100 * np.vstack([p, p + noise * np.sqrt(p * (1 - p) / n)])
    return replace(found, cells=cells)


def average_width(questions: Sequence[int]) -> float:
    """Half the width (points) of the 95 % interval of an average of benchmarks with so many questions each, at most."""
    n = np.array(questions)
    low, high = mean_interval(n / 2, n)  # half of them correct: the widest
    return (high - low) / 2


@cache
def powers(
    sizes: tuple[tuple[str, int], ...], budgets: tuple[int, ...], seed: int, chosen: tuple[str, ...]
) -> list[ClaimPower]:
    """What a run on so many questions could tell of the claims that are chosen, by id (see :func:`simulate`)."""
    lines = claims()[claims()["id"].isin(chosen)].to_dict("records")
    on_curves = [line for line in lines if "figure1/" in line["cells"]]
    if budgets and len(on_curves) < len(lines):  # the others are the same whatever the budgets
        ids = [line["id"] for line in on_curves]
        found = {one.claim: one for one in powers(sizes, (), seed, tuple(set(chosen) - set(ids)))}
    else:
        found, on_curves = {}, lines
    runs = simulate(dict(sizes), budgets, seed) if on_curves else None
    found |= {line["id"]: _power(line, runs) for line in on_curves if runs}
    return [found[line["id"]] for line in lines]


def _power(claim: Mapping[str, str], runs: Evidence) -> ClaimPower:
    where = f"{CLAIMS}: claim {claim['id']!r}"
    try:
        values = compute(claim, runs, where)
    except LackingError:
        return ClaimPower(claim["id"], None, None)
    if len(values) == 1:
        return ClaimPower(claim["id"], 1.0, None)
    low, high = percentiles(values[1:])
    if not claim["test"]:
        return ClaimPower(claim["id"], None, (high - low) / 2)
    right = SHOWN if satisfied(values[:1], claim["test"], where)[0] else CONTRADICTED
    used = {address: runs.cells[address] for address in runs.used}
    hits = sum(_assessed(claim, used, run, where) == right for run in range(1, RUNS + 1))
    return ClaimPower(claim["id"], hits / RUNS, (high - low) / 2)


def _assessed(claim: Mapping[str, str], cells: Mapping[str, np.ndarray], run: int, where: str) -> str:
    """The verdict of one simulated run, whose own draws scatter about it as runs do about the truth."""
    others = np.arange(1, RUNS + 1) != run
    one = {
        address: np.vstack([cell[run], cell[run] + (cell[1:] - cell[0])[others]]) if len(cell) > 1 else cell
        for address, cell in cells.items()
    }
    return verdict(compute(claim, Evidence(one, 0), where), claim, where)
