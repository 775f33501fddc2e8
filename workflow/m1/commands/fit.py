"""What of the paper can be reproduced with what there is (``make fit``): the most telling reproduction that fits some
cards, hours, dollars and disk, as an overlay, and what it can tell.

Costs are those of ``make plan``, modelled until a run has measured them here; chances are simulated from the published
numbers. docs/fit.md has the objective, and what is assumed.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from m1.commands import claim_power
from m1.commands.cards import named_card, parse_cards
from m1.commands.doctor import named_gpus
from m1.commands.fit_choose import Question, choose
from m1.commands.fit_menu import Machine
from m1.commands.fit_overlay import KEYS, commands, overlay_text
from m1.commands.fit_table import table
from m1.core.errors import UserError
from m1.core.files import write_text
from m1.core.places import locate, nearest_folder
from m1.wiring.check import nearest

FILES = {
    "cards": ("config/paper.yaml",),
    "cores": ("config/paper.yaml", "config/overlays/laptop.yaml"),
    "world": (),
}
"""What the overlay is laid over, by what there is to run on."""


def gpus_here() -> str:
    """The cards of this machine, as ``--gpus`` takes them: with their type, where all are of one that is known."""
    found = named_gpus()
    if not found:
        return "0"
    kinds = {card.name if (card := named_card(name, memory)) else "" for memory, name in found}
    text = f"{len(found)}x{round(min(memory for memory, _ in found))}"
    return text if len(kinds) > 1 or "" in kinds else f"{text}:{kinds.pop()}"


def main(argv: Sequence[str] | None = None) -> None:
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
    parser.add_argument("--offline", action="store_true", help="only models and sets that are on this machine")
    parser.add_argument("--world", action="store_true", help="of the demo: the embedded world, on a CPU")
    parser.add_argument(
        "--configfile", nargs="+", type=Path, help="what models and sets are chosen from, and the overlay is laid over"
    )
    parser.add_argument("--output", type=Path, default=Path("config/overlays/mine.yaml"), help="(default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="a row for each claim, those that are not told among them")
    arguments = parser.parse_args(argv)
    question = ask(arguments)
    answer = choose(question)
    print("\n".join(table(question, answer, arguments.all)))
    words = " ".join(sys.argv[1:] if argv is None else argv)
    write_text(question.output, overlay_text(question, answer, f"python -m m1 fit {words}".replace("fit fit", "fit")))
    then = f"Then the first table is in {question.results}/table1.md, and everything in {question.results}/report.html."
    print("\n".join(["", f"{question.output} is written. Next:", *(f"  {line}" for line in commands(question)), then]))


def ask(arguments: argparse.Namespace) -> Question:
    """The question that was typed.

    Raises:
        UserError: a number is not above zero, a claim does not exist, or there is no key to pay with.
    """
    for name in ("hours", "cores"):
        if not getattr(arguments, name) > 0:
            raise UserError(f"--{name}: {getattr(arguments, name):g} is not above 0")
    for name, number in (("dollars", arguments.dollars), ("disk", arguments.disk)):
        if number is not None and not number >= 0:
            raise UserError(f"--{name}: {number:g} is less than nothing")
    nodes, count, card = parse_cards("0" if arguments.world else arguments.gpus or gpus_here())
    known = list(claim_power.claims()["id"])
    for claim in arguments.claims or []:
        if claim not in known:
            raise UserError(f"--claims: no claim {claim!r} in {claim_power.CLAIMS}{nearest(claim, known)}")
    if arguments.dollars and not card:
        raise UserError(f"--dollars {arguments.dollars:g}: without a card nothing is paid for; leave --dollars out")
    lacking = [key for key in KEYS.values() if not os.environ.get(key)]
    if arguments.dollars and lacking:
        said = f"{' and '.join(lacking)} not set: no key to pay with"
        raise UserError(
            f"--dollars {arguments.dollars:g}: {said}; set them (teacher and labeller), or leave --dollars out"
        )
    disk = shutil.disk_usage(nearest_folder(Path())).free / 1e9 if arguments.disk is None else arguments.disk
    machine = Machine(nodes, count, card, arguments.cores, arguments.hours, arguments.dollars, disk, arguments.offline)
    kind = "world" if arguments.world else "cards" if card else "cores"
    files = tuple(arguments.configfile or map(locate, FILES[kind]))
    results = f"results/{arguments.output.stem}"
    return Question(kind, machine, tuple(arguments.claims or known), results, arguments.output, arguments.data, files)
