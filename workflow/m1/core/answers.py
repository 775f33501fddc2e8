"""Read an answer: find the last ``\\boxed{}`` of a response, and the one option that a text names.

Curation (3.1) and scoring (B.3) share these functions. Each decides on its own what counts as correct
(:mod:`m1.core.curation`, :mod:`m1.score.match`), so a change of the scoring rules never asks the teacher again.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from m1.core.plain import plain, spelling
from m1.core.records import LETTERS, Question


class Match(NamedTuple):
    """The option that an answer was matched to (its letter), and the rule that matched it, such as ``boxed text``.

    The letter is empty if no option matched. Under the protocols ``released`` and ``first`` it may be a letter that the
    question does not have, because "answer is N" gives N.
    """

    letter: str
    rule: str


def extract_boxed(text: str) -> str:
    """The content of the last ``\\boxed{}`` of a text, as the released code extracts it (B.3).

    A text without a box is returned whole. One ``\\text{}`` inside the box is removed, and so is everything up to the
    last ``=`` ("x = 3" gives "3"); white space stays. A ``\\fbox{}``, and a box inside the box, stay as they are. The
    time is linear in the length of the text.
    """
    inner = _content(_last_box(text), r"\boxed{")
    return _content(_last_box(inner), r"\text{")


def read_box(text: str) -> str:
    """The whole content of the last ``\\boxed{}`` of a text, else of the last ``\\fbox{}``, else the text itself.

    The rules ``strict`` read boxes in this way. Unlike :func:`extract_boxed`, it keeps what precedes a ``=``, allows a
    blank before the brace, does not count ``\\{`` as a brace, and takes the innermost of nested boxes. A box that is
    never closed does not count.
    """
    boxes = list(_BOX.finditer(text)) or list(_FRAME.finditer(text))
    depth = 1
    for brace in _BRACE.finditer(text, boxes[-1].end()) if boxes else ():
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[boxes[-1].end() : brace.start()]
    return text


_BOX, _FRAME = re.compile(r"\\boxed\s?\{"), re.compile(r"\\fbox\s?\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def _last_box(text: str) -> str:
    """The text from the last ``\\boxed`` (else ``\\fbox``) to its closing brace; the whole text if there is none."""
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
    """The text inside a LaTeX command's braces, after the last ``=``; a text of any other form is returned as it is."""
    if not (text.startswith(command) and text.endswith("}")):
        return text
    inside = text[len(command) : -1]
    return inside.rpartition("=")[2].lstrip(" ") if "=" in inside else inside


def find_option(text: str, question: Question) -> Match | None:
    """The one option that a text names, if the text says nothing else.

    A text names an option by the option's text, by its letter (``B``, ``b``, ``B.``, ``(B)``, ``Option B``, ``the
    answer is B``), or by both (``B. text``, ``B (text)``, ``text (B)``), which must agree. Letter case counts only
    between options that differ in nothing else. LaTeX, bold print, quotes, full-width characters, white space and a
    final full stop do not count (:mod:`m1.core.plain`). The name of a value may precede ``=``, unless it contains an
    option. Options with equal texts are one answer: the correct option, if it is among them.

    Returns:
        The match; None if the text names no option, or can be read as naming two.
    """
    options = _spellings(question.options)
    if len(text) > 20 * max(map(len, question.options)) + 1000:  # too much for one option's name, however it is written
        return None
    said = plain(text)
    readings = _readings(said, question, text.strip())
    if introduced := _INTRODUCTION.match(said):
        readings |= dict.fromkeys(_readings(said[introduced.end() :], question), "answer is")
    if not readings:
        before, sign, value = said.rpartition("=")
        named = any(option and option in spelling(before) for option in options.spelled)
        letter = re.search(rf"(?<!\w)[A-{LETTERS[len(question.options) - 1]}](?!\w)", before)
        if sign and not (named or letter or any("=" in option for option in options.spelled)):
            readings = dict.fromkeys(_one(options.named(value), question), "boxed text")
    return Match(*readings.popitem()) if len(readings) == 1 else None


def _readings(said: str, question: Question, written: str = "") -> dict[str, str]:
    """Every option that a plain text can be read as: letter to rule; ``written`` is the text before it became plain."""
    options = _spellings(question.options)
    readings = {}
    for letter in _one(options.named(said, written) or options.named(_unbracketed(said)), question):
        readings[letter] = "boxed text"
    for form in (_LABELLED, _TEXT_FIRST):
        if (found := form.fullmatch(said)) and (letter := found["letter"].upper()) in options.letters:
            named = found["text"]
            if not named:
                readings.setdefault(letter, "boxed letter")
            elif letter in options.named(named) + options.named(_unbracketed(named)):
                readings.setdefault(letter, "boxed letter and text")
    return readings


def _one(letters: list[str], question: Question) -> list[str]:
    """Choose among letters of options with equal texts: the correct one or else the first; empty if there are none."""
    return [question.answer] if question.answer in letters else letters[:1]


def _unbracketed(text: str) -> str:
    """A text without the one pair of brackets that encloses all of it; any other text as it is."""
    return found[1] if (found := re.fullmatch(r"[(\[]([^()\[\]]{2,})[)\]]\.?", text)) else text


class Spellings(NamedTuple):
    """The options of a question: their letters, their texts as written, and the same texts as they are compared."""

    letters: str
    written: tuple[str, ...]
    spelled: tuple[str, ...]

    def named(self, said: str, written: str = "") -> list[str]:
        """Letters of the options with this text.

        The exact spelling decides first, then :func:`m1.core.plain.spelling`, then the same without letter case. A
        looser comparison counts only if the options that it finds have one text.
        """
        exact, alike = _unstopped(written or said), spelling(said)
        if not alike:
            return []
        if same := [letter for letter, text in zip(self.letters, self.written) if text == exact]:
            return same
        for fold in (str, str.casefold):
            if places := [i for i, text in enumerate(self.spelled) if fold(text) == fold(alike)]:
                differ = {self.written[i] for i in places} if fold is str else {self.spelled[i] for i in places}
                return [self.letters[i] for i in places] if len(differ) == 1 else []
        return []


@lru_cache(maxsize=64)
def _spellings(options: tuple[str, ...]) -> Spellings:
    return Spellings(LETTERS[: len(options)], tuple(map(_unstopped, options)), tuple(map(spelling, options)))


def _unstopped(text: str) -> str:
    """The text without surrounding white space and without a final full stop."""
    return text.strip().removesuffix(".").rstrip()


_LABELLED = re.compile(
    r"""["'(\[]{0,3}\s?(?P<letter>[A-Na-n])\s?["')\]]{0,2}[.:,]?["')\]]{0,2}"""
    r"""(?:\s?|(?:(?<=[)\].:,'"])|\s+(?:-\s)?|(?=[(\["']))\s*(?P<text>\S.*))""",
    re.DOTALL,
)
_TEXT_FIRST = re.compile(
    r"""(?P<text>.*[^\s(\[])\s*[(\[](?:option\s|choice\s|answer\s)?(?P<letter>[A-N])[)\]]\.?""",
    re.DOTALL | re.IGNORECASE,
)
_INTRODUCTION = re.compile(
    r"""(?:(?:so|thus|therefore|hence),?\s)?(?:(?:(?:the|my)\s)?(?:(?:final|correct|best|right|most|likely|appropriate)\s){0,3}"""
    r"""(?:answer|option|choice)\b(?:\s(?:is|(?:would|should|must)\sbe)\b|\s?[:=])?|(?:it\s)?(?:is|(?:would|should|must)\sbe)\b)"""
    r""":?\s?(?:(?:option|choice)\s)?""",
    re.IGNORECASE,
)
