"""Matching of an extracted answer to an option (B.3), and the curation rule of filter models and teacher (3.1).

Three protocols:

========== ===========================================================================================================
released   what the authors' code does, and so what the published numbers are: the box, else patterns over the text, the
           **last** match, else the option most similar to the text
first      the paper's words ("we only choose the first one"): the same rules in the same order, the **first** match
strict     the box or a stated answer must name one option and nothing else; whatever else is no answer, never a guess
========== ===========================================================================================================

``released`` and ``first`` fold letter case, so that options such as Bb and BB are one (:func:`is_ambiguous`); ``strict`` tells them apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import SequenceMatcher
from functools import cache
from typing import Literal, NamedTuple

from m1.prompts import options_lines
from m1.records import LETTERS, Question
from m1.score.extract import extract_boxed

Protocol = Literal["released", "first", "strict"]
PROTOCOLS: tuple[Protocol, ...] = ("released", "first", "strict")

CurationRule = Literal["released", "strict"]
CURATION_RULES: tuple[CurationRule, ...] = ("released", "strict")


class Match(NamedTuple):
    """The option an answer was matched to, and how."""

    letter: str
    """Letter of the option; empty for none. Under ``released`` and ``first`` not always one of the question's: "answer is N" gives N."""
    rule: str
    """boxed text, boxed letter and text, boxed letter, answer is, lone letter, option text, most similar option, or no answer."""


NO_ANSWER = Match("", "no answer")


def decide(extracted: str, question: Question, protocol: Protocol) -> Match:
    """The option that an extracted answer (see :func:`m1.score.extract.extract_boxed`) stands for.

    Under ``released`` and ``first`` the three boxed rules compare with the right option only, as in the released code: they make an answer
    right and never wrong, so a wrong boxed letter is found by "lone letter".
    """
    if protocol == "strict":
        return match_strict(extracted, question)
    return match_box(extracted, question) or match_text(extracted, question.options, last=protocol == "released")


def is_right_curated(answer: str, question: Question, rule: CurationRule) -> bool:
    """Whether a filter model's or the teacher's answer is right (3.1); an empty box is wrong.

    Args:
        answer: the answer text as sent, without the thinking.
        question: what was asked.
        rule: ``released``: what is boxed (the whole text where nothing is) equals the right option's text, or **its first character** is
            the right letter, so that "Amoxicillin" counts as A; case folded, white space around it ignored.
            ``strict``: it names the right option and nothing else, see :func:`named_option`.
    """
    extracted = extract_boxed(answer)
    if rule == "strict":
        named = named_option(extracted, question)
        return named is not None and named.letter == question.answer
    if extracted.strip().lower() == question.answer_text.strip().lower():
        return True
    return extracted[:1].strip().lower() == question.answer.lower()


def is_ambiguous(question: Question) -> bool:
    """Whether two options differ only by letter case, so that ``released`` and ``first`` cannot tell them apart."""
    return len({text.lower() for text in question.options}) < len(set(question.options))


# The released rules


def match_box(extracted: str, question: Question) -> Match | None:
    """The right option if the extracted text is exactly its text, its ``L. text`` or its letter, case folded."""
    said, letter, text = extracted.lower(), question.answer, question.answer_text.lower()
    if said == text:
        return Match(letter, "boxed text")
    if said == f"{letter.lower()}. {text}":
        return Match(letter, "boxed letter and text")
    if said == letter.lower():
        return Match(letter, "boxed letter")
    return None


def match_text(text: str, options: tuple[str, ...], last: bool) -> Match:
    """The released patterns over a text, in order; of several matches of a pattern the last or the first."""
    shown = shown_options(options)
    if not shown:
        return NO_ANSWER
    text = final_response(text)
    if (letter := _pick(_ANSWER_IS, text, last)) is not None:
        return Match(letter, "answer is")
    if (letter := _pick(_lone_letter(len(shown)), text, last)) is not None:
        return Match(letter, "lone letter")
    text = text.lower()
    if (letter := _option_in(text, shown, last)) is not None:
        return Match(letter, "option text")
    return Match(_most_similar(text, shown), "most similar option")


def shown_options(options: tuple[str, ...]) -> dict[str, str]:
    """Letter to lower-cased text, read back from the prompt's lines as the released code does.

    So an option of several lines is known by its first, and a further line that happens to hold ". " becomes an option of its own.
    """
    lines = (line.strip().split(". ", 1) for line in "\n".join(options_lines(options)).split("\n"))
    return {parts[0]: parts[1].lower() for parts in lines if len(parts) == 2}


def final_response(text: str) -> str:
    """What follows the last heading of HuatuoGPT-o1's final part; the whole text where there is none."""
    return text.rpartition("## Final Response\n\n")[2]


_ANSWER_IS = re.compile(r"answer is\s*([A-N])")


@cache
def _lone_letter(count: int) -> re.Pattern[str]:
    """One of the first ``count`` letters that stands alone; "A " is rather the article. Chinese characters are word characters, too."""
    return re.compile(rf"(?:^|is |[\W\u4e00-\u9fff])(?!A )([{LETTERS[:count]}])(?:[\W\u4e00-\u9fff]|$)")


def _pick(pattern: re.Pattern[str], text: str, last: bool) -> str | None:
    """The first or last letter that a pattern finds, if any (matches do not overlap, so the last one needs all of them)."""
    letter = None
    for found in pattern.finditer(text):
        letter = found[1]
        if not last:
            break
    return letter


def _option_in(text: str, shown: dict[str, str], last: bool) -> str | None:
    """The option whose last occurrence begins latest (or whose first begins earliest), if any occurs; of equals the first."""
    find: Callable[[str], int] = text.rfind if last else text.find
    places = {letter: place for letter, option in shown.items() if (place := find(option)) >= 0}
    return (max if last else min)(places, key=lambda letter: places[letter], default=None)


def _most_similar(text: str, shown: dict[str, str]) -> str:
    """The option of the highest ``difflib`` ratio; of equals the last.

    One matcher serves all options because its index is of the text; ``quick_ratio`` is an upper bound that skips most of the work.
    """
    matcher = SequenceMatcher(None, "", text)
    chosen, highest = "", 0.0
    for letter, option in shown.items():
        matcher.set_seq1(option)
        if matcher.quick_ratio() >= highest and (ratio := matcher.ratio()) >= highest:
            chosen, highest = letter, ratio
    return chosen


# The strict rules


def match_strict(extracted: str, question: Question) -> Match:
    """The option that the extracted text names and nothing else, else the one that its statements of an answer name, else none.

    A statement is "answer is", "answer:" or a JSON ``"answer_choice":``, followed by a letter that stands for itself ("(B)", "B.",
    "B because", but neither "A patient" nor "B and C"), or by an option's text up to the end of the sentence; the last one counts.
    Where there is none, "is" before a letter in brackets, quotes or bold print (``the next step is "B": ...``) counts, if all
    such places agree.
    """
    if named := named_option(extracted, question):
        return named
    text = final_response(extracted)
    known = LETTERS[: len(question.options)]
    ends = [found.end() for found in _STATEMENT.finditer(text)]
    if not ends:
        marked = {found[1] for found in _IS_MARKED_LETTER.finditer(text)}
        return Match(marked.pop(), "answer is") if len(marked) == 1 and marked <= set(known) else NO_ANSWER
    line = text[ends[-1] :].lstrip().partition("\n")[0]
    if (letter := _STATED_LETTER.match(line)) and letter[1] in known:
        return Match(letter[1], "answer is")
    named = named_option(re.split(r"\.\s", line)[0].strip(" *\"'"), question)
    return Match(named.letter, "answer is") if named else NO_ANSWER


_STATEMENT = re.compile(r"""\banswer(?:_choice)?["'*]{0,3}(?:\s{1,3}is\b|\s{0,3}:)[:*]{0,3}""", re.IGNORECASE)
_STATED_LETTER = re.compile(
    r"""[\s*"'(\[{$]{0,6}(?:[Oo]ption\s|[Cc]hoice\s)?[(*]{0,3}"""  # what may stand before the letter
    r"""([A-N])"""
    r"""(?:[)\]}"'*$]|[.:](?!\w)|\s*$|,?\s(?:because|since|as|which)\s|\s[-–—]\s)"""  # what shows that it stands for itself
)
_IS_MARKED_LETTER = re.compile(r"""\bis:?\s{1,2}(?:option\s)?["'(*]{1,4}([A-N])["')*.:]""")


def named_option(text: str, question: Question) -> Match | None:
    """The one option that a text names, if it does nothing else; None if it names none or can be read as two.

    It names an option by its text (letter case decides between options that differ by nothing else, and is otherwise ignored), by
    its letter alone (``B``, ``b``, ``B.``, ``B)``, ``(B)``, ``B:``), or by letter and text together (``B. text``, ``(B) text``), which
    must agree. White space around it, one ``\\text{}``, ``\\textbf{}``, ``\\mathrm{}``, ``\\mathbf{}`` or ``**bold**``, and a
    full stop at the end are ignored.
    Options of equal text are one answer: the right one if it is among them.
    """
    text = text.strip()
    if styled := _STYLED.fullmatch(text):
        text = styled[1] or styled[2]
    readings: dict[str, str] = {}
    if equal := _of_text(text, question):
        readings[question.answer if question.answer in equal else equal[0]] = "boxed text"
    labelled = _LABELLED.fullmatch(text.strip())
    if labelled and (letter := labelled[1].upper()) in LETTERS[: len(question.options)]:
        if labelled[2] is None:
            readings.setdefault(letter, "boxed letter")
        elif letter in _of_text(labelled[2], question):
            readings.setdefault(letter, "boxed letter and text")
    return Match(*readings.popitem()) if len(readings) == 1 else None


_STYLED = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\{(.+)\}|\*\*(.+)\*\*", re.DOTALL)
_LABELLED = re.compile(r"\(?([A-Na-n])(?:\)?[.:]?|\.\))(?:\s+(\S.*))?", re.DOTALL)


def _of_text(text: str, question: Question) -> list[str]:
    """Letters of the options of this text; case is ignored where that leaves one text."""
    options = {letter: _plain(option) for letter, option in zip(LETTERS, question.options)}
    said = _plain(text)
    if not said:
        return []
    if exact := [letter for letter, option in options.items() if option == said]:
        return exact
    folded = [letter for letter, option in options.items() if option.casefold() == said.casefold()]
    return folded if len({options[letter] for letter in folded}) == 1 else []


def _plain(text: str) -> str:
    """The text without white space around it and without its full stop."""
    return text.strip().removesuffix(".").rstrip()
