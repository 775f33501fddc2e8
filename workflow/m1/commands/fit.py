"""What of the paper can be reproduced with what there is (``make fit``): the most telling reproduction that fits some
cards, hours, dollars and disk, as an overlay, and what it can tell.

Costs are those of ``make plan``, modelled until a run has measured them here; chances are simulated from the published
numbers. docs/fit.md has the objective, and what is assumed.
"""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from m1.commands import claim_power, finished
from m1.commands.cards import Card, find_card
from m1.commands.claim_power import ClaimPower
from m1.commands.doctor import gpus as cards_here
from m1.commands.fit_menu import Kitchen, Machine, Menu, Part, Size, make_menu
from m1.commands.fit_solve import Choice, Need, solve
from m1.commands.plan import Plan, StepCost, make_plan
from m1.core.errors import UserError
from m1.core.files import write_text
from m1.core.places import locate, nearest_folder
from m1.core.progress import Progress, align_columns
from m1.report.statistics import POWER
from m1.wiring.config import load, nearest
from m1.wiring.run import Run

FILES = {
    "cards": ("config/paper.yaml",),
    "cores": ("config/paper.yaml", "config/overlays/laptop.yaml"),
    "world": (),
}
"""What the overlay is laid over, by what there is to run on."""
MORE_HOURS = (4, 8, 16, 24, 48, 96, 192)
MORE_DOLLARS = (25, 100, 400, 700, 1500)
MORE_DISK = (50, 200, 1000)
MORE_CARDS = ("1x48", "1x80", "2x80", "4x80", "8x80", "2x8x80")
"""What is tried as the next step up."""
AS_MODELLED = {"training": 1.0, "answering": 1.0}
KEYS = {"teacher": "TEACHER_API_KEY", "labeller": "OPENAI_API_KEY"}
"""Variables for the providers' keys, by the provider, where the configuration names none."""
CURVES = ("figure1", "figure3", "turns", "thinking")


def parse_gpus(text: str) -> tuple[int, int, Card | None]:
    """Nodes, cards on each, and their kind, of ``[NODESx]COUNTxGB[:TYPE]``; ``0`` is none.

    Raises:
        UserError: another form, or no such card.
    """
    if text == "0":
        return 1, 0, None
    found = re.fullmatch(r"(?:([1-9]\d*)x)?([1-9]\d*)x([1-9]\d*)(?::([\w.-]+))?", text)
    if not found:
        form = "write [NODESx]COUNTxGB[:TYPE], as 1x24, 8x80:H100 or 2x8x80; 0 for none"
        raise UserError(f"--gpus: {text!r} is no number of cards; {form}")
    nodes, count, memory, kind = found.groups()
    return int(nodes or 1), int(count), replace(find_card(kind or memory, "--gpus"), memory=float(memory))


def gpus_here() -> str:
    """The cards of this machine, as ``--gpus`` takes them."""
    found = cards_here()
    return f"{len(found)}x{int(min(found))}" if found else "0"


@dataclass(frozen=True)
class Question:
    """What is asked: what there is, and which claims matter."""

    kind: str  # of FILES
    machine: Machine
    claims: tuple[str, ...]
    results: str  # folder
    output: Path  # the overlay
    data: Path | None = None  # folder with files of sets, by the names of their entries

    @property
    def files(self) -> list[Path]:
        """What the overlay is laid over."""
        return [locate(name) for name in FILES[self.kind]]


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


def fit(question: Question) -> Answer:
    """The most telling choice.

    Raises:
        UserError: nothing fits; the message says what is too small.
    """
    run = menu_run(question)
    measured = slowness(question, run)
    slower, paid = measured or dict(AS_MODELLED), make_plan(run.config).steps
    menu = make_menu(run, question.machine, paid, slower)
    if not menu.parts:
        some = next(iter(menu.lacking.items()))
        raise UserError(f"no model fits a node: {some[0]} {some[1]} GB; --gpus 0 fits one to the cores of this machine")
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
    return Run(load(question.files, last))


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


def slowness(question: Question, run: Run) -> dict[str, float]:
    """How many times longer than modelled the finished steps of the overlay that is there already took, by ``training``
    and ``answering``; 1 for what has none, and empty where nothing is finished."""
    if not question.output.exists():
        return {}
    earlier = Run(load([*question.files, question.output]))
    kitchen = Kitchen(run, question.machine, AS_MODELLED)
    results, taken = Path(earlier.config["pathvars"]["results"]), {"training": [0.0, 0.0], "answering": [0.0, 0.0]}
    limits = {source["limit"] for source in earlier.config["benchmarks"].values()}
    for name, found in earlier.recipes.items():
        size = kitchen.size_of(found["base"])
        asked = Size(
            min(filter(None, limits), default=None),
            tuple(found["thinking"]["budgets"]),
            tuple(found["thinking"]["forced"]),
        )
        work = [
            (
                "answering",
                results / "infer" / name,
                lambda found=found, size=size, asked=asked: kitchen.answering(found, size, found["serve"], asked),
            )
        ]
        if name in earlier.needed_trainings:
            samples = earlier.config["subsets"][found["sft"]["subset"]]["size"]
            work.append(
                (
                    "training",
                    results / "train" / name,
                    lambda found=found, size=size, samples=samples: kitchen.training(
                        found, size, found["train"]["nodes"], samples
                    ),
                )
            )
        for kind, folder, modelled in work:
            if (seconds := finished.seconds(folder / "manifest.json")) is not None:
                taken[kind][0] += seconds / 3600
                taken[kind][1] += modelled()
    if not any(took for took, _ in taken.values()):
        return {}
    return {kind: took / modelled if modelled else 1.0 for kind, (took, modelled) in taken.items()}


def claim_needs(menu: Menu, chosen: Sequence[str]) -> list[Need]:
    """What each claim needs, in the paper's order."""
    groups: dict[str, list[str]] = {}
    for group, model in _table1():
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


def _table1() -> list[tuple[str, str]]:
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
                [] if remark else claim_power.powers(tuple(counts.items()), size.budgets, run.config["seed"])
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
    if not whole and _of_curve(claim):
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


def _of_curve(claim: Mapping[str, str]) -> bool:
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


def overlay(question: Question, answer: Answer) -> dict[str, Any]:
    """The configuration of a choice, to be laid over the question's files."""
    config, machine, choice, size = answer.run.config, question.machine, answer.choice, answer.choice.size
    parts, paid = choice.parts, {source.name for source in choice.sources}
    found: dict[str, Any] = {"pathvars": {"results": question.results, "logs": f"logs/{Path(question.results).name}"}}
    if machine.card is not None:
        found["cluster"] = {"card": machine.card.name}
    if changes := {part.model: dict(part.changes) for part in parts if part.changes}:
        found["recipes"] = changes
    if question.data is not None:
        found["data"] = local_sets(config, question.data)
    if size.limit is not None:
        found["benchmarks"] = {name: {"limit": size.limit} for name in config["benchmarks"]}
    if question.kind == "cards":
        found |= _taken(config, parts, paid) | _paid(answer, paid)
    if samples := min((part.samples for part in parts if part.samples), default=None):
        found["subsets"] = {"m1k": {"size": samples}}
    found["thinking"] = {key: size.thinking(config["thinking"])[key] for key in ("budgets", "forced", "forced_budget")}
    return found | {"report": _report(config, parts, size)}


def _taken(config: Mapping[str, Any], parts: Sequence[Part], paid: set[str]) -> dict[str, Any]:
    """What is taken as published, and the sets of traces that are not made."""
    published: dict[str, Any] = {}
    if "hard" not in paid:
        published["subsets"] = {"m1k": "m1k_tokenized", "m23k": "m23k_tokenized"}
    checkpoints = {part.model: part.model.replace("-", "_") for part in parts if part.way == "published"}
    if checkpoints:
        published["checkpoints"] = checkpoints
    unmade = [
        name for name, one in config["subsets"].items() if name not in ("m1k", "m23k") and one["traces"] not in paid
    ]
    found: dict[str, Any] = {"published": published}
    if unpaid := [name for name in config["distill"] if name not in {"hard", *paid}]:
        found["distill"] = dict.fromkeys(unpaid)
    if unmade:
        found["subsets"] = dict.fromkeys(unmade)
    return found


def _paid(answer: Answer, paid: set[str]) -> dict[str, Any]:
    """The providers, with limits that are the plan's own dollars and a tenth more, and the screening's cards."""
    found: dict[str, Any] = {}
    config = answer.run.config
    called = ["teacher"] if paid else []
    called += ["labeller"] if "hard" in paid else []
    for name in called:
        if config[name]["api_key_env"] is None:
            found[name] = {"api_key_env": KEYS[name]}
    if "hard" in paid and (serve := answer.menu.screening):
        found["screen"] = {"shards": 1, "serve": serve}
    return found


def _report(config: Mapping[str, Any], parts: Sequence[Part], size: Size) -> dict[str, Any]:
    ablations = [part.model for part in parts if any(row.startswith("table2/") for row in part.rows)]
    budget = config["report"]["table1"]["budget"]
    shown = {"models": [part.model for part in parts if part.table1] or [parts[0].model]}
    found: dict[str, Any] = {"table1": shown | ({} if budget == "best" else {"budget": max(size.budgets)})}
    found["table2"] = {"models": ablations} if len(ablations) > 1 else None
    if len(ablations) > 1 and config["report"]["table2"]["budget"] not in size.budgets:
        found["table2"]["budget"] = max(size.budgets)
    found["figures"] = [part.model for part in parts if part.thinks]
    if size.limit is not None:
        found["note"] = f"At most {size.limit} questions of each benchmark."
    if config["report"]["remark"]:
        found["remark"] = f"{size.limit or 'all'} questions of each benchmark"
    return found


def spent(plan: Plan, nodes: int) -> tuple[float, float]:
    """Hours and dollars of what a plan has left, its jobs on so many nodes, as the choice reckons them."""
    single = [step for step in plan.gpus if not step.there]
    chain: dict[str, float] = {}
    for step in single:
        chain[step.step.split()[1]] = chain.get(step.step.split()[1], 0.0) + (step.hours or 0.0) * step.jobs
    minutes = sum(step.minutes or 0.0 for step in plan.cpus if not step.there)
    hours = sum(chain.values()) / nodes + (1 - 1 / nodes) * max(chain.values(), default=0.0) + minutes / 60
    return hours + sum(step.hours for step in plan.steps), sum(step.dollars for step in plan.steps)


def table(question: Question, answer: Answer) -> list[str]:
    """What can be told, what it takes, and what would come next, as lines to read."""
    claims = [] if answer.run.config["report"]["remark"] else [*claim_lines(answer), ""]
    return [*claims, *model_lines(question, answer), "", *source_lines(answer), *notes(question, answer)]


def claim_lines(answer: Answer) -> list[str]:
    """A line for each claim: whether it is told, with which chance, half-width and models."""
    size, rows = answer.choice.size, [["claim", "told", "chance", "half-width", "rests on"]]
    curves = size.budgets == answer.menu.sizes[0].budgets
    texts = {claim["id"]: claim for claim in claim_power.claims().to_dict("records")}
    chances = {one.claim: one for one in answer.chances[size] if curves or not _of_curve(texts[one.claim])}
    chosen = {part.model for part in answer.choice.parts}
    for need in answer.needs:
        one = chances.get(need.claim)
        chance = "" if one is None or one.chance is None else f"{one.chance:.0%}"
        half = "" if one is None or one.half_width is None else f"{one.half_width:.2g} {texts[need.claim]['unit']}"
        told = "yes" if need.claim in answer.choice.told else "no"
        rows.append([need.claim, told, chance, half, why(answer, need, chosen)])
    return align_columns(rows, left={0, 1, 4})


def why(answer: Answer, need: Need, chosen: set[str]) -> str:
    """The models of a claim that is told; else what it lacks."""
    if need.claim in answer.choice.told:
        return _some(sorted({name for cell in need.cells for name in cell & chosen}))
    if beyond := [row.rpartition("/")[2] for row, cell in zip(need.rows, need.cells) if not cell]:
        return f"out of reach here: {_some(list(dict.fromkeys(beyond)))}"
    if not any(need.claim in told for told in answer.tellable.values()):
        return "all published questions are too few"
    if need.source and need.source not in {source.name for source in answer.choice.sources}:
        return f"traces of {need.source} are not paid for"
    if left := [min(cell) for cell in need.cells if not cell & chosen]:
        return f"left out: {_some(list(dict.fromkeys(left)))}"
    return "more questions, or all budgets and forced counts"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{len(names)} models"


def model_lines(question: Question, answer: Answer) -> list[str]:
    """A line for each model of Tables 1 and 2, whether and how it is there, and what it takes."""
    size, where = answer.choice.size, "node" if question.machine.card else "machine"
    rows = [["model", "how", f"training (h of a {where})", f"answers (h of a {where})", "GB"]]
    for part in answer.choice.parts:
        gigabytes = part.kept + answer.menu.weights[part.base]
        rows.append([part.model, part.way, f"{part.training:.2f}", f"{part.answering[size]:.2f}", f"{gigabytes:,.0f}"])
    left = {part.model for part in answer.menu.parts} - {part.model for part in answer.choice.parts}
    rows += [
        [model, "left out", "", "", ""]
        for model in dict.fromkeys(part.model for part in answer.menu.parts)
        if model in left
    ]
    lines = align_columns(rows, left={0, 1})
    reasons: dict[str, list[str]] = {}
    for model, reason in answer.menu.lacking.items():
        reasons.setdefault(reason, []).append(model)
    return lines + [f"out of reach ({reason}): {', '.join(models)}" for reason, models in reasons.items()]


def source_lines(answer: Answer) -> list[str]:
    """What is asked of every model, what is paid for, and what it takes together."""
    choice, size = answer.choice, answer.choice.size
    questions = "all questions" if size.limit is None else f"at most {size.limit} questions"
    forced = f", `Wait` forced {', '.join(map(str, size.forced))} times" if size.forced else ", none forced"
    lines = [f"Each model: {questions} of each benchmark, budgets {', '.join(map(str, size.budgets))}{forced}."]
    lines += [f"Paid for: traces of {one.name}, ${one.dollars:,.0f}." for one in choice.sources]
    basis = "measured by the run before" if answer.measured else "modelled, to a factor of three"
    told = f"{len(choice.told)} of {len(answer.needs)} claims; Table 1's averages ± {answer.widths[size]:.1f} points at most"
    return [*lines, f"Together: {choice.hours:.1f} h, ${choice.dollars:,.0f}, {choice.disk:,.0f} GB ({basis}); {told}."]


def notes(question: Question, answer: Answer) -> list[str]:
    """What is taken from others, and the next steps up."""
    lines = []
    rows = {row for part in answer.choice.parts for row in part.rows if row.startswith("table1/")}
    others = [f"table1/{group}/{model}" for group, model in _table1() if f"table1/{group}/{model}" not in rows]
    if question.kind == "cards" and others:
        names = _some([row.rpartition("/")[2] for row in others])
        lines.append(f"As published, not computed here, so no claim rests on them alone: {names} of Table 1.")
    if any(part.way == "LoRA" for part in answer.choice.parts):
        lines.append("LoRA is not the paper's training; tables and claims say so.")
    if remark := answer.run.config["report"]["remark"]:
        lines.append(f"These models are no claim about the paper's ({remark}): no claim is told.")
    return lines + next_steps(question, answer)


def next_steps(question: Question, answer: Answer) -> list[str]:
    """For hours, dollars, disk and cards: the least of some amounts more that would tell more, and what."""
    machine, lines = question.machine, []
    more = [
        [(f"+{one} hours", replace(machine, hours=machine.hours + one)) for one in MORE_HOURS],
        [(f"+{one} dollars", replace(machine, dollars=machine.dollars + one)) for one in MORE_DOLLARS if machine.card],
        [(f"+{one} GB of disk", replace(machine, disk=machine.disk + one)) for one in MORE_DISK],
        [(f"--gpus {cards}", one) for cards in MORE_CARDS if (one := _with_cards(machine, cards))],
    ]
    for steps in more:
        for said, larger in steps:
            if (found := _again(question, answer, larger)) and found.score[:4] > answer.choice.score[:4]:
                lines.append(f"{said}: {gained(answer.choice, found)}")
                break
    return lines


def _with_cards(machine: Machine, text: str) -> Machine | None:
    """The machine with other cards, of its own kind where it has one; None where they are not more."""
    nodes, gpus, card = parse_gpus(text)
    if machine.card is None or card is None or card.memory < machine.card.memory:
        return None
    if (nodes, gpus, card.memory) <= (machine.nodes, machine.gpus, machine.card.memory):
        return None
    faster = max(card.operations, machine.card.operations), max(card.bandwidth, machine.card.bandwidth)
    return replace(machine, nodes=nodes, gpus=gpus, card=replace(card, operations=faster[0], bandwidth=faster[1]))


def _again(question: Question, answer: Answer, machine: Machine) -> Choice | None:
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


def gained(before: Choice, after: Choice) -> str:
    """What a choice has that another one has not."""
    said = []
    if claims := [claim for claim in after.told if claim not in before.told]:
        said.append(f"claims {', '.join(claims)}")
    models = {part.model for part in before.parts}
    if others := [part.model for part in after.parts if part.model not in models]:
        said.append(f"models {', '.join(others)}")
    if after.size != before.size:
        limit = "all questions" if after.size.limit is None else f"{after.size.limit} questions of each benchmark"
        said.append(f"{limit}, budgets to {max(after.size.budgets):,}" + (", forced" if after.size.forced else ""))
    return "; ".join(said) or "narrower averages"


def overlay_text(question: Question, answer: Answer, command: str) -> str:
    """The overlay as a file to read."""
    head = [
        "# yaml-language-server: $schema=../../workflow/schemas/overlay.schema.json",
        f"# Made by: {command}",
        *(f"# {line}" for line in source_lines(answer)),
        f"# Told: {', '.join(answer.choice.told) or 'no claim'}.",
        "#",
        *(f"#   {line}" for line in commands(question)),
        "",
    ]
    body = yaml.safe_dump(overlay(question, answer), sort_keys=False, default_flow_style=None, width=150)
    return "\n".join(head) + "\n" + body


def commands(question: Question) -> list[str]:
    """What to type next."""
    files = " ".join([*FILES[question.kind], str(question.output)])
    return [f'make plan CONFIG="{files}"', f'make paper CONFIG="{files}"']


def main(argv: Sequence[str] | None = None) -> None:
    """Say what fits, and write the overlay."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="m1 fit", description=__doc__, formatter_class=as_written)
    parser.add_argument(
        "--gpus", help="cards, as [NODESx]COUNTxGB[:TYPE]; 0 for none; by default those of this machine"
    )
    parser.add_argument("--hours", type=float, required=True, help="from the first job to the last one")
    parser.add_argument("--dollars", type=float, default=0.0, help="for a teacher and a labeller (default: 0)")
    parser.add_argument("--disk", type=float, help="GB; by default what is free here")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="of a machine without GPUs; by default all")
    parser.add_argument(
        "--data", type=Path, help="folder with files of sets, by the names of their entries in data.yaml"
    )
    parser.add_argument(
        "--claims", nargs="+", metavar="ID", help="the claims that matter, of resources/paper/claims.csv"
    )
    parser.add_argument("--world", action="store_true", help="of the demo: the embedded world, on a CPU")
    parser.add_argument("--output", type=Path, default=Path("config/overlays/mine.yaml"), help="(default: %(default)s)")
    question = ask(parser.parse_args(argv))
    answer = fit(question)
    print("\n".join(table(question, answer)))
    words = " ".join(sys.argv[1:] if argv is None else argv)
    write_text(question.output, overlay_text(question, answer, f"python -m m1 fit {words}".replace("fit fit", "fit")))
    print("\n".join(["", f"{question.output} is written. Next:", *(f"  {line}" for line in commands(question))]))


def ask(arguments: argparse.Namespace) -> Question:
    """The question that was typed.

    Raises:
        UserError: a number is not above zero, a claim does not exist, or there is no key to pay with.
    """
    for name in ("hours", "cores"):
        if not getattr(arguments, name) > 0:
            raise UserError(f"--{name}: {getattr(arguments, name):g} is not above 0")
    if arguments.dollars < 0 or (arguments.disk is not None and arguments.disk < 0):
        raise UserError("--dollars and --disk: less than nothing")
    nodes, count, card = parse_gpus("0" if arguments.world else arguments.gpus or gpus_here())
    known = list(claim_power.claims()["id"])
    for claim in arguments.claims or []:
        if claim not in known:
            raise UserError(f"--claims: no claim {claim!r} in {claim_power.CLAIMS}{nearest(claim, known)}")
    if arguments.dollars and card and not (lacking := [key for key in KEYS.values() if not os.environ.get(key)]) == []:
        said = f"{' and '.join(lacking)} not set: no key to pay with"
        raise UserError(
            f"--dollars {arguments.dollars:g}: {said}; set them (teacher and labeller), or leave --dollars out"
        )
    disk = shutil.disk_usage(nearest_folder(Path())).free / 1e9 if arguments.disk is None else arguments.disk
    machine = Machine(nodes, count, card, arguments.cores, arguments.hours, arguments.dollars, disk)
    kind = "world" if arguments.world else "cards" if card else "cores"
    results = f"results/{arguments.output.stem}"
    return Question(kind, machine, tuple(arguments.claims or known), results, arguments.output, arguments.data)
