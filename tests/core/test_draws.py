"""The generators of curation: equal to those of ``datasets``, each question's options by one stream, and balanced
draws."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core import draws


@pytest.mark.parametrize("seed", [0, 42])
def test_a_permutation_is_the_shuffle_and_the_split_of_datasets(seed: int) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"place": range(1000)})
    order = draws.permutation(1000, seed)
    assert rows.shuffle(seed=seed)["place"][:] == order
    halves = rows.train_test_split(test_size=0.5, seed=seed, shuffle=True)
    assert (halves["test"]["place"][:], halves["train"]["place"][:]) == (order[:500], order[500:])


@given(st.lists(st.integers(0, 10), max_size=20), st.integers(0, 2**32), st.booleans())
def test_options_follow_one_generator(counts: list[int], seed: int, spend_first: bool) -> None:
    generator = np.random.default_rng(seed)
    expected = []
    for count in counts[:1] * spend_first + counts:
        letters = [chr(65 + place) for place in range(count)]
        generator.shuffle(letters)
        expected.append(letters)
    orders = list(draws.option_orders(counts, seed, spend_first))
    assert [[chr(65 + place) for place in order] for order in orders] == expected[spend_first and counts != [] :]


def test_the_order_that_the_authors_printed_comes_out() -> None:
    """MedQA's record 2 ("A mother brings her 3-week-old infant …") is C, D, A, B of the published options."""
    assert list(draws.option_orders([4] * 3, 42, spend_first=True))[2] == [2, 3, 0, 1]


def test_a_question_with_one_option_or_none_draws_nothing() -> None:
    assert list(draws.option_orders([1, 4, 0, 4], 42, False))[1::2] == list(draws.option_orders([4, 4], 42, False))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), min_size=1, max_size=40),
    st.integers(0, 2**32),
    st.data(),
)
def test_balanced_draws_are_a_sample_without_replacement(
    groups: list[tuple[int, str]], seed: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(0, len(groups)))
    drawn = draws.balanced(groups, size, seed)
    assert len(drawn) == len(set(drawn)) == size
    whole = draws.balanced(groups, len(groups), seed)
    assert sorted(whole) == list(range(len(groups)))
    assert whole[:size] == drawn


def test_the_first_draw_is_uniform_over_domains_then_sources() -> None:
    groups = [("x", "a")] * 98 + [("x", "b")] + [("y", "a")]
    first = Counter(groups[draws.balanced(groups, 1, seed)[0]] for seed in range(4000))
    assert first[("y", "a")] == pytest.approx(2000, abs=4 * math.sqrt(1000))
    assert first[("x", "a")] == pytest.approx(1000, abs=4 * math.sqrt(750))
    domains = [(domain,) for domain, _ in groups]
    only_domains = Counter(groups[draws.balanced(domains, 1, seed)[0]] for seed in range(4000))
    assert only_domains[("x", "b")] == pytest.approx(2000 / 99, abs=4 * math.sqrt(20))
