"""The random draws of curation, with the generators and in the order of the authors' code (3.1, B.1).

Equal input therefore gives exactly the authors' sets. ``datasets.Dataset.shuffle`` and ``train_test_split`` draw the
same permutation as :func:`permutation`, so this module does not need that library.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np


def permutation(count: int, seed: int) -> list[int]:
    """The numbers 0 to ``count`` - 1 in the random order of ``datasets.Dataset.shuffle(seed)``."""
    order: list[int] = np.random.default_rng(seed).permutation(count).tolist()
    return order


def option_orders(counts: Iterable[int], seed: int, spend_first: bool) -> Iterator[list[int]]:
    """For each question, the old positions (from 0) of its options in their new order; ``counts`` are their numbers.

    One generator serves all questions, so a question's order depends on those before it. A count of 0 or 1 draws
    nothing. With ``spend_first``, the first question's shuffle is drawn once more before all others, because the
    authors' loaders map the first record of a pool once to print it.
    """
    generator = np.random.default_rng(seed)
    for number, count in enumerate(counts):
        for _ in range(2 if spend_first and number == 0 else 1):
            order = list(range(count))
            generator.shuffle(order)
        yield order


def balanced(groups: Sequence[tuple[Hashable, ...]], size: int, seed: int) -> list[int]:
    """Draw items without replacement, uniformly over nested groups: first a group, then one inside it, …, then an item.

    The order of groups and items decides a draw: groups are in the order in which they first appear.

    Args:
        groups: for each item its group at every level: ``(domain,)``, or ``(domain, source)`` for the paper's
            diversity sampling (3.1).
        size: how many items to draw; at most as many as there are.

    Returns:
        The positions (from 0) of ``size`` items, in the order drawn.
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
    """Draw one item below a node of the tree, and delete groups that become empty."""
    group = list(node)[generator.integers(len(node))]
    inside = node[group]
    place: int = _take(inside, generator) if isinstance(inside, dict) else inside.pop(generator.integers(len(inside)))
    if not inside:
        del node[group]
    return place
