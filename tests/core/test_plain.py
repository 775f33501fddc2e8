"""What a text says, whatever it is written with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core.plain import plain, spelling

ALIKE = [
    ("50%", r"50\%", r"$50\%$", r"50\,\%", "50 %", "５０％"),
    (
        "Vitamin C",
        r"\text{Vitamin C}",
        r"\mathrm{Vitamin\ C}",
        "Vitamin~C",
        "**Vitamin C**",
        "“Vitamin C”.",
        "Vitamin\u2009C",
    ),
    ("10^6", "10⁶", r"10^{6}"),
    ("Ca2+", "Ca²⁺", r"\mathrm{Ca}^{2+}", r"$\text{Ca}^{2+}$"),
    ("1 1/2", "1½", r"1\frac{1}{2}"),
    ("37°C", "37℃", r"37^{\circ}\text{C}", r"37\,^\circ C"),
    ("α-thalassemia", r"\alpha\text{-thalassemia}", r"$\alpha$-thalassemia", "α–thalassemia"),
    ("≥ 5 mg", ">= 5mg", r"\geq 5\ \text{mg}"),
    ("Parkinson's disease", "Parkinson’s disease"),
    ("$50", r"\$50"),
    ("a_b", r"a\_b"),
]
APART = [
    ("10^2", "102"),
    ("1½", "11/2"),
    ("2", r"\sqrt{2}"),
    ("B", r"\not B"),
    ("80", "-80"),
    ("5 10", "510"),
    ("Bb", "BB"),
    (".5", "5"),
]


@pytest.mark.parametrize("texts", ALIKE)
def test_what_says_the_same_is_spelled_alike(texts: tuple[str, ...]) -> None:
    assert {spelling(text) for text in texts} == {spelling(texts[0])}


@pytest.mark.parametrize("texts", APART)
def test_what_says_another_thing_is_not(texts: tuple[str, str]) -> None:
    assert spelling(texts[0]) != spelling(texts[1])


@given(st.text(max_size=40))
def test_any_text_is_read(text: str) -> None:
    assert "\n" not in plain(text)
    assert spelling(plain(text)) == spelling(plain(text).strip())
