"""The teacher's step and the random draw, from the command line, with the embedded world's server."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adder import Adder, addition, running
from m1.client.complete import Completion, Provider, Request
from m1.core import records
from m1.core.draws import permutation
from m1.core.errors import UserError
from m1.core.records import LETTERS, Question, Trace
from m1.core.store import Store
from m1.distill import draw, traces
from m1.distill.traces import teacher_prompt
from m1.world.facts import make_facts, save_facts
from m1.world.questions import make_question
from m1.world.server import Errors, World
from providers import SETTINGS


def world_questions(folder: Path, count: int) -> list[Question]:
    """Questions of a small embedded world, whose facts go to ``folder/facts.json``."""
    facts = make_facts(1, 12)
    save_facts(facts, str(folder / "facts.json"))
    rng = random.Random(1)
    questions = []
    for number in range(count):
        stem, context, options, correct = make_question(facts, rng, "vignette", (1, 4), 4)
        questions.append(
            Question(
                f"w{number:04}", ("medqa", "headqa")[number % 3 == 0], stem, context, tuple(options), LETTERS[correct]
            )
        )
    return questions


def distill(folder: Path, teacher: dict[str, Any]) -> tuple[list[Trace], list[Trace], dict[str, Any]]:
    """Run the command line on ``folder/questions.parquet``: correct traces, dropped ones, manifest."""
    files = ("questions.parquet", "store", "correct.parquet", "dropped.parquet", "differing.csv", "manifest.json")
    names = {name: str(folder / name) for name in files}
    flags = ["--questions", "--store", "--output", "--dropped", "--differing", "--manifest"]
    traces.main(
        [
            *[part for pair in zip(flags, names.values()) for part in pair],
            "--calls",
            "{}",
            "--teacher",
            json.dumps(teacher),
        ]
    )
    correct, dropped = (records.read(names[name], Trace) for name in ("correct.parquet", "dropped.parquet"))
    return correct, dropped, json.loads(Path(names["manifest.json"]).read_text())


@pytest.mark.server
def test_from_questions_to_right_traces_and_again_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = world_questions(tmp_path, 150)
    records.write(tmp_path / "questions.parquet", questions, Question)
    serve = [
        "m1.world.server",
        "--facts",
        str(tmp_path / "facts.json"),
        "--incorrect",
        "0.2",
        "--empty",
        "0.1",
        "--malformed",
        "0.15",
    ]
    teacher = SETTINGS | {"base_url": None, "serve": serve, "max_retries": 4}
    correct, dropped, manifest = distill(tmp_path, teacher)

    errors = Errors(0.2, 0.1, 0.15)
    expected = {
        "correct": "correct",
        "html": "correct",
        "incorrect": "incorrect",
        "empty": "no_answer",
        "no box": "no_answer",
        "no thinking": "no_thinking",
    }
    verdicts = {q.id: expected[errors.outcome(teacher_prompt(q))] for q in questions}
    assert {trace.question_id: trace.verdict for trace in correct + dropped} == verdicts
    assert [trace.question_id for trace in correct] == [q.id for q in questions if verdicts[q.id] == "correct"]
    assert [trace.question_id for trace in dropped] == [q.id for q in questions if verdicts[q.id] != "correct"]
    assert min(len(correct), *[manifest["counts"]["verdicts"][name] for name in ("incorrect", "no_answer")]) > 3
    assert sum(sum(counts.values()) for counts in manifest["counts"]["sources"].values()) == 150
    assert manifest["counts"]["sources"]["medqa"]["correct"] == sum(int(t.question_id[1:]) % 3 != 0 for t in correct)
    spending = manifest["spending"]
    assert (spending["calls"], spending["calls_made"], spending["refused"]) == (150, 150, 0)
    assert spending["completion_tokens"] == sum(trace.completion_tokens for trace in correct + dropped)
    assert (
        spending["dollars"]
        == spending["dollars_now"]
        == pytest.approx(sum(trace.dollars for trace in correct + dropped))
    )
    assert correct[0].dollars == pytest.approx((correct[0].prompt_tokens * 1 + correct[0].completion_tokens * 10) / 1e6)
    assert correct[0].teacher == "adder"
    assert f"150 questions → {len(correct)} correct traces" in capsys.readouterr().out

    before = [(tmp_path / name).read_bytes() for name in ("correct.parquet", "dropped.parquet")]
    _, _, manifest = distill(tmp_path, teacher | {"serve": ["no.such.server"]})
    assert [(tmp_path / name).read_bytes() for name in ("correct.parquet", "dropped.parquet")] == before
    assert (manifest["spending"]["calls_made"], manifest["spending"]["dollars_now"]) == (0, 0)
    assert manifest["spending"]["dollars"] == spending["dollars"]


@pytest.mark.server
def test_truncated_and_refused_are_dropped_by_name(tmp_path: Path) -> None:
    records.write(tmp_path / "questions.parquet", [addition(n) for n in range(6)], Question)

    class OneRefused(World):
        def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
            return (400, {}) if addition(2).stem in body["messages"][0]["content"] else super().complete(body)

    with running(OneRefused(Adder(), Errors(0, 0, 0, 0))) as url:
        correct, dropped, manifest = distill(tmp_path, SETTINGS | {"base_url": url, "max_tokens": 7})
    assert correct == []
    assert [trace.verdict for trace in dropped] == [
        "truncated",
        "truncated",
        "failed",
        "truncated",
        "truncated",
        "truncated",
    ]
    dropped_for = {name: count for name, count in manifest["counts"]["verdicts"].items() if count}
    assert dropped_for == {"truncated": 5, "failed": 1}


def test_a_store_with_odd_answers_of_an_older_release_heals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It kept them as they came, and then could not write the traces."""
    questions = [addition(n) for n in range(8)]
    records.write(tmp_path / "questions.parquet", questions, Question)
    right = {"content": "\\boxed{B}", "reasoning_content": "so"}
    kept = {"message": right, "finish_reason": "stop", "seconds": 1.0, "served": "m"}
    kept |= {"usage": {"prompt_tokens": 10, "completion_tokens": 20}}
    odd: list[dict[str, Any]] = [
        {"message": right | {"content": "\ud800 \\boxed{B}"}},
        {"message": right | {"reasoning_content": "\udc00"}},
        {"finish_reason": 7},
        {"finish_reason": ["stop"]},
        {"usage": {"prompt_tokens": 2**63, "completion_tokens": 20}},
        {"usage": {"prompt_tokens": True, "completion_tokens": True}},
        {"served": 5},
        {},
    ]
    provider = Provider.from_settings(SETTINGS, "teacher")
    keys = [Request(teacher_prompt(question)).key(provider) for question in questions]
    with Store(tmp_path / "store") as store:
        store.put_many((key, kept | change) for key, change in zip(keys, odd))
    correct, dropped, manifest = distill(tmp_path, SETTINGS)
    assert ([trace.question_id for trace in correct], dropped) == ([question.id for question in questions], [])
    assert [trace.prompt_tokens for trace in correct] == [10, 10, 10, 10, 0, 0, 10, 10]
    assert correct[0].answer == "\ufffd \\boxed{B}"
    assert (manifest["spending"]["uncounted"], manifest["spending"]["calls_made"]) == (2, 0)
    assert manifest["spending"]["dollars"] == pytest.approx(sum(trace.dollars for trace in correct), abs=1e-5)
    said = capsys.readouterr().out
    assert f"question {questions[0].id} (key {keys[0]})" in said
    assert f"question {questions[2].id} (key {keys[2]}): finish_reason is 7 (left out)" in said


class InOneText(Adder):
    """Thinks in the text of its answer, as HuatuoGPT-o1 does behind a server that knows nothing of thinking."""

    def think(self, user_text: str, incorrect: bool) -> tuple[str, str] | None:
        thinking, answer = super().think(user_text, incorrect) or ("", "")
        if user_text.endswith("What is 7 plus 5?\nA. 11\nB. 12\nC. 13\nD. 14"):
            return "", f"{thinking}\n\n{answer}"
        return "", f"\n\n## Thinking\n\n{thinking}\n\n## Final Response\n\n{answer}"


HUATUO = {"thinking_start": "## Thinking", "thinking_end": "## Final Response"}


@pytest.mark.server
def test_thinking_before_a_mark_and_a_trace_without_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records.write(tmp_path / "questions.parquet", [addition(n) for n in range(6)], Question)
    free = SETTINGS | {"price_prompt": 0, "price_completion": 0}
    with running(World(InOneText(), Errors(0, 0, 0, 0))) as url:
        correct, dropped, manifest = distill(tmp_path, free | HUATUO | {"base_url": url})
    assert [(trace.thinking, trace.answer) for trace in correct[:1]] == [
        ("Okay, 5 and 5 make 10.", "The answer is \\boxed{10}.")
    ]
    assert all(0 < trace.thinking_tokens < trace.completion_tokens for trace in correct)
    assert [(trace.question_id, trace.verdict, trace.thinking) for trace in dropped] == [("q0002", "no_thinking", "")]
    assert (manifest["counts"]["verdicts"]["no_thinking"], manifest["spending"]["dollars"]) == (1, 0)
    assert "5 correct traces (1 no thinking)" in capsys.readouterr().out


@pytest.mark.server
def test_a_teacher_without_thinking_is_told_early_and_nothing_is_paid_twice(tmp_path: Path) -> None:
    records.write(tmp_path / "questions.parquet", [addition(n) for n in range(400)], Question)
    world = World(InOneText(), Errors(0, 0, 0, 0))
    with running(world) as url:
        teacher = SETTINGS | {"base_url": url, "concurrency": 4}
        said = (
            r"adder: none of 2\d answers has both thinking and an answer.* before '</think>' in the text\."
            r".* for question q0\d+ \(key \w+\) begins: ## Thinking Okay.*\n.*teacher\.thinking_end"
        )
        with pytest.raises(UserError, match=said):
            distill(tmp_path, teacher)
        asked = world.calls
        assert traces.FIRST_WITHOUT <= asked < 40
        with pytest.raises(UserError, match=f"none of {asked} answers"):
            distill(tmp_path, teacher)
        assert world.calls == asked, "what the store has is enough to see it"
        correct, _, manifest = distill(tmp_path, teacher | HUATUO)
        assert (world.calls, len(correct), manifest["spending"]["calls_made"]) == (400, 399, 400 - asked)


@pytest.mark.server
def test_few_answers_without_thinking_are_told_at_the_end(tmp_path: Path) -> None:
    """Also where the end mark is none of the text, so that all of it is taken for thinking."""
    records.write(tmp_path / "questions.parquet", [addition(n) for n in range(5)], Question)
    with running(World(InOneText(), Errors(0, 0, 0, 0))) as url:
        teacher = SETTINGS | {"base_url": url}
        for marks in ({}, HUATUO | {"thinking_end": "## Final Answer"}):
            with pytest.raises(UserError, match="none of 5 answers"):
                distill(tmp_path, teacher | marks)
    correct, _, _ = distill(tmp_path, SETTINGS | HUATUO)
    assert len(correct) == 4, "from the store, without a server"


def completion(thinking: str, answer: str, finish: str) -> Completion:
    value = {"message": {"content": answer, "reasoning_content": thinking}, "finish_reason": finish, "usage": None}
    return Completion.from_value("k", value)


@pytest.mark.parametrize(
    ("thinking", "answer", "finish", "verdict"),
    [
        ("t", "\\boxed{11}", "stop", "correct"),
        ("t", "\\boxed{B}", "stop", "correct"),
        ("t", "\\boxed{A}", "stop", "incorrect"),
        ("t", "\\boxed{}", "stop", "no_answer"),
        ("t", "", "stop", "no_answer"),
        ("", "\\boxed{11}", "stop", "no_thinking"),
        ("", "11", "stop", "no_thinking"),
        ("", "", "stop", "no_answer"),
        ("t", "\\boxed{11}", "length", "truncated"),
        ("", "", "refused", "failed"),
    ],
)
@pytest.mark.parametrize("rule", ["released", "strict"])
def test_verdicts(thinking: str, answer: str, finish: str, verdict: str, rule: Any) -> None:
    assert traces.verdict(addition(1), completion(thinking, answer, finish), rule) == verdict


@pytest.mark.parametrize(
    ("answer", "released", "strict"),
    [
        ("11", "correct", "no_answer"),
        ("So it is 11", "no_answer", "no_answer"),
        ("\\boxed{Boron}", "correct", "incorrect"),
        ("Boron", "correct", "no_answer"),
        (r"\boxed{C. \text{sum} = 11}", "correct", "incorrect"),  # 11 is B; the whole box is read first by "strict"
        (r"\boxed{(\text{B}) \; 11}", "incorrect", "correct"),
        (r"\boxed {11}", "no_answer", "correct"),
    ],
)
def test_where_the_rules_differ(answer: str, released: str, strict: str) -> None:
    found = completion("t", answer, "stop")
    assert (traces.verdict(addition(1), found, "released"), traces.verdict(addition(1), found, "strict")) == (
        released,
        strict,
    )


@pytest.mark.server
def test_answers_that_are_right_by_one_rule_only_are_counted_and_listed(tmp_path: Path) -> None:
    questions = [replace(addition(n), source="=cmd()") for n in range(4)]
    records.write(tmp_path / "questions.parquet", questions, Question)
    boxed = {questions[0].stem: "Boron", questions[2].stem: "B. or not", questions[3].stem: "A"}

    class Accidents(Adder):
        def think(self, user_text: str, incorrect: bool) -> tuple[str, str] | None:
            found = next((text for stem, text in boxed.items() if stem in user_text), None)
            return ("t", f"\\boxed{{{found}}}") if found else super().think(user_text, incorrect)

    with running(World(Accidents(), Errors(0, 0, 0, 0))) as url:
        correct, _, manifest = distill(tmp_path, SETTINGS | {"base_url": url})
    assert [trace.question_id for trace in correct] == ["q0000", "q0001", "q0002"]
    assert manifest["counts"]["correct_by_one_rule_only"] == {"released": 2, "strict": 0}
    with open(tmp_path / "differing.csv", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["question_id"], row["boxed"], row["released"], row["strict"]) for row in rows] == [
        ("q0000", "Boron", "correct", "incorrect"),
        ("q0002", "B. or not", "correct", "incorrect"),
    ]
    assert (rows[0]["correct_letter"], rows[0]["correct_text"]) == ("B", questions[0].answer_text)
    assert rows[0]["source"] == "'=cmd()"


def test_rule_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"teacher\.rule: None; one of released, strict"):
        distill(tmp_path, SETTINGS | {"rule": None})


def test_draw_is_the_start_of_one_shuffle_sized_and_capped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = [addition(n) for n in range(300)]
    records.write(tmp_path / "first.parquet", questions[:200], Question)
    records.write(tmp_path / "second.parquet", questions[200:], Question)
    records.write(tmp_path / "like.parquet", questions[:80], Question)
    records.write(tmp_path / "leaks.parquet", [], Question)

    def run(size: int | None, seed: int, *flags: str) -> list[Question]:
        settings = json.dumps({"size": size, "share": 0.8, "seed": seed})
        names = {"leaks": "leaks.parquet", "output": "drawn.parquet", "manifest": "drawn.json"}
        common = [part for name, file in names.items() for part in (f"--{name}", str(tmp_path / file))]
        pools = [str(tmp_path / "first.parquet"), str(tmp_path / "second.parquet")]
        draw.main(["--questions", *pools, *common, "--settings", settings, *flags])
        return records.read(tmp_path / "drawn.parquet", Question)

    drawn = run(80, 42)
    assert drawn == [questions[place] for place in permutation(300, 42)[:100]]
    assert drawn == run(None, 42, "--like", str(tmp_path / "like.parquet"))
    assert drawn == run(160, 42)[:100], "a smaller set is a part of a larger one"
    assert drawn != run(80, 43)
    capsys.readouterr()
    assert len(run(250, 42)) == 300
    assert "300 drawn at random, for 250 correct traces, fewer than the 312 wanted" in capsys.readouterr().out
    records.write(tmp_path / "leaks.parquet", [drawn[3], drawn[70]], Question)
    assert run(80, 42) == [question for place, question in enumerate(drawn) if place not in (3, 70)]
    assert "100 drawn at random, for 80 correct traces, 2 of them left out" in capsys.readouterr().out
    counts = json.loads((tmp_path / "drawn.json").read_text())["counts"]
    assert (counts["drawn"], counts["leaks"], counts["questions"]) == (100, 2, 98)
    with pytest.raises(UserError, match=r"missing\.parquet"):
        run(None, 42, "--like", str(tmp_path / "missing.parquet"))
    for size, flags in ((None, ()), (80, ("--like", str(tmp_path / "like.parquet")))):
        with pytest.raises(UserError, match="give either a size or --like"):
            run(size, 42, *flags)


def test_draw_counts_of_the_paper() -> None:
    """Table 3's random sets: 23,493 and 1,000 traces wanted of answers that are correct four times in five."""
    questions = [addition(0)] * 30_000
    assert [len(draw.draw(questions, size, 0.8, 42)) for size in (23_493, 1_000)] == [29_366, 1_250]
