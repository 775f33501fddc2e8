"""Word n-grams: equal to a brute-force comparison, and blind to what is only a turn of phrase."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from m1.pools import contain
from m1.pools.contain import ngrams, pairs_by_containment


def words_of(text: str) -> list[str]:
    """Letters and digits in a row are a word; written without a regular expression, to be another way than the
    module's."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character if character.isalnum() else " " for character in folded).split(" ")


def brute_force(
    texts: list[str], others: list[str], words: int, share: float, common: int
) -> list[tuple[int, int, float]]:
    def grams(text: str) -> set[tuple[str, ...]]:
        found = [word for word in words_of(text) if word]
        return {tuple(found[i : i + words]) for i in range(len(found)) if i == 0 or i + words <= len(found)}

    def frequent(gram: tuple[str, ...]) -> bool:
        return sum(gram in grams(other) for other in set(others)) > common

    pairs = []
    for i, text in enumerate(texts):
        for j, other in enumerate(others):
            one, two = ({gram for gram in grams(side) if not frequent(gram)} for side in (text, other))
            if one & two and len(one & two) / min(len(one), len(two)) >= share:
                pairs.append((i, j, len(one & two) / min(len(one), len(two))))
    return pairs


TEXT = st.lists(
    st.sampled_from(["a", "A", "b", "c", "straße", "STRASSE", "1", "ﬁ", "-", "\ud800", "é", "_"]), max_size=9
).map(" ".join)
WILD = TEXT | st.text(max_size=8)


@given(
    st.lists(WILD, max_size=5),
    st.lists(WILD, max_size=5),
    st.integers(1, 4),
    st.sampled_from([0, 0.3, 0.5, 1]),
    st.integers(0, 3),
)
@example(["a b c"], ["A, b; C!", "b c d", "x a b c"], 3, 1, 9)
@example(["a b"], ["a 1", "a c", "b d e"], 1, 1, 1)  # a is common, so of the first text only b counts
def test_contained_pairs_are_those_of_brute_force(
    texts: list[str], others: list[str], words: int, share: float, common: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contain, "COMMON", common)
        assert pairs_by_containment(texts, others, words, share) == brute_force(texts, others, words, share, common)


CASE = (
    "A 58-year-old woman comes to the emergency department because of worsening abdominal pain for the past two days. "
    "She has nausea and has been unable to keep any food down. Which of the following is the "
    "most appropriate next step?"
)


def test_a_wrapped_case_is_contained_from_both_sides() -> None:
    wrapped = (
        f"The patient's daughter tells the story. {CASE} Keep in mind that she is allergic to "
        "penicillin and lives alone with two cats."
    )
    assert pairs_by_containment([wrapped], [CASE], 13, 1) == [(0, 0, 1.0)]
    assert pairs_by_containment([CASE], [wrapped], 13, 1) == [(0, 0, 1.0)]
    reworded = CASE.replace("comes to", "presents at").replace("any food", "food")
    ((_, _, part),) = pairs_by_containment([reworded], [CASE], 13, 0.1)
    assert 0.1 < part < 0.9


def test_case_punctuation_and_unicode_form_do_not_matter() -> None:
    text = "“Café-au-lait” spots;  H₂O, µg of α-fetoprotein and Crohn's"
    assert ngrams(text, 3) == ngrams("cafe\u0301 AU\nlait spots h2o μg OF Α fetoprotein and crohn’s", 3)
    assert "crohn s" in ngrams(text, 2)


def test_a_short_text_is_one_n_gram() -> None:
    assert pairs_by_containment(
        ["Which DRUG (ever)"], ["which drug ever?", "which drug", "which drug ever is"], 13, 0.1
    ) == [(0, 0, 1.0)]
    assert pairs_by_containment(["", "?!"], ["", "?!"], 13, 0) == []


def test_a_turn_of_phrase_of_many_benchmark_questions_does_not_count() -> None:
    phrase = "which of the following is the most likely underlying cause of this patient's present symptoms"
    assert len(phrase.split()) > 13
    few = [f"Case {number} {phrase}" for number in range(contain.COMMON)]
    text = f"Another case: {phrase}"
    assert len(pairs_by_containment([text], few, 13, 0.3)) == len(few)
    assert pairs_by_containment([text], [*few, f"A last one {phrase}"], 13, 0.3) == []
    repeated = [CASE] * (contain.COMMON + 1)  # one question repeated is no turn of phrase
    assert len(pairs_by_containment([CASE], repeated, 13, 0.3)) == len(repeated)
