"""Reading pools, taking a part, shuffling options, and what the command line says of bad input."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core import records
from m1.core.draws import permutation
from m1.core.errors import UserError
from m1.core.layouts import YES_NO_MAYBE, Parts
from m1.core.records import LETTERS, Question
from m1.pools import collect

SETTINGS: dict[str, Any] = {
    "layout": "eval",
    "path": None,
    "hub": None,
    "config": None,
    "split": None,
    "revision": None,
    "file": None,
    "key": None,
    "where": None,
    "checksum": None,
    "rows": None,
    "obtain": "",
    "part": None,
    "limit": None,
    "shuffle_options": False,
    "draws": "exact",
    "seed": 42,
    "invalid": "error",
    "optional": False,
}


def published(size: int) -> list[dict[str, Any]]:
    return [
        {
            "question": f"Which is {n}?",
            "options": {letter: f"{letter.lower()}{n}" for letter in "ABCD"},
            "answer_idx": "ABCD"[n % 4],
        }
        for n in range(size)
    ]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def run(folder: Path, **settings: Any) -> list[Question]:
    paths = ["--output", str(folder / "out.parquet"), "--manifest", str(folder / "out.json")]
    collect.main(["--name", "pool", "--settings", json.dumps({**SETTINGS, **settings}), *paths])
    return records.read(folder / "out.parquet", Question)


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out.json").read_text())


def test_every_kind_of_file_gives_the_same_questions(tmp_path: Path) -> None:
    rows = published(9)
    lines = write_lines(tmp_path / "a.jsonl", rows)
    expected = run(tmp_path, path=str(lines))
    assert [question.stem for question in expected] == [row["question"] for row in rows]
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.read_bytes()))
    (tmp_path / "c.json").write_text(json.dumps(rows))
    (tmp_path / "d.json.gz").write_bytes(gzip.compress(json.dumps({"other": [], "MedQA": rows}).encode()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "e.parquet")
    with open(tmp_path / "f.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, ["question", "options", "answer_idx"])
        table.writeheader()
        table.writerows({**row, "options": json.dumps(row["options"])} for row in rows)
    (tmp_path / "g.tsv.gz").write_bytes(gzip.compress((tmp_path / "f.csv").read_bytes()))
    for name in ("g.tsv.gz", "b.jsonl.gz", "c.json", "e.parquet", "f.csv"):
        assert run(tmp_path, path=str(tmp_path / name)) == expected, name
    assert run(tmp_path, path=str(tmp_path / "d.json.gz"), key="MedQA") == expected


def test_the_hub_is_read_through_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local folder in the form of a hub data set goes the same way through ``load_dataset``, without a network."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    rows = [
        *published(3),
        {"question": "Five?", "options": {letter: letter * 2 for letter in "ABCDE"}, "answer_idx": "E"},
    ]
    (tmp_path / "set" / "m1_eval_data.json").write_text(json.dumps({"MedQA": rows, "Other": [{"x": 1}]}))
    questions = run(tmp_path, hub=str(tmp_path / "set"), split="test", key="MedQA")  # "eval" in the name: split test
    assert [len(question.options) for question in questions] == [
        4,
        4,
        4,
        5,
    ]  # the library fills E with None in the others
    with pytest.raises(UserError, match="cannot be loaded from the hub: Unknown split"):
        run(tmp_path, hub=str(tmp_path / "set"), split="nowhere", key="MedQA")
    with pytest.raises(UserError, match="`split` is null"):
        run(tmp_path, hub=str(tmp_path / "set"), key="MedQA")


def test_equal_input_gives_equal_bytes_and_the_manifest_counts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_lines(tmp_path / "a.jsonl", published(20))
    settings = {"path": str(path), "limit": 7, "shuffle_options": True}
    first = run(tmp_path, **settings)
    content = (tmp_path / "out.parquet").read_bytes()
    run(tmp_path, **settings)
    assert (tmp_path / "out.parquet").read_bytes() == content
    assert len(first) == 7
    written = manifest(tmp_path)
    assert written["counts"] == {"published": 20, "part": 20, "refused": 0, "questions": 7, "repeated": 0}
    assert written["inputs"]["published"]["path"] == str(path)
    assert written["settings"]["seed"] == 42
    assert "[pools] pool: 20 records in, 7 questions out" in capfd.readouterr().out


def test_the_manifest_has_the_digest_of_the_questions_that_are_asked(tmp_path: Path) -> None:
    rows = published(20)

    def digest(rows: list[dict[str, Any]], **settings: Any) -> str:
        run(tmp_path, path=str(write_lines(tmp_path / "a.jsonl", rows)), **settings)
        return str(manifest(tmp_path)["questions_sha256"])

    whole = digest(rows)
    assert whole == records.questions_sha256(records.read(tmp_path / "out.parquet", Question))
    assert digest(rows[::-1]) == digest(rows, shuffle_options=True) == whole
    spaced = [{**row, "question": row["question"].replace(" ", "  \n")} for row in rows]
    assert digest(spaced) == whole
    others = [digest(rows, limit=19), digest([*rows, rows[3]]), digest([{**rows[0], "answer_idx": "C"}, *rows[1:]])]
    others += [digest([{**rows[0], "question": "What is 0?"}, *rows[1:]])]
    others += [digest([{**rows[0], "options": rows[0]["options"] | {"D": "none"}}, *rows[1:]])]
    assert len({whole, *others}) == 6


def test_pubmedqa_is_the_same_with_its_abstract_in_the_question(tmp_path: Path) -> None:
    """The authors' file has both as one text; PubMedQA's own has the abstract apart."""
    apart = {"question": "Is it?", "context": {"contexts": ["One.", "Two."]}, "final_decision": "no"}
    as_one = {"question": "One.\nTwo.\nIs it?", "options": dict(zip("ABC", YES_NO_MAYBE)), "answer_idx": "B"}
    digests = []
    for layout, row in (("pubmedqa", apart), ("eval", as_one)):
        run(tmp_path, path=str(write_lines(tmp_path / "a.jsonl", [row])), layout=layout)
        digests.append(manifest(tmp_path)["questions_sha256"])
    assert digests[0] == digests[1]


def test_parts_of_one_seed_share_nothing(tmp_path: Path) -> None:
    path = str(write_lines(tmp_path / "a.jsonl", published(30)))
    halves = [run(tmp_path, path=path, part={"seed": 0, "take": take, "size": 15}) for take in ("first", "second")]
    first, second = ({question.stem for question in half} for half in halves)
    assert len(first) == len(second) == 15
    assert not first & second
    assert first != {row["question"] for row in published(15)}
    order = permutation(30, 0)
    assert [[question.stem for question in half] for half in halves] == [
        [f"Which is {place}?" for place in places] for places in (order[:15], order[15:])
    ]
    other = run(tmp_path, path=path, part={"seed": 1, "take": "first", "size": 15})
    assert {question.stem for question in other} != first
    for part in (
        {"seed": 0, "take": "third", "size": 15},
        {"seed": 0, "take": "first"},
        {"seed": 0, "take": "first", "size": 31},
    ):
        with pytest.raises(UserError, match="part"):
            run(tmp_path, path=path, part=part)


@given(st.integers(2, len(LETTERS)), st.integers(0, 13), st.randoms())
def test_the_answer_follows_its_option(size: int, correct: int, random: Random) -> None:
    row = Parts("s", None, tuple(str(k // 2) for k in range(size)), LETTERS[correct % size])
    order = random.sample(range(size), size)
    shuffled = collect.reorder_options(row, order)
    assert shuffled.options == tuple(row.options[place] for place in order)
    answer = row.options[LETTERS.index(row.answer)]
    assert LETTERS.index(shuffled.answer) == shuffled.options.index(answer), "the first of equal options"


def authors_options(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Options as the authors' loaders shuffle them: one generator, whose first shuffle is of the record printed."""
    generator, found = np.random.default_rng(42), []
    for row in [rows[0], *rows]:
        texts = list(row["options"].values())
        generator.shuffle(texts)
        found.append(tuple(texts))
    return found[1:]


def test_released_options_are_those_of_the_authors_loaders(tmp_path: Path) -> None:
    rows = published(40)
    rows[0]["options"] = {"A": "a", "B": "b", "C": "c"}  # the spent shuffle has as many options as the first record
    rows[0]["answer_idx"] = "A"
    rows[7]["answer_idx"] = "Z"  # no question here, but the authors' generator has gone over it
    path = str(write_lines(tmp_path / "a.jsonl", rows))
    settings: dict[str, Any] = {"path": path, "shuffle_options": True, "invalid": "drop"}
    expected = authors_options(rows)
    del expected[7]
    assert [question.options for question in run(tmp_path, **settings, draws="released")] == expected
    assert [question.options for question in run(tmp_path, **settings)] != expected
    part = {"seed": 0, "take": "second", "size": 20}
    second = run(tmp_path, **settings, part=part, draws="released")
    assert {question.options for question in second} <= set(expected), "shuffled along the whole set, then cut"


def test_yes_no_maybe_is_shuffled_as_released_only(tmp_path: Path) -> None:
    rows = [
        {"question": f"{n}?", "context": {"contexts": ["c"]}, "final_decision": YES_NO_MAYBE[n % 3]} for n in range(9)
    ]
    settings: dict[str, Any] = {
        "path": str(write_lines(tmp_path / "a.jsonl", rows)),
        "layout": "pubmedqa",
        "shuffle_options": True,
    }
    assert {question.options for question in run(tmp_path, **settings)} == {YES_NO_MAYBE}
    generator, expected = np.random.default_rng(42), []
    for _ in range(10):
        generator.shuffle(options := [*YES_NO_MAYBE])
        expected.append(tuple(options))
    found = run(tmp_path, **settings, draws="released")
    assert [question.options for question in found] == expected[1:]
    assert [question.answer_text for question in found] == [row["final_decision"] for row in rows]


def test_shuffled_letters_are_even_and_ids_do_not_change(tmp_path: Path) -> None:
    rows = [{**row, "answer_idx": "A"} for row in published(800)]
    path = str(write_lines(tmp_path / "a.jsonl", rows))
    plain, shuffled = run(tmp_path, path=path), run(tmp_path, path=path, shuffle_options=True)
    assert [question.id for question in plain] == [question.id for question in shuffled]
    assert min(Counter(question.answer for question in shuffled)[letter] for letter in "ABCD") > 150


def test_repeated_records_get_distinct_ids(tmp_path: Path) -> None:
    path = str(write_lines(tmp_path / "a.jsonl", [*published(2), *published(2)]))
    ids = [question.id for question in run(tmp_path, path=path)]
    assert ids[2:] == [f"{ids[0]}-2", f"{ids[1]}-2"]
    assert manifest(tmp_path)["counts"]["repeated"] == 2


def test_what_is_odd_is_kept_and_counted(tmp_path: Path) -> None:
    rows = [
        {
            "question": "Twin of the correct one?",
            "options": {"A": "a", "B": "b", "C": "b"},
            "answer_idx": "C",
            "answer": "b",
        },
        {"question": "Wrong ones equal?", "options": {"A": "a", "B": "b", "C": "b"}, "answer_idx": "A"},
        {"question": "Which genotype?", "options": {"A": "BB", "B": "Bb", "C": "bb"}, "answer_idx": "B"},
        {"question": "p &lt; 0.05?", "options": {"A": "yes\u200b", "B": "no"}, "answer_idx": "A", "answer": "yes"},
        {"question": " White space? \n", "options": {"A": "yes ", "B": "no"}, "answer_idx": "A"},
        {"question": "Nothing odd?", "options": {"A": "yes", "B": "no"}, "answer_idx": "A", "exp": "&lt;"},
    ]
    questions = run(tmp_path, path=str(write_lines(tmp_path / "a.jsonl", rows)))
    assert [question.answer for question in questions] == list("CABAAA")  # the letter decides, also between twins
    assert questions[2].options == ("BB", "Bb", "bb")
    assert (questions[3].stem, questions[3].options) == ("p < 0.05?", ("yes", "no"))
    assert manifest(tmp_path)["quirks"] == {
        "equal options": 2,
        "correct option has a twin": 1,
        "options equal but for letter case": 1,
        "text cleaned": 1,
    }


def test_an_optional_set_that_is_missing_leaves_no_question_and_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for source in ({"path": str(tmp_path / "nejm.jsonl")}, {}):
        settings = {
            **source,
            "obtain": "ask its authors.",
            "part": {"seed": 0, "take": "first", "size": 5},
            "rows": 603,
        }
        with pytest.raises(UserError, match=r"To get it: ask its authors\.$"):
            run(tmp_path, **settings)
        assert not list(tmp_path.iterdir())
        assert run(tmp_path, **settings, optional=True) == []
        written = manifest(tmp_path)
        assert written["missing"].endswith("To get it: ask its authors.")
        assert written["counts"] == {"published": 0, "part": 0, "refused": 0, "questions": 0, "repeated": 0}
        assert "[pools] pool: MISSING, so its column will be marked missing: " in capfd.readouterr().out
        for file in tmp_path.iterdir():
            file.unlink()
    path = write_lines(tmp_path / "a.jsonl", published(2))
    with pytest.raises(UserError, match="2 records, but 603 are expected of pool"):  # there, but another set
        run(tmp_path, path=str(path), rows=603, optional=True)


def test_an_answer_that_is_no_option_is_one_clear_message(tmp_path: Path) -> None:
    rows = published(4)
    rows[2]["answer_idx"] = "E"
    path = write_lines(tmp_path / "benchmark.jsonl", rows)
    arguments = ["--name", "bad", "--output", str(tmp_path / "o.parquet"), "--manifest", str(tmp_path / "o.json")]
    settings = json.dumps({**SETTINGS, "path": str(path)})
    command = [sys.executable, "-m", "m1.pools.collect", *arguments, "--settings", settings]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(collect.__file__).parents[2])
    assert done.returncode == 1
    assert done.stdout.startswith(
        f"error: {path}: record 2 (from 0), field 'answer_idx': the answer's letter is not among the options"
    )
    assert "found 'E, options A, B, C, D'" in done.stdout
    assert "set `invalid` to drop" in done.stdout
    assert "Traceback" not in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["benchmark.jsonl"]

    assert len(run(tmp_path, path=str(path), invalid="drop")) == 3
    written = manifest(tmp_path)
    assert written["refused"] == {"answer_idx: the answer's letter is not among the options": 1}
    assert written["refused_records"] == [
        {
            "record": 2,
            "field": "answer_idx",
            "reason": "the answer's letter is not among the options",
            "found": "'E, options A, B, C, D'",
        }
    ]


@pytest.mark.parametrize(
    ("name", "content", "key", "message"),
    [
        ("a.jsonl", b'{"question": 1}\n{"question"\n', None, "line 2: not a JSON record"),
        ("a.jsonl", b"[1]\n", None, r"record 0 \(from 0\), field '\(record\)': not an object"),
        ("a.jsonl", b"", None, "the file is empty"),
        ("a.json", b"[]", None, "no question in it"),
        ("a.jsonl", b"\xff\xfe", None, "not readable as .jsonl"),
        ("a.jsonl.gz", b"not gzip", None, "not readable as .jsonl"),
        ("a.json", b'{"MedQA": []}', None, "an object with MedQA: set the entry's `key`"),
        ("a.json", b'{"MedQA": []}', "NEJM", "no list 'NEJM'; there is MedQA"),
        ("a.jsonl", b"{}", "NEJM", "`key` names a list inside a .json file"),
        ("a.parquet", b"PAR1", None, "not readable as .parquet"),
        ("a.txt", b"", None, "unknown kind of file"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, name: str, content: bytes, key: str | None, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        run(tmp_path, path=str(tmp_path / name), key=key)
    assert str(tmp_path / name) in str(error.value)


MEDMCQA = {"question": "Which?", "opa": "a", "opb": "b", "opc": "c", "opd": "d"}
MMLU = {"question": "Which?", "choices": ["a", "b", "c"]}
MMLU_PRO = {"question": "Which?", "options": ["a", "b", "c"]}
MEDBULLETS = {"question": "Which?", "opa": "a", "opb": "b", "opc": "c", "answer_idx": "B"}


@pytest.mark.parametrize("invalid", ["error", "drop"])
@pytest.mark.parametrize(
    ("layout", "rows", "field"),
    [
        ("medmcqa", [MEDMCQA | {"cop": key} for key in (1, 2, 3, 4, 1, 2)], "cop"),
        ("medmcqa", [MEDMCQA | {"cop": key} for key in (4, 1)], "cop"),
        ("medmcqa", [MEDMCQA | {"cop": key} for key in ("2", "4")], "cop"),
        ("medmcqa", [MEDMCQA | {"cop": key} for key in ("1.0", "4.0")], "cop"),
        ("medmcqa", [MEDMCQA | {"cop": key} for key in (0, 1, 2, 3, 4, 4, -1)], "cop"),  # 0 for no answer
        ("mmlu", [MMLU | {"answer": key} for key in (1, 2, 3)], "answer"),
        ("mmlu", [MMLU | {"answer": 3}, MMLU | {"choices": ["a", "b", "c", "d"], "answer": 1}], "answer"),
        ("mmlu_pro", [MMLU_PRO | {"answer_index": key, "answer": " ABC"[key]} for key in (1, 2, 3)], "answer_index"),
    ],
)
def test_numbers_that_count_from_1_are_an_error_whatever_may_be_dropped(
    tmp_path: Path, layout: str, rows: list[dict[str, Any]], field: str, invalid: str
) -> None:
    path = write_lines(tmp_path / "mine.jsonl", rows)
    with pytest.raises(UserError, match=f"mine.jsonl: field '{field}': the numbers seem to count from 1, not from 0"):
        run(tmp_path, path=str(path), layout=layout, invalid=invalid)
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    "keys",
    [[1], [1, 2], [3, 1, 2], [0], [0, 1, 2, 3], [1, 2, 3] * 3, [0, 0, 4], [-1, -1, 2]],
)
def test_numbers_that_may_count_from_0_are_not_accused(tmp_path: Path, keys: list[int]) -> None:
    path = write_lines(tmp_path / "mine.jsonl", [MEDMCQA | {"cop": key} for key in keys])
    questions = run(tmp_path, path=str(path), layout="medmcqa", invalid="drop")
    assert [question.answer for question in questions] == ["ABCD"[key] for key in keys if 0 <= key < 4]


@pytest.mark.parametrize("invalid", ["error", "drop"])
@pytest.mark.parametrize(
    ("layout", "rows", "field"),
    [
        ("medbullets", [MEDBULLETS, MEDBULLETS | {"opd": "d", "ope": "e", "opf": "six"}], "opf"),
        ("medbullets", [MEDBULLETS | {"opf": ""}, MEDBULLETS | {"opd": "d", "ope": "e", "opf": "F"}], "opf"),
        ("medbullets", [MEDBULLETS, MEDBULLETS | {"F": "six"}], "F"),
        ("medbullets", [MEDBULLETS, MEDBULLETS | {"option_f": "six"}], "option_f"),
        ("medbullets", [MEDBULLETS, MEDBULLETS | {"Choice 6": "six"}], "Choice 6"),
        ("medbullets", [MEDBULLETS, MEDBULLETS | {"OPD": "d"}], "OPD"),
        ("medmcqa", [MEDMCQA | {"cop": 0}, MEDMCQA | {"cop": 0, "ope": "e"}], "ope"),
        ("medmcqa", [MEDMCQA | {"cop": 0}, MEDMCQA | {"cop": 0, "option5": 7}], "option5"),
        ("eval", [*published(1), published(2)[1] | {"E": "five"}], "E"),
        ("mmlu", [MMLU | {"answer": 0}, MMLU | {"answer": 0, "Answer D": "dee"}], "Answer D"),
    ],
)
def test_an_option_that_the_layout_does_not_read_is_an_error(
    tmp_path: Path, layout: str, rows: list[dict[str, Any]], field: str, invalid: str
) -> None:
    path = write_lines(tmp_path / "mine.jsonl", rows)
    message = rf"mine.jsonl: record 1 \(from 0\), field '{field}': .* looks like an option.*more than five options"
    with pytest.raises(UserError, match=message):
        run(tmp_path, path=str(path), layout=layout, invalid=invalid)


@pytest.mark.parametrize(
    "more",
    [
        {"opd": "", "ope": None, "opf": " ", "F": ""},
        {"A": "a", "B": "b"},  # the options once more
        {"n": 7, "e": "1.5", "answer_a": "B", "answer_b": "C"},  # counts, and who answered what
        {"exp": "Because.", "optional": "no", "options": "three", "opinion": "good", "answer": "b", "op": "x"},
    ],
)
def test_what_is_no_further_option_is_let_alone(tmp_path: Path, more: dict[str, Any]) -> None:
    path = write_lines(tmp_path / "mine.jsonl", [MEDBULLETS | more])
    assert run(tmp_path, path=str(path), layout="medbullets")[0].options == ("a", "b", "c")


@pytest.mark.parametrize("invalid", ["error", "drop"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Question,Option A,Option B,Key\nWhich?,a,b,A\n",
            "no question, opa, opb, answer_idx in any record: there is Question, Option A, Option B, Key; "
            "layout medbullets needs question, opa, opb, answer_idx. Correct the names",
        ),
        (
            "question,opa,opb,opd,answer_idx\nTwo?,a,b,,A\nThree?,a,b,d,B\n",
            "no opc in any record: there is question, opa",
        ),
        (
            "question,options,Key\nWhich?,a,b\n",
            "layout medbullets needs question, opa, opb, answer_idx. Correct the names, or",
        ),
        ('question,"op\ntion",answer_idx\nWhich?,a,b\n', "there is question, op tion, answer_idx"),
        ("question,opa,opb,opc,opd,cop\nWhich?,a,b,c,d,1\n", r"or the set's `layout` \(medmcqa fits\)\."),
        ("question;opa,opb;answer_idx\nWhich?,a\n", "Perhaps the columns are separated by a semicolon; put one"),
        (
            "question;opa,opb;answer_idx\nWhich?;a;b;A\n",
            "line 2: 1 cells, .* Perhaps the columns are separated by a semico",
        ),
        ("question;opa|opb;answer_idx\nWhich?;a\n", "no question, opa, .*separated by a semicolon"),
        ("Which?,a,b,A\nWhat?,a,b,B\n", "no question, opa, opb, answer_idx in any record: there is Which"),
    ],
)
def test_columns_that_no_record_has_are_named_beside_those_there(
    tmp_path: Path, text: str, message: str, invalid: str
) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(UserError, match=rf"mine.csv: .*{message}"):
        run(tmp_path, path=str(tmp_path / "mine.csv"), layout="medbullets", invalid=invalid)


@pytest.mark.parametrize("mark", [";", "\t", "|", ","])
def test_any_separator_gives_the_same_questions(tmp_path: Path, mark: str) -> None:
    lines = ["question,opa,opb,opc,opd,ope,answer_idx", "Prevents scurvy?,Vitamin A,Vitamin C,Vitamin D,,,B"]
    (tmp_path / "mine.csv").write_text("\n".join(lines).replace(",", mark))
    question = run(tmp_path, path=str(tmp_path / "mine.csv"), layout="medbullets")[0]
    assert (question.stem, question.answer) == ("Prevents scurvy?", "B")
    assert question.options == ("Vitamin A", "Vitamin C", "Vitamin D")


def test_a_set_of_which_nothing_is_left_says_why(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "mine.jsonl", [MEDBULLETS | {"answer_idx": "2"}] * 3)
    why = r"no question in it \(of 3 records; 3 answer_idx: the answer's letter is not among the options\)"
    with pytest.raises(UserError, match=why):
        run(tmp_path, path=str(path), layout="medbullets", invalid="drop")


def test_a_deeply_nested_value_is_refused_in_one_line(tmp_path: Path) -> None:
    for depth in (100, 400, 900, 930, 960, 990):  # from what repr can show to what the parser refuses
        line = json.dumps(MEDBULLETS).replace('"Which?"', "[" * depth + "]" * depth)
        (tmp_path / "mine.jsonl").write_text(line)
        with pytest.raises(UserError, match=r"field 'question': not a text|nested too deeply"):
            run(tmp_path, path=str(tmp_path / "mine.jsonl"), layout="medbullets")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sead": 1}, "unknown key 'sead'"),
        ({"layout": "arc"}, "layout is 'arc'; it must be one of medmcqa, medqa"),
        ({"invalid": "ignore"}, 'invalid is "ignore"; it must be one of error, drop'),
        ({"limit": 0}, "limit is 0; a whole number from 1 is needed"),
        ({"path": "nowhere.jsonl"}, "nowhere.jsonl: no such file"),
        ({}, "neither a local `path` nor a `hub` name"),
    ],
)
def test_settings_that_cannot_be_correct(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, **change)
    assert not list(tmp_path.iterdir())


def test_settings_are_json_and_complete(tmp_path: Path) -> None:
    for text, message in (
        ("{", "not readable as JSON"),
        ("[]", r"\[\] found; give one JSON object"),
        ('{"layout": "eval"}', "missing key 'part', 'limit'"),
    ):
        with pytest.raises(UserError, match=message):
            collect.main(
                [
                    "--name",
                    "pool",
                    "--settings",
                    text,
                    "--output",
                    str(tmp_path / "o"),
                    "--manifest",
                    str(tmp_path / "m"),
                ]
            )
