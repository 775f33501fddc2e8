"""The most telling reproduction that fits a machine: an exact search, by whole-number programming; part of ``python -m
m1 fit``.

The objective, of which each line only decides between choices that are equal in those before:

1. claims that can be told, as many as possible;
2. of as many, those that the paper makes first (the sum of their places);
3. the sum of the widths of Table 1's averages, a row that is not answered here counting as wide as the whole scale;
4. points of Figure 1;
5. models trained here, whole before by LoRA, and on more samples before fewer;
6. models of which the authors' released answers are shown, as many as possible;
7. the least time.

For each :class:`~m1.commands.fit_menu.Size` the best choice of parts and sources is the solution of one program for
each line. More of any resource only adds choices, so it never gives less.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from m1.commands.fit_menu import Machine, Menu, Part, Size, Source
from m1.commands.fit_tell import Telling

WHOLE_SCALE = 50.0
"""Points on either side of an average about which nothing is known."""
TRAINED = {"trained": 2, "LoRA": 1}
"""What a training counts for in the fifth line."""
SMALL = 1e-6


@dataclass(frozen=True)
class Choice:
    """What is made, and what it tells."""

    size: Size
    parts: tuple[Part, ...]
    sources: tuple[Source, ...]
    told: tuple[str, ...]  # claims
    score: tuple[float, ...]  # by the lines of the objective
    hours: float
    dollars: float
    disk: float


class Program:
    """The program of one size: columns for parts, sources, bases and claims, and two for the longest chain of a model's
    jobs (hours) and the largest checkpoints (GB)."""

    def __init__(self, menu: Menu, machine: Machine, size: Size, telling: Telling) -> None:
        self.menu, self.machine, self.size = menu, machine, size
        self.parts = [part for part in menu.parts if size in part.answering]
        self.places = [at for at, need in enumerate(telling.needs) if need.claim in telling.tellable[size]]
        self.needs = [telling.needs[place] for place in self.places]
        self.bases = sorted({part.base for part in self.parts})
        counts = [len(self.parts), len(menu.sources), len(self.bases), len(self.needs), 1, 1]
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.columns = int(self.starts[-1])
        self.rows: list[np.ndarray] = []
        self.limits: list[float] = []
        self._limit()
        self._claims()

    def _row(self, **parts: Mapping[int, float]) -> np.ndarray:
        """Factors by kind of column: ``parts``, ``sources``, ``bases``, ``claims``, ``chain``, ``checkpoints``."""
        row = np.zeros(self.columns)
        kinds = ("parts", "sources", "bases", "claims", "chain", "checkpoints")
        for kind, factors in parts.items():
            for place, factor in factors.items():
                row[self.starts[kinds.index(kind)] + place] += factor
        return row

    def _at_most(self, limit: float, **parts: Mapping[int, float]) -> None:
        self.rows.append(self._row(**parts))
        self.limits.append(limit)

    def hours(self, part: Part) -> tuple[float, float]:
        """Of a part, on one node, and on all nodes together."""
        return part.answering[self.size] + (part.training if part.nodes == 1 else 0), (
            part.training if part.nodes > 1 else 0
        )

    def _limit(self) -> None:
        menu, machine = self.menu, self.machine
        nodes = machine.nodes
        single, joint = zip(*map(self.hours, self.parts)) if self.parts else ((), ())
        # Graham's bound: whatever the order, jobs of one node are done within the mean of the nodes and the rest of the
        # longest chain.
        self._at_most(
            machine.hours - menu.first,
            parts={place: one / nodes + all_ for place, (one, all_) in enumerate(zip(single, joint))},
            sources={place: one.waiting + one.hours / nodes for place, one in enumerate(menu.sources)},
            chain={0: 1 - 1 / nodes},
        )
        for place, one in enumerate(single):
            self._at_most(0, parts={place: one}, chain={0: -1})
        for place, source in enumerate(menu.sources):
            self._at_most(0, sources={place: source.hours}, chain={0: -1})
        self._at_most(machine.dollars, sources={place: one.dollars for place, one in enumerate(menu.sources)})
        self._at_most(
            machine.disk,
            parts={place: part.kept for place, part in enumerate(self.parts)},
            bases={place: menu.weights[base] for place, base in enumerate(self.bases)},
            checkpoints={0: 1},
        )
        for place, part in enumerate(self.parts):
            self._at_most(0, parts={place: part.checkpoints}, checkpoints={0: -1})
            self._at_most(0, parts={place: 1}, bases={self.bases.index(part.base): -1})
            if part.excludes:
                apart = {index: 1.0 for index, one in enumerate(menu.sources) if one.name == part.excludes}
                self._at_most(1, parts={place: 1}, sources=apart)
            if part.source:
                paid = {index: -1.0 for index, one in enumerate(menu.sources) if one.name == part.source}
                self._at_most(0, parts={place: 1}, sources=paid)
        for model in {part.model for part in self.parts}:
            self._at_most(1, parts={place: 1 for place, part in enumerate(self.parts) if part.model == model})

    def _claims(self) -> None:
        for claim, need in enumerate(self.needs):
            for row in need.rows:
                filling = {place: -1.0 for place, part in enumerate(self.parts) if row in part.rows}
                self._at_most(0, claims={claim: 1}, parts=filling)
            if need.source:
                paid = {place: -1.0 for place, one in enumerate(self.menu.sources) if one.name == need.source}
                self._at_most(0, claims={claim: 1}, sources=paid)
            if need.whole:
                self._at_most(0, claims={claim: 1}, parts=dict.fromkeys(range(len(self.parts)), -1))

    def objectives(self) -> list[np.ndarray]:
        """What is made as large as possible, line by line."""
        parts = self.parts
        figure = {place: len(self.size.budgets) for place, part in enumerate(parts) if part.thinks}
        trained = {place: _trained(part) for place, part in enumerate(parts)}
        paid = self._row(sources={place: one.dollars for place, one in enumerate(self.menu.sources)})
        return [
            self._row(claims=dict.fromkeys(range(len(self.needs)), 1)),
            self._row(claims={place: -order for place, order in enumerate(self.places)}),
            self._row(parts={place: 1 for place, part in enumerate(parts) if part.table1}),
            self._row(parts=figure),
            self._row(parts=trained),
            self._row(parts={place: 1 for place, part in enumerate(parts) if part.released}),
            -self.rows[0] - paid,
        ]

    def solve(self) -> np.ndarray | None:
        """The best columns; None where nothing fits."""
        rows, lower, upper = list(self.rows), [-np.inf] * len(self.rows), list(self.limits)
        whole = np.ones(self.columns)
        whole[self.starts[4] :] = 0
        most = np.where(whole > 0, 1, np.inf)
        best = None
        for objective in self.objectives():
            if not objective.any():
                continue
            limits = LinearConstraint(np.array(rows), lower, upper)
            found = milp(-objective, integrality=whole, bounds=Bounds(0, most), constraints=limits)
            if found.x is None:
                return None
            best = found.x
            rows.append(objective)
            lower.append(float(objective @ best) - SMALL)
            upper.append(np.inf)
        return best


def _trained(part: Part) -> float:
    """What a training counts for: a whole subset most."""
    return TRAINED.get(part.way, 0) - (1 / part.samples if part.samples else 0)


def solve(menu: Menu, machine: Machine, telling: Telling, above: tuple[float, ...] = ()) -> Choice | None:
    """The best choice of all sizes; None where no model fits, or none has a score above another one.

    A size that can tell fewer claims than the best choice so far is left out: it cannot be better.
    """
    best, least = None, above
    for size in sorted(menu.sizes, key=lambda size: -len(telling.tellable[size])):
        if least and len(telling.tellable[size]) < least[0]:
            continue
        program = Program(menu, machine, size, telling)
        columns = program.solve()
        if columns is None:
            continue
        found = _choice(program, columns, telling)
        if found.parts and found.score > least:
            best, least = found, found.score
    return best


def _choice(program: Program, columns: np.ndarray, telling: Telling) -> Choice:
    chosen = [columns[start:end] > 0.5 for start, end in zip(program.starts, program.starts[1:])]
    menu, size = program.menu, program.size
    parts = tuple(part for part, there in zip(program.parts, chosen[0]) if there)
    sources = tuple(one for one, there in zip(menu.sources, chosen[1]) if there)
    told = tuple(need.claim for need, there in zip(program.needs, chosen[3]) if there)
    rows = sum(part.table1 for part in parts)
    score = (
        len(told),
        -float(sum(place for place, need in enumerate(telling.needs) if need.claim in told)),
        rows * (WHOLE_SCALE - telling.widths[size]),
        len(size.budgets) * sum(part.thinks for part in parts),
        sum(map(_trained, parts)),
        sum(bool(part.released) for part in parts),
    )
    hours = menu.first + float(program.rows[0] @ columns)
    disk = sum(part.kept for part in parts) + sum(menu.weights[base] for base in {part.base for part in parts})
    disk += max((part.checkpoints for part in parts), default=0.0)
    return Choice(size, parts, sources, told, score, hours, sum(one.dollars for one in sources), disk)
