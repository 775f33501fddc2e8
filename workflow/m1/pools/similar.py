"""All pairs of texts at or above an indel similarity, found exactly without comparing all of them.

The similarity is that of OpenThoughts, which B.1 follows: ``rapidfuzz.fuzz.ratio``, ``100 * (1 - indel / (len1 + len2))``, where the indel
distance counts the characters to delete and insert. Two bounds on that distance leave few pairs to compute, and miss none:

- it is at least the difference of the lengths, so a text has to be held only against a window of texts sorted by length;
- it is at least the sum, over characters, of the difference of their counts, since one deletion or insertion changes one count by one.
  Bins of several characters and counts cut at 255 can only make that sum smaller. Few bins come first, then many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz

FEW, MANY = 8, 48
"""Bins of characters of the first and the second bound."""
CODES = 1024
"""Characters are told apart by their code modulo this; for a bound, any grouping of characters will do."""
SLACK = 1e-6
"""Room for the rounding of floats, so that a bound never drops a pair that lies exactly at the threshold."""

Pair = tuple[int, int]


def duplicate_pairs(texts: Sequence[str], threshold: float) -> list[Pair]:
    """All pairs (i, j), i < j, with ``fuzz.ratio(texts[i], texts[j]) >= threshold``, sorted.

    Args:
        threshold: percent, over 0 and at most 100.
    """
    bins = _bins(texts)
    corpus = _corpus(texts, bins)
    starts = np.arange(1, len(texts) + 1)  # the pairs of a sorted corpus with itself, each once
    return sorted((min(pair), max(pair)) for pair in _close(corpus, corpus, threshold, starts))


def close_pairs(texts: Sequence[str], others: Sequence[str], threshold: float) -> list[Pair]:
    """All pairs (i, j) with ``fuzz.ratio(texts[i], others[j]) >= threshold``, sorted.

    Quick where ``others`` is the smaller side. Args as in :func:`duplicate_pairs`.
    """
    bins = _bins([*texts, *others])
    starts = np.zeros(len(others), dtype=np.int64)
    return sorted((i, j) for j, i in _close(_corpus(others, bins), _corpus(texts, bins), threshold, starts))


@dataclass(frozen=True)
class _Corpus:
    """Texts sorted by length, with their counts of characters."""

    order: NDArray[np.int64]
    """(n,) number of the text at each place."""
    texts: list[str]
    lengths: NDArray[np.int64]
    """(n,) characters, rising."""
    few: NDArray[np.uint8]
    """(FEW, n) counts, a row to a bin: windows of a row lie together in memory."""
    many: NDArray[np.uint8]
    """(n, MANY) counts, a row to a text: survivors of the first bound are rows here and there."""


def _bins(texts: Sequence[str]) -> NDArray[np.int64]:
    """(CODES,) bin of every code: the most frequent ones alone, all rare ones in the last bin."""
    counts = sum((np.bincount(_codes(block), minlength=CODES) for block in _blocks(texts)), np.zeros(CODES, dtype=np.int64))
    bins = np.full(CODES, MANY - 1, dtype=np.int64)
    bins[np.argsort(-counts, kind="stable")[: MANY - 1]] = np.arange(MANY - 1)
    return bins


def _blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Texts in blocks: their codes take eight bytes a character while they are counted."""
    return (texts[first : first + 8192] for first in range(0, len(texts), 8192))


def _codes(texts: Iterable[str]) -> NDArray[np.uint32]:
    return np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32) % CODES


def _corpus(texts: Sequence[str], bins: NDArray[np.int64]) -> _Corpus:
    order = np.array(sorted(range(len(texts)), key=lambda i: len(texts[i])), dtype=np.int64)
    ordered = [texts[i] for i in order]
    lengths = np.array([len(text) for text in ordered], dtype=np.int64)
    counts = [np.zeros((0, MANY), dtype=np.int64)]
    for block in _blocks(ordered):
        rows = np.repeat(np.arange(len(block)), [len(text) for text in block])
        counts.append(np.bincount(rows * MANY + bins[_codes(block)], minlength=len(block) * MANY).reshape(-1, MANY))
    many = np.concatenate(counts)
    few = many.reshape(len(texts), MANY // FEW, FEW).sum(axis=1)  # bin b of the few: every eighth rank, so that all are about equally full
    return _Corpus(order, ordered, lengths, np.ascontiguousarray(_bytes(few).T), _bytes(many))


def _bytes(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.minimum(counts, 255).astype(np.uint8)


def _close(left: _Corpus, right: _Corpus, threshold: float, starts: NDArray[np.int64]) -> Iterator[Pair]:
    """Pairs (number in left, number in right); place p of left is held against places ``starts[p]`` and beyond of right only."""
    far = 1 - threshold / 100  # the largest indel distance, as a share of both lengths together
    shortest, longest = left.lengths * (1 - far) / (1 + far) - SLACK, left.lengths * (1 + far) / max(1 - far, SLACK) + SLACK
    starts = np.maximum(starts, np.searchsorted(right.lengths, shortest, side="left"))
    stops = np.searchsorted(right.lengths, longest, side="right")
    for place, text in enumerate(left.texts):
        start, stop = int(starts[place]), int(stops[place])
        if start >= stop:
            continue
        most = int((left.lengths[place] + right.lengths[stop - 1]) * far + SLACK)  # allowed for the longest of the window
        near = np.flatnonzero(_difference(right.few[:, start:stop], left.few[:, place, None], 0) <= most)
        if near.size:
            near += start
            near = near[_difference(right.many[near], left.many[place], 1) <= (left.lengths[place] + right.lengths[near]) * far + SLACK]
        for other in near.tolist():
            if fuzz.ratio(text, right.texts[other], score_cutoff=threshold - SLACK) >= threshold:
                yield int(left.order[place]), int(right.order[other])


def _difference(a: NDArray[np.uint8], b: NDArray[np.uint8], axis: int) -> NDArray[np.uint16]:
    """Sum over ``axis`` of |a - b| (bytes, so the larger less the smaller)."""
    return (np.maximum(a, b) - np.minimum(a, b)).sum(axis=axis, dtype=np.uint16)
