"""Extraction: each step as the released code does it; the whole box, as ``strict`` reads it; and linear time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core.answers import extract_boxed, read_box
from patience import growth


@pytest.mark.parametrize(
    ("text", "extracted"),
    [
        (r"So it is \boxed{B}.", "B"),
        (r"\boxed{A} no, \boxed{C}", "C"),  # the last one
        (r"\boxed{A} then \fbox{C}", "A"),  # fbox only where nothing is boxed
        (r"so \fbox{C}.", r"\fbox{C}"),  # and it stays as it is
        (r"\fbox{A} \fbox{C} x", r"\fbox{C}"),
        ("no box at all ", "no box at all "),
        ("", ""),
        (r"\boxed{}", ""),
        (r"\boxed{}None of the options", ""),
        (r"\boxed{ B }", " B "),  # nothing is stripped
        (r"\boxed{f(\frac{1}{2})}", r"f(\frac{1}{2})"),
        (r"\boxed{x = 3}", "3"),
        (r"\boxed{a=b=  C }", "C "),  # behind the last '=', spaces on its left go
        ("\\boxed{a=\tC}", "\tC"),  # spaces, not white space
        (r"\boxed{\text{B}}", "B"),
        (r"\boxed{\text{B. x = y}}", "y}"),  # '=' in the box goes first, so that nothing is left to unwrap
        (r"\boxed{\text{B}. Aspirin}", r"\text{B}. Aspirin"),
        (r"\boxed{\text{A} and \text{B}}", r"A} and \text{B"),  # only the two ends are looked at
        (r"\text{B}", "B"),  # without a box, too
        (r"\boxed{\textbf{B}}", r"\textbf{B}"),
        (r"\boxed{\fbox{B} x}", r"\fbox{B}"),  # the second pass looks for a box inside
        (r"\boxed{B", r"\boxed{B"),  # never closed: the whole text
        (r"see: \boxed{{B}", r"see: \boxed{{B}"),
        (r"\boxed{{B}", "{B"),  # the whole text, which begins and ends as a box does
        (r"\boxed B, so {x}", r"\boxed B, so {x}"),  # no brace of its own: the piece ends at the next closing one
        (r"\boxed B, so {x} and {y}", r"\boxed B, so {x}"),
        (r"\boxed } { { } x", r"\boxed } { { }"),  # -1, 0, 1, 0: ends at a closing brace that leaves exactly 0
        (r"\boxed{B} and }}", "B"),
        (
            r"\boxed{A}\boxed",
            r"\boxed{A}\boxed",
        ),  # the last one has no brace: the whole text, and it does not end in one
        (r"\boxed{A}\boxed}", r"A}\boxed"),
    ],
)
def test_extraction(text: str, extracted: str) -> None:
    assert extract_boxed(text) == extracted


@pytest.mark.parametrize(
    ("text", "box"),
    [
        (r"\boxed{A} no, \boxed{C}", "C"),
        (r"so \fbox{C}.", "C"),
        (r"\boxed{A. x = 6.5%}", "A. x = 6.5%"),
        (r"\boxed{\text{B. } \text{x}}", r"\text{B. } \text{x}"),
        (r"\boxed{\{a\}}} no", r"\{a\}"),
        (r"\boxed{a \} b}", r"a \} b"),
        (r"\boxed {B}", "B"),
        (r"\boxed{\boxed{B}}", "B"),
        (r"\boxed{}", ""),
        (r"\boxed{B", r"\boxed{B"),
        ("no box", "no box"),
    ],
)
def test_the_whole_box(text: str, box: str) -> None:
    assert read_box(text) == box


@given(st.text(alphabet=r"ab={} ", max_size=30), st.text(max_size=20))
def test_the_box_is_found_behind_any_text(before: str, inside: str) -> None:
    inside = inside.translate(str.maketrans("", "", "{}=\\"))
    assert extract_boxed(before + r"\boxed{" + inside + "} end") == inside


@given(
    st.lists(st.sampled_from([r"\boxed", r"\fbox", r"\text", "{", "}", "=", " ", "A", "\n"]), max_size=30).map("".join)
)
def test_the_result_is_a_part_of_the_text(text: str) -> None:
    assert extract_boxed(text) in text


@pytest.mark.parametrize(("opens", "closes"), [("{", ""), ("{", "}"), (r"\boxed{", "")])
def test_very_many_braces_take_linear_time(opens: str, closes: str) -> None:
    def read(size: int) -> None:
        text = r"\boxed" + opens * size + closes * size
        extract_boxed(text)
        read_box(text)

    assert growth(read, 15_000) < 40
