"""The authors' per-sample results become predictions that are scored like our own."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core import records
from m1.core.errors import UserError
from m1.core.layouts import LAYOUTS, letter_options
from m1.core.records import Prediction, Question, Score
from m1.infer import published
from m1.score import predictions as score_predictions

REAL = Path(os.environ.get("M1_SHARED_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
NAMES = {"MedQA_USLME_test": "medqa", "PubMedQA_test": "pubmedqa", "HumanityLastExam": "hle"}


def raw(number: int, name: str = "MedQA_USLME_test", **changes: Any) -> dict[str, Any]:
    """A record of the evaluation file with a result: thinking, stopped by itself, answered with the letter B."""
    options = {"A": "renin", "B": f"lipase {number}", "C": "amylase"}
    return {
        "question": f"Which enzyme, case {number}?\n",
        "options": options,
        "answer": options["B"],
        "answer_idx": "B",
        "source": name,
        "option_str": "...",
        "thinking_text": "Fat.\n",
        "thinking_finish_reason": "stop",
        "response_text": "<|im_start|>answer\nThe answer is \\boxed{B}.",
        "finish_reason": "stop",
        "num_gen_tokens": 20 + number,
        "num_keep_think_below_budget": 0,
    } | changes


def question(record: dict[str, Any], benchmark: str, identity: str) -> Question:
    parts = letter_options(record)
    return Question(identity, benchmark, parts.stem, parts.context, parts.options, parts.answer)


@pytest.fixture
def benchmarks(tmp_path: Path) -> list[Path]:
    """Two benchmarks as they are collected from the evaluation file; one of our own pools, with its abstract apart; one
    that is missing."""
    paths = [tmp_path / "questions" / f"{name}.parquet" for name in ("medqa", "pubmedqa", "nejm")]
    records.write(paths[0], [question(raw(n), "medqa", f"q{n}") for n in range(4)], Question)
    yes_no = Question("p0", "pubmedqa", "Does it help?", "Methods: a.\nResults: b.", ("yes", "no", "maybe"), "A")
    records.write(paths[1], [yes_no], Question)
    records.write(paths[2], [], Question)
    return paths


def pubmed(**changes: Any) -> dict[str, Any]:
    options = {"A": "yes", "B": "no", "C": "maybe"}
    text = "Methods: a. Results: b.\n\nDoes it help?"
    return (
        raw(0, "PubMedQA_test", question=text, options=options, answer="yes", answer_idx="A", response_text="yes")
        | changes
    )


RESULTS = [raw(3), raw(1, thinking_finish_reason="length"), pubmed(), raw(9, "HumanityLastExam"), raw(0), raw(2)]


def take(
    folder: Path,
    paths: list[Path],
    files: list[tuple[int, int, Any]],
    names: dict[str, str] = NAMES,
    part: bool = False,
    **changes: Any,
) -> list[Prediction]:
    """Run on files of results, given as budget, forced count and content."""
    results = []
    for number, (budget, forced, content) in enumerate(files):
        path = folder / f"results{number}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        results.append({"budget": budget, "forced": forced, "path": str(path)} | changes)
    arguments = [
        "--name",
        "m1-7b-1k",
        "--settings",
        json.dumps({"names": names, "results": results, "part": part}),
        "--benchmarks",
        *map(str, paths),
    ]
    published.main([*arguments, "--output", str(folder / "p.parquet"), "--manifest", str(folder / "p.json")])
    return records.read(folder / "p.parquet", Prediction)


def test_results_become_predictions_in_the_order_of_the_questions(
    tmp_path: Path, benchmarks: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    predictions = take(tmp_path, benchmarks, [(4096, 0, RESULTS)])
    assert [(p.question_id, p.benchmark) for p in predictions] == [
        *((f"q{n}", "medqa") for n in range(4)),
        ("p0", "pubmedqa"),
    ]
    assert predictions[1] == Prediction("q1", "medqa", "m1-7b-1k", 4096, 0, 0, False, raw(1)["response_text"], 0)
    assert [p.ended for p in predictions] == [True, False, True, True, True]
    manifest = json.loads((tmp_path / "p.json").read_text())
    assert manifest["counts"] == {
        "questions": 5,
        "predictions": 5,
        "results_left": 0,
        "correct_letter_differs": 0,
    }
    assert manifest["missing"] == ["nejm"]
    assert manifest["tokens_generated"] == {"budget 4096, forced 0": 20 + 21 + 22 + 23 + 20}
    assert "only their sum is published" in manifest["tokens_note"]
    assert "5 published answers to 5 questions taken over; no questions of nejm: left out" in capfd.readouterr().out


def test_an_object_of_lists_is_the_same(tmp_path: Path, benchmarks: list[Path]) -> None:
    lists: dict[str, list] = {}
    for result in RESULTS:
        lists.setdefault(result["source"], []).append(result)
    assert take(tmp_path, benchmarks, [(4096, 0, lists)]) == take(tmp_path, benchmarks, [(4096, 0, RESULTS)])
    del lists["PubMedQA_test"]
    with pytest.raises(
        UserError, match=r"results0.json: no list 'PubMedQA_test'; there is MedQA_USLME_test, HumanityLastExam"
    ):
        take(tmp_path, benchmarks, [(4096, 0, lists)])


def test_scoring_does_not_notice(tmp_path: Path, benchmarks: list[Path]) -> None:
    incorrect = [raw(0, response_text="<|im_start|>answer\nFinal Answer: \\boxed{A}"), *RESULTS[:4], RESULTS[5]]
    take(tmp_path, benchmarks, [(128, 0, incorrect), (4096, 0, RESULTS)])
    arguments = [
        "--predictions",
        tmp_path / "p.parquet",
        "--questions",
        *benchmarks,
        "--settings",
        '{"protocol": "released"}',
    ]
    score_predictions.main(
        [*map(str, arguments), "--output", str(tmp_path / "j.parquet"), "--manifest", str(tmp_path / "j.json")]
    )
    scores = records.read(tmp_path / "j.parquet", Score)
    assert [(j.budget, j.question_id, j.correct) for j in scores if not j.correct] == [(128, "q0", False)]
    assert len(scores) == 10


def test_forced_counts_and_models_that_answer_at_once(tmp_path: Path, benchmarks: list[Path]) -> None:
    forced = [result | {"num_keep_think_below_budget": min(2, number)} for number, result in enumerate(RESULTS)]
    assert {(p.budget, p.forced) for p in take(tmp_path, benchmarks, [(2048, 2, forced)])} == {(2048, 2)}
    at_once = [result | {"thinking_text": None, "thinking_finish_reason": None} for result in RESULTS]
    for result in at_once:
        del result["num_keep_think_below_budget"]
    predictions = take(tmp_path, benchmarks, [(0, 0, at_once)])
    assert [(p.thinking_tokens, p.answer_tokens, p.ended) for p in predictions[:2]] == [(0, 20, True), (0, 21, True)]


def test_the_same_files_give_the_same_bytes_whatever_the_order_of_records(
    tmp_path: Path, benchmarks: list[Path]
) -> None:
    take(tmp_path, benchmarks, [(4096, 0, RESULTS)])
    first = (tmp_path / "p.parquet").read_bytes()
    take(tmp_path, benchmarks, [(4096, 0, RESULTS[::-1])])
    assert (tmp_path / "p.parquet").read_bytes() == first


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.randoms())
def test_repeated_questions_are_matched_in_order(cases: list[int], generator: random.Random) -> None:
    questions = [question(raw(case), "medqa", f"q{number}") for number, case in enumerate(cases)]
    results = [
        published.to_result(raw(case, response_text=f"{case}-{cases[:n].count(case)}"), "here", 1, 0)
        for n, case in enumerate(cases)
    ]
    pairs = published.match(results, questions, "here")
    assert [q.id for q, _ in pairs] == [q.id for q in questions]
    assert [r.answer for _, r in pairs] == [r.answer for r in results]
    generator.shuffle(results)
    assert [r.stem for _, r in published.match(results, questions, "here")] == [q.stem for q in questions]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}; set M1_SHARED_DATA")
@pytest.mark.parametrize(
    ("file", "layout"),
    [
        ("mmlu_pro_medical/test", "eval"),  # 95 questions occur twice; options that differ by letter case only
        ("medbullets/op5", "eval"),  # 10 questions occur twice
        ("pubmedqa/pqa_labeled", "pubmedqa"),  # the abstract apart, in the evaluation file in the question
        ("medxpertqa/text", "medxpertqa"),
    ],
)
def test_every_real_question_finds_its_result(file: str, layout: str) -> None:
    with gzip.open(REAL / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
        parts = [LAYOUTS[layout](json.loads(line)) for line in lines]
    questions = [
        Question(f"q{n}", "real", part.stem, part.context, part.options, part.answer) for n, part in enumerate(parts)
    ]
    results = []
    for asked in questions:
        text = f"{asked.context}\n{asked.stem} " if asked.context else f"{asked.stem}\n"
        options = dict(zip(records.LETTERS, asked.options))
        result = raw(
            0, question=text, options=options, answer=asked.answer_text, answer_idx=asked.answer, response_text=asked.id
        )
        results.append(published.to_result(result, "here", 1, 0))
    generator = random.Random(3)
    pairs = published.match(generator.sample(results, len(results)), questions, "here")
    assert [asked.id for asked, _ in pairs] == [asked.id for asked in questions]
    assert all((result.stem.split(), result.letter) == (_text(asked).split(), asked.answer) for asked, result in pairs)


def _text(asked: Question) -> str:
    return f"{asked.context or ''} {asked.stem}"


def test_results_and_questions_that_do_not_fit_are_counted_and_named(tmp_path: Path, benchmarks: list[Path]) -> None:
    strays = [*(raw(n) for n in range(10, 15)), *RESULTS[2:]]
    with pytest.raises(UserError) as caught:
        take(tmp_path, benchmarks, [(4096, 0, strays)])
    message = str(caught.value)
    assert "results0.json, benchmark medqa: 2 questions have their result, but 5 results have no question (" in message
    assert "record 0 (from 0) 'Which enzyme, case 10?'" in message
    assert "case 13" not in message  # the first three only
    assert "and 2 questions have no result (q1 'Which enzyme, case 1?'; q3" in message
    assert not (tmp_path / "p.parquet").exists()


def test_a_part_of_the_published_questions_is_taken_where_that_is_allowed(
    tmp_path: Path, benchmarks: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    more = [*(raw(n) for n in range(10, 15)), *RESULTS]
    with pytest.raises(UserError, match="4 questions have their result, but 5 results have no question"):
        take(tmp_path, benchmarks, [(4096, 0, more)])
    found = take(tmp_path, benchmarks, [(4096, 0, more)], part=True)
    assert found == take(tmp_path, benchmarks, [(4096, 0, RESULTS)])
    take(tmp_path, benchmarks, [(2048, 0, RESULTS), (4096, 0, more)], part=True)
    counts = json.loads((tmp_path / "p.json").read_text())["counts"]
    assert (counts["results_left"], counts["predictions"]) == (5, 10)
    assert "5 answers to questions that this run lacks: left out" in capfd.readouterr().out
    with pytest.raises(UserError, match="1 questions have no result"):
        take(tmp_path, benchmarks, [(4096, 0, more[:-1])], part=True)


def test_options_in_another_order_are_another_question(tmp_path: Path, benchmarks: list[Path]) -> None:
    turned = {"A": "lipase 0", "B": "renin", "C": "amylase"}
    with pytest.raises(UserError, match="1 results have no question"):
        take(
            tmp_path,
            benchmarks,
            [(4096, 0, [raw(0, options=turned, answer="lipase 0", answer_idx="A"), *RESULTS[:4], RESULTS[5]])],
        )


def test_another_right_letter_is_counted(tmp_path: Path, benchmarks: list[Path]) -> None:
    take(tmp_path, benchmarks, [(4096, 0, [raw(0, answer="renin", answer_idx="A"), *RESULTS[:4], RESULTS[5]])])
    assert json.loads((tmp_path / "p.json").read_text())["counts"]["correct_letter_differs"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"response_text": None}, "field 'response_text': None found; the answer's text is needed"),
        (
            {"thinking_finish_reason": "abort"},
            "field 'thinking_finish_reason': 'abort' found; it must be 'stop' or 'length'",
        ),
        ({"thinking_text": None}, "field 'thinking_text': there is no thinking, but budget is 4096"),
        ({"num_keep_think_below_budget": 1}, "field 'num_keep_think_below_budget': 1 found; at most 0 are possible"),
        ({"num_gen_tokens": 1.5}, "field 'num_gen_tokens': 1.5 found; a whole number"),
        ({"answer_idx": "D"}, "field 'answer_idx': the answer's letter is not among the options"),
        ({"question": None}, "field 'question': not a text"),
        ({"source": 3}, "field 'source': the benchmark's name is needed"),
    ],
)
def test_a_bad_result_is_named(tmp_path: Path, benchmarks: list[Path], changes: dict[str, Any], message: str) -> None:
    results = [RESULTS[0], RESULTS[1] | changes, *RESULTS[2:]]
    with pytest.raises(UserError, match=r"results0.json: record 1 \(from 0\), " + message):
        take(tmp_path, benchmarks, [(4096, 0, results)])


def test_thinking_at_budget_0_is_refused(tmp_path: Path, benchmarks: list[Path]) -> None:
    with pytest.raises(UserError, match="there is thinking, but budget is 0"):
        take(tmp_path, benchmarks, [(0, 0, RESULTS)])


@pytest.mark.parametrize(
    ("files", "names", "changes", "message"),
    [
        ([(128, 0, []), (128, 0, [])], NAMES, {}, r"results\[1\]: budget 128 with 0 forced is there twice"),
        ([(0, 1, [])], NAMES, {}, "no forcing at budget 0"),
        ([(-1, 0, [])], NAMES, {}, "numbers from 0 are needed"),
        ([(128, 0, [])], NAMES, {"colour": "x"}, r"results\[0\]: unknown key 'colour'"),
        ([], NAMES, {}, "give at least one file of results"),
        ([(128, 0, [])], {"PubMedQA_test": "pubmedqa"}, {}, "names has none for benchmark medqa"),
        ([(128, 0, [])], {"a": "medqa", "b": "medqa"}, {}, "Give each key once"),
        ([(128, 0, [3])], NAMES, {}, "field 'source': the benchmark's name is needed"),
        ([(128, 0, {"medqa": 1})], NAMES, {}, "no list 'MedQA_USLME_test'; there is medqa"),
        ([(128, 0, RESULTS)], NAMES, {"checksum": "md5:00"}, "its md5 is"),
        ([(128, 0, RESULTS)], NAMES, {"path": "gone.json"}, "gone.json: no such file"),
    ],
)
def test_wrong_settings_are_refused(
    tmp_path: Path, benchmarks: list[Path], files: list, names: dict[str, str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        take(tmp_path, benchmarks, files, names, **changes)
