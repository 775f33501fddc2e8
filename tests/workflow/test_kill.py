"""SIGKILL at two moments: the same command goes on, and nothing that was finished is asked or generated again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from m1.core.store import Store
from project import MAIN, Project

pytestmark = pytest.mark.workflow


def start_until(project: Project, target: str, store: Path, kept: int) -> subprocess.Popen[str]:
    """Start a run to a target, and return it once the store holds so many records."""
    process = project.start(target, module="m1 launch")
    while not (store.is_dir() and sum(file.read_bytes().count(b"\n") for file in store.glob("*.jsonl")) >= kept):
        assert process.poll() is None, (
            f"it ended before it could be killed:\n{process.stdout and process.stdout.read()}"
        )
        time.sleep(0.002)
    return process


def keys(store: Path) -> list[str]:
    """Keys of all sound records, in the order of segments; a key that was paid for twice occurs twice."""
    lines = [line for file in sorted(store.glob("*.jsonl")) for line in file.read_text().splitlines()]
    written = [line.partition('"key":"')[2].partition('"')[0] for line in lines]
    with Store(store) as opened:
        return [key for key in written if key in opened]


@pytest.mark.slow
def test_everything_is_killed_while_the_teacher_answers(project: Project) -> None:
    target, store = "results/short/distill/hard.parquet", project.folder / "store/short/teacher"
    whole = project.path(target).read_bytes()
    shutil.rmtree(store)
    shutil.rmtree(project.path("results/short/distill"))
    process = start_until(project, target, store, 20)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = keys(store)
    assert not (project.folder / target).exists()

    code, said = project.run(target)  # Snakemake by itself only says what is the matter
    assert code == 1
    assert "--unlock" in said
    said = project.make(target, module="m1 launch")

    asked = json.loads(project.path("results/short/distill/hard.json").read_text())["spending"]
    assert 20 <= len(kept) < asked["calls"]
    assert asked["calls_made"] == asked["calls"] - len(kept)
    assert f"{asked['calls_made']} calls made, {len(kept)} from the store" in said
    assert len(keys(store)) == len(set(keys(store))) == asked["calls"]
    assert project.path(target).read_bytes() == whole


@pytest.mark.slow
def test_snakemake_alone_is_killed_while_a_model_answers(project: Project) -> None:
    project.configure(thinking={"answer_limit": 500})  # long enough to be killed at
    target, store = (
        "results/short/infer/m1-small-1k/predictions.parquet",
        project.folder / "store/short/infer-m1-small-1k",
    )
    shutil.rmtree(store)
    shutil.rmtree(project.path("results/short/infer/m1-small-1k"))
    process = start_until(project, target, store, 24)  # the thinking on the 24 questions
    os.killpg(process.pid, signal.SIGSTOP)  # it waits for the other run to say so
    code, said = project.run(target, module="m1 launch")
    assert code == 1
    assert "Snakemake is at work here already" in said
    process.kill()
    os.killpg(process.pid, signal.SIGCONT)
    kept = keys(store)
    assert not (project.folder / target).exists()

    said = project.make(target, module="m1 launch")

    process.communicate()
    assert "orphaned jobs ended, lock removed" in said
    assert "[infer m1-small-1k: thinking]" not in said
    assert set(kept) < set(keys(store))
    assert len(keys(store)) == len(set(keys(store)))


@pytest.mark.slow
def test_twenty_kills_of_everything_lose_nothing_and_pay_for_nothing_twice(project: Project) -> None:
    made = [f"results/short/{name}" for name in ("table1.csv", "distill/hard.parquet", "train/m1-small-1k.sha256")]
    whole = {name: project.path(name).read_bytes() for name in made}
    for folder in ("results/short", "store/short", "scratch/short"):
        shutil.rmtree(project.folder / folder, ignore_errors=True)
    chance, kills = random.Random(1), 0
    while kills < 20:
        process = project.start(*MAIN, module="m1 launch")
        try:
            process.wait(chance.uniform(3, 8))
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
    print(project.make(*MAIN, module="m1 launch"))
    assert kills >= 15, "it was finished too early to be killed"
    assert {name: project.path(name).read_bytes() for name in made} == whole
    stores = [store for store in (project.folder / "store/short").iterdir() if any(store.glob("*.jsonl"))]
    paid = {store.name: keys(store) for store in stores}
    assert {name: len(set(found)) for name, found in paid.items()} == {name: len(found) for name, found in paid.items()}
    spending = json.loads(project.path("results/short/distill/hard.json").read_text())["spending"]
    assert spending["calls"] <= len(paid["teacher"])
