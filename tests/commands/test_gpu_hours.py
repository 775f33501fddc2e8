"""GPU-hours of a plan: by the recipes' own GPUs, samples and questions, and within what the paper says of its
trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from m1.commands.gpu_hours import CORE_TRAINING, GpuStep
from m1.commands.plan import make_plan, table
from m1.wiring.config import load

ROOT = Path(__file__).parents[2]
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
        work.hours is not None and work.hours < limit for work, limit in zip(trained.values(), (0.1, 1, 4), strict=True)
    )
    assert trained["m1-7b-23k"].tokens == pytest.approx(23_493 * 5 * 1350, rel=0.01)


def test_a_screen_of_the_collection_is_many_jobs_of_less_than_an_hour(tmp_path: Path) -> None:
    for name in ("screen 7b", "screen 32b"):
        work = gpu_steps(tmp_path, PAPER)[name]
        assert (work.gpus, work.jobs) == (2, 48)
        assert work.hours is not None
        assert work.hours < 1


def test_thinking_is_generated_once_for_all_budgets(tmp_path: Path) -> None:
    whole = gpu_steps(tmp_path, PAPER)["infer m1-7b-1k"].tokens
    one = {"budgets": [4096], "forced": []}
    shown = {"table1": {"models": ["m1-7b-1k"]}, "table2": None, "figures": ["m1-7b-1k"]}
    largest = gpu_steps(tmp_path, PAPER, thinking=one, models=["m1-7b-1k"], report=shown)["infer m1-7b-1k"].tokens
    questions = 4183 + 1273 + 1000 + 1535 + 390 + 412 + 308 + 308 + 1449 + 603
    assert largest == questions * (1000 + 200)
    assert whole - largest == questions * (11 * 200 + 1048), (
        "answers at six budgets more and five forced counts; `Wait` once, to 2,048 tokens"
    )


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
    assert tokens(plan(mine="mine")) - tokens(without) == 30 * 200
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
    assert adapter.gpu_hours == pytest.approx(whole.gpu_hours * 4 / 6)  # type: ignore[operator]
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
    assert trained.tokens == 100 * 2 * 1350, "100 samples of the published set, twice"
    assert trained.minutes == pytest.approx(trained.tokens * 6 * 135e6 / (4 * CORE_TRAINING) / 60)
    assert "train m1-135m" in "\n".join(table(plan))


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
