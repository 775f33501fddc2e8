"""The sampler of select: its rules and errors."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from m1.core import records
from m1.core.errors import UserError
from m1.core.records import Domain, Question, Sample, Trace
from m1.select import sample

PAPER = Path(__file__).parents[2] / "resources" / "paper"
SOURCES = ("MedQA", "HeadQA", "MedMCQA", "PubMedQA")


def trace(identity: str, verdict: str = "correct") -> Trace:
    return Trace(identity, "teacher", f"thinking on {identity}", "\\boxed{a}", "stop", 1, 2, 1, 0.0, "key", verdict)


@pytest.fixture
def world(tmp_path: Path) -> dict[str, Path]:
    """Forty questions of two sources in two files, thirty correct traces in another order, domains."""
    questions = [Question(f"q{n:02}", "b" if n % 4 else "a", f"stem {n}", None, ("a", "b"), "A") for n in range(40)]
    traces = [trace(question.id, "correct" if n < 30 else "incorrect") for n, question in enumerate(questions)]
    random.Random(1).shuffle(traces)
    domains = [Domain(question.id, "01", f"domain {n % 3}") for n, question in enumerate(questions)]
    paths = {name: tmp_path / f"{name}.parquet" for name in ("first", "second", "traces", "domains", "out", "like")}
    records.write(paths["first"], questions[:20], Question)
    records.write(paths["second"], questions[20:], Question)
    records.write(paths["traces"], traces, Trace)
    records.write(paths["domains"], domains, Domain)
    return paths


def choose(world: dict[str, Path], rule: str, size: int | None, *more: str, domains: bool = True) -> list[Sample]:
    settings = json.dumps({"rule": rule, "size": size, "seed": 42})
    named = ["--domains", str(world["domains"])] if domains else []
    questions = [str(world["first"]), str(world["second"])]
    outputs = ["--output", str(world["out"]), "--manifest", str(world["out"].with_suffix(".json"))]
    inputs = ["--traces", str(world["traces"]), "--questions", *questions, *named]
    sample.main([*inputs, "--settings", settings, "--subset", "tiny", *outputs, *more])
    return records.read(world["out"], Sample)


def test_all_takes_every_right_trace_in_the_order_of_the_questions(
    world: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = choose(world, "all", None, domains=False)
    assert [row.id for row in chosen] == [f"q{n:02}" for n in range(30)]
    assert chosen[3] == Sample("q03", "b", "", "stem 3\nA. a\nB. b", "thinking on q03", "\\boxed{a}", "tiny", "all", 42)
    assert "30 correct traces in, 30 samples out" in capfd.readouterr().out
    counts = json.loads(world["out"].with_suffix(".json").read_text())["counts"]
    assert counts["sources"] == {"a": 8, "b": 22}
    assert counts["domains"] == {}


@pytest.mark.parametrize("rule", ["all", "first", "random", "domain", "domain_source"])
def test_a_size_is_met_without_repetition_and_the_same_twice(world: dict[str, Path], rule: str) -> None:
    chosen = choose(world, rule, 12)
    content = world["out"].read_bytes()
    assert len({row.id for row in chosen}) == 12
    assert {row.domain for row in chosen} <= {"domain 0", "domain 1", "domain 2"}
    assert choose(world, rule, 12) == chosen
    assert world["out"].read_bytes() == content


def test_the_order_of_the_traces_decides_nothing(world: dict[str, Path]) -> None:
    before = choose(world, "domain_source", 12)
    records.write(world["traces"], sorted(records.read(world["traces"], Trace), key=lambda row: row.question_id), Trace)
    assert choose(world, "domain_source", 12) == before


@pytest.mark.parametrize("rule", ["random", "domain", "domain_source"])
def test_asking_for_more_than_there_is_names_both_numbers(world: dict[str, Path], rule: str) -> None:
    with pytest.raises(UserError, match=r"size is 31, but there are only 30 correct traces"):
        choose(world, rule, 31)
    assert not world["out"].exists()


def test_like_takes_as_many_as_another_subset_or_all(world: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    rows = [Sample(f"s{n}", "a", "", "p", "t", "a", "other", "all", 42) for n in range(31)]
    records.write(world["like"], rows[:7], Sample)
    assert len(choose(world, "all", None, "--like", str(world["like"]), domains=False)) == 7
    assert "fewer than" not in capfd.readouterr().out
    records.write(world["like"], rows, Sample)
    assert len(choose(world, "random", None, "--like", str(world["like"]), domains=False)) == 30
    assert "fewer than the 31" in capfd.readouterr().out
    with pytest.raises(UserError, match="set size to null"):
        choose(world, "random", 3, "--like", str(world["like"]))


def test_what_is_missing_is_said(world: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="rule domain needs --domains"):
        choose(world, "domain", 3, domains=False)
    with pytest.raises(UserError, match="rule random needs a number"):
        choose(world, "random", None)
    with pytest.raises(UserError, match='rule is "best"; it must be one of all, first'):
        choose(world, "best", 3)
    records.write(world["domains"], records.read(world["domains"], Domain)[2:], Domain)
    with pytest.raises(UserError, match=r"2 of 30 correct traces have no domain \(the first: question q00\)"):
        choose(world, "domain", 3)
    records.write(world["second"], records.read(world["second"], Question)[1:], Question)
    with pytest.raises(UserError, match=r"1 correct traces have no question there \(the first: q20\)"):
        choose(world, "all", None)


def test_first_keeps_the_order_of_the_questions(world: dict[str, Path]) -> None:
    drawn = [*records.read(world["first"], Question), *records.read(world["second"], Question)][::-1]
    records.write(world["first"], drawn[:20], Question)
    records.write(world["second"], drawn[20:], Question)
    assert [row.id for row in choose(world, "first", 5, domains=False)] == ["q29", "q28", "q27", "q26", "q25"]


def test_questions_of_the_evaluation_are_left_out_and_counted(
    world: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    leaks = [row for row in records.read(world["first"], Question) if row.id in ("q03", "q04")]
    records.write(world["like"], [*leaks, *records.read(world["second"], Question)[-1:]], Question)  # q39: not correct
    chosen = choose(world, "all", None, "--leaks", str(world["like"]), domains=False)
    assert [row.id for row in chosen] == [f"q{n:02}" for n in range(30) if n not in (3, 4)]
    counts = json.loads(world["out"].with_suffix(".json").read_text())["counts"]
    assert {name: counts[name] for name in ("correct", "leaks", "samples")} == {
        "correct": 30,
        "leaks": 2,
        "samples": 28,
    }
    assert "30 correct traces in, 2 of them in the evaluation, 28 samples out" in capfd.readouterr().out
