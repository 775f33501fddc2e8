"""What an answer says: the last ``\\boxed{}`` of a response, and the one option that a text names.

Curation (3.1) and scoring (B.3) both read answers so; :mod:`m1.core.curation` and :mod:`m1.score.match` say what they
make of it, apart from each other: a change of the evaluation's rules must not send anybody to the teacher again.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from m1.core.plain import plain, spelling
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


def read_box(text: str) -> str:
    """What the last ``\\boxed{}`` (else ``\\fbox{}``) of a text holds, whole; where there is none that is closed, all.

    As the authors do not: ``=`` cuts nothing, a blank may go before the brace, ``\\{`` opens nothing, and of boxes in
    the box the innermost counts.
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
    ignored), by its letter alone (``B``, ``b``, ``B.``, ``(B)``, ``Option B``, ``the answer is B``), or by both (``B.
    text``, ``B (text)``, ``text (B)``), which must agree. How it is written does not matter: LaTeX, bold print, quotes,
    full-width characters, white space, a full stop at the end (:mod:`m1.core.plain`). What goes before an ``=`` may be
    a name of the value, if nothing in it is an option's. Options of equal text are one answer: the correct one if it is
    among them.
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
    """Letter to rule, of every way to read a plain text as one option's name; ``written`` is the text as it was."""
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
    """The letter that options of equal text are one answer by: the correct one if it is among them."""
    return [question.answer] if question.answer in letters else letters[:1]


def _unbracketed(text: str) -> str:
    """What one pair of brackets around a whole text holds."""
    return found[1] if (found := re.fullmatch(r"[(\[]([^()\[\]]{2,})[)\]]\.?", text)) else text


class Spellings(NamedTuple):
    """The options of a question: letters, texts as they are, and as they are compared."""

    letters: str
    written: tuple[str, ...]
    spelled: tuple[str, ...]

    def named(self, said: str, written: str = "") -> list[str]:
        """Letters of the options of this text: in its own spelling, else however written, else case folded, as far as
        that leaves one text."""
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
    """The text without white space around it and without its full stop."""
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
