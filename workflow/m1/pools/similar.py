"""Find all pairs of texts at or above an indel similarity, exactly, but without comparing all pairs.

The similarity is that of OpenThoughts, which B.1 follows: ``rapidfuzz.fuzz.ratio``, ``100 * (1 - indel / (len1 +
len2))``, where the indel distance counts the characters to delete and insert. Equal texts are handled as one. Three
bounds on the distance leave few pairs to compute, and miss none:

- it is at least the difference of the lengths, so texts sorted by length have to be held against a window only;
- it is at least the sum, over characters, of the difference of their counts, since one deletion or insertion changes
  one count by one. Bins of several characters can only make that sum smaller, and so can counts taken modulo 256, if
  their difference is taken the shorter way round. Few bins come first, in bytes, whole windows at a time; many bins for
  the pairs that are left;
- it is at least the distance of the texts thinned to some characters, plus the differences of the counts of the others.
  Of the pairs of long texts that counts cannot tell apart at a low threshold such as 80, that leaves one or two in a
  hundred, for a sixth of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz
from rapidfuzz.distance import Indel
from rapidfuzz.process import cdist

from m1.core.errors import UserError
from m1.core.progress import Progress

FEW, MANY = 12, 48  # numbers of bins of characters for the first and the second bound
THIRD = 3  # for the third bound, texts are thinned to the characters of every third of the many bins
CROWD = 1000  # smallest number of pairs in a tile for which thinning pays (at low thresholds, many long texts are left)
CODES = 1024  # characters are grouped by their code modulo this; a bound allows any grouping
ROWS, COLUMNS = 64, 4096  # size of a tile of pairs for the first bound: long rows are fast, and it fits the L2 cache
TASKS = 32  # tasks for each process, so that all processes end at about the same time
BYTES = 64  # up to this distance, sums are bytes: some wrap round and only look smaller; beyond, too many would
ALONE = 4e8  # up to this many pairs, one process is done before others would have started (about 0.2 s)
SLACK = 1e-6  # allowance for rounding, so that a bound never drops a pair that lies exactly at the threshold

Pair = tuple[int, int]
Places = NDArray[np.int64]
Text = TypeVar("Text", str, bytes)


def later_of_close(texts: Sequence[str], threshold: float, processes: int = 1, progress: str | None = None) -> set[int]:
    """Find every j for which there is an i < j with ``fuzz.ratio(texts[i], texts[j]) >= threshold`` (percent, above 0).

    ``processes`` share the work, if there is enough of it; a :class:`UserError` says that one was killed.
    ``progress`` is the title of the progress line; None for no line.
    """
    groups, bins = _groups(texts), _bins(texts)
    corpus = _Corpus.of(list(groups), bins)
    firsts = [places[0] for places in groups.values()]  # increasing, so a later text belongs to a later group
    search = _Search(bins, corpus, corpus, threshold, later_only=True)
    later = {firsts[number] for number in _run_all(search, processes, progress)}
    return later.union(*(places[1:] for places in groups.values()))


def close_pairs(
    texts: Sequence[str], others: Sequence[str], threshold: float, processes: int = 1, progress: str | None = None
) -> list[Pair]:
    """Find all pairs (i, j) with ``fuzz.ratio(texts[i], others[j]) >= threshold``, sorted; as in
    :func:`later_of_close`."""
    rows, columns, bins = _groups(others), _groups(texts), _bins(texts)
    search = _Search(bins, _Corpus.of(list(rows), bins), _Corpus.of(list(columns), bins), threshold)
    of_row, of_column = list(rows.values()), list(columns.values())
    found = _run_all(search, processes, progress)
    return sorted((i, j) for row, column in found for i in of_column[column] for j in of_row[row])


def _groups(texts: Iterable[str]) -> dict[str, list[int]]:
    """Positions of each distinct text, in the order of first appearance."""
    groups: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        groups.setdefault(text, []).append(place)
    return groups


def _bins(texts: Sequence[str]) -> NDArray[np.uint8]:
    """The bin of every code, shape (CODES,).

    The most frequent codes of a sample have bins of their own, and all others share the last one.
    """
    counts = np.bincount(_codes(texts[:: 1 + len(texts) // 8192]), minlength=CODES)
    bins = np.full(CODES, MANY - 1, dtype=np.uint8)
    bins[np.argsort(-counts, kind="stable")[: MANY - 1]] = np.arange(MANY - 1)
    return bins


def _codes(texts: Iterable[str]) -> NDArray[np.uint32]:
    return np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32) % CODES


@dataclass(frozen=True)
class _Corpus:
    """Distinct texts sorted by length, with their counts of characters."""

    order: Places  # (n,) number of the text at each position
    texts: list[str]
    lengths: NDArray[np.float64]  # (n,) characters, increasing; floats, because the bounds compared with them are
    few: NDArray[np.int16]  # (FEW, n) counts, one row for each bin, so that windows of texts are contiguous in memory
    many: NDArray[np.uint8]  # (n, MANY) counts modulo 256, one row for each text: the first bound leaves scattered ones

    @classmethod
    def of(cls, texts: Sequence[str], bins: NDArray[np.uint8]) -> _Corpus:
        order = np.array(sorted(range(len(texts)), key=lambda i: len(texts[i])), dtype=np.int64)
        ordered = [texts[i] for i in order]
        lengths = np.array([len(text) for text in ordered], dtype=np.float64)
        few, many = np.zeros((FEW, len(texts)), dtype=np.int16), np.zeros((len(texts), MANY), dtype=np.uint8)
        for first in range(0, len(texts), 4096):  # in blocks, because counting takes many bytes for each character
            block = slice(first, first + 4096)
            some = ordered[block]
            rows = np.repeat(np.arange(len(some)), [len(text) for text in some])
            counts = np.bincount(rows * MANY + bins[_codes(some)], minlength=len(some) * MANY).reshape(-1, MANY)
            many[block] = counts
            # Each of the few bins joins every twelfth of the many, so that all are about equally full.
            few[:, block] = counts.reshape(-1, MANY // FEW, FEW).sum(axis=1).T
        return cls(order, ordered, lengths, few, many)


@dataclass
class _Search:
    """A search for close pairs of a row (a position in ``left``) and a column (a position in ``right``)."""

    bins: NDArray[np.uint8]
    left: _Corpus
    right: _Corpus
    threshold: float
    later_only: bool = False  # left and right are one corpus, and only the later text of close pairs is wanted

    def __post_init__(self) -> None:
        self.far = 1 - self.threshold / 100  # the largest indel distance, as a share of the sum of both lengths
        self.gone = np.zeros(len(self.right.texts), dtype=np.bool_)  # (n,) texts known to be the later of a close pair

    def run(self, task: range) -> list[Any]:
        """Numbers (left, right) of close pairs with a row in ``task``; if ``later_only``, newly found later texts."""
        if not self.later_only:
            tiles = ((self.left.order[i].tolist(), self.right.order[j].tolist()) for i, j in self._found(task))
            return [pair for rows, columns in tiles for pair in zip(rows, columns)]
        known = self.gone.copy()
        for i, j in self._found(task):
            self.gone[self._later(i, j)] = True
        return self.right.order[self.gone & ~known].tolist()

    def _found(self, task: range) -> Iterator[tuple[Places, Places]]:
        """Yield rows and columns of close pairs, tile by tile."""
        for first in task[::ROWS]:
            rows = np.arange(first, min(first + ROWS, task.stop))
            for columns in self._windows(rows):
                yield self._close(*self._nearer(*self._near(*self._perhaps_near(rows, columns))))

    def _later(self, i: Places, j: Places) -> Places:
        return np.where(self.left.order[i] > self.right.order[j], i, j)

    def _windows(self, rows: Places) -> Iterator[Places]:
        """Yield the columns whose length allows them to be close to one of the rows, up to COLUMNS at a time."""
        reach = self.threshold / (200 - self.threshold)  # the smallest ratio of the shorter length to the longer one
        shortest, longest = self.left.lengths[rows[[0, -1]]]
        start = rows[0] + 1 if self.later_only else np.searchsorted(self.right.lengths, shortest * reach - SLACK)
        stop = np.searchsorted(self.right.lengths, (longest + SLACK) / reach, side="right")
        for edge in range(int(start), int(stop), COLUMNS):
            columns = np.arange(edge, min(edge + COLUMNS, int(stop)))
            if self.later_only and self.gone[rows].all():  # then only later texts that are not yet gone can be news
                columns = columns[~self.gone[columns] & (self.right.order[columns] > self.left.order[rows].min())]
            if columns.size:
                yield columns

    def _perhaps_near(self, rows: Places, columns: Places) -> tuple[Places, Places]:
        """Rows and columns of the pairs within the bound of the few bins (the first bound)."""
        most = int(self._room(rows[-1], columns[-1]))  # the largest allowed distance of any pair of the tile
        signed, unsigned = (np.int8, np.uint8) if most <= BYTES else (np.int16, np.uint16)
        whole = slice(columns[0], columns[-1] + 1)
        several = self.right.few[:, whole if columns.size == whole.stop - whole.start else columns].astype(signed)
        single = self.left.few[:, rows, None].astype(signed)
        total, difference = np.zeros((2, rows.size, columns.size), dtype=signed)
        for one, other in zip(several, single):
            np.abs(np.subtract(one, other, out=difference), out=difference)
            np.add(total, difference, out=total)
        row, column = np.divmod(_true(np.less_equal(total.view(unsigned), most).ravel()), columns.size)
        return rows[row], columns[column]

    def _near(self, i: Places, j: Places) -> tuple[Places, Places]:
        """The pairs within the bound of the many bins (the second bound); if ``later_only``, only new ones."""
        if self.later_only:
            wanted = (i < j) & ~self.gone[self._later(i, j)]
            i, j = i[wanted], j[wanted]
        within = _difference(self.left.many[i], self.right.many[j]) <= self._room(i, j)
        return i[within], j[within]

    def _nearer(self, i: Places, j: Places) -> tuple[Places, Places]:
        """The pairs whose thinned texts are within the third bound, if there are enough pairs for it to pay."""
        if i.size < CROWD:
            return i, j
        (rows, row), (columns, column) = np.unique(i, return_inverse=True), np.unique(j, return_inverse=True)
        left = self._thinned([self.left.texts[i] for i in rows])
        right = self._thinned([self.right.texts[j] for j in columns])
        a, b = self.left.many, self.right.many
        room = self._room(i, j) - _difference(a[i], b[j]) + _difference(a[:, ::THIRD][i], b[:, ::THIRD][j])
        within = _by_rows(Indel.distance, left, right, row, column, int(room.max()), np.int32) <= room
        return i[within], j[within]

    def _thinned(self, texts: Sequence[str]) -> list[bytes]:
        """The texts reduced to the characters of every third bin, each character as the number of its bin."""
        codes = self.bins[_codes(texts)]
        stay = codes % THIRD == 0
        ends = np.concatenate([[0], np.cumsum(stay)])[np.cumsum([0, *map(len, texts)])].tolist()
        left = codes[stay].tobytes()
        return [left[start:end] for start, end in pairwise(ends)]

    def _room(self, i: Places, j: Places) -> NDArray[np.float64]:
        """The largest indel distance at which the texts of a pair are close."""
        return (self.left.lengths[i] + self.right.lengths[j]) * self.far + SLACK

    def _close(self, i: Places, j: Places) -> tuple[Places, Places]:
        cutoff = max(self.threshold - 0.01, 0)  # ratios are doubles; rapidfuzz rounds the cutoff to single precision
        close = _by_rows(fuzz.ratio, self.left.texts, self.right.texts, i, j, cutoff, np.float64) >= self.threshold
        return i[close], j[close]


def _difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """The sums over bins, shape (n,), of the differences of counts of shape (n, bins).

    Counts are modulo 256, and each difference is taken the shorter way round.
    """
    return np.abs((a - b).view(np.int8)).view(np.uint8).sum(axis=1, dtype=np.uint16)


def _by_rows(
    scorer: Any, left: Sequence[Text], right: Sequence[Text], i: Places, j: Places, cutoff: float, dtype: Any
) -> NDArray[Any]:
    """The score of each pair, shape (n,); beyond the cutoff it is only known to be so.

    Pairs are grouped by row, because rapidfuzz prepares a row's text once for all its columns.
    """
    edges = np.flatnonzero(np.diff(i, prepend=-1, append=-1)).tolist()
    scores = [np.zeros(0, dtype=dtype)]
    for start, end in pairwise(edges):
        others = [right[place] for place in j[start:end]]
        scores.append(cdist([left[i[start]]], others, scorer=scorer, score_cutoff=cutoff, dtype=dtype)[0])
    return np.concatenate(scores)


def _true(flags: NDArray[np.bool_]) -> Places:
    """Positions of the few true flags; testing eight at a time takes a tenth of the time of ``np.flatnonzero``."""
    eights = np.zeros(-(-flags.size // 8), dtype=np.uint64)
    eights.view(np.bool_)[: flags.size] = flags
    some = np.flatnonzero(eights)
    return (some[:, None] * 8 + np.arange(8))[eights[some].view(np.bool_).reshape(-1, 8)]


def _run_all(search: _Search, processes: int, progress: str | None) -> list[Any]:
    """Run a search over all its rows, which processes share if there are enough pairs."""
    rows = len(search.left.texts)
    size = -(-rows // (processes * TASKS * ROWS)) * ROWS or ROWS
    tasks = [range(first, min(first + size, rows)) for first in range(0, rows, size)]
    results = _results(search, tasks, processes if rows * len(search.right.texts) > ALONE else 1)
    found: list[Any] = []
    with Progress(progress, rows, "texts") if progress else nullcontext() as line:
        for task, part in zip(tasks, results):
            found += part
            if line:
                line.advance(len(task))
    return found


def _results(search: _Search, tasks: Sequence[range], processes: int) -> Iterator[list[Any]]:
    if processes == 1:
        yield from map(search.run, tasks)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_all_start_methods, get_context

    context = get_context("fork" if "fork" in get_all_start_methods() else "spawn")
    try:
        with ProcessPoolExecutor(processes, context, _take, (search,)) as executor:
            yield from executor.map(_run, tasks)
    except BrokenProcessPool:
        found = f"one of {processes} processes was killed, perhaps for want of memory"
        remedy = "Run again with fewer cores or more memory."
        raise UserError(f"comparing {len(search.right.texts):,} texts: {found}. {remedy}") from None


_search: _Search  # the search of a worker process, set once when the process starts


def _take(search: _Search) -> None:
    global _search
    _search = search


def _run(task: range) -> list[Any]:
    return _search.run(task)
