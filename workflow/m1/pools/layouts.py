"""From a record as its data set publishes it to stem, context, options and answer letter (3.1, B.1).

One function per field layout of the Hugging Face hub. Texts are cleaned in one way everywhere (:func:`clean`). Options that are equal,
or equal but for letter case (genotypes: Bb, BB), are real and are kept. What cannot be a question is refused with its field and the reason.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from m1.records import LETTERS

YES_NO_MAYBE = ("yes", "no", "maybe")
"""The options of PubMedQA, always in this order (B.3)."""

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]*);")
_INVISIBLE = re.compile("[\u200b-\u200d\u2060\ufeff\ue000-\uf8ff\U000f0000-\U0010ffff\ud800-\udfff]")
_ANSWER_CHOICES = re.compile(r"\nAnswer Choices: \(A\) .*\Z", re.DOTALL)


class Refused(ValueError):
    """A record that cannot be a question.

    Args:
        field: name of the field in the published record.
        reason: what is wrong, in words that are the same for all records with this fault (they are counted by it).
        found: what stood there.
    """

    def __init__(self, field: str, reason: str, found: Any) -> None:
        shown = repr(found)
        super().__init__(f"field '{field}': {reason} (found {shown if len(shown) <= 80 else shown[:77] + '...'})")
        self.field, self.reason = field, reason


class Parts(NamedTuple):
    """What every layout holds: the parts of a :class:`m1.records.Question` without its identity."""

    stem: str
    context: str | None
    options: tuple[str, ...]
    answer: str


def clean(text: str) -> str:
    """Text without what a reader does not see.

    HTML entities (with their semicolon) are unescaped; zero-width characters, private-use characters and lone surrogates are removed; white
    space at both ends is stripped. White space inside, letter case and Unicode form stay as published.
    """
    return _INVISIBLE.sub("", _ENTITY.sub(lambda entity: html.unescape(entity.group()), text)).strip()


def medmcqa(raw: Mapping[str, Any]) -> Parts:
    """``question``, ``opa`` to ``opd``, ``cop`` (number of the right option, from 0; -1 in the unlabelled test split is refused)."""
    return _numbered(raw, [_text(raw, field) for field in ("opa", "opb", "opc", "opd")], "cop")


def mmlu(raw: Mapping[str, Any]) -> Parts:
    """``question``, ``choices`` (a list), ``answer`` (number of the right one, from 0)."""
    choices = _nested(raw, "choices")
    if not isinstance(choices, Sequence) or isinstance(choices, str):
        raise Refused("choices", "not a list of texts", choices)
    return _numbered(raw, [_text(dict(enumerate(choices)), number, "choices") for number in range(len(choices))], "answer")


def lettered(raw: Mapping[str, Any]) -> Parts:
    """``question``, ``options`` (letter to text), ``answer_idx`` (a letter), and where there is one ``answer`` (its text, must agree).

    MedQA on the hub, and the collected evaluation files (MMLU-Pro, MedBullets, HuatuoGPT-o1, m1).
    """
    return _lettered(_text(raw, "question"), raw, "options", "answer_idx", "answer")


def headqa(raw: Mapping[str, Any]) -> Parts:
    """``data`` with ``Question``, ``Options`` (letter to text), ``Correct Option`` (a letter) and ``Correct Answer`` (its text)."""
    data = _mapping(raw, "data")
    return _lettered(_text(data, "Question"), data, "Options", "Correct Option", "Correct Answer")


def medxpertqa(raw: Mapping[str, Any]) -> Parts:
    """``question``, ``options`` (letter to text), ``label`` (a letter).

    The published question ends in a copy of the options, which is cut off.
    """
    return _lettered(_ANSWER_CHOICES.sub("", _text(raw, "question")), raw, "options", "label", None)


def pubmedqa(raw: Mapping[str, Any]) -> Parts:
    """``question``, ``context`` with ``contexts`` (the paragraphs of the abstract, put on lines), ``final_decision`` (yes, no or maybe)."""
    paragraphs = _mapping(raw, "context").get("contexts")
    if not isinstance(paragraphs, Sequence) or isinstance(paragraphs, str) or not all(isinstance(p, str) for p in paragraphs):
        raise Refused("context.contexts", "not a list of texts", paragraphs)
    decision = _text(raw, "final_decision")
    if decision not in YES_NO_MAYBE:
        raise Refused("final_decision", "not one of yes, no, maybe", decision)
    context = "\n".join(text for paragraph in paragraphs if (text := clean(paragraph)))
    return _parts(_text(raw, "question"), YES_NO_MAYBE, LETTERS[YES_NO_MAYBE.index(decision)], "final_decision", context or None)


LAYOUTS: dict[str, Callable[[Mapping[str, Any]], Parts]] = {
    "medmcqa": medmcqa,
    "medqa": lettered,
    "eval": lettered,
    "headqa": headqa,
    "pubmedqa": pubmedqa,
    "medxpertqa": medxpertqa,
    "mmlu": mmlu,
}
"""Name in the configuration to function."""


def _text(raw: Mapping[Any, Any], field: Any, shown: str | None = None) -> str:
    value = raw.get(field)
    if not isinstance(value, str):
        raise Refused(shown or field, "not a text", value)
    return clean(value)


def _nested(raw: Mapping[str, Any], field: str) -> Any:
    """A list or mapping; a table of plain cells (CSV) holds it as JSON."""
    value = raw.get(field)
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _mapping(raw: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = _nested(raw, field)
    if not isinstance(value, Mapping):
        raise Refused(field, "not a mapping", value)
    return value


def _numbered(raw: Mapping[str, Any], options: Sequence[str], field: str) -> Parts:
    value = raw.get(field)
    try:
        number = int(value) if not isinstance(value, bool) and (not isinstance(value, float) or value.is_integer()) else -1  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < min(len(options), len(LETTERS)):
        raise Refused(field, "not the number of an option, from 0", value)
    return _parts(_text(raw, "question"), options, LETTERS[number], field)


def _lettered(stem: str, raw: Mapping[str, Any], options_field: str, answer_field: str, text_field: str | None) -> Parts:
    """Options by letter; letters without a text (columns that other records fill) do not count."""
    published = {letter: text for letter, text in _mapping(raw, options_field).items() if text is not None}
    letters = sorted(published)
    if letters != list(LETTERS[: len(letters)]):
        raise Refused(options_field, "letters are not A, B, C, ... without a gap", letters)
    options = [_text(published, letter, options_field) for letter in letters]
    parts = _parts(stem, options, _text(raw, answer_field), answer_field)
    if text_field and raw.get(text_field) is not None and _text(raw, text_field) != options[LETTERS.index(parts.answer)]:
        raise Refused(text_field, "not the text of the option whose letter is given", raw[text_field])
    return parts


def _parts(stem: str, options: Sequence[str], answer: str, answer_field: str, context: str | None = None) -> Parts:
    if not stem:
        raise Refused("question", "empty", stem)
    if not 2 <= len(options) <= len(LETTERS):
        raise Refused("options", f"not 2 to {len(LETTERS)} options", len(options))
    if not all(options):
        raise Refused("options", "an option is empty", list(options))
    letters = LETTERS[: len(options)]
    if len(answer) != 1 or answer not in letters:
        raise Refused(answer_field, "the answer's letter is not among the options", f"{answer}, options {', '.join(letters)}")
    return Parts(stem, context, tuple(options), answer)
