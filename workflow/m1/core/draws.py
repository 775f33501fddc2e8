"""The random draws of curation, by the generators and in the order of the authors' code (3.1, B.1): equal input gives
their very sets.

``datasets.Dataset.shuffle`` and ``train_test_split`` draw the permutation of :func:`permutation`, so nothing here needs
that library.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np


def permutation(count: int, seed: int) -> list[int]:
    """The places 0 to ``count`` - 1 in a random order: that of ``datasets.Dataset.shuffle(seed)``."""
    order: list[int] = np.random.default_rng(seed).permutation(count).tolist()
    return order


def option_orders(counts: Iterable[int], seed: int, spend_first: bool) -> Iterator[list[int]]:
    """For each question with that many options, the old place of every option in its new order.

    One generator goes through the questions. A count of 0 or 1 draws nothing.

    Args:
        spend_first: the first question's shuffle is drawn once more before all others. The authors' loaders map the
            first record of a pool to print it.
    """
    generator = np.random.default_rng(seed)
    for number, count in enumerate(counts):
        for _ in range(2 if spend_first and number == 0 else 1):
            order = list(range(count))
            generator.shuffle(order)
        yield order


def balanced(groups: Sequence[tuple[Hashable, ...]], size: int, seed: int) -> list[int]:
    """Places drawn without replacement, uniformly through levels of groups: a group that is not empty, one inside it,
    ..., a place.

    Groups stand in the order in which they first appear, places in their own.

    Args:
        groups: for each place its group at every level: ``(domain,)``, or ``(domain, source)`` for the paper's
            diversity sampling (3.1).
        size: at most as many as there are places.

    Returns:
        ``size`` places in the order drawn.
    """
    generator = np.random.default_rng(seed)
    tree: dict[Hashable, Any] = {}
    for place, path in enumerate(groups):
        node = tree
        for group in path[:-1]:
            node = node.setdefault(group, {})
        node.setdefault(path[-1], []).append(place)
    return [_take(tree, generator) for _ in range(size)]


def _take(node: dict[Hashable, Any], generator: np.random.Generator) -> int:
    """Draw one place below a node and delete what is then empty."""
    group = list(node)[generator.integers(len(node))]
    inside = node[group]
    place: int = _take(inside, generator) if isinstance(inside, dict) else inside.pop(generator.integers(len(inside)))
    if not inside:
        del node[group]
    return place
