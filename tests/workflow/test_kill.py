"""SIGKILL of the whole run at two moments: the documented restart finishes, and nothing that was finished is asked or generated again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from m1.store import Store
from project import Project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("finished")]


def kill_when(project: Project, target: str, store: Path, kept: int) -> set[str]:
    """Run to a target, kill everything once the store holds so many records, and return their keys."""
    process = project.start(target)
    try:
        while not (store.is_dir() and sum(file.read_bytes().count(b"\n") for file in store.glob("*.jsonl")) >= kept):
            assert process.poll() is None, f"it ended before it could be killed:\n{process.stdout and process.stdout.read()}"
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return keys(store)


def keys(store: Path) -> set[str]:
    """Keys of the sound records."""
    with Store(store) as opened:
        return set(opened._places)


def lines(store: Path) -> list[str]:
    """Keys of all records, sound and torn, as they were written."""
    written = [line for file in sorted(store.glob("*.jsonl")) for line in file.read_text().splitlines()]
    return [line.partition('"key":"')[2][:64] for line in written]


def restart(project: Project, target: str) -> str:
    """What the manual says to do after a kill: unlock, and the same command again."""
    code, said = project.run(target)
    assert code != 0
    assert "--unlock" in said
    project.make("--unlock")
    return project.make(target)


def test_killed_while_the_teacher_answers(project: Project) -> None:
    target, store = "results/short/distill/hard.parquet", project.folder / "store/short/teacher"
    whole = project.path(target).read_bytes()
    shutil.rmtree(store)
    shutil.rmtree(project.path("results/short/distill"))
    kept = kill_when(project, target, store, 20)
    assert not (project.folder / target).exists()

    said = restart(project, target)

    asked = json.loads(project.path("results/short/distill/hard.json").read_text())["spending"]
    assert 20 <= len(kept) < asked["calls"]
    assert asked["calls_made"] == asked["calls"] - len(kept)
    assert f"{len(kept):,} from the store" in said
    assert len([key for key in lines(store) if key in kept]) == len(kept)
    assert project.path(target).read_bytes() == whole


def test_killed_while_a_model_answers(project: Project) -> None:
    project.configure(thinking={"answer_limit": 500})  # long enough to be killed at
    target, store = "results/short/infer/m1-small-1k/predictions.parquet", project.folder / "store/short/infer-m1-small-1k"
    shutil.rmtree(store)
    shutil.rmtree(project.path("results/short/infer/m1-small-1k"))
    kept = kill_when(project, target, store, 24)  # the thinking on the 24 questions
    assert not (project.folder / target).exists()

    said = restart(project, target)

    assert "thinking]" not in said.replace("[infer m1-small-1k: thinking]", "thinking]")
    assert len([key for key in lines(store) if key in kept]) == len(kept)
    assert kept < keys(store)
