"""GPU-hours of a plan: by the recipes' own GPUs, samples and questions, and within what the paper says of its
trainings."""

from __future__ import annotations

import csv
import heapq
import json
import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml
from m1.commands import gpu_hours
from m1.commands.cards import find_card
from m1.commands.gpu_hours import CORE_TRAINING, GpuStep, Workload, generation_hours, training_hours
from m1.commands.lengths import paper_length, sample_tokens
from m1.commands.plan import make_plan, table
from m1.train.balance import balance
from m1.wiring.config import load
from m1.wiring.run import Run

ROOT = Path(__file__).parents[2]
H100 = find_card("H100", "test")
PAPER = ROOT / "config" / "paper.yaml"


def gpu_steps(tmp_path: Path, *files: Path, **changes: Any) -> dict[str, GpuStep]:
    """By step."""
    own = tmp_path / "own.yaml"
    own.write_text(
        yaml.safe_dump({"pathvars": {"results": str(tmp_path / "results")}, "store": str(tmp_path / "store")} | changes)
    )
    return {work.step: work for work in make_plan(load([*files, own])).gpus}


def test_trainings_take_what_the_paper_says(tmp_path: Path) -> None:
    """ "On the order of minutes on 8 H100 GPUs", "a few hours with 16" (B.2)."""
    found = gpu_steps(tmp_path, PAPER)
    trained = {name: found[f"train {name}"] for name in ("m1-7b-1k", "m1-7b-23k", "m1-32b-1k")}
    assert [work.gpus for work in trained.values()] == [8, 8, 16]
    assert all(
        work.hours is not None and work.hours < limit for work, limit in zip(trained.values(), (0.1, 2, 4), strict=True)
    )
    assert trained["m1-7b-23k"].tokens == pytest.approx(23_493 * 5 * (150 + 1382.6 + 194), rel=0.001)


def test_a_screen_of_the_collection_is_eight_jobs_of_less_than_an_hour(tmp_path: Path) -> None:
    for name in ("screen 7b", "screen 32b"):
        work = gpu_steps(tmp_path, PAPER)[name]
        assert (work.gpus, work.jobs) == (2, 8)
        assert work.hours is not None
        assert work.hours < 1


def test_thinking_is_generated_once_for_all_budgets(tmp_path: Path) -> None:
    whole = gpu_steps(tmp_path, PAPER)["infer m1-7b-1k"].tokens
    one = {"budgets": [4096], "forced": []}
    shown = {"table1": {"models": ["m1-7b-1k"]}, "table2": None, "figures": ["m1-7b-1k"]}
    largest = gpu_steps(tmp_path, PAPER, thinking=one, models=["m1-7b-1k"], report=shown)["infer m1-7b-1k"].tokens
    questions = 4183 + 1273 + 1000 + 1535 + 390 + 412 + 308 + 308 + 1449 + 603
    thinking, answer = paper_length("thinking"), paper_length("answer")
    assert largest == pytest.approx(questions * (thinking.at_most(4096) + answer.at_most(1024)), abs=1)
    longer = thinking.at_most(8192) - thinking.at_most(4096)
    forced = 2048 - thinking.at_most(2048)
    # Thinking that has ended is answered once for all larger budgets; what was cut at 2,048 tokens is not forced.
    answers = sum(map(thinking.longer, (128, 256, 512, 1024, 2048, 4096))) + 5 * (1 - thinking.longer(2048))
    assert whole - largest == pytest.approx(questions * (longer + forced + answers * answer.at_most(1024)), abs=2)


def test_a_benchmark_of_ones_own_counts_and_one_that_nobody_knows_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("question,options,answer\n" + "Which?,a|b,A\n" * 30)
    data = {
        "mine": {"path": str(tmp_path / "mine.csv"), "layout": "eval"},
        "theirs": {"hub": "some/where", "layout": "eval", "split": "test"},
    }
    own = tmp_path / "own.yaml"

    def plan(**benchmarks: str) -> Any:
        shown = {name: {"from": source} for name, source in benchmarks.items()}
        own.write_text(
            yaml.safe_dump({"pathvars": {"results": str(tmp_path / "none")}, "data": data, "benchmarks": shown})
        )
        return make_plan(load([PAPER, own]))

    def tokens(plan: Any) -> int:
        return next(work.tokens for work in plan.gpus if work.step == "infer 7b")

    without = plan()
    assert tokens(plan(mine="mine")) - tokens(without) == 30 * 300
    unknown = plan(theirs="theirs")
    assert tokens(unknown) == tokens(without)
    assert "Not counted, as nobody knows their rows yet: theirs; give `rows` in `data`." in "\n".join(unknown.notes)
    assert "Not counted" not in "\n".join(without.notes)


def test_the_embedded_world_needs_none(tmp_path: Path) -> None:
    assert gpu_steps(tmp_path) == {}


def test_one_gpu_and_one_hour(tmp_path: Path) -> None:
    found = gpu_steps(tmp_path, PAPER, ROOT / "config/overlays/one-gpu.yaml")
    assert {work.gpus for work in found.values()} == {1}
    assert sum(work.gpu_hours or 0 for work in found.values()) < 1


def test_an_adapter_needs_no_gradient_of_the_frozen_weights_and_the_plan_says_what_they_take(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"pathvars": {"results": str(tmp_path / "results")}, "store": str(tmp_path / "s")}))
    plan = make_plan(load([PAPER, ROOT / "config/overlays/one-card-7b.yaml", own]))
    assert plan.steps == []
    steps = {step.step: step for step in plan.gpus}
    assert set(steps) == {
        "train m1-7b-1k-lora",
        *(f"infer {name}" for name in ("m1-7b-1k-lora", "7b-card", "7b-card-cot")),
    }
    assert {step.gpus for step in steps.values()} == {1}
    whole, adapter = gpu_steps(tmp_path, PAPER)["train m1-7b-1k"], steps["train m1-7b-1k-lora"]
    assert whole.tokens == adapter.tokens
    assert whole.gpu_hours is not None
    # Activations are computed again, which takes two operations more; one card waits for no other.
    assert adapter.gpu_hours == pytest.approx(whole.gpu_hours * (4 + 2) / 6 * gpu_hours.share_used(8, 2, 16))
    notes = "\n".join(plan.notes)
    assert "train m1-7b-1k-lora is by LoRA (rank 64)" in notes
    assert "the frozen base takes 14 GB in bfloat16" in notes
    assert "LoRA" not in "\n".join(make_plan(load([PAPER, own])).notes)


def test_a_laptop_needs_no_gpu_and_an_hour_on_four_cores(tmp_path: Path) -> None:
    laptop = ROOT / "config/overlays/laptop.yaml"
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"pathvars": {"results": str(tmp_path / "results")}, "store": str(tmp_path / "s")}))
    plan = make_plan(load([PAPER, laptop, own]))
    assert (plan.steps, plan.gpus) == ([], [])
    steps = {step.step: step for step in plan.cpus}
    assert set(steps) == {"train m1-135m", "infer m1-135m", "infer 135m", "infer 135m-cot"}
    assert {step.cores for step in steps.values()} == {4}
    assert 20 < sum(step.minutes or 0 for step in steps.values()) < 70
    trained = steps["train m1-135m"]
    assert trained.tokens == round(100 * 2 * sample_tokens(2048)), "100 samples of the published set, twice, cut"
    assert trained.minutes == pytest.approx(trained.tokens * 6 * 135e6 / (4 * CORE_TRAINING) / 60)
    assert "train m1-135m" in "\n".join(table(plan))


def test_the_demo_is_planned_at_about_the_minutes_that_it_took(tmp_path: Path) -> None:
    """4:05 minutes on two idle cores, with trainings of 22 to 49 s and sweeps of 12 to 18 s (benchmarks/README.md)."""
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"pathvars": {"results": str(tmp_path / "results")}, "store": str(tmp_path / "s")}))
    config = load([own])
    plan, run = make_plan(config), Run(config)
    steps = {step.step: 60 * (step.minutes or 0) for step in plan.cpus}
    assert steps["train m1-small-1k"] == pytest.approx(21.7, rel=0.3)
    assert steps["train m1-small-23k"] == pytest.approx(48.6, rel=0.3)
    assert steps["infer m1-large-1k"] == pytest.approx(17.8, rel=0.3)
    assert {name for name in steps if name.startswith("pretrain")} == {"pretrain small", "pretrain large"}
    assert gpu_hours.cpu_note(run, plan.cpus, 2).startswith("About 4 minutes on the 2 cores")
    assert gpu_hours.cpu_note(run, plan.cpus, 1).startswith("About 8 minutes")
    assert sum(step.hours for step in plan.steps) < 1 / 60, "the calls of its own server"


def test_a_model_whose_name_says_no_size_is_not_guessed(tmp_path: Path) -> None:
    overlay = {
        "pathvars": {"results": str(tmp_path / "results")},
        "bases": {"7b": {"path": "/models/mine", "hub": None}},
    }
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(overlay))
    plan = make_plan(load([PAPER, own]))
    assert {work.step: work.gpu_hours for work in plan.gpus}["train m1-7b-1k"] is None
    lines = "\n".join(table(plan))
    assert "Not known, as no name says how large the model is: infer 7b, infer 7b-cot, infer 7b-hard-domain-1k" in lines


def test_what_is_there_is_left_out_of_the_sum(tmp_path: Path) -> None:
    before = gpu_steps(tmp_path, PAPER)["train m1-7b-1k"]
    (tmp_path / "results/train/m1-7b-1k").mkdir(parents=True)
    after = gpu_steps(tmp_path, PAPER)["train m1-7b-1k"]
    assert (before.there, after.there) == (False, True)
    assert before.gpu_hours == after.gpu_hours


def test_lengths_are_those_that_the_authors_printed() -> None:
    with open(ROOT / "resources/paper/lengths.csv", newline="") as stream:
        found = {row["part"]: row for row in csv.DictReader(stream)}
    for part, spread in (("thinking", 0.68), ("answer", 0.41)):
        length, rng = paper_length(part), random.Random(0)
        middle = math.log(length.mean) - length.spread**2 / 2
        drawn = [rng.lognormvariate(middle, length.spread) for _ in range(100_000)]
        assert length.spread == pytest.approx(spread, abs=0.01)
        assert statistics.fmean(drawn) == pytest.approx(float(found[part]["mean"]), rel=0.01)
        assert statistics.stdev(drawn) == pytest.approx(float(found[part]["std"]), rel=0.03)
        for limit in (128, 1024, 4096):
            assert length.longer(limit) == pytest.approx(sum(one > limit for one in drawn) / 1e5, abs=0.005)
            assert length.at_most(limit) == pytest.approx(statistics.fmean(min(one, limit) for one in drawn), rel=0.01)
    assert sample_tokens() == pytest.approx(150 + 1382.6 + 194)
    assert sample_tokens(2048) == pytest.approx(344 + paper_length("thinking").at_most(2048 - 344))


def test_hours_of_generating_are_those_of_a_schedule_gone_through_step_by_step() -> None:
    """One replica of 7B with 64 places: a request that ends gives its place to the next one at once."""
    rng, places, size, context = random.Random(0), 64, 7e9, 1300
    lengths = [max(1, min(8192, round(rng.lognormvariate(6.7, 0.68)))) for _ in range(3000)]
    waiting, running, steps, seconds = iter(lengths), [], 0, 0.0
    for _ in range(places):
        heapq.heappush(running, next(waiting))
    while running:
        each = 15e-6 + context * 8.2e-6 * size / 3e12
        seconds += (running[0] - steps) * 1.34 * (1.3 * 2 * size / 3e12 + len(running) * each)
        steps = heapq.heappop(running)
        if following := next(waiting, None):
            heapq.heappush(running, steps + following)
    seconds += 3000 * 150 * 2 * size / 0.3 / 989e12  # prompts
    asked = Workload(3000, sum(lengths) / 3000, context, max(lengths))
    serve = {"engine": "sglang", "batch": places, "shards": 1, "options": {"deterministic": True, "tp": 1, "dp": 1}}
    assert generation_hours(asked, size, serve, H100) == pytest.approx(seconds / 3600, rel=0.08)
    # The same work on 8 replicas, in shards or not, takes longer only by its end: the longest generation of each.
    end = 7 * max(lengths) * 1.34 * (1.3 * 2 * size / 3e12 + each) / 3600
    eight = {**serve, "batch": 8 * places, "options": {**serve["options"], "dp": 8}}
    shards = {**serve, "shards": 8}
    for more in (eight, shards):
        assert generation_hours(asked, size, more, H100) == pytest.approx(
            generation_hours(asked, size, serve, H100) + end
        )


def test_a_step_in_process_takes_as_long_as_the_calls_of_its_kernels() -> None:
    asked = Workload(1000, 300, 300, 4000)
    serve = {"engine": "transformers", "batch": 32, "shards": 1, "options": {}}
    prompts = 1000 * 150 * 2 * 7e9 / 0.3 / 989e12
    assert generation_hours(asked, 7e9, serve, H100) == pytest.approx(
        (0.035 * (1000 * 300 / 32 + 4000) + prompts) / 3600
    )
    assert generation_hours(asked, 0, serve, H100) is None


def test_checkpointing_and_waiting_cost_and_an_adapter_saves() -> None:
    def hours(processes: int = 1, checkpointing: bool = False, lora: Any = None) -> float:
        train = {"gradient_checkpointing": checkpointing, "per_device": 2}
        found = training_hours(10**9, 7e9, {"train": train, "sft": {"batch_size": 16, "lora": lora}}, processes, H100)
        assert found is not None
        return found

    whole = 6 * 7e9 * 1e9 / (0.26 * 989e12) / 3600
    assert hours() == pytest.approx(whole)
    assert hours(checkpointing=True) == pytest.approx(whole * 8 / 6)
    assert hours(lora={"r": 16}) == pytest.approx(whole * 4 / 6)
    assert hours(8) == pytest.approx(whole / gpu_hours.share_used(8, 2, 16))


@pytest.mark.train
@pytest.mark.parametrize(("processes", "per_device"), [(1, 2), (8, 2), (8, 1), (16, 1)])
def test_processes_wait_as_the_trainer_balances_a_step(processes: int, per_device: int) -> None:
    rng, thinking, parts = random.Random(1), paper_length("thinking"), 16 // min(per_device, 16 // processes)
    middle, used, waited = math.log(thinking.mean) - thinking.spread**2 / 2, 0, 0
    for _ in range(2000):
        lengths = [344 + round(rng.lognormvariate(middle, thinking.spread)) for _ in range(16)]
        tokens = [sum(lengths[place] for place in part) for part in balance(lengths, parts)]
        used += sum(tokens)
        waited += processes * sum(max(tokens[first : first + processes]) for first in range(0, parts, processes))
    assert gpu_hours.share_used(processes, per_device, 16) == pytest.approx(used / waited, rel=0.02)


def finish(tmp_path: Path, step: str, manifest: dict[str, Any]) -> None:
    """Let a step have written its manifest."""
    path = tmp_path / "results" / step / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest))


def test_a_finished_sweep_takes_the_place_of_the_model(tmp_path: Path) -> None:
    before = gpu_steps(tmp_path, PAPER)
    assert {work.basis for work in before.values()} == {"modelled"}
    counts = {"questions": 1000, "rollout_tokens": 10**6, "forced_tokens": 4 * 10**5, "answer_tokens": 6 * 10**5}
    counts |= {"companion_tokens": 0, "generated_now": 10**6}
    finish(tmp_path, "infer/m1-7b-1k", {"counts": counts, "seconds": 450.0})
    after = gpu_steps(tmp_path, PAPER)
    own, like, other = (after[f"infer {name}"] for name in ("m1-7b-1k", "m1-7b-23k", "7b-random-1k"))
    assert (own.tokens, own.basis) == (2 * 10**6, "measured")
    assert own.gpu_hours == pytest.approx(2 * 450 * 8 / 3600), "half of its tokens took 450 seconds of 8 GPUs"
    assert (like.tokens, like.basis) == (2000 * 11_461, "as m1-7b-1k")
    assert like.gpu_hours == pytest.approx((own.gpu_hours or 0) * 11.461)
    assert after["infer m1-32b-1k"] == before["infer m1-32b-1k"], "another base"
    assert other == before["infer 7b-random-1k"], "other budgets"


def test_what_the_store_has_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gpu_steps(tmp_path, PAPER)
    monkeypatch.setattr(gpu_hours.kept, "answered", lambda run, name: 0.75 if name == "7b" else 0.0)
    monkeypatch.setattr(gpu_hours.kept, "is_trained", lambda run, name: name == "m1-7b-1k")
    left = gpu_steps(tmp_path, PAPER)
    assert left["infer 7b"].gpu_hours == pytest.approx(whole["infer 7b"].gpu_hours / 4)
    assert left["infer 7b"].basis == "modelled; 75% in the store"
    assert left["train m1-7b-1k"].gpu_hours == 0
    assert left["infer 32b"] == whole["infer 32b"]


def test_hours_are_modelled_where_the_store_had_most(tmp_path: Path) -> None:
    before = gpu_steps(tmp_path, PAPER)["infer 7b"]
    finish(tmp_path, "infer/7b", {"counts": {"questions": 10, "answer_tokens": 5000, "generated_now": 5}, "seconds": 9})
    after = gpu_steps(tmp_path, PAPER)["infer 7b"]
    assert (after.tokens, after.basis) == (5000, "measured, hours modelled")
    assert before.gpu_hours is not None
    assert after.gpu_hours == pytest.approx(before.gpu_hours * 5000 / before.tokens)


def test_a_finished_training_takes_the_place_of_the_model(tmp_path: Path) -> None:
    manifest = {"counts": {"samples": 1000, "tokens": 2 * 10**6}, "settings": {"epochs": 5}, "seconds": 300.0}
    ran = {"device": "NVIDIA H100 80GB HBM3", "processes": 8, "resumed": 0}
    finish(tmp_path, "train/m1-7b-1k", {**manifest, "ran": ran})
    finish(tmp_path, "train/m1-32b-1k", {**manifest, "ran": {**ran, "processes": 16, "resumed": 40}})
    after = gpu_steps(tmp_path, PAPER)
    own, like = after["train m1-7b-1k"], after["train m1-7b-23k"]
    assert (own.tokens, own.gpu_hours, own.there, own.basis) == (10**7, pytest.approx(300 * 8 / 3600), True, "measured")
    assert (like.tokens, like.basis) == (pytest.approx(23_493 * 5 * 2000, rel=0.001), "as m1-7b-1k")
    assert like.gpu_hours == pytest.approx(23.493 * 300 * 8 / 3600, rel=0.001)
    resumed = after["train m1-32b-1k"]
    assert (resumed.tokens, resumed.basis) == (10**7, "measured, hours modelled")
    lines = "\n".join(table(make_plan(load([PAPER, tmp_path / "own.yaml"]))))
    assert "there; measured" in lines
    assert "Modelled: GPU-hours of " in lines
