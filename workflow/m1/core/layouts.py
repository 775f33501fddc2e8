"""Convert a published record to stem, context, options and answer letter (3.1, B.1).

One function per field layout of the Hugging Face hub. Options that are equal, or equal but for letter case (genotypes:
Bb, BB), are real and are kept. docs/paper.md lists what is odd in the published sets, and what becomes of it.
"""

import html
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from m1.core.files import parse_json
from m1.core.records import LETTERS

YES_NO_MAYBE = ("yes", "no", "maybe")  # the options of PubMedQA, always in this order (B.3)
ONE_BEYOND = "not the number of an option, from 0, but would be the last one's, from 1"
"""The reason to refuse a record whose number equals its number of options. Many such records mean that the set counts
its options from 1."""

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]*);")
_INVISIBLE = re.compile("[\u200b-\u200d\u2060\ufeff\ue000-\uf8ff\U000f0000-\U0010ffff\ud800-\udfff]")
_OPTION = re.compile(r"(?:op|opt|options?|choices?|alt|alternative|distractor|ending)(?:[a-n]|[0-9]{1,2})")
_PERHAPS_OPTION = re.compile(r"(?:ans|answer)?[a-n]")  # a field such as `n` may also hold something else
_ANSWER_CHOICES = re.compile(r"\nAnswer Choices: \(A\) .*\Z", re.DOTALL)


class RefusedRecord(ValueError):
    """A record that cannot be a question, with the published field, the reason and the value found.

    The reason has the same words for all records with this fault, because refused records are counted by it.
    """

    def __init__(self, field: str, reason: str, found: Any) -> None:
        try:
            shown = repr(found)
        except RecursionError:
            shown = f"a {type(found).__name__}, nested too deeply to be shown"
        self.field, self.reason, self.found = field, reason, shown if len(shown) <= 80 else shown[:77] + "..."
        super().__init__(f"field '{field}': {reason} (found {self.found})")


class Parts(NamedTuple):
    """The parts of a :class:`m1.core.records.Question` without its identity, which every layout provides."""

    stem: str
    context: str | None
    options: tuple[str, ...]
    answer: str
    cleaned: bool = False  # whether `clean` changed more than white space at the ends


def clean(text: str) -> str:
    """A text with its HTML entities (``&lt;``) decoded, and without zero-width and private-use characters, lone
    surrogates and white space at its ends.

    Inner white space, letter case and Unicode form stay.
    """
    return _INVISIBLE.sub("", _ENTITY.sub(lambda entity: html.unescape(entity.group()), text)).strip()


def medmcqa(raw: Mapping[str, Any]) -> Parts:
    """``question``, ``opa`` to ``opd``, ``cop`` (the correct option's number, from 0; -1 in the test split is none)."""
    return _by_number(raw, [_text(raw, field) for field in ("opa", "opb", "opc", "opd")], "cop")


def mmlu(raw: Mapping[str, Any]) -> Parts:
    """``question``, ``choices`` (a list), ``answer`` (the correct option's number, from 0)."""
    return _by_number(raw, _texts(raw, "choices"), "answer")


def mmlu_pro(raw: Mapping[str, Any]) -> Parts:
    """``question``, ``options`` (a list of 3 to 10), ``answer`` (a letter), ``answer_index`` (from 0, must agree)."""
    parts = _by_number(raw, _texts(raw, "options"), "answer_index")
    if clean(_text(raw, "answer")) != parts.answer:
        raise RefusedRecord("answer", "not the letter of the option whose number is given", raw["answer"])
    return parts


def letter_options(raw: Mapping[str, Any]) -> Parts:
    """``question``, ``options`` (letter to text), ``answer_idx`` (a letter), ``answer`` (its text, or nothing).

    MedQA on the hub, and the collected evaluation files (MMLU-Pro, MedBullets, HuatuoGPT-o1, m1).
    """
    return _by_letter(raw, "question", "options", "answer_idx", "answer")


def medbullets(raw: Mapping[str, Any]) -> Parts:
    """``question``, ``opa`` to ``opd`` or ``ope``, ``answer_idx``, ``answer`` (its text): the authors' CSV."""
    options = {letter: raw.get(f"op{letter.lower()}") or None for letter in "ABCDE"}
    return _by_letter({**raw, "opa, opb, ...": options}, "question", "opa, opb, ...", "answer_idx", "answer")


def headqa(raw: Mapping[str, Any]) -> Parts:
    """``data``: ``Question``, ``Options`` (letter to text), ``Correct Option`` (its letter), ``Correct Answer``."""
    return _by_letter(_nested(raw, "data"), "Question", "Options", "Correct Option", "Correct Answer")


def medxpertqa(raw: Mapping[str, Any]) -> Parts:
    """``question`` (without the copy of the options at its end), ``options`` (letter to text), ``label`` (a letter)."""
    question = _ANSWER_CHOICES.sub("", _text(raw, "question"))
    return _by_letter({**raw, "question": question}, "question", "options", "label")


def pubmedqa(raw: Mapping[str, Any]) -> Parts:
    """``question``, ``context`` with ``contexts`` (paragraphs, put on lines), ``final_decision`` (yes, no or maybe)."""
    paragraphs: Any = _nested(raw, "context").get("contexts")
    listed = isinstance(paragraphs, Sequence) and not isinstance(paragraphs, str)
    if not listed or not all(isinstance(text, str) for text in paragraphs):
        raise RefusedRecord("context.contexts", "not a list of texts", paragraphs)
    decision = clean(_text(raw, "final_decision"))
    if decision not in YES_NO_MAYBE:
        raise RefusedRecord("final_decision", "not one of yes, no, maybe", decision)
    letter = LETTERS[YES_NO_MAYBE.index(decision)]
    return _parts(_text(raw, "question"), YES_NO_MAYBE, letter, "final_decision", paragraphs)


_OPTIONS = ("opa", "opb", "opc", "opd", "ope")
_BY_LETTER = ("question", "options", "answer_idx")
_NEEDED: dict[str, tuple[Callable[[Mapping[str, Any]], Parts], tuple[str, ...]]] = {
    "medmcqa": (medmcqa, ("question", *_OPTIONS[:4], "cop")),
    "medqa": (letter_options, _BY_LETTER),
    "eval": (letter_options, _BY_LETTER),
    "headqa": (headqa, ("data",)),
    "pubmedqa": (pubmedqa, ("question", "context", "final_decision")),
    "mmlu_pro": (mmlu_pro, ("question", "options", "answer", "answer_index")),
    "medbullets": (medbullets, ("question", *_OPTIONS[:2], "answer_idx")),
    "medxpertqa": (medxpertqa, ("question", "options", "label")),
    "mmlu": (mmlu, ("question", "choices", "answer")),
}
"""Each layout's function, and the fields that its records must have."""
LAYOUTS = {layout: function for layout, (function, _) in _NEEDED.items()}


def needed_fields(layout: str, there: Collection[str]) -> tuple[str, ...]:
    """The fields that records of a layout must have, if some of them have the fields ``there``.

    MedBullets has two to five options in fields of their own; all before the last existing one are needed.
    """
    _, needed = _NEEDED[layout]
    most = max((place for place, name in enumerate(_OPTIONS, 1) if name in there and layout == "medbullets"), default=0)
    return tuple(dict.fromkeys((*needed, *_OPTIONS[:most])))


def names_option(field: str) -> bool:
    """Whether a field's name says that it holds an option: ``opf``, ``option_f``, ``Choice 6``, or perhaps ``F``."""
    return bool(_OPTION.fullmatch(_word(field)) or _PERHAPS_OPTION.fullmatch(_word(field)))


def loses_option(field: str, value: Any, options: Sequence[str]) -> bool:
    """Whether a field with an option's name holds a text that is not among the options that were read."""
    text = clean(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not _OPTION.fullmatch(_word(field)) and re.fullmatch(r"[A-Za-z]|[\d.,+-]*", text):
        return False  # a letter or a number in a field such as `n` or `answer_a`
    return bool(text) and text not in options


def _word(field: str) -> str:
    return re.sub(r"[\W_]", "", field).casefold()


def _text(raw: Mapping[Any, Any], field: Any, shown: str | None = None) -> str:
    value = raw.get(field)
    if not isinstance(value, str):
        raise RefusedRecord(shown or field, "not a text", value)
    return value


def _nested(raw: Mapping[str, Any], field: str, kind: type = Mapping, reason: str = "not a mapping") -> Any:
    """A field that must be a mapping or a list; in a CSV, its cell holds JSON."""
    value = raw.get(field)
    with suppress(ValueError):
        value = parse_json(value) if isinstance(value, str) else value
    if not isinstance(value, kind) or isinstance(value, str):
        raise RefusedRecord(field, reason, value)
    return value


def _texts(raw: Mapping[str, Any], field: str) -> list[str]:
    value = _nested(raw, field, Sequence, "not a list of texts")
    return [_text(dict(enumerate(value)), number, field) for number in range(len(value))]


def _by_number(raw: Mapping[str, Any], options: Sequence[str], field: str) -> Parts:
    value: Any = raw.get(field)
    try:  # a table of plain cells may hold 2 as `2.0`
        found = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = -1.0
    number = int(found) if found.is_integer() else -1
    if number == len(options) > 0:
        raise RefusedRecord(field, ONE_BEYOND, value)
    if not 0 <= number < min(len(options), len(LETTERS)):
        raise RefusedRecord(field, "not the number of an option, from 0", value)
    return _parts(_text(raw, "question"), options, LETTERS[number], field)


def _by_letter(raw: Mapping[str, Any], question: str, options: str, answer: str, said: str | None = None) -> Parts:
    """Read a record whose options are by letter; the arguments are names of its fields.

    Letters without a text do not count: Arrow fills them with null if other records have more options.
    """
    stem = _text(raw, question)
    there = {letter: text for letter, text in _nested(raw, options).items() if text is not None}
    letters = sorted(there)
    if letters != list(LETTERS[: len(letters)]):
        raise RefusedRecord(options, "letters are not A, B, C, ... without a gap", letters)
    texts = [_text(there, letter, options) for letter in letters]
    parts = _parts(stem, texts, clean(_text(raw, answer)), answer)
    right = parts.options[LETTERS.index(parts.answer)]
    if said and raw.get(said) is not None and clean(_text(raw, said)) != right:
        raise RefusedRecord(said, "not the text of the option whose letter is given", raw[said])
    return parts


def _parts(stem: str, options: Sequence[str], answer: str, answer_field: str, paragraphs: Sequence[str] = ()) -> Parts:
    """Clean and check the published texts of a record; every layout ends here."""
    published = [stem, *options, *paragraphs]
    cleaned = [clean(text) for text in published]
    changed = any(new != old.strip() for new, old in zip(cleaned, published))
    stem, texts = cleaned[0], tuple(cleaned[1 : 1 + len(options)])
    context = "\n".join(filter(None, cleaned[1 + len(options) :])) or None
    if not stem:
        raise RefusedRecord("question", "empty", published[0])
    if not 2 <= len(texts) <= len(LETTERS):
        raise RefusedRecord("options", f"not 2 to {len(LETTERS)} options", len(texts))
    if not all(texts):
        raise RefusedRecord("options", "an option is empty", list(texts))
    letters = LETTERS[: len(texts)]
    if len(answer) != 1 or answer not in letters:
        found = f"{answer}, options {', '.join(letters)}"
        raise RefusedRecord(answer_field, "the answer's letter is not among the options", found)
    return Parts(stem, context, texts, answer, changed)
