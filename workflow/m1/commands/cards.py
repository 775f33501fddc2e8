"""Graphics cards: what they hold, and how fast they are at best (resources/cards.csv), for plans."""

import csv
import re
from dataclasses import dataclass, replace
from functools import cache

from m1.core.errors import UserError
from m1.core.places import source_file

FILE = "resources/cards.csv"


@dataclass(frozen=True)
class Card:
    """A kind of card, or the least that cards of some memory have."""

    name: str
    memory: float  # GB
    operations: float  # a second, dense, bf16
    bandwidth: float  # bytes of its memory a second
    backend: str  # of SGLang's attention, that is the same whatever else is in the batch

    @property
    def said(self) -> str:
        """For a sentence."""
        return f"the slowest card of {self.name} GB or more" if self.name.isdecimal() else f"an {self.name}"


@cache
def cards() -> dict[str, Card]:
    """All kinds, by name."""
    with open(source_file(FILE), newline="", encoding="utf-8") as stream:
        rows = [dict(row) for row in csv.DictReader(stream)]
    return {
        row["card"]: Card(
            row["card"],
            float(row["memory_gb"]),
            float(row["tflops"]) * 1e12,
            float(row["bandwidth"]) * 1e12,
            row["backend"],
        )
        for row in rows
    }


def find_card(name: str, where: str) -> Card:
    """The card of a name, whatever its case; of a number, the least of all cards with so many GB or more: then more
    memory is never slower.

    Raises:
        UserError: there is none.
    """
    if name.isdecimal():
        memory = int(name)
        most = max(card.memory for card in cards().values())
        enough = [card for card in cards().values() if card.memory >= min(memory, most)]
        operations, bandwidth = min(one.operations for one in enough), min(one.bandwidth for one in enough)
        backend = "fa3" if all(one.backend == "fa3" for one in enough) else "triton"
        return Card(name, float(memory), operations, bandwidth, backend)
    for card in cards().values():
        if card.name.casefold() == name.casefold():
            return card
    raise UserError(f"{where}: no card {name!r} in {FILE}; give one of {', '.join(cards())}, or its memory in GB")


def named_card(device: str, memory: float | None = None) -> Card | None:
    """The kind of a card that calls itself so, as ``NVIDIA A100-SXM4-80GB``; None where the table has it not.

    Args:
        device: name by the driver.
        memory: GB; a kind has as much but for a tenth, as drivers keep some. Without it, by the name alone.
    """

    def words(text: str) -> set[str]:
        return set(re.findall(r"\w+", text.casefold()))

    found = [
        card
        for card in cards().values()
        if {word for word in words(card.name) if word != f"{card.memory:g}"} <= words(device)
        and (memory is None or abs(memory - card.memory) <= card.memory / 10)
    ]
    return max(found, key=lambda card: len(words(card.name)), default=None)


def parse_cards(text: str) -> tuple[int, int, Card | None]:
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
