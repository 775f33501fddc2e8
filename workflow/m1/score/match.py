"""Match an extracted answer to an option (B.3), by one of three protocols.

========== ===========================================================================================================
released   the authors' code, by which the published numbers were made: the box; else patterns over the text, with the
           **last** match; else the option most similar to the text
first      the paper's words ("we only choose the first one"): the same rules in the same order, but the **first** match
strict     the box or a stated answer must name one option and nothing else; anything else is no answer, never a guess
========== ===========================================================================================================

``released`` and ``first`` fold letter case: Bb and BB are one option (:func:`is_ambiguous`). ``strict`` does not.
"""

import re
from collections.abc import Callable
from difflib import SequenceMatcher
from functools import cache, lru_cache, partial
from typing import NamedTuple

from m1.core.answers import Match, extract_boxed, find_option, read_box
from m1.core.plain import unstyled
from m1.core.prompts import options_lines
from m1.core.records import LETTERS, Question
from m1.score.settings import ScoringProtocol

NO_ANSWER = Match("", "no answer")
BY_TEXT = ("boxed text", "option text", "most similar option")
"""Rules that compare the options' texts alone; under ``released`` and ``first`` they ignore letter case."""


def extract(answer: str, protocol: ScoringProtocol) -> str:
    """The part of an answer that is matched: by ``strict`` the whole last box (:func:`m1.core.answers.read_box`), by
    the other protocols what the released code extracts (:func:`m1.core.answers.extract_boxed`)."""
    return PROTOCOLS[protocol].extract(answer)


def decide(extracted: str, question: Question, protocol: ScoringProtocol) -> Match:
    """The option that an extracted answer (:func:`extract`) stands for.

    Under ``released`` and ``first``, the three boxed rules compare only with the correct option, as in the released
    code. They can make an answer correct but not incorrect, so an incorrect boxed letter is matched by "lone letter".
    """
    return PROTOCOLS[protocol].match(extracted, question)


def is_ambiguous(question: Question) -> bool:
    """Whether two options differ only in letter case, so that ``released`` and ``first`` cannot tell them apart."""
    return len({text.lower() for text in question.options}) < len(set(question.options))


def match_released(extracted: str, question: Question, last: bool) -> Match:
    """The correct option if the answer is exactly its letter, ``L. text`` or text; else a match by the patterns.

    Letter case is ignored.
    """
    letter, text = question.answer, question.answer_text.lower()
    forms = {letter.lower(): "boxed letter", f"{letter.lower()}. {text}": "boxed letter and text", text: "boxed text"}
    rule = forms.get(extracted.lower())  # if the option's text is its own letter, the rule is "boxed text"
    return Match(letter, rule) if rule else match_text(extracted, question.options, last)


def match_text(text: str, options: tuple[str, ...], last: bool) -> Match:
    """Match by the released patterns, in their order; of several matches of one pattern, the last or first counts."""
    shown = shown_options(options)
    if not shown:
        return NO_ANSWER
    text = final_response(text)
    for pattern, rule in ((_ANSWER_IS, "answer is"), (_lone_letter(len(shown)), "lone letter")):
        if letters := pattern.findall(text):  # matches do not overlap, so the last one depends on all before it
            return Match(letters[-1 if last else 0], rule)
    text = text.lower()
    if (letter := _option_in(text, shown, last)) is not None:
        return Match(letter, "option text")
    return Match(_most_similar(text, shown), "most similar option")


def shown_options(options: tuple[str, ...]) -> dict[str, str]:
    """Letter to lower-cased text of the options, parsed from the prompt's lines as the released code does.

    So an option of several lines is reduced to its first line, and a further line that contains ". " becomes an option
    of its own.
    """
    lines = (line.strip().split(". ", 1) for line in "\n".join(options_lines(options)).split("\n"))
    return {parts[0]: parts[1].lower() for parts in lines if len(parts) == 2}


def final_response(text: str) -> str:
    """The text after HuatuoGPT-o1's last heading ``## Final Response``; the whole text if there is none."""
    return text.rpartition("## Final Response\n\n")[2]


_ANSWER_IS = re.compile(r"answer is\s*([A-N])")


@cache
def _lone_letter(count: int) -> re.Pattern[str]:
    """A pattern for one of the first ``count`` letters standing alone, as in the released code.

    "A " is taken for the article. A Chinese character beside the letter separates it like punctuation.
    """
    return re.compile(rf"(?:^|is |[\W\u4e00-\u9fff])(?!A )([{LETTERS[:count]}])(?:[\W\u4e00-\u9fff]|$)")


def _option_in(text: str, shown: dict[str, str], last: bool) -> str | None:
    """The option whose last occurrence begins latest (or whose first one begins earliest); of equal ones, the first."""
    find: Callable[[str], int] = text.rfind if last else text.find
    places = {letter: place for letter, option in shown.items() if (place := find(option)) >= 0}
    return (max if last else min)(places, key=lambda letter: places[letter], default=None)


def _most_similar(text: str, shown: dict[str, str]) -> str:
    """The option with the highest ``difflib`` ratio to the text; of equal ones, the last, as in the released code."""
    matcher = SequenceMatcher(None, "", text)  # one matcher serves all options, because it indexes the second text
    chosen, highest = "", 0.0
    for letter, option in shown.items():
        matcher.set_seq1(option)
        # The quick ratio is an upper bound of the ratio, so most options need no exact one.
        if matcher.quick_ratio() >= highest and (ratio := matcher.ratio()) >= highest:
            chosen, highest = letter, ratio
    return chosen


def match_strict(extracted: str, question: Question) -> Match:
    """Match by ``strict``: the option that the text names and nothing else, or the one that it states as its answer.

    The first of the following forms that occurs in the text decides (docs/statistics.md has the forms):

    1. "answer is", "answer would be", "answer:", a JSON ``"answer_choice":`` and the like, followed by a letter that
       stands for itself ("(B)", "B.", "B because", but neither "A patient" nor "B and C"), or by an option's text up to
       the end of the sentence. The last such statement counts.
    2. "is" before an option that the text points at (``the next step is "B": ...``), if all such places agree.
    3. The only option that the text points at.

    Text is left out from where a base model begins to invent a further question.
    """
    if named := find_option(extracted, question):
        return named
    text = final_response(extracted)
    text = unstyled(_ANOTHER_QUESTION.split(text, maxsplit=1)[0].strip() or text)
    for found in reversed(list(_STATEMENT.finditer(text))[-50:]):
        if found[2] and _is_supposed(text, found):
            continue
        stated = _stated_option(text[found.end() :].lstrip(), question)
        # "answer is X" decides even if X names no option; the other forms are statements only if they name one.
        if stated.letter or not any(found.groups()):
            return stated
    letters, rule = _options_pointed_at(text, question)
    # A short text of one line is read like a box: an option's text anywhere in it counts as named, too.
    if letters and rule == "only option named" and len(text) <= 200 and "\n" not in text:
        letters = letters | _options_told(text, question)
    if len(letters) == 1 and letters <= set(LETTERS[: len(question.options)]):
        return Match(letters.pop(), rule)
    return NO_ANSWER


def _is_supposed(text: str, statement: re.Match[str]) -> bool:
    """Whether the sentence of a statement such as "the answer would be" contains an "if"."""
    start, end = statement.span()
    before, after = text[max(start - 300, 0) : start], text[end : end + 300]
    sentence = re.split(r"[.\n]", before)[-1] + "\n" + re.split(r"[.\n]", after)[0]
    return re.search(r"\b(?:if|unless|were|had)\b", sentence, re.IGNORECASE) is not None


def _stated_option(text: str, question: Question) -> Match:
    """The option that a text begins with, by letter or text; no answer if "and" joins another option to it."""
    line = text.partition("\n")[0]
    near = line[: 2 * max(map(len, question.options)) + 100]
    named: Match | None = None
    ends = [found.start() for found in _PIECE_END.finditer(near)]
    for end in reversed(ends):  # the longest piece comes first, because a text such as "E. coli" contains a full stop
        named = find_option(near[:end], question) or find_option(near[:end].strip(" *\"'"), question)
        if named and named.rule != "boxed letter":
            return NO_ANSWER if _another_follows(text, end, question) else Match(named.letter, "answer is")
    if not (found := _STATED_LETTER.match(line)):
        return Match(named.letter, "answer is") if named else NO_ANSWER
    letter = found[1]
    apart = letter in LETTERS[: len(question.options)] and _stands_apart(text, 0, found.start(1), question)
    behind = _behind_own_text(text, found.end(1), letter, question)
    alone = apart and behind is not None and not _another_follows(text, behind, question)
    return Match(letter, "answer is") if alone else NO_ANSWER


def _options_pointed_at(text: str, question: Question) -> tuple[set[str], str]:
    """Letters of the options that a text points at, and the name of the rule.

    If options are pointed at after "is", only these are returned. A text points at an option by a letter after "option"
    or "choice"; by a letter in brackets, quotes or bold print; by a letter at the start of a line ("B. ...") or before
    the option's own text ("C: 'Plague'"); and, after "is", by an option's text in quotes or bold print. A letter does
    not count before another option's text, within an option's text ("(R)-x", "E. coli"), or if it is denied ("(A) is
    incorrect"). "A and B" points at two options.
    """
    stated: set[str] = set()
    every: set[str] = set()
    for found in _POINTER.finditer(text):
        said, introduced, opened, letter, closed = found.groups()
        alone = said and _SENTENCE_END.match(text, found.end(4)) and not _is_a_word(letter, question)
        if not (introduced or closed or alone) or letter in (stated if said else every):
            continue
        end = _behind_own_text(text, found.end(), letter, question)
        if end is None or _DENIED.match(text, end) or _NOT.search(text, max(found.start() - 20, 0), found.start()):
            continue
        paired = closed and end > found.end()
        listed = closed and text[max(found.start() - 1, 0)] == "\n"
        if not (introduced or opened or paired or listed or alone or (said and ":" in closed)):
            continue
        if not _stands_apart(text, found.start(3), found.start(4), question):
            continue
        behind = end if end > found.end() else found.end(4)
        if another := _another_follows(text, behind, question):
            if said:
                return set(), ""
            every.add(another)
        every.add(letter)
        if said:
            stated.add(letter)
    named = (find_option(found[2], question) for found in _IS_MARKED_TEXT.finditer(text))
    stated |= {match.letter for match in named if match and match.rule == "boxed text"}
    return (stated, "answer is") if stated else (every, "only option named")


def _is_a_word(letter: str, question: Question) -> bool:
    """Whether a letter is a word of an option's text, as in "type B", so that "it is B" may mean that word."""
    return any(re.search(rf"(?<!\w){letter}(?!\w)", option) for option in question.options)


def _behind_own_text(text: str, start: int, letter: str, question: Question) -> int | None:
    """The end of an option's own text, or of an unambiguous beginning of it, that follows the option's letter.

    Returns ``start`` if no option's text follows, and None if another option's text does.
    """
    begin = start + len(_MARKS.match(text, start)[0])  # type: ignore[index]  # the pattern also matches nothing
    for place in range(start, begin + 1):  # punctuation may belong to the option, as in (R)-x or -80
        if follows := _options_at(text, place, question):
            return follows.get(letter)
    phrase = re.compile(r"[^.,;:()\n]{4,}").match(text, begin)
    if phrase and letter in LETTERS[: len(question.options)]:
        said = phrase[0].strip().casefold()
        begun = [known for known, option in zip(LETTERS, question.options) if option.casefold().startswith(f"{said} ")]
        return phrase.end() if begun == [letter] else start
    return start


def _stands_apart(text: str, start: int, place: int, question: Question) -> bool:
    """Whether the letter at ``place`` stands for an option and is not a part of another option's text.

    Texts of options that begin from ``start`` on are considered. A letter without a bracket or "option" before it may
    also be the whole text of another option.
    """
    begun = [(i, *item) for i in range(start, place + 1) for item in _options_at(text, i, question).items()]
    within = {letter for i, letter, end in begun if end > place + (i == place)}
    if not re.search(r"[(\[\w]", text[start:place]):  # "(C)" is a letter, "C" may be an option's text
        within |= {letter for letter, option in zip(LETTERS, question.options) if option.strip(" .") == text[place]}
    return not within or text[place] in within


def _another_follows(text: str, start: int, question: Question) -> str:
    """The letter of another option that "and", "or" or the like joins to the one that ends at ``start``; else empty."""
    if found := _AND_ANOTHER.match(text, start):
        return found[1]
    joined = _JOINED.match(text, start)
    return next(iter(_options_at(text, joined.end(), question)), "") if joined else ""


def _options_at(text: str, place: int, question: Question) -> dict[str, int]:
    """Options whose text begins at a place and ends with a word, letter to end; only those with the last end."""
    ends: dict[str, int] = {}
    for known, option in _by_first_character(question.options).get(text[place : place + 1].casefold(), ()):
        end = place + len(option)
        said = text[place:end]
        same = said == option or (said.casefold() == option.casefold() and not is_ambiguous(question))
        if same and not text[end : end + 1].isalnum():
            ends[known] = end
    return {known: end for known, end in ends.items() if end == max(ends.values())}


def _options_told(text: str, question: Question) -> set[str]:
    """Letters of the options whose texts occur in a short text, but not inside another option's text."""
    told: set[str] = set()
    place = 0
    while place < len(text):
        found = _options_at(text, place, question) if not text[place - 1 : place].isalnum() else {}
        told |= found.keys()
        place = max(found.values(), default=place + 1)
    return told


@lru_cache(maxsize=16)
def _by_first_character(options: tuple[str, ...]) -> dict[str, list[tuple[str, str]]]:
    """Letters and texts of the options by their first character (case folded), without surrounding quotes and stops."""
    result: dict[str, list[tuple[str, str]]] = {}
    for letter, option in zip(LETTERS, options):
        text = unstyled(option).strip(" \n\"'").rstrip(". ")
        result.setdefault(text[:1].casefold(), []).append((letter, text))
    result.pop("", None)
    return result


_STATEMENT = re.compile(
    r"""\b(?:answer(?:_choice|\schoice|\sto\sth(?:e|is)\squestion)?|((?:correct|right|best)\s(?:choice|option)))["'*]{0,3}"""
    r"""(?:\s{1,3}(?:is|((?:would|should|must|will|has\sto)\sbe))\b(?:\s(?:(?:most\s)?likely|therefore|thus|clearly))?"""
    r"""|\s{0,3}(?::|(=|-\s)))[:*]{0,3}""",
    re.IGNORECASE,
)
_PIECE_END = re.compile(r"\.(?=\s|$)|,?\s(?:because|since|as|which)\s|$")
_STATED_LETTER = re.compile(
    r"""[\s*"'(\[{$]{0,6}(?:[Oo]ption\s|[Cc]hoice\s)?[(*]{0,3}"""  # what may stand before the letter
    r"""([A-N])"""
    r"""(?:[)\]}"'*$]|[.:](?!\w)|\s*$|,?\s(?:because|since|as|which)\s|,\s|\s\(|\s-\s)"""  # it stands for itself
)
_POINTER = re.compile(
    r"""(\b(?:is|are|be)(?:\s(?:most\s)?likely)?:?\s{1,2})?(\b(?:[Oo]ption|[Cc]hoice)s?\s)?"""  # "is", "option"
    r"""(?<!\w)(["'(*\[{]{0,4})([A-N])(?![\w']\w)(\s-(?=\s)|[.,:)\]}"'*]{0,4})"""  # the letter and its marks
)
_IS_MARKED_TEXT = re.compile(r"""\b(?:is|be):?\s{1,2}(?:an?\s|the\s)?(["'*]{1,4})(\w[^\n*"]{0,300}?)\1""")
_MARKS = re.compile(r"""[\s.,:)\]}"'*({\[-]{0,8}""")
_AND_ANOTHER = re.compile(
    r"""[\s.,)\]}"'*]{0,6}(?:\b(?:[Aa]nd|[Oo]r)\b|[/&,;+])\s{0,2}(?:[Oo]ption\s)?["'(*\[{]{0,4}(?![AI]\s[a-z])([A-N])(?!\w)"""
)
_JOINED = re.compile(r"""[ ,)\]}"'*]{0,6}(?:\b(?:and|or)\b|[/&,;+])\s{0,2}["'(*\[{]{0,4}""")
_SENTENCE_END = re.compile(r"""\.?(?:\s*$|\n)|\.\s""")
_DENIED = re.compile(
    r"""[^.\n]{0,30}?\b(?:not|incorrect|wrong|false|unlikely|ruled\sout|excluded|eliminated|less\slikely|no\schoices?)\b"""
)
_NOT = re.compile(r"""(?:\b(?:not|cannot|never|nor|neither|unlike)|n't)\s+$""")
_ANOTHER_QUESTION = re.compile(r"(?:\n|##\s?)\s{0,2}(?:Question|Q)\b\s{0,2}\d{0,4}\s{0,2}:")


class Protocol(NamedTuple):
    """A scoring protocol."""

    extract: Callable[[str], str]  # the part of an answer that is matched
    match: Callable[[str, Question], Match]  # how it is matched
    folds_case: bool  # whether options that differ only in letter case are one to it


PROTOCOLS: dict[ScoringProtocol, Protocol] = {
    "released": Protocol(extract_boxed, partial(match_released, last=True), folds_case=True),
    "first": Protocol(extract_boxed, partial(match_released, last=False), folds_case=True),
    "strict": Protocol(read_box, match_strict, folds_case=False),
}
"""The possible values of ``score.protocol``."""
