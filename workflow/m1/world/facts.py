"""The facts of the embedded world: eight types of entities in a ring, with a random permutation for every relation.

A drug inhibits an enzyme, which makes a metabolite, which activates a receptor, … which raises a marker, which calls
for a drug. Also, each marker shows a rise, a fall or a swing. As in medicine, a fact cannot be deduced: one knows it or
not.
"""

import random
from dataclasses import asdict, dataclass
from functools import cached_property

from m1.core.files import read_json, write_json

# The ring: RELATIONS[i] leads from TYPES[i] to the next type, and the last one to the first.
TYPES = ("drug", "enzyme", "metabolite", "receptor", "tissue", "disease", "finding", "marker")
RELATIONS = ("inhibits", "makes", "activates", "sits in", "breaks down in", "presents with", "raises", "calls for")
TRENDS = {"rise": "yes", "fall": "no", "swing": "maybe"}  # what a marker shows, and the answer to "does it rise?"

_SUFFIXES = ("dol", "nase", "mate", "tor", "lum", "vitis", "gema", "rin")
_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u")


@dataclass(frozen=True)
class Facts:
    """The facts of a world: its entities by type, and what each is linked to."""

    entities: dict[str, list[str]]  # by type; names are lower case and unique over all types
    next: dict[str, str]  # entity to the entity of the next type in the ring that it is linked to
    trend: dict[str, str]  # marker to a key of TRENDS

    def chain(self, start: str, hops: int) -> list[str]:
        """The ``hops + 1`` entities from ``start`` over ``hops`` relations, including ``start``."""
        chain = [start]
        for _ in range(hops):
            chain.append(self.next[chain[-1]])
        return chain

    @cached_property
    def type_of(self) -> dict[str, str]:
        return {name: kind for kind, names in self.entities.items() for name in names}

    @cached_property
    def sentences(self) -> list[str]:
        """All facts as sentences, without full stops."""
        return [self.sentence(name) for name in self.next] + [self.trend_sentence(name) for name in self.trend]

    def sentence(self, entity: str) -> str:
        """The fact that leads on from ``entity``, without a full stop: ``kolor inhibits bimase``."""
        return f"{entity} {RELATIONS[TYPES.index(self.type_of[entity])]} {self.next[entity]}"

    def trend_sentence(self, marker: str) -> str:
        """The fact about a marker's trend, without a full stop: ``selin shows a rise``."""
        return f"{marker} shows a {self.trend[marker]}"


def hops_between(start_type: str, target_type: str) -> int:
    """The number of relations from one type to another around the ring: 1 to 8."""
    return (TYPES.index(target_type) - TYPES.index(start_type) - 1) % len(TYPES) + 1


def make_facts(seed: int, entities: int) -> Facts:
    """Make a world from a seed, with ``entities`` entities of each type."""
    rng = random.Random(seed)
    taken: set[str] = set()
    names: dict[str, list[str]] = {}
    for kind, suffix in zip(TYPES, _SUFFIXES):
        names[kind] = []
        while len(names[kind]) < entities:
            name = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(2)) + suffix
            if name not in taken:
                taken.add(name)
                names[kind].append(name)
    links: dict[str, str] = {}
    for index, kind in enumerate(TYPES):
        targets = list(names[TYPES[(index + 1) % len(TYPES)]])
        rng.shuffle(targets)
        links.update(zip(names[kind], targets))
    trends = dict(zip(rng.sample(names["marker"], entities), ("rise", "rise", "fall", "fall", "swing") * entities))
    return Facts(names, links, trends)


def save_facts(facts: Facts, path: str) -> None:
    """Write the world as JSON."""
    write_json(path, asdict(facts))


def load_facts(path: str) -> Facts:
    """Read a world written by :func:`save_facts`."""
    return Facts(**read_json(path))
