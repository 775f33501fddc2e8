"""The records that pass between stages; each is defined once, and checked when it is read and when it is written."""

import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from m1.core.errors import UserError
from m1.core.files import check_output, digest, replacing

LETTERS = "ABCDEFGHIJKLMN"  # letters of the options, in order; fourteen, as the released matching knows


class InvalidRecord(ValueError):
    """A record with an impossible field; the message names the field and says what would be right."""


def _require(condition: object, message: str) -> None:
    if not condition:
        raise InvalidRecord(message)


@dataclass(frozen=True, slots=True)
class Question:
    """A multiple-choice question (3.1, B.3). Only :func:`m1.core.prompts.question_text` makes its prompt."""

    plural: ClassVar[str] = "questions"
    id: str  # stable hash of source and content, whatever the order of the options; see question_id
    source: str  # the pool or benchmark it comes from, for example `medmcqa`
    stem: str
    context: str | None  # the abstract of PubMedQA; None elsewhere
    options: tuple[str, ...]  # texts in the order shown; the letter of the i-th is `LETTERS[i]`
    answer: str  # letter of the correct option

    def validate(self) -> None:
        count, known = len(self.options), list(LETTERS[: len(self.options)])
        _require(self.stem.strip(), "field 'stem': empty; a question needs a text")
        _require(2 <= count <= len(LETTERS), f"field 'options': {count} options; 2 to {len(LETTERS)} are possible")
        for letter, text in zip(known, self.options):
            _require(text.strip(), f"field 'options': option {letter} is empty")
        fault = f"letter {self.answer!r} is not among the options; it must be one of {', '.join(known)}"
        _require(self.answer in known, f"field 'answer': {fault}")

    @property
    def answer_text(self) -> str:
        """Text of the correct option."""
        return self.options[LETTERS.index(self.answer)]


@dataclass(frozen=True, slots=True)
class ScreenAnswer:
    """A screening model's answer to a question, and whether it is correct by the curation rule (3.1)."""

    plural: ClassVar[str] = "attempts"
    question_id: str
    model: str
    answer: str
    correct: bool

    def validate(self) -> None:
        _require(self.question_id, "field 'question_id': empty")


VERDICTS = ("correct", "incorrect", "no_answer", "no_thinking", "truncated", "failed")
"""What became of a teacher's call: a correct box; an incorrect box; no box, or an empty one; an answer without
thinking; an answer that the token limit cut; no answer at all."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The teacher's thinking and answer on a question (3.1, B.1)."""

    plural: ClassVar[str] = "traces"
    question_id: str
    teacher: str
    thinking: str
    answer: str  # the answer text as sent, with its `\boxed{}`
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int  # thinking and answer together, as the provider counts and bills them
    thinking_tokens: int  # of these, thinking: as the provider says, else by the share of characters
    dollars: float
    request: str  # key of the call in the store
    verdict: str  # one of VERDICTS

    def validate(self) -> None:
        wanted = f"it must be one of {', '.join(VERDICTS)}"
        _require(self.verdict in VERDICTS, f"field 'verdict': {self.verdict!r}; {wanted}")
        counts = (self.prompt_tokens, self.completion_tokens)
        _require(min(counts) >= 0, "field 'prompt_tokens' or 'completion_tokens': negative")


@dataclass(frozen=True, slots=True)
class Domain:
    """The medical domain of a question: one of the 76 MeSH qualifiers (3.1, Table 4)."""

    plural: ClassVar[str] = "domains"
    question_id: str
    code: str  # two digits, as in `resources/mesh/qualifiers.csv`
    name: str

    def validate(self) -> None:
        _require(len(self.code) == 2 and self.code.isdigit(), f"field 'code': {self.code!r}; two digits are needed")


@dataclass(frozen=True, slots=True)
class Sample:
    """A question with its trace in a training subset such as m1K or m23K (3.1, Tables 2-4).

    It holds everything that training needs.
    """

    plural: ClassVar[str] = "samples"
    id: str  # the question's id
    source: str
    domain: str  # MeSH qualifier (Table 4); empty where the subset was drawn without domains
    prompt: str  # question and options, without an instruction, as the user turn shows it
    thinking: str
    answer: str
    subset: str
    rule: str  # the sampling rule that chose it, for example `domain_source`
    seed: int

    def validate(self) -> None:
        for field in ("id", "source", "prompt", "thinking", "answer"):
            _require(getattr(self, field).strip(), f"field '{field}': empty")


@dataclass(frozen=True, slots=True)
class Rollout:
    """A model's thinking on a question (3.3), to the largest budget and forced count; other settings are cuts of it."""

    plural: ClassVar[str] = "rollouts"
    question_id: str
    benchmark: str
    model: str
    thinking_ids: tuple[int, ...]  # token ids of the thinking, without the token that ended it
    finish_reason: str  # `stop`: thinking ended by itself; `length`: the largest budget cut it
    forced_ids: tuple[int, ...] = ()  # those that forcing added behind: `Wait`, what follows it, `Wait`, and so on
    waits: tuple[int, ...] = ()  # where each forced `Wait` begins, in tokens from the start of the thinking

    def validate(self) -> None:
        reason, places = self.finish_reason, (*self.waits, len(self.thinking_ids) + len(self.forced_ids))
        _require(reason in ("stop", "length"), f"field 'finish_reason': {reason!r}; it must be 'stop' or 'length'")
        right = places[0] == len(self.thinking_ids) and all(a < b for a, b in pairwise(places))
        wanted = "the first must be at the end of the thinking, the others behind it in 'forced_ids'"
        _require(right, f"field 'waits': {self.waits}; {wanted}")

    def thinking(self, budget: int, forced: int = 0) -> tuple[int, ...]:
        """Token ids of the thinking at a setting of the sweep, exactly as the answer at that setting was given them."""
        if not forced:
            return self.thinking_ids[:budget]
        end = self.waits[forced] if forced < len(self.waits) else None
        return (*self.thinking_ids[:budget], *self.forced_ids)[:end]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's raw, unscored answer at one thinking budget or forced count (3.3, Figures 1 and 3)."""

    plural: ClassVar[str] = "predictions"
    question_id: str
    benchmark: str
    model: str
    budget: int  # thinking budget in tokens; 0 for a model that answers at once
    forced: int  # how many times `Wait` was forced; 0 for none
    thinking_tokens: int
    ended: bool  # whether thinking ended by itself within the budget (else it was cut)
    answer: str
    answer_tokens: int
    too_long: bool = False  # the question does not fit the model's context, so it was not asked: always incorrect

    def validate(self) -> None:
        for field in ("budget", "forced", "thinking_tokens", "answer_tokens"):
            _require(getattr(self, field) >= 0, f"field '{field}': negative")
        _require(not (self.too_long and self.answer), "field 'too_long': true, but there is an answer")


TOO_LONG = "too long"
"""The ``rule`` in the score of a prediction that is ``too_long``."""


@dataclass(frozen=True, slots=True)
class Score:
    """A prediction's outcome under one scoring protocol (B.3)."""

    plural: ClassVar[str] = "scores"
    question_id: str
    source: str  # the question's source; equals `benchmark` for the paper's ten
    benchmark: str
    model: str
    budget: int
    forced: int
    ended: bool
    thinking_tokens: int
    answer_tokens: int
    extracted: str
    letter: str  # letter matched; empty for none
    correct: bool
    rule: str  # the rule that decided, for example `boxed text` or `most similar option`

    def validate(self) -> None:
        _require(self.letter in LETTERS, f"field 'letter': {self.letter!r}")
        _require(self.rule, "field 'rule': empty")


Record = TypeVar("Record", Question, ScreenAnswer, Trace, Domain, Sample, Rollout, Prediction, Score)


def question_id(source: str, stem: str, context: str | None, options: Sequence[str], answer_text: str) -> str:
    """A question's id: 16 hexadecimal digits from source and content, whatever the order of the options."""
    return digest([source, stem, context, sorted(options), answer_text])[:16]


def questions_sha256(questions: Iterable[Question]) -> str:
    """SHA-256, in hexadecimal, of what a set of questions asks.

    It ignores the order of questions and options, ids, sources, and white space in stem and context. Context and stem
    count as one text, as in the prompt, because files of questions often join them. Letter case, the texts of the
    options, the correct option and repeated questions count.
    """
    lines = []
    for question in questions:
        text = "".join(f"{question.context or ''}{question.stem}".split())
        lines.append(digest([text, sorted(question.options), question.answer_text]))
    return digest(sorted(lines))


def distinct_ids(ids: Iterable[str]) -> list[str]:
    """Make ids unique: the second of equal ids gets ``-2``, the third ``-3``. Some benchmarks repeat records."""
    seen: dict[str, int] = {}
    result = []
    for value in ids:
        seen[value] = seen.get(value, 0) + 1
        result.append(value if seen[value] == 1 else f"{value}-{seen[value]}")
    return result


PART = 1024  # records written or read at a time, which bounds the memory of :func:`stream`
WRITING: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}

_ARROW: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_ARROW |= {tuple[str, ...]: pa.list_(pa.string()), tuple[int, ...]: pa.list_(pa.int32())}


def schema(record: type[Any]) -> pa.Schema:
    """The Arrow schema of a record type; only fields of a type ``X | None`` may be null."""
    hints, columns = typing.get_type_hints(record), []
    for field in fields(record):
        hint = hints[field.name]
        kind, *null = typing.get_args(hint) if isinstance(hint, types.UnionType) else [hint]
        columns.append(pa.field(field.name, _ARROW[kind], nullable=bool(null)))
    return pa.schema(columns)


class Writer(Generic[Record]):
    """Writes records to an open Parquet file, :data:`PART` at a time; :func:`writing` makes one."""

    def __init__(self, path: str | Path, parquet: pq.ParquetWriter) -> None:
        self._path, self._parquet = path, parquet
        self._waiting: list[Record] = []
        self._count = 0

    def add(self, rows: Iterable[Record]) -> None:
        """Check records and write them; fewer than :data:`PART` wait in memory for the next ones.

        Raises:
            UserError: a record is wrong; names the file, the record's number (from 0) and the field.
        """
        for row in rows:
            _check(self._path, self._count, row)
            self._count += 1
            self._waiting.append(row)
            if len(self._waiting) == PART:
                self.flush()

    def flush(self) -> None:
        """Write the records that wait in memory."""
        if self._waiting:
            wanted = self._parquet.schema
            columns = {name: [getattr(row, name) for row in self._waiting] for name in wanted.names}
            self._parquet.write_table(pa.table(columns, schema=wanted))
            self._waiting.clear()


@contextmanager
def writing(path: str | Path, record: type[Record]) -> Iterator[Writer[Record]]:
    """Open a writer of records to a Parquet file; the file appears, complete, when the context ends without error."""
    with replacing(path) as partial, pq.ParquetWriter(partial, schema(record), **WRITING) as parquet:
        writer: Writer[Record] = Writer(path, parquet)
        yield writer
        writer.flush()


def write(path: str | Path, rows: Iterable[Record], record: type[Record]) -> None:
    """Write records to Parquet atomically, each checked (errors as by :meth:`Writer.add`)."""
    with writing(path, record) as writer:
        writer.add(rows)


def read(path: str | Path, record: type[Record], where: dict[str, Any] | None = None) -> list[Record]:
    """Read and check the records of a Parquet file; with ``where`` (column to value), only those with these values.

    Raises:
        UserError: the file is missing, is not Parquet, has other columns, or holds a wrong record.
    """
    with open_parquet(path) as file:
        table = file.read()
        _check_columns(path, table.schema, record)
    for name, value in (where or {}).items():
        table = table.filter(pc.field(name) == value)
    return _rows(path, table, record)


def stream(path: str | Path, record: type[Record]) -> Iterator[Record]:
    """Read records one by one, with :data:`PART` of them in memory at a time; raises the errors of :func:`read`."""
    first = 0
    with open_parquet(path) as file:
        _check_columns(path, file.schema_arrow, record)
        for part in file.iter_batches(PART):
            yield from _rows(path, part, record, first)
            first += len(part)


def stream_readings(path: str | Path, record: type[Record], keys: Iterable[tuple[str, str, str]]) -> Iterator[Record]:
    """Read rollouts, predictions or scores as :func:`stream` does, but only those with some keys: benchmark, id and
    model."""
    wanted = pa.array(["\0".join(key) for key in keys], pa.string())
    first = 0
    with open_parquet(path) as file:
        _check_columns(path, file.schema_arrow, record)
        for part in file.iter_batches(8 * PART):
            named = [part.column(name) for name in ("benchmark", "question_id", "model")]
            chosen = pc.is_in(pc.binary_join_element_wise(*named, "\0"), value_set=wanted)
            try:
                rows = _rows(path, part.filter(chosen), record)
            except UserError:
                rows = _rows(path, part, record, first)  # fails again, but with the record's number in the file
            yield from rows
            first += len(part)


@contextmanager
def open_parquet(path: str | Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file of records; check it against its manifest, and each of its pages against its checksum.

    Raises:
        UserError: the file is missing, is not Parquet, is damaged, or has changed since it was written.
    """
    try:
        check_output(path)
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            facts = file.metadata
            if sum(facts.row_group(number).num_rows for number in range(facts.num_row_groups)) != facts.num_rows:
                raise pa.ArrowInvalid("the numbers of its rows disagree")
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as Parquet ({error}). Delete it to have it made again.") from error


def _check_columns(path: str | Path, found: pa.Schema, record: type[Record]) -> None:
    wanted, remedy = schema(record), "Delete it to have it made again."
    if missing := ", ".join(name for name in wanted.names if name not in found.names):
        raise UserError(f"{path}: not a file of {record.plural}: no column {missing}. {remedy}")
    for field in wanted:
        if (kind := found.field(field.name).type) != field.type:
            raise UserError(f"{path}: column {field.name} holds {kind}, not {field.type}. {remedy}")


def _rows(path: str | Path, table: pa.Table | pa.RecordBatch, record: type[Record], first: int = 0) -> list[Record]:
    """The checked records of a table with correct columns; ``first`` is the number of its first record in the file."""
    columns = []
    for field in schema(record):
        column = table.column(field.name)
        values = column.to_pylist()
        if column.null_count and not field.nullable:
            place = f"record {first + values.index(None)}, field '{field.name}'"
            raise UserError(f"{path}: {place}: missing. Delete the file to have it made again.")
        columns.append(list(map(tuple, values)) if pa.types.is_list(field.type) else values)
    rows = [record(*values) for values in zip(*columns)]
    for number, row in enumerate(rows, first):
        _check(path, number, row)
    return rows


def _check(path: str | Path, number: int, row: Any) -> None:
    try:
        row.validate()
    except InvalidRecord as error:
        identity = getattr(row, "id", None) or getattr(row, "question_id", "?")
        raise UserError(f"{path}: record {number} ({identity}), {error}") from None
