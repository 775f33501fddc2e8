"""What each claim of the paper needs, and how large a run must be to tell it; part of ``python -m m1 fit``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from m1.commands import claim_power
from m1.commands.claim_power import ClaimPower
from m1.commands.fit_menu import Size
from m1.core.progress import Progress
from m1.report.statistics import POWER
from m1.wiring.run import Run

CURVES = ("figure1", "figure3", "turns", "thinking")


@dataclass(frozen=True)
class Need:
    """What a claim needs: a model for each of some rows and curves, a set of traces, benchmarks with all questions."""

    claim: str
    rows: tuple[str, ...]  # addresses (m1.report.evidence)
    source: str | None = None
    whole: tuple[str, ...] = ()  # keys of benchmarks


@dataclass(frozen=True)
class Telling:
    """What runs of each size can tell."""

    needs: Sequence[Need]  # in the paper's order
    chances: dict[Size, Sequence[ClaimPower]]
    tellable: dict[Size, set[str]]  # claims, if their models answer
    widths: dict[Size, float]  # half the width (points) of the interval of an average of Table 1


def claim_needs(chosen: Sequence[str]) -> list[Need]:
    """What each of the chosen claims needs, in the paper's order."""
    groups: dict[str, list[str]] = {}
    for group, model in table1_rows():
        groups.setdefault(f"table1/{group}", []).append(f"table1/{group}/{model}")
    known = claim_power.paper()["benchmarks"]
    keys = dict(zip(known["column"], known["key"]))
    found = []
    for claim in claim_power.claims().to_dict("records"):
        cells = claim["cells"].split("; ")
        rows = [row for cell in cells if cell.startswith("table") for row in groups.get(cell, [cell])]
        rows = [row for row in rows if not row.startswith("table3/")]
        rows += [f"{kind}/{rest[0]}" for kind, *rest in (cell.split("/") for cell in cells) if kind in CURVES]
        hard = any(cell.startswith("table3/+After difficulty filtering") for cell in cells)
        whole = tuple(keys[cell.split("/")[1]] for cell in cells if cell.startswith("benchmarks/"))
        if claim["id"] in chosen:
            found.append(Need(claim["id"], tuple(rows), "hard" if hard else None, whole))
    return found


def table1_rows() -> list[tuple[str, str]]:
    """Group and model of each row of the paper's Table 1."""
    rows = claim_power.paper()["table1"]
    return list(zip(rows["group"], rows["model"]))


def tell(run: Run, sizes: Sequence[Size], chosen: Sequence[str]) -> Telling:
    """What runs of each size can tell of the chosen claims.

    A claim is told at a size only if it is at all larger ones, too: few questions contradict by chance what all of
    many must agree in. Where some benchmarks are whole, a claim about the others is told as if they were not.
    """
    known = claim_power.paper()["benchmarks"]
    here = {row.column: (row.key, row.n) for row in known.itertuples() if row.key in run.config["benchmarks"]}
    needs, texts = claim_needs(chosen), {claim["id"]: claim for claim in claim_power.claims().to_dict("records")}
    margin, remark = run.config["report"]["margins"]["average"], run.config["report"]["remark"]
    found = Telling(needs, {}, {}, {})
    larger: dict[tuple[Any, ...], set[str]] = {}
    evenly: dict[Size, set[str]] = {}
    with Progress("fit", len(sizes), "sizes", every=5) as progress:
        for size in sizes:
            found.widths[size] = claim_power.average_width([size.asked(*one) for one in here.values()])
            even = replace(size, whole=())
            if even not in found.chances:
                counts = tuple((column, even.asked(*one)) for column, one in here.items())
                width = claim_power.average_width([count for _, count in counts])
                powers = [] if remark else claim_power.powers(counts, size.budgets, run.config["seed"], tuple(chosen))
                longest = size.budgets == sizes[0].budgets
                can = {one.claim for one in powers if _told(one, texts[one.claim], size, longest, width, margin)}
                way = (size.budgets, size.forced)
                found.chances[even] = powers
                evenly[even] = larger[way] = can & larger.get(way, can)
            whole = {key for key, n in here.values() if size.asked(key, n) == n}
            lacking = {need.claim for need in needs if not whole.issuperset(need.whole)}
            found.chances[size], found.tellable[size] = found.chances[even], evenly[even] - lacking
            progress.advance()
    return found


def _told(one: ClaimPower, claim: Mapping[str, str], size: Size, longest: bool, width: float, margin: float) -> bool:
    """Whether a size tells a claim: with the chance of a study well planned or, where a number alone is claimed, within
    the margin that counts as equal; of what the paper prints no number of, with averages that are as narrow."""
    cells = [cell.split("/") for cell in claim["cells"].split("; ")]
    narrow = width <= margin
    if not longest and of_curve(claim):
        return False
    if any(cell[0] in ("figure3", "turns") for cell in cells):
        return bool(size.forced) and narrow
    if any(cell[0] == "thinking" for cell in cells):
        return longest and narrow
    if all(cell[0] == "lengths" for cell in cells):
        return True  # a count, of what the paper shows only as a picture
    if not claim["test"]:
        return (one.half_width is not None and one.half_width <= margin) or one.chance == 1
    return one.chance is not None and one.chance >= POWER


def of_curve(claim: Mapping[str, str]) -> bool:
    """Whether a claim is about a whole curve of Figure 1, at all of the paper's budgets."""
    return any(cell.startswith("figure1/") and cell.count("/") == 1 for cell in claim["cells"].split("; "))
