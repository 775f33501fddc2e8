"""Questions that a model's context is too short for: found before anything is generated, or left unanswered."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from generations import generated
from m1.core import records
from m1.core.errors import UserError
from m1.core.files import read_json
from m1.core.records import Prediction, Question, Rollout, Score
from m1.core.store import Store
from m1.engines.cached import CachedEngine, TransformersEngine
from m1.engines.context import Need, check
from m1.engines.protocol import Done, Generation, Request
from m1.infer import answer, context, sweep
from m1.score import predictions as scoring
from random_model import ending_model, sweep_settings
from sweeps import swept
from transformers import AutoTokenizer

pytestmark = pytest.mark.train

POSITIONS = 1024  # of the random model
WANTED = {"budgets": [8, 24], "forced": [1, 3], "forced_budget": 32, "answer_limit": 8}
SERVE = '{"engine": "transformers", "dtype": "float32", "options": {}}'


def question(number: int, words: int) -> Question:
    """Option A is correct, and the most similar one to an empty answer."""
    return Question(f"q{number}", "medqa", f"Which {number} " + "drug " * words, None, ("a", "bbb", "cc"), "A")


SETS = {"medqa": [question(0, 5), question(1, 1200), question(2, 9)], "gpqa": [question(3, 2), question(4, 1100)]}
LONG = ("q1", "q4")


@pytest.fixture(scope="module")
def model(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ending_model(tmp_path_factory.mktemp("random") / "model", tokenizer_folder)


def flags(model: Path, folder: Path, settings: str) -> list[str]:
    for name, questions in SETS.items():
        records.write(folder / f"{name}.parquet", questions, Question)
    files = {"model": model, "store": folder / "store", "output": folder / "p.parquet", "manifest": folder / "m.json"}
    named = [word for key, value in files.items() for word in (f"--{key}", str(value))]
    engine = ["--serve", SERVE, "--runtime", '{"batch": 4, "options": {}}']
    benchmarks = ["--benchmarks", *(str(folder / f"{name}.parquet") for name in SETS)]
    return ["--name", "m", *named, *engine, *benchmarks, "--settings", settings]


def direct(too_long: str) -> str:
    settings = {"prompt": "cot", "answer_limit": 8, "bos": "exact", "stop": "exact", "too_long": too_long}
    return json.dumps(settings)


@pytest.mark.parametrize("step", [sweep, answer])
def test_too_long_questions_stop_the_step_before_it_generates(model: Path, tmp_path: Path, step: Any) -> None:
    settings = sweep_settings(**WANTED).to_json() if step is sweep else direct("error")
    said = (
        r"infer m: 2 of 5 questions do not fit; the longest: question q1 of medqa needs [\d,]+ tokens \([\d,]+ of its"
    )
    with pytest.raises(UserError, match=rf"{said}.*context has 1,024 .*Nothing was generated: choose smaller budgets"):
        step.main(flags(model, tmp_path, settings))
    assert not (tmp_path / "p.parquet").exists()
    assert not [line for path in (tmp_path / "store").glob("*.jsonl") for line in path.read_text().splitlines()]


def scored(folder: Path, protocol: str) -> list[Score]:
    files = {"predictions": "p.parquet", "output": "s.parquet", "manifest": "s.json"}
    named = [word for key, name in files.items() for word in (f"--{key}", str(folder / name))]
    questions = ["--questions", *(str(folder / f"{name}.parquet") for name in SETS)]
    scoring.main([*named, *questions, "--settings", json.dumps({"protocol": protocol})])
    return records.read(folder / "s.parquet", Score)


def test_unanswered_questions_are_empty_incorrect_and_counted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = sweep_settings(**WANTED, too_long="unanswered")
    rollouts = tmp_path / "r.parquet"
    sweep.main([*flags(model, tmp_path, settings.to_json()), "--rollouts", str(rollouts)])
    found, ids = records.read(tmp_path / "p.parquet", Prediction), [one.id for part in SETS.values() for one in part]
    places = [(name, *setting) for name in ids for setting in settings.conditions]
    assert [(row.question_id, row.budget, row.forced) for row in found] == places
    empty = [row for row in found if row.too_long]
    assert {row.question_id for row in empty} == {*LONG}
    assert len(empty) == 2 * len(settings.conditions)
    assert all((row.answer, row.answer_tokens, row.thinking_tokens, row.ended) == ("", 0, 0, False) for row in empty)
    assert all(row.answer_tokens for row in found if not row.too_long)
    assert [row.question_id for row in records.read(rollouts, Rollout)] == ids
    counts = read_json(tmp_path / "m.json")["counts"]
    assert (counts["questions"], counts["unanswered"]) == (3, 2)
    assert "2 questions too long, unanswered" in capsys.readouterr().out
    for protocol in ("released", "first", "strict"):
        rows = [row for row in scored(tmp_path, protocol) if row.question_id in LONG]
        assert {(row.letter, row.correct, row.rule) for row in rows} == {("", False, "too long")}


def test_others_are_answered_as_without_them(model: Path, tmp_path: Path) -> None:
    settings = sweep_settings(**WANTED, too_long="unanswered").to_json()
    sweep.main(flags(model, tmp_path, settings))
    kept = [row for row in records.read(tmp_path / "p.parquet", Prediction) if not row.too_long]
    for name in SETS:
        records.write(tmp_path / f"{name}.parquet", [one for one in SETS[name] if one.id not in LONG], Question)
    written = flags(model, tmp_path / "other", settings)
    short = [str(tmp_path / f"{name}.parquet") for name in SETS]
    place = written.index("--benchmarks")
    sweep.main([*written[: place + 1], *short, *written[place + 3 :]])
    assert records.read(tmp_path / "other/p.parquet", Prediction) == kept


def test_models_that_answer_at_once_leave_them_unanswered_too(model: Path, tmp_path: Path) -> None:
    answer.main(flags(model, tmp_path, direct("unanswered")))
    found = records.read(tmp_path / "p.parquet", Prediction)
    assert [row.question_id for row in found if row.too_long] == [*LONG]
    counts = read_json(tmp_path / "m.json")["counts"]
    assert (counts["questions"], counts["unanswered"]) == (3, 2)
    assert not any(row.correct for row in scored(tmp_path, "released") if row.question_id in LONG)


class Watching:
    """The largest context that a request of each question asks for."""

    def __init__(self, engine: TransformersEngine) -> None:
        self.engine, self.most = engine, 0

    def generate(self, asked: Iterable[Request], done: Done) -> None:
        def watched(request: Request, generation: Generation) -> Iterable[Request]:
            self.most = max(self.most, len(request.prompt) + request.max_tokens)
            return done(request, generation)

        self.engine.generate(asked, watched)


@pytest.mark.parametrize("ways", [{}, {"forcing": "released", "seam": "released"}], ids=["exact", "released"])
def test_a_question_never_needs_more_than_is_said_and_as_much_when_its_thinking_is_cut(
    model: Path, tmp_path: Path, ways: dict[str, str]
) -> None:
    tokenizer, embedded = AutoTokenizer.from_pretrained(model), TransformersEngine(model, "float32", 4)
    settings = sweep_settings(**WANTED, **ways)
    asked = [("medqa", question(number, 3 * number)) for number in range(12)]
    reached = 0
    for number, need in enumerate(context.needs(tokenizer, asked, settings)):
        watching = Watching(embedded)
        with Store(tmp_path / str(number)) as store:
            engine = CachedEngine(lambda: watching, number, store, "test")  # noqa: B023
            _, found, _ = swept(engine, tokenizer, [asked[number]], "m", settings)
        assert watching.most <= need.tokens
        cut = any(row.budget == 32 and not row.ended for row in found)
        assert ways or (watching.most == need.tokens) == cut
        reached += cut
    assert reached, "or this tests little"


def test_a_server_with_a_shorter_context_is_refused_before_it_generates(model: Path, tmp_path: Path) -> None:
    class Short:
        positions = 100

        def generate(self, asked: Iterable[Request], done: Done) -> None:
            pytest.fail("it generated")

    with Store(tmp_path) as store:
        engine = CachedEngine(Short, "short", store, "infer m")
        engine.longest = Need("medqa", "q7", 60, 41)
        said = r"infer m: question q7 of medqa needs 101 tokens .*; the context of its engine has 100\. Serve the model"
        with pytest.raises(UserError, match=said):
            generated(engine, [Request((5,), 3, ())])


def test_the_step_before_the_training_says_what_fits(model: Path, tmp_path: Path) -> None:
    def run(settings: str) -> None:
        written = flags(model, tmp_path, settings)
        part = ["--model", str(model), *written[written.index("--benchmarks") :]]
        context.main(["--name", "m", *part, "--output", str(tmp_path / "context.json")])

    with pytest.raises(UserError, match="context m: 2 of 5 questions do not fit; the longest: question q1 of medqa"):
        run(sweep_settings(**WANTED).to_json())
    with pytest.raises(UserError, match="context m: 2 of 5 questions do not fit"):
        run(direct("error"))
    assert not (tmp_path / "context.json").exists()
    run(sweep_settings(**WANTED, too_long="unanswered").to_json())
    found = read_json(tmp_path / "context.json")
    assert (found["too_long"], found["longest"]["question"]) == ([*LONG], "q2")


def test_the_very_last_token_of_the_context_is_used(model: Path, tmp_path: Path) -> None:
    needs = [Need("medqa", "q0", POSITIONS - 9, 9), Need("medqa", "q1", POSITIONS - 9, 10)]
    assert check(needs[:1], model, "error", "t") == (needs[0], frozenset(), 1)
    assert check(needs, model, "unanswered", "t") == (needs[0], {"q1"}, len(needs))


def test_a_question_that_only_goes_along_needs_what_it_is_forced_to(model: Path) -> None:
    """A companion thinks within the budget of forcing, which may be much smaller than the largest."""
    settings = sweep_settings(**WANTED | {"budgets": [900], "forced_budget": 8}, forcing="released")
    tokenizer = AutoTokenizer.from_pretrained(model)
    asked = [("medqa", question(0, 5)), ("", question(0, 5))]
    shown, companion = context.needs(tokenizer, asked, settings)
    assert (shown.prompt, shown.after - companion.after > 800) == (companion.prompt, True)
