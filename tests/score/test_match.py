"""Matching and curation: each rule of each protocol on cases small enough to check by eye."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from m1.core.answers import find_option
from m1.core.curation import passes_curation
from m1.core.records import LETTERS, Question
from m1.score.match import PROTOCOLS, decide, extract, is_ambiguous, match_text, shown_options
from m1.score.settings import SCORING_PROTOCOLS, ScoringProtocol
from m1.wiring.schema import config_schema
from patience import growth

DRUGS = ("Aspirin", "Ibuprofen", "Morphine", "Amoxicillin")
GENES = ("BB", "Bb", "bb", "none of them")


def question(options: tuple[str, ...] = DRUGS, answer: str = "B") -> Question:
    return Question(id="q", source="unit", stem="Which?", context=None, options=options, answer=answer)


def decided(text: str, protocol: ScoringProtocol, **changes: object) -> tuple[str, str]:
    return decide(extract(text, protocol), question(**changes), protocol)  # type: ignore[arg-type]


def test_the_schema_and_the_settings_name_every_protocol() -> None:
    allowed = config_schema()["properties"]["score"]["properties"]["protocol"]["enum"]
    assert list(PROTOCOLS) == list(SCORING_PROTOCOLS) == allowed


@pytest.mark.parametrize(
    ("text", "letter", "rule"),
    [
        (r"\boxed{ibuPROFEN}", "B", "boxed text"),
        (r"\boxed{b. ibuprofen}", "B", "boxed letter and text"),
        (r"\boxed{b}", "B", "boxed letter"),
        (r"\boxed{C}", "C", "lone letter"),  # the three rules of the box know the right option only
        (r"\boxed{morphine}", "C", "option text"),
        (r"\boxed{ B }", "B", "lone letter"),
        (r"\boxed{c}", "D", "most similar option"),  # a small wrong letter is not matched as one
        ("answer is A, no, the answer is B: fine. (C)", "B", "answer is"),  # the last, and before lone letters
        ("answer is\n\n C", "C", "answer is"),
        ("answer isC", "C", "answer is"),
        ("The answer is Not known. (A)", "N", "answer is"),
        ("the answer is: C", "C", "lone letter"),
        ("the answer is c. Morphine", "C", "option text"),
        ("The Answer is A.", "A", "lone letter"),  # " A." after "is "; 'A' followed by a dot counts
        ("A patient took B vitamins", "B", "lone letter"),  # an article is not an answer
        ("A patient took morphine", "C", "option text"),
        ("grade A", "A", "lone letter"),
        ("A", "A", "lone letter"),
        ("(A) (B) (C)", "C", "lone letter"),
        ("E) or (F) or Ibuprofen", "B", "option text"),  # only as many letters as options
        ("我选A是", "A", "lone letter"),
        ("xC Cx C_ éC", "D", "most similar option"),
        ("B,C", "B", "lone letter"),  # the comma belongs to the match of B, so C has nothing before it
        ("B, C", "C", "lone letter"),
        ("(B) is wrong\n## Final Response\n\nit is (C)", "C", "lone letter"),
        ("(C)\n## Final Response\n\n(A)\n## Final Response\n\nmorphine", "C", "option text"),
        ("(C)\n## Final Response\n(A)\n", "A", "lone letter"),  # one newline only: no heading
        ("aspirin or morphine or aspirin", "A", "option text"),
        ("amoxicilin", "D", "most similar option"),
        ("", "D", "most similar option"),  # of equals, the last
    ],
)
def test_released(text: str, letter: str, rule: str) -> None:
    assert decided(text, "released") == (letter, rule)


@pytest.mark.parametrize(
    ("text", "letter", "rule"),
    [
        (r"\boxed{ibuPROFEN}", "B", "boxed text"),
        (r"\boxed{A} so \boxed{B}", "B", "boxed letter"),  # extraction is the same
        ("answer is A, no, the answer is B: fine. (C)", "A", "answer is"),
        ("(A) (B) (C)", "A", "lone letter"),
        ("morphine or aspirin or morphine", "C", "option text"),
        ("(B)\n## Final Response\n\n(C) (A)", "C", "lone letter"),
        ("amoxicilin", "D", "most similar option"),
    ],
)
def test_first(text: str, letter: str, rule: str) -> None:
    assert decided(text, "first") == (letter, rule)


@pytest.mark.parametrize("protocol", ["released", "first"])
def test_of_options_at_one_place_the_first_counts(protocol: str) -> None:
    assert decided("iron overload", protocol, options=("iron", "iron overload", "zinc"), answer="C") == (
        "A",
        "option text",
    )


@pytest.mark.parametrize(
    ("text", "letter", "rule"),
    [
        (r"\boxed{ibuPROFEN.}", "B", "boxed text"),
        (r"\boxed{ morphine }", "C", "boxed text"),
        (r"\boxed{c}", "C", "boxed letter"),
        (r"\boxed{(C)}", "C", "boxed letter"),
        (r"\boxed{C.}", "C", "boxed letter"),
        (r"\boxed{C)}", "C", "boxed letter"),
        (r"\boxed{\text{C}}", "C", "boxed letter"),
        (r"\boxed{\textbf{C}}", "C", "boxed letter"),
        (r"\boxed{\mathrm{C. Morphine}}", "C", "boxed letter and text"),
        (r"\boxed{C. morphine}", "C", "boxed letter and text"),
        (r"\boxed{(C) Morphine.}", "C", "boxed letter and text"),
        ("**(C) Morphine**", "C", "boxed letter and text"),
        ("Morphine", "C", "boxed text"),  # nothing boxed: the whole text
        (r"\boxed{C. Aspirin}", "", "no answer"),  # contradicts itself
        (r"\boxed{A, C}", "", "no answer"),
        (r"\boxed{A and C}", "", "no answer"),
        (r"\boxed{Morphin}", "", "no answer"),  # close, but no guess
        (r"\boxed{E}", "", "no answer"),  # not an option
        (r"\boxed{}", "", "no answer"),
        ("", "", "no answer"),
        ("(A) (B) (C)", "", "no answer"),
        ("I think of aspirin", "", "no answer"),
        (r"\boxed{The answer is (C)}", "C", "answer is"),
        ("Answer: A. No. The answer is (C).", "C", "answer is"),  # the last statement
        ("**Answer:** C", "C", "answer is"),
        ("The correct answer is **C**", "C", "answer is"),
        ("the answer is option C because of that", "C", "answer is"),
        ('{"step": "so", "answer_choice": "C. Morphine"}', "C", "answer is"),
        ("the answer is Morphine. It helps.", "C", "answer is"),
        ("the answer is 'Morphine'", "C", "answer is"),
        ("The answer is A patient's choice", "", "no answer"),
        ("The answer is B and C.", "", "no answer"),
        ("The answer is Not known", "", "no answer"),
        ("The answer is (F).", "", "no answer"),
        ("The answer is (A). Hmm, the answer is unclear", "", "no answer"),
        ("the best next step is 'C': 'Morphine'.", "C", "answer is"),
        ("one choice is (A), a better one is (C)", "", "no answer"),  # no statement of an answer, and they disagree
        ("Option (A) is not right here, so option B fits.", "B", "only option named"),  # a denied letter does not count
        ("It may be (A) or B, who knows.", "", "no answer"),
        ("The likely cause is B: ibuprofin.", "B", "answer is"),  # close to its text, and stated by its letter
        ("The likely cause is B, ibuprofin.", "", "no answer"),
        ("First (A) and (D) were tried.\nThe best one is (C).", "C", "answer is"),  # the two before are no choice
        ("First (A) and (D) were tried, then (C).", "", "no answer"),
        ("(A) and (D) are excluded, so it must be (C).", "C", "answer is"),
        ("The remaining options are (A), (B), and (C). Option (A) helps.", "", "no answer"),
        ("First (A), then:\nThe best one is (C).", "C", "answer is"),  # behind "is" before all others
        ("A. It is rare.\nB. It is common.\nC. Morphine", "", "no answer"),
        ("The cause is **Morphine**, not (A).", "C", "answer is"),
        ("Answer: C\n\nQuestion: Which?\nAnswer: D", "C", "answer is"),
        ("Question: Which?\nAnswer: D", "D", "answer is"),  # nothing of its own before the question
        ("The answer is (A)\n## Final Response\n\nThe answer is (C)", "C", "answer is"),
    ],
)
def test_strict(text: str, letter: str, rule: str) -> None:
    assert decided(text, "strict") == (letter, rule)


PRIZES = ("50", "$50", "5.0%", "50%")
RISKS = ("RR = 1.0", "RR = 2.0", "RR = 3.0", "RR = 4.0")
LEVELS = ("HbA1c = 6.5%", "HbA1c = 5.7%", "6.5%", "5.7%")
VITAMINS = ("Aspirin", "Vitamin C", "Heparin", "Warfarin")
BIRTHS = ("Sepsis", "Pneumonia", "Tachypnoea", "Meconium aspiration syndrome")
BRACKETS = ("(R)-ibuprofen", "(D)-penicillamine", "(A) and (B)", "(a) no, (b) yes")
GERMS = ("E. coli", "Klebsiella", "C. difficile", "S. aureus", "Proteus")
POWERS = ("10²/L", "102/L", "10^3/L", "Ca2+", "-80", "80")


@pytest.mark.parametrize(
    ("text", "options", "letter"),
    [
        (r"\boxed{RR = 2.0}", RISKS, "B"),  # the whole box first
        (r"\boxed{B. RR = 2.0}", RISKS, "B"),
        (r"\boxed{\text{B. RR = 2.0}}", RISKS, "B"),
        (r"\boxed{A. HbA1c = 6.5%}", LEVELS, "A"),
        (r"\boxed{HbA1c = 6.5\%}", LEVELS, "A"),
        (r"\boxed{HbA1c=5.7\,\%}", LEVELS, "B"),
        (r"\boxed{C. HbA1c = 6.5%}", LEVELS, ""),  # contradicts itself
        (r"\boxed{HbA1c of today = 6.5%}", LEVELS, ""),  # an option holds an "=", so what goes before it counts
        (r"\boxed{B. \text{dose} = 50\%}", PRIZES, ""),  # names B, and the text of D
        (r"\boxed{50\% = 5.0\%}", PRIZES, ""),
        (r"\boxed{\text{Share} = 50\%}", PRIZES, "D"),
        (r"\boxed{x \geq 50\%}", PRIZES, ""),
        (r"\boxed{x >= 50\%}", PRIZES, ""),
        (r"\boxed{x = B}", VITAMINS, ""),
        (r"\boxed{\text{Answer} = B}", VITAMINS, "B"),
        (r"\boxed{50\%}", PRIZES, "D"),
        (r"\boxed{\$50}", PRIZES, "B"),
        (r"\boxed{$50$}", PRIZES, "A"),
        (r"\boxed{$B$}", VITAMINS, "B"),
        (r"\(\boxed{\mathrm{Vitamin\ C}}\)", VITAMINS, "B"),
        (r"\boxed{B (Vitamin C)}", VITAMINS, "B"),
        (r"\boxed{Vitamin C (B)}", VITAMINS, "B"),
        (r"\boxed{Vitamin C (C)}", VITAMINS, ""),
        (r"\boxed{\text{B. } \text{Vitamin C}}", VITAMINS, "B"),
        (r"\boxed{\textbf{(B)} \textit{vitamin~C}.}", VITAMINS, "B"),
        (r"\boxed{\boxed{B}}", VITAMINS, "B"),
        (r"\boxed {B}", VITAMINS, "B"),
        (r"\boxed{Option B}", VITAMINS, "B"),
        (r"\boxed{would be B}", VITAMINS, "B"),
        (r"\boxed{Ｂ}", VITAMINS, "B"),
        (r"\boxed{（Ｂ）Ｖｉｔａｍｉｎ　Ｃ．}", VITAMINS, "B"),
        (r"\boxed{【B】}", VITAMINS, "B"),
        (r"\boxed{“Vitamin C”}", VITAMINS, "B"),
        (r"\boxed{B. Aspirin}", VITAMINS, ""),
        (r"\boxed{A. Aspirin; Heparin}", VITAMINS, ""),  # two answers are no choice of one of them
        (r"\boxed{Aspirin; C. Heparin}", VITAMINS, ""),
        (r"\boxed{A. Aspirin, C. Heparin}", VITAMINS, ""),
        (r"\boxed{B\text{ or }C}", VITAMINS, ""),
        ("The correct answer would be B.", VITAMINS, "B"),
        ("The diagnosis would be B.", VITAMINS, "B"),
        ("The diagnosis cannot be B.", VITAMINS, ""),
        ("The answer would not be (B).", VITAMINS, ""),
        ("It is not (A), so it must be (B).", VITAMINS, "B"),
        ("It isn't option A.", VITAMINS, ""),
        ("The answer is therefore B.", VITAMINS, "B"),
        ("Answer – B", VITAMINS, "B"),
        ("The vitamin would be C.", VITAMINS, ""),  # an option's word
        ("The answer would be B if she were older, so it is (C).", VITAMINS, "C"),
        ("The answer is “B”.", VITAMINS, "B"),
        (r"The answer is \textbf{B}.", VITAMINS, "B"),
        ("The answer is Vitamin C, or Heparin.", VITAMINS, ""),
        ("The most likely diagnosis is D, meconium aspiration.", BIRTHS, "D"),
        ("The answer is D, meconium aspiration.", BIRTHS, "D"),
        ("The answer is D, sepsis.", BIRTHS, ""),
        ("The answer is (D)-penicillamine.", BRACKETS, "B"),
        (r"\boxed{(D)-penicillamine}", BRACKETS, "B"),
        (r"\boxed{B. (D)-penicillamine}", BRACKETS, "B"),
        ("The answer is (D)-penicillamine, a chelator.", BRACKETS, ""),  # never D
        ("The answer is B: (D)-penicillamine, a chelator.", BRACKETS, "B"),
        ("The answer is (A) and (B).", BRACKETS, "C"),
        (r"\boxed{(a) no, (b) yes}", BRACKETS, "D"),
        ("The answer is E. coli.", GERMS, "A"),
        ("It is **E. coli**.", GERMS, "A"),
        ("**E. coli**, as was said, is the cause", GERMS, ""),  # never E
        ("The answer is C. difficile, as ever", GERMS, "C"),
        (r"\boxed{10^{2}/\text{L}}", POWERS, "A"),
        (r"\boxed{102/L}", POWERS, "B"),
        (r"\boxed{10³/L}", POWERS, "C"),
        (r"\boxed{\mathrm{Ca}^{2+}}", POWERS, "D"),
        ('{"answer_choice": "E. -80"}', POWERS, "E"),
        ('{"answer_choice": "F. -80"}', POWERS, ""),
    ],
)
def test_strict_reads_the_whole_box_however_it_is_written(text: str, options: tuple[str, ...], letter: str) -> None:
    for right in LETTERS[: len(options)]:
        assert decided(text, "strict", options=options, answer=right)[0] == letter
        if r"\boxed" in text:
            asked = question(options, right)
            assert passes_curation(text, asked, "strict") is (letter == right)


def test_options_that_differ_by_case_only() -> None:
    genes = question(GENES, "A")
    assert is_ambiguous(genes)
    assert not is_ambiguous(question())
    assert not is_ambiguous(question(("same", "same", "x")))
    assert decide("bb", genes, "released") == ("A", "boxed text")  # the released code's accident
    assert decide("bb", genes, "strict") == ("C", "boxed text")
    assert decide("Bb", genes, "strict") == ("B", "boxed text")
    assert decide("B", genes, "strict") == ("B", "boxed letter")
    assert decide("bB", genes, "strict") == ("", "no answer")
    assert decide("C. Bb", genes, "strict") == ("", "no answer")
    assert decide("NONE of them", genes, "strict") == ("D", "boxed text")


def test_what_reads_as_two_options_is_no_answer_under_strict() -> None:
    swapped = question(("B", "A", "C"), "A")
    assert find_option("B", swapped) is None
    assert find_option("C", swapped) == ("C", "boxed text")
    assert find_option("", question((".", "x"), "A")) is None
    twins = question(("x", "y", "x"), "C")
    assert find_option("x", twins) == ("C", "boxed text")
    assert find_option("A. x", twins) == ("A", "boxed letter and text")


def test_options_are_read_back_by_line() -> None:
    options = ("first line\nsecond line", "see. Note. more", "x\nNote. y", "\nbelow")
    assert shown_options(options) == {"A": "first line", "B": "see. note. more", "C": "x", "Note": "y"}
    assert match_text("the second line", ("x\nNote. y", "z"), last=True).rule == "most similar option"
    assert match_text("(C)", ("x\nNote. y", "z"), last=True) == ("C", "lone letter")  # three lines, so three letters
    assert match_text("any", ("\nbelow", "\nabove"), last=True) == ("", "no answer")


@pytest.mark.parametrize(
    ("answer", "released", "strict"),
    [
        (r"\boxed{A}", True, True),
        (r"\boxed{a}", True, True),
        (r"\boxed{Aspirin}", True, True),
        (r"\boxed{ aspirin }", True, True),
        (r"\boxed{A. Aspirin}", True, True),
        (r"\boxed{(A)}", False, True),
        (r"\boxed{ A}", False, True),  # the first character is a space
        (r"\boxed{A)}", True, True),
        (r"\boxed{\text{A}}", True, True),
        (r"\boxed{Amoxicillin}", True, False),  # the first-character accident
        (r"\boxed{All of them}", True, False),
        (r"\boxed{A, B}", True, False),
        ("A fine question!", True, False),  # nothing boxed: the whole text
        (r"Aspirin it is: \boxed{}", False, False),
        ("", False, False),
        (r"\boxed{B}", False, False),
    ],
)
def test_curation(answer: str, released: bool, strict: bool) -> None:
    asked = question(answer="A")
    assert passes_curation(answer, asked, "released") is released
    assert passes_curation(answer, asked, "strict") is strict


FORMS = {  # form (letter, then text) and the protocols that find its letter; docs/statistics.md shows the same table
    r"\boxed{{{0}}}": SCORING_PROTOCOLS,
    r"\boxed{{\text{{{0}}}}}": SCORING_PROTOCOLS,
    r"\boxed{{({0})}}": SCORING_PROTOCOLS,
    r"\boxed{{{0}. {1}}}": SCORING_PROTOCOLS,
    r"\boxed{{{1}}}": SCORING_PROTOCOLS,
    r"\boxed{{\textbf{{{0}}}}}": SCORING_PROTOCOLS,
    "({0}) {1}": SCORING_PROTOCOLS,
    "**{0}. {1}**": SCORING_PROTOCOLS,
    "{1}": SCORING_PROTOCOLS,
    "The answer is {0}.": SCORING_PROTOCOLS,
    "The answer is ({0}).": SCORING_PROTOCOLS,
    "So it is ({0}).\nThe answer is ({0})": SCORING_PROTOCOLS,
    "The correct answer is **{0}**, that is it": SCORING_PROTOCOLS,
    "The answer is {1}.": SCORING_PROTOCOLS,
    "The answer is most likely '{0}': '{1}'.": SCORING_PROTOCOLS,
    "Answer: {0}": SCORING_PROTOCOLS,
    "**Answer:** ({0})": SCORING_PROTOCOLS,
    "Final Answer: {0}. {1}": SCORING_PROTOCOLS,
    "the answer to the question is: {0}. {1}": SCORING_PROTOCOLS,
    '{{"step_by_step_thinking": "hm", "answer_choice": "{0}"}}': SCORING_PROTOCOLS,
    '{{"step_by_step_thinking": "hm", "answer_choice": "{0}. {1}"}}': SCORING_PROTOCOLS,
    "## Thinking\n\n(J)? Or (K)?\n\n"
    "## Final Response\n\nThe best step is option {0}: '{1}'. It helps.": SCORING_PROTOCOLS,
    "## Final Response\n\nThe best step would be:\n\n{0}: '{1}'": SCORING_PROTOCOLS,
    '## Final Response\n\nThe cause is "{1}" (Option {0}), as was said.': SCORING_PROTOCOLS,
    "## Final Response\n\nHe has **{1}**. Therefore, option **{0}** fits.": SCORING_PROTOCOLS,
    "## Final Response\n\nThe cause is **{1}**.": SCORING_PROTOCOLS,
    "## Final Response\n\nBegin with **{0}: {1}** at once.": SCORING_PROTOCOLS,
    "**({0}) {1}**\nThis is the one.": SCORING_PROTOCOLS,
    "Answer: {0}. {1} Step 1: so. ## Question: Another? ## Response: Answer: J. other": ("first", "strict"),
    "The answer is ({0}).\n\nQuestion: Another?\nThe answer is (J).": ("first", "strict"),
    r"\boxed{{{0} ({1})}}": SCORING_PROTOCOLS,
    r"\boxed{{\text{{{0}. }} \text{{{1}}}}}": ("strict",),
    r"\boxed{{$\mathbf{{{0}}}$}}": ("strict",),
    r"\boxed{{Option {0}: {1}.}}": SCORING_PROTOCOLS,
    "The correct answer would be {0}.": SCORING_PROTOCOLS,
    "The best choice should be “{0}”.": SCORING_PROTOCOLS,
    "The most likely cause is {0}, {1}.": SCORING_PROTOCOLS,
    "(A) and (B) are ruled out, so that it must be ({0}).": ("released", "strict"),
}
NO_FORMS = [  # what names no one option, and so is no answer under strict
    r"\boxed{{}}",
    r"\boxed{{{0}, {2}}}",
    r"\boxed{{{0}. {3}}}",
    "The answer is ({0}) and ({2}).",
    "The answer is ({0}), ({2}), and (J).",
    "Answer: {0}. {1} or {2}. {3}",
    '{{"answer_choice": "{0}/{2}"}}',
    '{{"answer_choice": "None of the above"}}',
    "**({0}) {1}** or **({2}) {3}**. Both are the same.",
    "({0}) is not correct, so ({2}) is wrong, too.",
    "The cause is '{0}': '{3}'.",
    "{0}. {1}: rare.\n{2}. {3}: common.\n",
    "## Final Response\n\nThe cause is '{0}'. On reflection, the cause is '{2}'.",
    "## Final Response\n\nThere is no telling {1} from {3}.",
]
CHOICES = tuple(f"choice {name}" for name in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"))


@pytest.mark.parametrize(
    ("form", "protocol"), [(form, protocol) for form, protocols in FORMS.items() for protocol in protocols]
)
def test_each_form_gives_its_letter(form: str, protocol: str) -> None:
    for letter, choice in zip(LETTERS, CHOICES):
        for right in "AEI":
            assert decided(form.format(letter, choice), protocol, options=CHOICES, answer=right)[0] == letter


@pytest.mark.parametrize("form", NO_FORMS)
@given(order=st.permutations(range(9)), right=st.integers(0, 8))
@settings(max_examples=20)
def test_what_names_no_one_option_is_no_answer_under_strict(form: str, order: list[int], right: int) -> None:
    one, other = order[:2]
    text = form.format(LETTERS[one], CHOICES[one], LETTERS[other], CHOICES[other])
    assert decided(text, "strict", options=CHOICES, answer=LETTERS[right]) == ("", "no answer")


WORDS = [
    "Aspirin",
    "vitamin",
    "C",
    "B",
    "type",
    "E. coli",
    "(R)-",
    "(D)",
    "50%",
    "5",
    "50",
    "2.0",
    "RR = ",
    "10²",
    "Ca2+",
]
WORDS += [
    "-",
    " ",
    "  ",
    "of",
    "blood",
    "Bb",
    "BB",
    "A",
    "’s",
    "½",
    "µg",
    "α",
    "St. John",
    "<",
    "[x]",
    "/",
    "$",
    ".",
    ",",
    "I",
    "in 1",
]
some_options = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map("".join).filter(lambda text: text.strip(" .,-’$")),
    min_size=2,
    max_size=6,
    unique_by=lambda text: text.strip(" .,"),
)
PHRASINGS = [
    r"\boxed{{{letter}}}",
    r"\boxed{{{text}}}",
    r"\boxed{{{letter}. {text}}}",
    r"\boxed{{{letter} ({text})}}",
    r"\boxed{{{text} ({letter})}}",
    r"\boxed{{\text{{{letter}. }} \text{{{latex}}}}}",
    r"\boxed{{\mathrm{{{latex}}}.}}",
    r"\boxed{{${letter}$}}",
    r"\boxed{{({letter})}}",
    r"\boxed{{（{letter}）{text}。}}",
    r"\boxed{{Option {letter}}}",
    r"\boxed{{“{text}”}}",
    "The answer is {letter}.",
    "The answer is {text}.",
    "The answer is {text}, because.",
    "The answer is {letter}. {text}.",
    "The correct answer would be {letter}.",
    "The best option would be {text}.",
    "The most likely cause is {letter}, {text}.",
    "The cause is **{text}**.",
    "It would be {letter}.",
    "I think of **{text}**",
    "**{letter}. {text}**",
    "(A) and (B) are wrong. It is ({letter}).",
    '{{"answer_choice": "{text}"}}',
    '{{"answer_choice": "{letter}. {text}"}}',
]


def said(phrasing: str, options: list[str], chosen: int) -> str:
    latex = options[chosen].replace("%", r"\%").replace("$", r"\$")
    return phrasing.format(letter=LETTERS[chosen], text=options[chosen], latex=latex)


@pytest.mark.parametrize("phrasing", PHRASINGS)
@given(options=some_options, data=st.data())
@settings(max_examples=60)
def test_strict_never_gives_an_answer_to_another_option(phrasing: str, options: list[str], data: st.DataObject) -> None:
    chosen, right = (data.draw(st.integers(0, len(options) - 1)) for _ in range(2))
    text, asked = said(phrasing, options, chosen), question(tuple(options), LETTERS[right])
    letter = decided(text, "strict", options=tuple(options), answer=LETTERS[right])[0]
    assert letter in ("", LETTERS[chosen])
    assert not passes_curation(text, asked, "strict") or right == chosen


@given(st.text(), st.sampled_from(sorted(FORMS)), st.integers(0, 8), st.text())
def test_forms_in_wild_text_raise_nothing(before: str, form: str, chosen: int, after: str) -> None:
    text = before + form.format(LETTERS[chosen], CHOICES[chosen]) + after
    assert decided(text, "strict", options=CHOICES)[0] in ("", *LETTERS[:9])


PIECES = [
    "{",
    "}",
    r"\boxed{",
    r"\fbox{",
    "A",
    "B ",
    "A, ",
    "(A) ",
    "answer is ",
    "is ((((A ",
    "is 'a ",
    'is "a ',
    "\nA. ",
    "option A and ",
]
PIECES += [
    r"\text{",
    "\\",
    "$",
    "x$",
    "answer would be if ",
    "answer = ",
    "（",
    "\u0315\u0300",
    "is B. ",
    "best option is (A",
]
PIECES += ["lorem ipsum ", "A: Ibuprofen ", "## Final Response\n\n", "\nQ", "** ", " ", "\n", "İ"]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("protocol", SCORING_PROTOCOLS)
def test_a_long_text_of_anything_takes_linear_time(piece: str, protocol: ScoringProtocol) -> None:
    assert growth(lambda size: decided(piece * (size // len(piece)) + "x", protocol), 10_000) < 40
