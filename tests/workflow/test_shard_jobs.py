"""One model's work in several jobs: the same files, nothing generated twice, and no rerun for another number of
them."""

from __future__ import annotations

import json
import shutil

import pytest
from project import Project
from test_kill import keys

pytestmark = pytest.mark.workflow

RECIPE = "config/models/m1-small-1k.yaml"
SWEEP = "results/short/infer/m1-small-1k"
STORE = "store/short/infer-m1-small-1k"
TARGETS = (f"{SWEEP}/predictions.parquet", "results/short/screen/hard.parquet")


def shard(project: Project, before: str, count: int) -> None:
    project.replace(RECIPE, f"serve: {{{before}engine", f"serve: {{shards: {count}, engine")


def remove(project: Project) -> None:
    """What was made, but not the store."""
    shutil.rmtree(project.path(SWEEP))
    shutil.rmtree(project.path("results/short/screen"))


def files(project: Project) -> list[bytes]:
    names = [f"{SWEEP}/{name}.parquet" for name in ("rollouts", "predictions")]
    return [project.path(name).read_bytes() for name in [*names, "results/short/screen/small.parquet"]]


def counts(project: Project, name: str) -> dict[str, int]:
    return json.loads(project.path(f"{name}.json").read_text(encoding="utf-8"))["counts"]


@pytest.mark.slow
def test_shards_make_the_same_and_their_number_runs_nothing_again(project: Project) -> None:
    whole, order, counted = files(project), sorted(keys(project.path(STORE))), counts(project, f"{SWEEP}/manifest")

    shard(project, "", 3)
    project.configure(screen={"shards": 2})
    assert project.plan() == set()

    remove(project)
    shutil.rmtree(project.path("store/short"))
    planned = project.plan(*TARGETS)
    assert {job for job in planned if "shard" in job} == {
        *(f"infer_sweep_shard m1-small-1k {number} 3" for number in (1, 2, 3)),
        *(f"screen_attempt_shard small {number} 2" for number in (1, 2)),
    }
    project.make(*TARGETS)
    assert files(project) == whole
    assert sorted(keys(project.path(STORE))) == order, "nothing is generated twice, nothing is left out"
    assert counts(project, f"{SWEEP}/manifest") == counted

    shard(project, "shards: 3, ", 2)
    assert not {job for job in project.plan(*TARGETS) if job.startswith(("screen", "infer"))}
    shutil.rmtree(project.path(SWEEP))
    project.make(*TARGETS)
    assert project.path(f"{SWEEP}/shards/2-of-2.json")
    assert files(project) == whole
    assert counts(project, f"{SWEEP}/manifest")["generated_now"] == 0
