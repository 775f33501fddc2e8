"""The choice for a question: what there is to choose from, which claims that could tell, and the best of it; part of
``python -m m1 fit``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m1.commands import gpu_hours, kept
from m1.commands.cards import parse_cards
from m1.commands.fit_menu import Machine, Made, Menu, MenuBuilder, make_menu
from m1.commands.fit_solve import Choice, solve
from m1.commands.fit_tell import Telling, tell
from m1.commands.plan import make_plan
from m1.commands.questions import Questions
from m1.core.errors import UserError
from m1.wiring.config import load
from m1.wiring.run import Run


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
    telling: Telling
    choice: Choice
    made: Made


def choose(question: Question) -> Answer:
    """The most telling choice.

    Raises:
        UserError: nothing fits; the message says what is too small.
    """
    run = menu_run(question)
    if absent := MenuBuilder(run, question.machine, Made([], {})).absent_sets():
        remedy = "bring them by `make fetch` while the hub answers, or give files by --data"
        raise UserError(f"--offline: not on this machine: {', '.join(absent)}; {remedy}")
    made = what_is_made(question)
    menu = make_menu(run, question.machine, made)
    if not menu.parts:
        some = next(iter(menu.lacking.items()))
        remedy = "--gpus 0 fits one to the cores of this machine"
        raise UserError(f"no model can be had: {some[0]} {some[1]}; {remedy}")
    telling = tell(run, menu.sizes, question.claims)
    choice = solve(menu, question.machine, telling)
    if choice is None:
        raise UserError(why_nothing(question.machine, menu, telling))
    return Answer(run, menu, telling, choice, made)


def menu_run(question: Question) -> Run:
    """The configuration that parts are chosen from: without limits of its own, and without results, whose sizes a run
    before may have limited."""
    first = load(question.files)
    last: dict[str, Any] = {"pathvars": {"results": f"{question.results}/none"}}
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


def what_is_made(question: Question) -> Made:
    """What is left and measured by runs of the overlay that is there already, and of the configuration without it."""
    results = f"pathvars={json.dumps({'results': question.results})}"
    plan, before = make_plan(load(question.files, [results])), Run(load(question.files))
    left = [step for step in plan.cpus if step.step.startswith(("pretrain", "screen")) and not step.there]
    calls = sum(step.hours for step in plan.steps) if question.kind == "world" else 0.0
    first = calls + sum(step.minutes or 0.0 for step in left) / 60
    if not question.output.exists():
        return Made(plan.steps, slowness([before], question.machine), first)
    earlier = Run(load([*question.files, question.output]))
    slower = slowness([earlier, before], question.machine)
    return Made(plan.steps, slower, first, kept.models(earlier), kept.weights(earlier))


def slowness(runs: Sequence[Run], machine: Machine) -> dict[str, float]:
    """How many times longer than modelled the finished steps of the first of some runs took that has any, by stage.

    On cards it is 1 at least: of models that have not run yet, ``make plan`` does not take what others were faster by.
    """
    found: dict[str, float] = {}
    for run in runs:
        found = gpu_hours.slowness(run, Questions(run)) | found
    return {stage: max(1.0 if machine.card else 0.0, times) for stage, times in found.items()}


def why_nothing(machine: Machine, menu: Menu, telling: Telling) -> str:
    """Which resource is too small, and what would do for one model and the fewest questions."""
    parts = [part for part in menu.parts if len(part.answering) == len(menu.sizes)]
    least = min(menu.sizes, key=lambda size: min(part.answering[size] for part in parts))
    part = min(parts, key=lambda part: (part.answering[least] + part.training, part.model))
    base = menu.weights[part.base]
    more = {
        "--disk": (replace(machine, disk=1e9), f"{base + part.kept + part.checkpoints:,.0f} GB"),
        "--hours": (
            replace(machine, hours=1e9),
            f"{part.answering[least] + part.training + menu.first:.2g} hours",
        ),
    }
    for flag, (enough, wanted) in more.items():
        if solve(menu, enough, telling):
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
    """The choice of another machine; None where it is no better."""
    menu = answer.menu
    if (machine.nodes, machine.gpus, machine.card) != (
        question.machine.nodes,
        question.machine.gpus,
        question.machine.card,
    ):
        menu = make_menu(answer.run, machine, answer.made)
    return solve(menu, machine, answer.telling, answer.choice.score)
