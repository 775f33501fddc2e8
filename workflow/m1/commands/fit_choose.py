"""The choice for a question: what there is to choose from, which claims that could tell, and the best of it; part of
``python -m m1 fit``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m1.commands import claim_power, finished
from m1.commands.cards import parse_cards
from m1.commands.claim_power import ClaimPower
from m1.commands.fit_menu import Kitchen, Machine, Menu, Size, make_menu
from m1.commands.fit_solve import Choice, Need, solve
from m1.commands.plan import StepCost, make_plan
from m1.core.errors import UserError
from m1.core.progress import Progress
from m1.report.statistics import POWER
from m1.wiring.config import load
from m1.wiring.run import Run

AS_MODELLED = {"training": 1.0, "answering": 1.0}
CURVES = ("figure1", "figure3", "turns", "thinking")


@dataclass(frozen=True)
class Question:
    """What is asked: what there is, and which claims matter."""

    kind: str  # of FILES
    machine: Machine
    claims: tuple[str, ...]
    results: str  # folder
    output: Path  # the overlay
    data: Path | None = None  # folder with files of sets, by the names of their entries
    files: tuple[Path, ...] = ()  # what the overlay is laid over


@dataclass(frozen=True)
class Answer:
    """What fits, and what it tells."""

    run: Run  # that the menu was made of
    menu: Menu
    needs: list[Need]
    chances: Mapping[Size, Sequence[ClaimPower]]
    tellable: Mapping[Size, set[str]]
    widths: Mapping[Size, float]
    choice: Choice
    paid: Sequence[StepCost]  # of the plan
    slower: Mapping[str, float]  # than modelled, as a run here has measured
    measured: bool


def choose(question: Question) -> Answer:
    """The most telling choice.

    Raises:
        UserError: nothing fits; the message says what is too small.
    """
    run = menu_run(question)
    kitchen = Kitchen(run, question.machine, AS_MODELLED)
    if absent := kitchen.absent_sets():
        remedy = "bring them by `make fetch` while the hub answers, or give files by --data"
        raise UserError(f"--offline: not on this machine: {', '.join(absent)}; {remedy}")
    measured = slowness(question, kitchen)
    slower, paid = measured or dict(AS_MODELLED), make_plan(run.config).steps
    menu = make_menu(run, question.machine, paid, slower)
    if not menu.parts:
        some = next(iter(menu.lacking.items()))
        remedy = "--gpus 0 fits one to the cores of this machine"
        raise UserError(f"no model can be had: {some[0]} {some[1]}; {remedy}")
    needs = claim_needs(menu, question.claims)
    chances, tellable, widths = what_can_be_told(run, menu, question.claims)
    choice = solve(menu, question.machine, needs, tellable, widths)
    if choice is None:
        raise UserError(why_nothing(question.machine, menu, needs, tellable, widths))
    return Answer(run, menu, needs, chances, tellable, widths, choice, paid, slower, bool(measured))


def menu_run(question: Question) -> Run:
    """The configuration that parts are chosen from: without limits of its own."""
    first = load(question.files)
    last: dict[str, Any] = {}
    if question.kind == "cores":
        last["benchmarks"] = {name: {"limit": None} for name in first["benchmarks"]}
        last["subsets"] = {"m1k": {"size": 1000}}
    if question.data is not None:
        last["data"] = local_sets(first, question.data)
    return Run(load(question.files, [f"{key}={json.dumps(value)}" for key, value in last.items()]))


def local_sets(config: Mapping[str, Any], folder: Path) -> dict[str, dict[str, str]]:
    """Entries of ``data`` whose files lie in a folder, by the entry's name.

    Raises:
        UserError: it has none of them.
    """
    if not folder.is_dir():
        raise UserError(f"--data: {folder}: no such folder")
    found = {file.stem: {"path": str(file)} for file in sorted(folder.iterdir()) if file.stem in config["data"]}
    if not found:
        raise UserError(
            f"--data: {folder}: no file is called as an entry of `data`, such as {next(iter(config['data']))}"
        )
    return found


def slowness(question: Question, kitchen: Kitchen) -> dict[str, float]:
    """How many times longer than modelled the finished steps of the overlay that is there already took, by ``training``
    and ``answering``; 1 for what has none, and empty where nothing is finished.

    On cards it is 1 at least: of models that have not run yet, ``make plan`` does not take what others were faster by.
    """
    if not question.output.exists():
        return {}
    earlier = Run(load([*question.files, question.output]))
    results, taken = Path(earlier.config["pathvars"]["results"]), {"training": [0.0, 0.0], "answering": [0.0, 0.0]}
    for name, found in earlier.recipes.items():
        modelled = _modelled(kitchen, earlier, name, found)
        for kind, folder in (("answering", "infer"), ("training", "train")):
            seconds = finished.seconds(results / folder / name / "manifest.json")
            if seconds is not None and kind in modelled:
                taken[kind][0] += seconds / 3600
                taken[kind][1] += modelled[kind]
    if not any(took for took, _ in taken.values()):
        return {}
    least = 1.0 if question.machine.card else 0.0
    return {kind: max(least, took / modelled) if modelled else 1.0 for kind, (took, modelled) in taken.items()}


def _modelled(kitchen: Kitchen, earlier: Run, name: str, found: dict[str, Any]) -> dict[str, float]:
    """Hours that a model of an earlier overlay takes by the model."""
    size, thinking = kitchen.size_of(found["base"]), found["thinking"]
    limits = [source["limit"] for source in earlier.config["benchmarks"].values() if source["limit"]]
    asked = Size(min(limits, default=None), tuple(thinking["budgets"]), tuple(thinking["forced"]))
    hours = {"answering": kitchen.answering(found, size, found["serve"], asked)}
    if name in earlier.needed_trainings:
        samples = earlier.config["subsets"][found["sft"]["subset"]].get("size")
        hours["training"] = kitchen.training(found, size, found["train"]["nodes"], samples)
    return hours


def claim_needs(menu: Menu, chosen: Sequence[str]) -> list[Need]:
    """What each claim needs, in the paper's order."""
    groups: dict[str, list[str]] = {}
    for group, model in table1_rows():
        groups.setdefault(f"table1/{group}", []).append(f"table1/{group}/{model}")
    found = []
    for claim in claim_power.claims().to_dict("records"):
        rows: list[str] = []
        source, whole = None, False
        for cell in claim["cells"].split("; "):
            kind, *rest = cell.split("/")
            if kind in ("table1", "table2"):
                rows += groups.get(cell, [cell])
            elif kind in CURVES:
                rows.append(f"{kind}/{rest[0]}")
            elif kind == "table3" and "difficulty filtering" in cell:
                source = "hard"
            elif kind == "benchmarks" and rest:
                whole = True
        if claim["id"] in chosen:
            filling = tuple(frozenset(part.model for part in menu.parts if row in part.rows) for row in rows)
            found.append(Need(claim["id"], tuple(rows), filling, source, whole))
    return found


def table1_rows() -> list[tuple[str, str]]:
    """Group and model of each row of the paper's Table 1."""
    rows = claim_power.paper()["table1"]
    return list(zip(rows["group"], rows["model"]))


def what_can_be_told(
    run: Run, menu: Menu, chosen: Sequence[str]
) -> tuple[dict[Size, list[ClaimPower]], dict[Size, set[str]], dict[Size, float]]:
    """By size: chances, the claims that can be told, and half the width (points) of an average of Table 1.

    A claim is told at a size only if it is at all larger ones, too: few questions contradict by chance what all of
    many must agree in.
    """
    known = claim_power.paper()["benchmarks"]
    here = known[known["key"].isin(run.config["benchmarks"])]
    margin, remark = run.config["report"]["margins"]["average"], run.config["report"]["remark"]
    chances: dict[Size, list[ClaimPower]] = {}
    tellable: dict[Size, set[str]] = {}
    widths: dict[Size, float] = {}
    larger: dict[tuple[Any, ...], set[str]] = {}
    texts = {claim["id"]: claim for claim in claim_power.claims().to_dict("records")}
    with Progress("fit", len(menu.sizes), "sizes", every=5) as progress:
        for size in menu.sizes:
            counts = {row.column: min(row.n, size.limit or row.n) for row in here.itertuples()}
            widths[size] = claim_power.average_width(list(counts.values()))
            chances[size] = (
                []
                if remark
                else claim_power.powers(tuple(counts.items()), size.budgets, run.config["seed"], tuple(chosen))
            )
            whole = size.budgets == menu.sizes[0].budgets
            can = {
                one.claim
                for one in chances[size]
                if one.claim in chosen and _told(one, texts[one.claim], size, whole, widths[size] <= margin, margin)
            }
            way = (size.budgets, size.forced)
            tellable[size] = larger[way] = can & larger.get(way, can)
            progress.advance()
    return chances, tellable, widths


def _told(one: ClaimPower, claim: Mapping[str, str], size: Size, whole: bool, narrow: bool, margin: float) -> bool:
    """Whether a size tells a claim: with the chance of a study well planned or, where a number alone is claimed, within
    the margin that counts as equal; of what the paper prints no number of, with averages that are as narrow."""
    cells = [cell.split("/") for cell in claim["cells"].split("; ")]
    if not whole and of_curve(claim):
        return False
    if any(cell[0] in ("figure3", "turns") for cell in cells):
        return bool(size.forced) and narrow
    if any(cell[0] == "thinking" for cell in cells):
        return whole and narrow
    if all(cell[0] == "lengths" for cell in cells):
        return True  # a count, of what the paper shows only as a picture
    if not claim["test"]:
        return (one.half_width is not None and one.half_width <= margin) or one.chance == 1
    return one.chance is not None and one.chance >= POWER


def of_curve(claim: Mapping[str, str]) -> bool:
    """Whether a claim is about a whole curve of Figure 1, at all of the paper's budgets."""
    return any(cell.startswith("figure1/") and cell.count("/") == 1 for cell in claim["cells"].split("; "))


def why_nothing(
    machine: Machine,
    menu: Menu,
    needs: Sequence[Need],
    tellable: Mapping[Size, set[str]],
    widths: Mapping[Size, float],
) -> str:
    """Which resource is too small, and what would do for one model and the fewest questions."""
    least = min(menu.sizes, key=lambda size: min(part.answering[size] for part in menu.parts))
    part = min(menu.parts, key=lambda part: (part.answering[least] + part.training, part.model))
    base = menu.weights[part.base]
    more = {
        "--disk": (replace(machine, disk=1e9), f"{base + part.kept + part.checkpoints:,.0f} GB"),
        "--hours": (
            replace(machine, hours=1e9),
            f"{part.answering[least] + part.training + menu.making[part.base]:.2g} hours",
        ),
    }
    for flag, (enough, wanted) in more.items():
        if solve(menu, enough, needs, tellable, widths):
            return f"{flag}: nothing fits: {part.model} alone, on the fewest questions, takes about {wanted}"
    wanted = ", ".join(f"{flag} {need}" for flag, (_, need) in more.items())
    return f"nothing fits: {part.model} alone, on the fewest questions, takes about {wanted}"


def with_cards(machine: Machine, text: str) -> Machine | None:
    """The machine with other cards, of its own kind where it has one; None where they are not more."""
    nodes, gpus, card = parse_cards(text)
    if machine.card is None or card is None or card.memory < machine.card.memory:
        return None
    if (nodes, gpus, card.memory) <= (machine.nodes, machine.gpus, machine.card.memory):
        return None
    faster = max(card.operations, machine.card.operations), max(card.bandwidth, machine.card.bandwidth)
    return replace(machine, nodes=nodes, gpus=gpus, card=replace(card, operations=faster[0], bandwidth=faster[1]))


def again(question: Question, answer: Answer, machine: Machine) -> Choice | None:
    """The choice of another machine."""
    menu, needs = answer.menu, answer.needs
    if (machine.nodes, machine.gpus, machine.card) != (
        question.machine.nodes,
        question.machine.gpus,
        question.machine.card,
    ):
        menu = make_menu(answer.run, machine, answer.paid, answer.slower)
        needs = claim_needs(menu, question.claims)
    return solve(menu, machine, needs, answer.tellable, answer.widths)
