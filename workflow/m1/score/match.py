"""Matching of an extracted answer to an option (B.3), by one of three protocols.

========== ===========================================================================================================
released   what the authors' code does, and so what the published numbers are: the box, else patterns over the text, the
           **last** match, else the option most similar to the text
first      the paper's words ("we only choose the first one"): the same rules in the same order, the **first** match
strict     the box or a stated answer must name one option and nothing else; whatever else is no answer, never a guess
========== ===========================================================================================================

``released`` and ``first`` fold letter case: Bb and BB are one option (:func:`is_ambiguous`). ``strict`` does not.
"""

import re
from collections.abc import Callable
from difflib import SequenceMatcher
from functools import cache, lru_cache, partial
from typing import NamedTuple

from m1.core.answers import Match, find_option
from m1.core.prompts import options_lines
from m1.core.records import LETTERS, Question
from m1.score.settings import ScoringProtocol

NO_ANSWER = Match("", "no answer")
BY_TEXT = ("boxed text", "option text", "most similar option")
"""Rules by the options' texts alone; under ``released`` and ``first`` they fold letter case."""


def decide(extracted: str, question: Question, protocol: ScoringProtocol) -> Match:
    """The option that an extracted answer (see :func:`m1.core.answers.extract_boxed`) stands for.

    Under ``released`` and ``first`` the three boxed rules compare with the correct option only, as in the released
    code: they make an answer correct and never incorrect, so an incorrect boxed letter is found by "lone letter".
    """
    return PROTOCOLS[protocol].match(extracted, question)


def is_ambiguous(question: Question) -> bool:
    """Whether two options differ only by letter case, so that ``released`` and ``first`` cannot tell them apart."""
    return len({text.lower() for text in question.options}) < len(set(question.options))


def match_released(extracted: str, question: Question, last: bool) -> Match:
    """The correct option if the text is exactly its text, ``L. text`` or letter, case folded; else by the patterns."""
    letter, text = question.answer, question.answer_text.lower()
    forms = {letter.lower(): "boxed letter", f"{letter.lower()}. {text}": "boxed letter and text", text: "boxed text"}
    rule = forms.get(extracted.lower())  # a text that is the letter counts as the text
    return Match(letter, rule) if rule else match_text(extracted, question.options, last)


def match_text(text: str, options: tuple[str, ...], last: bool) -> Match:
    """By the released patterns, in order; of several matches of one the last or the first."""
    shown = shown_options(options)
    if not shown:
        return NO_ANSWER
    text = final_response(text)
    for pattern, rule in ((_ANSWER_IS, "answer is"), (_lone_letter(len(shown)), "lone letter")):
        if letters := pattern.findall(text):  # matches do not overlap, so the last one needs all of them
            return Match(letters[-1 if last else 0], rule)
    text = text.lower()
    if (letter := _option_in(text, shown, last)) is not None:
        return Match(letter, "option text")
    return Match(_most_similar(text, shown), "most similar option")


def shown_options(options: tuple[str, ...]) -> dict[str, str]:
    """Letter to lower-cased text, read back from the prompt's lines as the released code does.

    So an option of several lines is known by its first, and a further line that happens to hold ". " becomes an option
    of its own.
    """
    lines = (line.strip().split(". ", 1) for line in "\n".join(options_lines(options)).split("\n"))
    return {parts[0]: parts[1].lower() for parts in lines if len(parts) == 2}


def final_response(text: str) -> str:
    """What follows the last heading of HuatuoGPT-o1's final part; the whole text where there is none."""
    return text.rpartition("## Final Response\n\n")[2]


_ANSWER_IS = re.compile(r"answer is\s*([A-N])")


@cache
def _lone_letter(count: int) -> re.Pattern[str]:
    """One of the first letters that stands alone; "A " is rather the article. Chinese characters are of words, too."""
    return re.compile(rf"(?:^|is |[\W\u4e00-\u9fff])(?!A )([{LETTERS[:count]}])(?:[\W\u4e00-\u9fff]|$)")


def _option_in(text: str, shown: dict[str, str], last: bool) -> str | None:
    """The option whose last occurrence begins latest (or first one earliest), if any occurs; of equals the first."""
    find: Callable[[str], int] = text.rfind if last else text.find
    places = {letter: place for letter, option in shown.items() if (place := find(option)) >= 0}
    return (max if last else min)(places, key=lambda letter: places[letter], default=None)


def _most_similar(text: str, shown: dict[str, str]) -> str:
    """The option of the highest ``difflib`` ratio; of equals the last."""
    matcher = SequenceMatcher(None, "", text)  # for all options: its index is of the text
    chosen, highest = "", 0.0
    for letter, option in shown.items():
        matcher.set_seq1(option)
        # The quick ratio is an upper bound, and skips most of the work.
        if matcher.quick_ratio() >= highest and (ratio := matcher.ratio()) >= highest:
            chosen, highest = letter, ratio
    return chosen


def match_strict(extracted: str, question: Question) -> Match:
    """The option that the extracted text names and nothing else, else the one that it states as its answer, else none.

    What counts as stated is the first of these that is there at all (docs/scoring.md has the forms):

    1. "answer is", "answer:", a JSON ``"answer_choice":`` and the like, followed by a letter that stands for itself
       ("(B)", "B.", "B because", but neither "A patient" nor "B and C"), or by an option's text up to the end of the
       sentence; the last one counts;
    2. "is" before an option that the text points at (``the next step is "B": ...``), if all such places agree;
    3. the only option that the text points at.

    What a base model goes on to write about a question of its own invention is left out.
    """
    if named := find_option(extracted, question):
        return named
    text = final_response(extracted)
    text = _ANOTHER_QUESTION.split(text, maxsplit=1)[0].strip() or text
    if ends := [found.end() for found in _STATEMENT.finditer(text)]:
        return _stated_option(text[ends[-1] :].lstrip(), question)
    letters, rule = _options_pointed_at(text, question)
    if len(letters) == 1 and letters <= set(LETTERS[: len(question.options)]):
        return Match(letters.pop(), rule)
    return NO_ANSWER


def _stated_option(text: str, question: Question) -> Match:
    """The option that a text begins with, by letter or text; no answer where it goes on with "and" another one."""
    line = text.partition("\n")[0]
    if (letter := _STATED_LETTER.match(line)) and letter[1] in LETTERS[: len(question.options)]:
        end = _behind_own_text(text, letter.end(1), letter[1], question)
        return NO_ANSWER if end is None or _AND_ANOTHER.match(text, end) else Match(letter[1], "answer is")
    named = find_option(re.split(r"\.\s", line)[0].strip(" *\"'"), question)
    return Match(named.letter, "answer is") if named else NO_ANSWER


def _options_pointed_at(text: str, question: Question) -> tuple[set[str], str]:
    """Letters of the options that a text points at, behind an "is" if there are such, else all; and the rule's name.

    It points by a letter after "option" or "choice", or in brackets, quotes or bold print, or at the start of a line
    ("B. ..."), or before the option's own text ("C: 'Plague'"); and, behind "is", by an option's text in quotes or bold
    print. A letter before another option's text, or one that is denied ("(A) is incorrect"), does not count; "A and B"
    names neither, so that there is no letter at all.
    """
    stated: set[str] = set()
    every: set[str] = set()
    for found in _POINTER.finditer(text):
        said, introduced, opened, letter, closed = found.groups()
        if not (introduced or closed) or letter in (stated if said else every):
            continue
        end = _behind_own_text(text, found.end(), letter, question)
        if end is None or _DENIED.match(text, end):
            continue
        paired = closed and end > found.end()
        listed = closed and text[max(found.start() - 1, 0)] == "\n"
        if not (introduced or opened or paired or listed or (said and ":" in closed)):
            continue
        if _AND_ANOTHER.match(text, end):
            return set(), ""
        every.add(letter)
        if said:
            stated.add(letter)
    named = (find_option(found[2], question) for found in _IS_MARKED_TEXT.finditer(text))
    stated |= {match.letter for match in named if match and match.rule == "boxed text"}
    return (stated, "answer is") if stated else (every, "only option named")


def _behind_own_text(text: str, start: int, letter: str, question: Question) -> int | None:
    """Where an option's text ends that follows its letter; ``start`` if none does, None if another option's does."""
    begin = start + len(_MARKS.match(text, start)[0])  # type: ignore[index]  # it matches nothing, too
    follows = {}
    for known, option in _by_first_character(question.options).get(text[begin : begin + 1].casefold(), ()):
        end = begin + len(option)
        said = text[begin:end]
        same = said == option or (said.casefold() == option.casefold() and not is_ambiguous(question))
        if same and not text[end : end + 1].isalnum():
            follows[known] = end
    return follows.get(letter, None if follows else start)


@lru_cache(maxsize=16)
def _by_first_character(options: tuple[str, ...]) -> dict[str, list[tuple[str, str]]]:
    """Letters and texts of the options by first character, case folded; no quotes and stops around the texts."""
    result: dict[str, list[tuple[str, str]]] = {}
    for letter, option in zip(LETTERS, options):
        text = option.strip(" \n\"'.")
        result.setdefault(text[:1].casefold(), []).append((letter, text))
    result.pop("", None)
    return result


_STATEMENT = re.compile(
    r"""\banswer(?:_choice|\schoice|\sto\sth(?:e|is)\squestion)?["'*]{0,3}"""
    r"""(?:\s{1,3}is\b(?:\s(?:most\s)?likely)?|\s{0,3}:)[:*]{0,3}""",
    re.IGNORECASE,
)
_STATED_LETTER = re.compile(
    r"""[\s*"'(\[{$]{0,6}(?:[Oo]ption\s|[Cc]hoice\s)?[(*]{0,3}"""  # what may stand before the letter
    r"""([A-N])"""
    r"""(?:[)\]}"'*$]|[.:](?!\w)|\s*$|,?\s(?:because|since|as|which)\s|\s[-–—]\s)"""  # it stands for itself
)
_POINTER = re.compile(
    r"""(\b(?:is|are|be)(?:\s(?:most\s)?likely)?:?\s{1,2})?(\b(?:[Oo]ption|[Cc]hoice)s?\s)?"""  # "is", "option"
    r"""(?<!\w)(["'(*\[{]{0,4})([A-N])(?![\w'’]\w)(\s[-–—](?=\s)|[.,:)\]}"'*]{0,4})"""  # the letter and its marks
)
_IS_MARKED_TEXT = re.compile(r"""\b(?:is|be):?\s{1,2}(?:an?\s|the\s)?(["'*]{1,4})(\w[^\n*"]{0,300}?)\1""")
_MARKS = re.compile(r"""[\s.,:)\]}"'*({\[–—-]{0,8}""")
_AND_ANOTHER = re.compile(
    r"""[\s.,)\]}"'*]{0,6}(?:\b(?:[Aa]nd|[Oo]r)\b|[/&,])\s{0,2}(?:[Oo]ption\s)?["'(*\[{]{0,4}(?![AI]\s[a-z])[A-N](?!\w)"""
)
_DENIED = re.compile(r"""[^.\n]{0,30}?\b(?:not|incorrect|wrong|false|unlikely|ruled\sout|less\slikely)\b""")
_ANOTHER_QUESTION = re.compile(r"(?:\n|##\s?)\s{0,2}(?:Question|Q)\b\s{0,2}\d{0,4}\s{0,2}:")


class Protocol(NamedTuple):
    """A way to read answers; where it folds case, options that differ by letter case only are one to it."""

    match: Callable[[str, Question], Match]
    folds_case: bool


PROTOCOLS: dict[ScoringProtocol, Protocol] = {
    "released": Protocol(partial(match_released, last=True), folds_case=True),
    "first": Protocol(partial(match_released, last=False), folds_case=True),
    "strict": Protocol(match_strict, folds_case=False),
}
"""What ``score.protocol`` can be."""
