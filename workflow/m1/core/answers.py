"""What an answer says: the last ``\\boxed{}`` of a response, and the one option that a text names.

Curation (3.1) and scoring (B.3) both read answers so; :mod:`m1.core.curation` and :mod:`m1.score.match` say what they
make of it, apart from each other: a change of the evaluation's rules must not send anybody to the teacher again.
"""

import re
from typing import NamedTuple

from m1.core.records import LETTERS, Question


class Match(NamedTuple):
    """The letter of the option that an answer was matched to, and the rule, such as ``boxed text`` or ``lone letter``.

    The letter is empty for none, and under ``released`` and ``first`` not always one of the question's: "answer is N"
    gives N.
    """

    letter: str
    rule: str


def extract_boxed(text: str) -> str:
    """What the last ``\\boxed{}`` of a text holds, without one ``\\text{}`` inside it; where there is none, all (B.3).

    Nothing is stripped, and what precedes the last ``=`` inside is dropped ("x = 3" gives "3"). The released code takes
    only ``\\boxed{`` and ``\\text{`` off, so a ``\\fbox{}`` and a box inside the box stay as they are. Time is linear
    in the text.
    """
    inner = _content(_last_box(text), r"\boxed{")
    return _content(_last_box(inner), r"\text{")


def _last_box(text: str) -> str:
    """From the last ``\\boxed`` (else ``\\fbox``) to the brace that closes it; the whole text where nothing does."""
    start = text.rfind(r"\boxed" if r"\boxed" in text else r"\fbox")
    if start < 0:
        return text
    depth = 0
    for brace in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0 and brace[0] == "}":
            return text[start : brace.end()]
    return text


def _content(text: str, command: str) -> str:
    """What a command's braces hold, from behind the last ``=``; the text itself unless it is exactly such a command."""
    if not (text.startswith(command) and text.endswith("}")):
        return text
    inside = text[len(command) : -1]
    return inside.rpartition("=")[2].lstrip(" ") if "=" in inside else inside


def find_option(text: str, question: Question) -> Match | None:
    """The one option that a text names, if it does nothing else; None if it names none or can be read as two.

    It names an option by its text (letter case decides between options that differ by nothing else, and is otherwise
    ignored), by its letter alone (``B``, ``b``, ``B.``, ``B)``, ``(B)``, ``B:``), or by letter and text together (``B.
    text``, ``(B) text``), which must agree. White space around it, one ``\\text{}``, ``\\textbf{}``, ``\\mathrm{}``,
    ``\\mathbf{}`` or ``**bold**``, and a full stop at the end are ignored. Options of equal text are one answer: the
    correct one if it is among them.
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
