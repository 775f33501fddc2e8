"""The plan: exact where questions are there, estimated before, and measured means in place of assumed ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import m1
import pytest
import yaml
from m1.client.ledger import SpendingJournal
from m1.client.provider import Provider, Request
from m1.commands.http_calls import BILL, LIST, stored_dollars
from m1.commands.plan import Plan, StepCost, make_plan, table, total
from m1.commands.plan import main as plan_main
from m1.core import records
from m1.core.errors import UserError
from m1.core.prompts import evaluation_prompt, question_text
from m1.core.records import Question, Trace
from m1.core.store import Store
from m1.distill.traces import teacher_prompt
from m1.select.rubrics import read_qualifiers, read_task, user_turn
from m1.wiring.config import load

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "config" / "paper.yaml"
FULL = ROOT / "config/overlays/demo-full.yaml"


def settings(tmp_path: Path, *overlays: dict[str, Any], base: Path | None = None) -> dict[str, Any]:
    """A configuration of one's own results and store."""
    own = {"pathvars": {"results": str(tmp_path / "results")}, "store": str(tmp_path / "store")}
    paths = [base] if base else []
    for number, overlay in enumerate([own, *overlays]):
        paths.append(tmp_path / f"overlay{number}.yaml")
        paths[-1].write_text(yaml.safe_dump(overlay))
    return load(paths)


def steps(plan: Plan) -> dict[str, StepCost]:
    return {row.step: row for row in plan.steps}


def questions(count: int, start: int = 0) -> list[Question]:
    return [Question(f"q{n}", "medqa", f"Question {n}?", None, ("yes", "no"), "A") for n in range(start, start + count)]


def trace(question: Question) -> Trace:
    kinds = get_type_hints(Trace)
    values = {name: 1 if kinds[name] in (int, float) else "x" for name in records.schema(Trace).names}
    return Trace(**values | {"question_id": question.id, "verdict": "correct"})


def answer(seconds: float | None = 2.0, served: str | None = None) -> dict[str, Any]:
    usage = {"prompt_tokens": 200, "completion_tokens": 1000, "completion_tokens_details": {"reasoning_tokens": 900}}
    message = {"role": "assistant", "content": "\\boxed{A}"}
    return {"message": message, "finish_reason": "stop", "usage": usage, "seconds": seconds, "served": served}


def test_paper_is_estimated_by_its_own_shares(tmp_path: Path) -> None:
    plan = make_plan(settings(tmp_path, base=PAPER))
    rows = steps(plan)
    assert list(rows) == ["distill hard", "distill random_1k", "distill random_23k", "select domains"]
    assert rows["distill hard"].calls == pytest.approx(37_816, rel=0.002)
    assert rows["distill random_1k"].calls == 1250
    assert rows["distill random_23k"].calls == pytest.approx(23_493 / 0.8, rel=0.002)
    assert rows["select domains"].calls == pytest.approx(23_504, rel=0.002)
    assert not any(row.exact for row in plan.steps)
    # A fifth of the collection is asked already when random questions are drawn from it.
    assert rows["distill random_1k"].shared == pytest.approx(1250 * 37_816 / 192_023, abs=2)
    assert rows["distill hard"].dollars == pytest.approx(rows["distill hard"].left * BILL, rel=0.01)
    assert "authors' bill" in "\n".join(plan.notes)
    assert not (tmp_path / "store").exists(), "planning makes nothing"
    assert total(plan.steps)["left"] == sum(row.left for row in plan.steps)


def test_dollars_follow_the_price(tmp_path: Path) -> None:
    def dollars(**prices: float) -> float:
        return steps(make_plan(settings(tmp_path, {"teacher": prices}, base=PAPER)))["distill hard"].dollars

    listed = load([PAPER])["teacher"]
    assert (listed["price_prompt"], listed["price_completion"]) == LIST, "of DeepSeek-R1"
    cheap = dollars(price_prompt=LIST[0] / 100, price_completion=LIST[1] / 100)
    assert cheap == pytest.approx(dollars() / 100)
    assert dollars(price_prompt=0, price_completion=0) == 0


def test_limit_of_dollars_is_held_against_all_steps_and_what_is_paid(tmp_path: Path) -> None:
    def warned(limit: float) -> list[str]:
        return make_plan(
            settings(tmp_path, {"teacher": {"max_dollars": limit}, "labeller": {"max_dollars": None}}, base=PAPER)
        ).warnings

    needed = sum(
        row.dollars for row in make_plan(settings(tmp_path, base=PAPER)).steps if row.step.startswith("distill")
    )
    [line] = warned(needed - 1)
    assert line.startswith("teacher.max_dollars")
    assert warned(needed + 1) == []
    with Store(tmp_path / "store" / "teacher") as store:
        store.put("other", answer(served="another model"))
        store.put_many((f"more-{n}", answer(served="another model")) for n in range(999))
    assert warned(needed + 1)


def test_what_nobody_counted_is_held_against_the_limit_at_its_most(tmp_path: Path) -> None:
    """An answer without usage, one that was lost, and what an older release kept that is no answer."""
    with Store(tmp_path / "store" / "teacher") as store:
        bound = {"prompt_tokens": 10**7, "completion_tokens": 10**7}
        store.put_many((f"uncounted-{n}", answer() | {"usage": {}, "at_most": bound}) for n in range(30))
        store.put("odd", 5)
        journal = SpendingJournal(store)
        journal.in_flight["lost"] = (10**6, 10**6)
        journal.write(journal.text())
    provider = Provider.from_settings(load([PAPER])["teacher"], "teacher")
    with Store(tmp_path / "store" / "teacher") as store:
        found = stored_dollars(store, provider)
    dear = provider.price_prompt + provider.price_completion
    assert found == pytest.approx(30 * 10 * dear * 31 / 30 + dear, rel=0.04)
    assert "assumed" in steps(make_plan(settings(tmp_path, base=PAPER)))["distill hard"].basis, "they measure nothing"


def test_published_subsets_and_screens_decide_what_is_asked(tmp_path: Path) -> None:
    entered = {
        "published": {"subsets": {"m1k": "m1k_tokenized", "m23k": "m23k_tokenized"}},
        "subsets": {"hard_random_1k": None, "hard_domain_1k": None},
    }
    models = {
        "models": ["7b", "m1-7b-1k"],
        "report": {"table1": {"models": ["7b", "m1-7b-1k"]}, "table2": None, "figures": ["m1-7b-1k"]},
    }
    rows = steps(make_plan(settings(tmp_path, entered, models, base=PAPER)))
    assert set(rows) == {"distill random_1k", "distill random_23k"}
    assert rows["distill random_23k"].calls == int(23_493 / 0.8)

    provider = {
        **load([PAPER])["teacher"],
        "name": "screen",
        "model": "small",
        "rule": None,
        "notes": None,
        "max_dollars": None,
        "price_completion": 1,
    }
    rows = steps(
        make_plan(settings(tmp_path, {"screen": {"providers": {"api": provider}, "models": {"32b": None}}}, base=PAPER))
    )
    assert rows["screen api"].calls == pytest.approx(192_023, rel=0.001)
    assert rows["screen api"].basis == "assumed"


def test_questions_that_are_there_are_counted_and_looked_up(tmp_path: Path) -> None:
    config = settings(tmp_path, base=FULL)
    results, hard, merged = tmp_path / "results", questions(60), questions(100)
    records.write(results / "pools/merged.parquet", merged, Question)
    records.write(results / "screen/hard.parquet", hard, Question)
    records.write(results / "distill/random_1k.questions.parquet", questions(50, start=40), Question)
    records.write(results / "distill/hard.parquet", [trace(question) for question in hard[:30]], Trace)
    teacher = Provider.from_settings(config["teacher"], "teacher")
    labeller = Provider.from_settings(config["labeller"], "labeller")
    with Store(tmp_path / "store" / "teacher") as store:
        store.put_many((Request(teacher_prompt(question)).key(teacher), answer()) for question in hard[:45])
    qualifiers = read_qualifiers(ROOT / "resources/mesh/qualifiers.csv")
    task = read_task(ROOT / "resources/prompts/domain.txt")
    with Store(tmp_path / "store" / "labeller") as store:
        store.put(Request(user_turn(qualifiers, hard[0]), system=task).key(labeller), answer())

    rows = steps(make_plan(config))
    assert all(rows[name].exact for name in ("distill hard", "distill random_1k", "select domains"))
    found = rows["distill hard"]
    assert (found.calls, found.stored, found.shared, found.left) == (60, 45, 0, 15)
    found = rows["distill random_1k"]  # 40 to 59 are hard, too: five of them in the store, counted there
    assert (found.calls, found.stored, found.shared, found.left) == (50, 0, 20, 30)
    found = rows["select domains"]
    assert (found.calls, found.stored, found.left) == (30, 1, 29)
    assert found.basis == "as in the demo", "one call is no mean"
    found = rows["distill hard"]
    assert found.basis == "measured on 45 calls"
    assert (found.prompt_tokens, found.thinking_tokens, found.answer_tokens) == (15 * 200, 15 * 900, 15 * 100)
    assert found.hours == pytest.approx(15 * 2.0 / config["teacher"]["concurrency"] / 3600)


def test_draw_is_made_as_the_step_makes_it_where_the_collection_is_there(tmp_path: Path) -> None:
    config = settings(tmp_path, base=FULL)
    records.write(tmp_path / "results/pools/merged.parquet", questions(2000), Question)
    rows = steps(make_plan(config))
    size = config["distill"]["random_1k"]
    assert rows["distill random_1k"].exact
    assert rows["distill random_1k"].calls == int(size["size"] / size["share"])
    assert not rows["distill random_23k"].exact


def test_means_of_another_model_are_not_taken(tmp_path: Path) -> None:
    with Store(tmp_path / "store" / "teacher") as store:
        store.put_many((f"other-{n}", answer(served="another")) for n in range(100))
    assert steps(make_plan(settings(tmp_path, base=PAPER)))["distill hard"].basis.startswith("assumed")
    with Store(tmp_path / "store" / "teacher") as store:
        store.put_many((f"own-{n}", answer(None, "deepseek-ai/DeepSeek-R1")) for n in range(30))
    found = steps(make_plan(settings(tmp_path, base=PAPER)))["distill hard"]
    assert found.basis == "measured on 30 calls; seconds assumed"
    assert found.dollars == pytest.approx(found.left * (200 * 0.55 + 1000 * 2.19) / 1e6)


def test_the_slowest_limit_decides_the_hours(tmp_path: Path) -> None:
    def planned(**more: Any) -> StepCost:
        return steps(make_plan(settings(tmp_path, {"teacher": more}, base=PAPER)))["distill hard"]

    free = planned(concurrency=1000)
    assert planned(concurrency=1).hours == pytest.approx(free.hours * 1000)
    assert planned(concurrency=1000, requests_per_minute=10).hours == pytest.approx(free.left / 10 / 60)
    tokens = free.prompt_tokens + free.thinking_tokens + free.answer_tokens
    assert planned(concurrency=1000, tokens_per_minute=1e5).hours == pytest.approx(tokens / 1e5 / 60, rel=0.01)
    assert planned(batch={"window": "24h", "size": 1000, "poll_seconds": 60, "discount": 0.5}).hours == 24


def test_unknown_number_of_records_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.headqa_train: how many records it has .* Give its `rows`"):
        make_plan(settings(tmp_path, {"data": {"headqa_train": {"rows": None}}}, base=PAPER))


def test_local_file_is_counted(tmp_path: Path) -> None:
    rows = [{"question": "Q?", "options": {"A": "a", "B": "b"}, "answer": "a", "answer_idx": "A"} for _ in range(50)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = {"data": {"mine": {"layout": "eval", "path": str(tmp_path / "mine.jsonl")}}}
    pools = {
        "pools": {name: {"from": "mine"} for name in ("medqa", "headqa", "medmcqa")}
        | {"pubmedqa": {"from": "mine", "limit": 10}}
    }
    plan = make_plan(settings(tmp_path, own, pools))
    assert steps(plan)["distill hard"].calls == round(round(160 * 192_023 / 196_157) * 37_816 / 192_023)


def test_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings(tmp_path, base=PAPER)
    plan_main(["--configfile", str(PAPER), str(tmp_path / "overlay0.yaml"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {job["rule"]: job["jobs"] for job in found["jobs"]} == {
        "screen_attempt": 2,
        "train_sft": 7,
        "infer_sweep": 7,
        "infer_answer": 4,
        "score_predictions": 11,
    }
    assert found["total"]["dollars"] == pytest.approx(sum(row["dollars"] for row in found["steps"]))
    lines = table(make_plan(settings(tmp_path, base=PAPER)))
    assert lines[0].split()[:3] == ["step", "model", "calls"]
    assert lines[1].startswith("distill hard")
    assert "~37,8" in lines[1]
    assert lines[5].startswith("sum")


def test_what_the_papers_questions_can_tell_is_said_and_nothing_of_the_embedded_world(tmp_path: Path) -> None:
    one_row = {"report": {"table1": {"models": ["7b"]}, "figures": []}}
    found = {one.column: one for one in make_plan(settings(tmp_path, one_row, base=PAPER)).powers}
    assert list(found)[:3] == ["Avg.", "MedMC", "MedQA"]
    assert [(found[name].questions, found[name].margin) for name in ("Avg.", "NEJM")] == [(11461, 2), (603, 3)]
    share = (0.5904 * 603 + 1) / 605  # Qwen2.5-7B-Instruct on NEJM, with one correct and one incorrect answer more
    needed = 1e4 * 2 * share * (1 - share) * (1.64485 + 1.28155) ** 2 / 9
    assert found["NEJM"].needed == pytest.approx((needed, needed), abs=2)
    assert found["NEJM"].smallest_margin[0] == pytest.approx(164.485 * (2 * share * (1 - share) / 605) ** 0.5, abs=0.01)
    assert found["Avg."].smallest_margin[1] < 2 < found["Avg."].needed[0] / 11461 * 2 < 4
    assert "| NEJM" not in "\n".join(table(make_plan(settings(tmp_path, base=FULL))))


def test_screening_prompt_is_the_step_s(tmp_path: Path) -> None:
    provider = {**load([PAPER])["teacher"], "name": "screen", "model": "small", "rule": None, "max_dollars": None}
    config = settings(tmp_path, {"screen": {"providers": {"api": provider}, "models": {"large": None}}})
    records.write(tmp_path / "results/pools/merged.parquet", questions(30), Question)
    asked = Provider.from_settings(config["screen"]["providers"]["api"], "screen.providers.api")
    with Store(tmp_path / "store" / "screen-api") as store:
        for question in questions(12):
            store.put(
                Request(evaluation_prompt(question_text(question), config["screen"]["prompt"])).key(asked), answer()
            )
    found = steps(make_plan(config))["screen api"]
    assert (found.calls, found.stored, found.left) == (30, 12, 18)


def test_start_is_light() -> None:
    code = """
import sys
from m1.commands.plan import main
main(["--configfile", sys.argv[1]])
heavy = ("torch", "transformers", "datasets", "openai")
print("heavy:", [name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(m1.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code, str(PAPER)], capture_output=True, text=True, env=environment)
    assert done.stderr.splitlines()[-1] == "heavy: []"
