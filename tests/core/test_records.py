"""Records: what is written is read again, and what cannot be correct is said with file, record and field."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from m1.core import records
from m1.core.errors import UserError
from m1.core.records import LETTERS, Domain, Prediction, Question, Rollout, Sample, Score, ScreenAnswer, Trace

words = st.text(st.characters(exclude_categories=["Cs"]))
filled = words.filter(str.strip)
counts = st.integers(0, 2**62)
ids = st.lists(st.integers(0, 2**31 - 1)).map(tuple)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    options = tuple(draw(st.lists(filled, min_size=2, max_size=14)))
    context = draw(st.none() | words)
    return Question(
        draw(words), draw(words), draw(filled), context, options, draw(st.sampled_from(LETTERS[: len(options)]))
    )


RECORDS: dict[type[Any], st.SearchStrategy[Any]] = {
    Question: questions(),
    ScreenAnswer: st.builds(ScreenAnswer, filled, words, words, st.booleans()),
    Trace: st.builds(
        Trace,
        *[words] * 5,
        counts,
        counts,
        counts,
        st.floats(allow_nan=False),
        words,
        st.sampled_from(records.VERDICTS),
    ),
    Domain: st.builds(Domain, words, st.from_regex(r"[0-9]{2}", fullmatch=True), words),
    Sample: st.builds(
        Sample, filled, filled, words, filled, filled, filled, words, words, st.integers(-(2**63), 2**63 - 1)
    ),
    Rollout: st.builds(Rollout, words, words, words, ids, st.sampled_from(["stop", "length"])),
    Prediction: st.builds(Prediction, words, words, words, counts, counts, counts, st.booleans(), words, counts),
    Score: st.builds(
        Score,
        words,
        words,
        words,
        words,
        counts,
        counts,
        st.booleans(),
        counts,
        counts,
        words,
        st.sampled_from(["", *LETTERS]),
        st.booleans(),
        filled,
    ),
}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_what_is_written_is_read(
    record: type[Any], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = data.draw(st.lists(RECORDS[record], max_size=5))
    path = tmp_path_factory.getbasetemp() / f"{record.__name__}.parquet"
    records.write(path, rows, record)
    assert records.read(path, record) == rows


def question(**changes: Any) -> Question:
    return dataclasses.replace(Question("q1", "medqa", "What?", None, ("this", "that"), "A"), **changes)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            question(answer="C"),
            "record 1 (q1), field 'answer': letter 'C' is not among the options; it must be one of A, B",
        ),
        (question(answer=""), "field 'answer'"),
        (question(answer="AB"), "field 'answer'"),
        (question(answer="a"), "field 'answer'"),
        (question(stem=" \n"), "field 'stem': empty"),
        (question(options=("this",)), "field 'options': 1 options; 2 to 14 are possible"),
        (question(options=("x",) * 15), "field 'options': 15 options"),
        (question(options=("this", " ")), "field 'options': option B is empty"),
        (ScreenAnswer("", "m", "", True), "field 'question_id': empty"),
        (
            Trace("q", "t", "", "", "", 0, 0, 0, 0.0, "", "fine"),
            "record 1 (q), field 'verdict': 'fine'; it must be one of correct, incorrect",
        ),
        (Trace("q", "t", "", "", "", -1, 0, 0, 0.0, "", "correct"), "field 'prompt_tokens'"),
        (Domain("q", "7", "x"), "field 'code': '7'; two digits are needed"),
        (Sample("q", "s", "", "p", "", "a", "m1k", "all", 1), "field 'thinking': empty"),
        (Rollout("q", "b", "m", (), "end"), "field 'finish_reason': 'end'; it must be 'stop' or 'length'"),
        (Prediction("q", "b", "m", -1, 0, 0, True, "", 0), "field 'budget': negative"),
        (Score("q", "s", "b", "m", 0, 0, True, 0, 0, "", "Z", False, "r"), "field 'letter': 'Z'"),
        (Score("q", "s", "b", "m", 0, 0, True, 0, 0, "", "A", False, ""), "field 'rule': empty"),
    ],
)
def test_a_wrong_record_is_refused_before_it_is_written(tmp_path: Path, row: Any, said: str) -> None:
    path = tmp_path / "rows.parquet"
    good = {Question: question()}.get(type(row))
    with pytest.raises(UserError) as refusal:
        records.write(path, [row if good is None else good, row], type(row))
    assert str(refusal.value).startswith(f"{path}: record ")
    assert said.replace("record 1", "record 1" if good else "record 0") in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def streamed(path: Path, record: Any) -> list[Any]:
    return list(records.stream(path, record))


either = pytest.mark.parametrize("read", [records.read, streamed])


@either
def test_a_wrong_record_is_refused_when_it_is_read(tmp_path: Path, read: Any) -> None:
    path = tmp_path / "questions.parquet"
    row = {field.name: [getattr(question(), field.name)] for field in fields(Question)} | {
        "answer": ["E"],
        "options": [["a", "b"]],
    }
    pq.write_table(pa.table(row, schema=records.schema(Question)), path)
    with pytest.raises(UserError, match=r"questions\.parquet: record 0 \(q1\), field 'answer': letter 'E'"):
        read(path, Question)


def write_columns(path: Path, **columns: pa.Array) -> None:
    base = {
        "id": pa.array(["q1", "q2"]),
        "source": pa.array(["s", "s"]),
        "stem": pa.array(["What?", "Which?"]),
        "context": pa.array([None, None], pa.string()),
        "options": pa.array([["a", "b"], ["a", "b"]]),
        "answer": pa.array(["A", "B"]),
    }
    kept = {name: column for name, column in (base | columns).items() if column is not None}
    pq.write_table(pa.table(kept), path)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"answer": None}, "not a file of questions: no column answer. Delete it to have it made again."),
        ({"id": pa.array([1, 2])}, "column id holds int64, not string"),
        ({"stem": pa.array(["What?", None])}, "record 1, field 'stem': missing"),
        ({"options": pa.array([["a", "b"], None])}, "record 1, field 'options': missing"),
    ],
)
@either
def test_other_columns_are_refused(tmp_path: Path, read: Any, columns: dict[str, Any], said: str) -> None:
    path = tmp_path / "questions.parquet"
    write_columns(path, **columns)
    with pytest.raises(UserError) as refusal:
        read(path, Question)
    assert said in str(refusal.value)
    assert str(path) in str(refusal.value)


@either
def test_further_columns_do_no_harm(tmp_path: Path, read: Any) -> None:
    write_columns(tmp_path / "questions.parquet", further=pa.array([1, 2]))
    assert [row.id for row in read(tmp_path / "questions.parquet", Question)] == ["q1", "q2"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"", "not readable as Parquet"), (b"PAR1 no", "not readable as Parquet")],
)
@either
def test_what_is_no_parquet_is_refused(tmp_path: Path, read: Any, content: bytes | None, said: str) -> None:
    path = tmp_path / "questions.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read(path, Question)


def test_only_the_rows_asked_for_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = [Prediction("q", name, "m", budget, 0, 0, True, "", 0) for name in ("a", "b") for budget in (1, 2)]
    records.write(path, rows, Prediction)
    assert records.read(path, Prediction, {"benchmark": "b", "budget": 2}) == [rows[3]]


def test_only_the_readings_asked_for_are_streamed(tmp_path: Path) -> None:
    path, count = tmp_path / "rows.parquet", 9 * records.PART
    rows = [Prediction(f"q{i // 6}", f"b{i % 2}", f"m{i % 3}", i, 0, 0, True, "", 0) for i in range(count)]
    records.write(path, rows, Prediction)
    keys = [("b0", "q1", "m0"), ("b1", f"q{count // 6 - 1}", "m2"), ("b1", "q1", "m0 "), ("b0", "q1\0m0", "m0")]
    assert list(records.stream_readings(path, Prediction, keys)) == [rows[6], rows[count - 1]]
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Prediction)}
    columns["budget"][-1] = -1
    pq.write_table(pa.table(columns, schema=records.schema(Prediction)), path)
    assert len(list(records.stream_readings(path, Prediction, keys[:1]))) == 1
    with pytest.raises(UserError, match=f"record {count - 1} .*'budget'"):
        list(records.stream_readings(path, Prediction, keys))


@pytest.mark.parametrize("count", [0, 1, records.PART, 2 * records.PART + 3])
def test_records_come_and_go_in_parts(tmp_path: Path, count: int) -> None:
    rows = [question(id=f"q{number}") for number in range(count)]
    records.write(tmp_path / "at once", rows, Question)
    with records.writing(tmp_path / "bit by bit", Question) as writer:
        writer.add(rows[:700])
        writer.add(iter(rows[700:]))
    assert (tmp_path / "bit by bit").read_bytes() == (tmp_path / "at once").read_bytes()
    assert streamed(tmp_path / "at once", Question) == records.read(tmp_path / "at once", Question) == rows


def test_a_record_of_a_later_part_is_named_by_its_number(tmp_path: Path) -> None:
    path, count = tmp_path / "questions.parquet", records.PART + 5
    rows = {field.name: [getattr(question(), field.name)] * count for field in fields(Question)}
    pq.write_table(pa.table(rows | {"answer": ["A"] * (count - 1) + ["E"]}, schema=records.schema(Question)), path)
    with pytest.raises(UserError, match=f"record {count - 1} "):
        streamed(path, Question)


def test_equal_records_make_equal_files(tmp_path: Path) -> None:
    for name in ("first", "second"):
        records.write(tmp_path / name, [question(), question(id="q2")], Question)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@given(data=st.data(), row=questions())
def test_an_id_does_not_depend_on_the_order_of_options(data: st.DataObject, row: Question) -> None:
    other = tuple(data.draw(st.permutations(row.options)))
    text = row.answer_text
    assert records.question_id("s", row.stem, row.context, row.options, text) == records.question_id(
        "s", row.stem, row.context, other, text
    )


def test_an_id_depends_on_everything_else() -> None:
    ids = {
        records.question_id(*parts)
        for parts in [
            ("s", "What?", None, ("a", "b"), "a"),
            ("t", "What?", None, ("a", "b"), "a"),
            ("s", "Why?", None, ("a", "b"), "a"),
            ("s", "What?", "", ("a", "b"), "a"),
            ("s", "What?", None, ("a", "c"), "a"),
            ("s", "What?", None, ("a", "b"), "b"),
        ]
    }
    assert len(ids) == 6


@given(data=st.data(), rows=st.lists(questions(), max_size=6))
def test_the_digest_of_questions_does_not_depend_on_orders_ids_and_white_space(
    data: st.DataObject, rows: list[Question]
) -> None:
    others = []
    for row in data.draw(st.permutations(rows)):
        options = tuple(data.draw(st.permutations(row.options)))
        answer = LETTERS[options.index(row.answer_text)]
        stem, context = f" {row.stem}\u00a0", row.context
        if context and data.draw(st.booleans()):
            stem, context = f"{context}\n\t{stem}", None
        others.append(Question(data.draw(words), "another", stem, context, options, answer))
    assert records.questions_sha256(others) == records.questions_sha256(rows)


@given(data=st.data(), rows=st.lists(questions(), min_size=1, max_size=6))
def test_the_digest_of_questions_depends_on_everything_else(data: st.DataObject, rows: list[Question]) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    row, option = rows[place], data.draw(st.integers(0, len(rows[place].options) - 1))
    longer = tuple(f"{text}x" if number == option else text for number, text in enumerate(row.options))
    changed = [
        dataclasses.replace(row, stem=f"{row.stem} word"),
        dataclasses.replace(row, context=f"{row.context or ''} sentence"),
        dataclasses.replace(row, options=longer),
    ]
    for text in {*row.options} - {row.answer_text}:
        changed.append(dataclasses.replace(row, answer=LETTERS[row.options.index(text)]))
    sets = [[*rows[:place], one, *rows[place + 1 :]] for one in changed]
    sets += [[*rows, row], rows[:place] + rows[place + 1 :]]
    digests = [records.questions_sha256(one) for one in (rows, *sets)]
    assert len(set(digests)) == len(digests)


def test_two_questions_that_swap_an_option_are_other_questions() -> None:
    first, second = question(options=("a", "b")), question(options=("a", "c"), stem="Why?")
    swapped = [dataclasses.replace(first, options=("a", "c")), dataclasses.replace(second, options=("a", "b"))]
    assert records.questions_sha256(swapped) != records.questions_sha256([first, second])


def test_equal_ids_become_distinct() -> None:
    assert records.distinct_ids(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]


@pytest.mark.parametrize("part", ["pages", "footer"])
def test_no_flipped_bit_is_read_as_other_data(tmp_path: Path, part: str) -> None:
    path, chance, refused = tmp_path / "a.parquet", random.Random(1), 0
    rows = [question(id=f"{i:016x}", stem=f"stem {i}", answer="AB"[i % 2]) for i in range(600)]
    records.write(path, rows, Question)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for number in range(1200):
        damaged = bytearray(whole)
        place = chance.randrange(footer) if part == "pages" else footer + number % (len(whole) - footer)
        damaged[place] ^= 8 if part == "footer" else 1 << chance.randrange(8)  # 8 makes 88 rows of 600
        path.write_bytes(damaged)
        try:
            assert records.read(path, Question) == rows, f"byte {place}"
        except UserError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017  (every refusal names the file)
            refused += 1
    assert refused > 300
