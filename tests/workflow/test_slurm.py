"""The workflow on a real SLURM: two nodes with fake GPUs, and Snakemake's executor. What was asked for is read from
SLURM's own records."""

from __future__ import annotations

import json
import shutil
import signal
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from m1.train import checkpoints
from patience import PATIENCE
from project import MAIN, Project
from safetensors.numpy import load_file
from slurm_cluster import Cluster

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

SMALL, LARGE = "results/short/train/m1-small-1k", "results/short/train/m1-large-1k"


def recipe(model: str, project: Project, **changes: dict[str, Any]) -> None:
    """Change parts of a recipe."""
    path = project.path(f"config/models/{model}.yaml")
    whole = yaml.safe_load(path.read_text())
    for part, values in changes.items():
        whole[part] = whole.get(part, {}) | values
    path.write_text(yaml.safe_dump(whole))


def train_for_longer(project: Project) -> None:
    """So long that a test can step in."""
    recipe("m1-large-1k", project, sft={"epochs": 300}, train={"save_steps": 30})


def show_fake_gpus(project: Project) -> None:
    """These nodes' GPUs are fake: while the file ``gpus`` is there, jobs take it that torch sees them, and compute on
    the CPU."""
    seen = '    if seen["gpus"] >= wanted'
    project.replace("workflow/m1/core/gpus.py", f"{seen}:\n", f"{seen} or os.path.exists('gpus'):\n")
    project.folder.joinpath("gpus").touch()


CUT = {"JobState": "out of time", "TimeLimit": "shortened"}
"""Of the job whose time the test cuts: TIMEOUT or, where the training has stopped before SLURM stops it, FAILED."""
ASKED = ("JobState", "Partition", "NumNodes", "TresPerNode", "TresPerJob", "NumTasks", "MinMemoryNode", "TimeLimit")
RECORDS = {
    "train_sft_wildcards_m1-small-1k": [("COMPLETED", "gpu", "2", "gres:gpu:2", None, "2", "2000M", "01:00:00")],
    "infer_sweep_wildcards_m1-small-1k": [("COMPLETED", "gpu", "1", None, "gres:gpu:1", "1", "2000M", "01:00:00")],
    "screen_attempt_wildcards_small": [("COMPLETED", "gpu", "1", None, "gres:gpu:1", "1", "2000M", "01:00:00")],
    "infer_answer_wildcards_small": [("COMPLETED", "gpu", "1", None, "gres:gpu:1", "1", "2000M", "01:00:00")],
    "infer_answer_wildcards_small-cot": [  # tp 2 by dp 2
        ("FAILED", "gpu", "1", None, "gres:gpu:4", "1", "2000M", "01:00:00"),
        ("FAILED", "gpu", "1", None, "gres:gpu:4", "1", "4000M", "02:00:00"),
    ],
    "train_sft_wildcards_m1-large-1k": [  # the embedded world's models need no GPU
        ("out of time", "cpu", "1", None, None, "1", "2000M", "shortened"),
        ("COMPLETED", "cpu", "1", None, None, "1", "4000M", "02:00:00"),
    ],
    "score_predictions_wildcards_m1-small-1k": [("COMPLETED", "cpu", "1", None, None, "1", "8000M", "01:00:00")],
}
"""What jobs of the run below asked for, all with GPUs among them, and what became of them; memory and time grow with
each try."""


def test_the_paper_with_gpus_two_nodes_a_time_limit_and_a_failure(
    finished: Project, slurm: dict[str, str], tmp_path: Path
) -> None:
    """From nothing to Table 1 and the figures: what needs no network and is no matter of seconds, as jobs of SLURM."""
    project = Project.of_repository(tmp_path / "project")
    cluster = Cluster(project, slurm)
    train_for_longer(project)
    show_fake_gpus(project)
    shutil.copytree(finished.path("results/short/world/models/small"), project.folder / "models/small")
    elsewhere = {"small": {"path": "models/small"}}  # not of the embedded world: so it is given GPUs
    project.configure(
        bases=elsewhere, screen={"models": elsewhere}, models=["small", "small-cot", "m1-small-1k", "m1-large-1k"]
    )
    recipe("m1-small-1k", project, train={"nodes": 2, "processes": 2, "per_device": 2})
    recipe("small-cot", project, serve={"engine": "sglang", "options": {"tp": 2, "dp": 2, "python": "/nowhere/python"}})

    process = cluster.start(*MAIN, "results/short/infer/small-cot/predictions.parquet", "--retries=1")
    cluster.wait(lambda: cluster.step("m1-large-1k") > 60, process)
    (first,) = cluster.jobs("train_sft_wildcards_m1-large-1k")
    cluster.ask(
        "scontrol",
        "update",
        f"JobId={first['JobId']}",
        f"EndTime={datetime.now() + timedelta(seconds=2):%Y-%m-%dT%H:%M:%S}",
    )
    assert process.wait(timeout=PATIENCE) == 1, "what can be done is done; one model fails"
    said = cluster.said.read_text()

    jobs = [job | (CUT if job["JobId"] == first["JobId"] else {}) for job in cluster.jobs()]
    assert next(job["JobState"] for job in cluster.jobs() if job["JobId"] == first["JobId"]) in ("TIMEOUT", "FAILED")
    records = {
        rule: [tuple(map(job.get, ASKED)) for job in jobs if job["Comment"] == f"rule_{rule}"] for rule in RECORDS
    }
    assert records == RECORDS, said
    with_gpus = {job["Comment"].removeprefix("rule_") for job in jobs if job["Partition"] == "gpu"}
    assert with_gpus == {rule for rule, asked in RECORDS.items() if asked[0][1] == "gpu"}
    assert {job["JobState"] for job in jobs if job["Comment"].removeprefix("rule_") not in RECORDS} == {"COMPLETED"}
    for told in (
        "asked to stop after step",
        "Error in rule infer_answer",
        "error: infer small-cot: /nowhere/python: SGLang's Python cannot be started",
    ):
        assert told in said
    for made in MAIN:
        project.path(made)
    curated = "results/short/select/m1k.parquet"
    assert project.path(curated).read_bytes() == finished.path(curated).read_bytes(), (
        "jobs on nodes curate as one machine does"
    )

    ran = json.loads(project.path(f"{SMALL}/manifest.json").read_text())["ran"]
    assert (ran["strategy"], ran["processes"], ran["per_device"], ran["accumulation"]) == ("DDP", 4, 2, 1)
    two_nodes, one, base = (
        load_file(folder / "model.safetensors")
        for folder in (project.path(SMALL), finished.path(SMALL), project.path("models/small"))
    )
    for name, weights in one.items():
        assert np.abs(two_nodes[name] - weights).max() < 1e-4
    assert max(np.abs(one[name] - base[name]).max() for name in base) > 1e-2

    resumed = json.loads(project.path(f"{LARGE}/manifest.json").read_text())["ran"]["resumed"]
    assert resumed >= 60, "it went on from what the first job had kept"
    steps = [line["step"] for line in checkpoints.losses(project.path(f"{LARGE}/log.jsonl"))]
    assert steps == list(range(steps[0], 901, steps[0])), "each is logged once"

    # What the store has needs no GPU: the training on two nodes and the answers come from it, as jobs without one.
    before = len(cluster.jobs())
    project.path("gpus").unlink()  # a job that looked for GPUs would fail
    shutil.rmtree(project.path(SMALL))
    answers = [f"results/short/infer/{model}/predictions.parquet" for model in ("m1-small-1k", "small")]
    for file in answers:
        project.path(file).unlink()
    assert cluster.start(SMALL, *answers).wait(timeout=PATIENCE) == 0
    again = cluster.jobs()[before:]
    served = ("train_sft_wildcards_m1-small-1k", "infer_sweep_wildcards_m1-small-1k", "infer_answer_wildcards_small")
    assert {f"rule_{rule}" for rule in served} <= {job["Comment"] for job in again}
    assert {job["Partition"] for job in again} == {"cpu"}


def test_a_killed_run_goes_on_without_double_jobs_and_ctrl_c_cancels(project: Project, slurm: dict[str, str]) -> None:
    cluster = Cluster(project, slurm)
    train_for_longer(project)
    shutil.rmtree(project.path(LARGE))

    def states() -> list[str]:
        return [job["JobState"] for job in cluster.jobs()]

    killed = cluster.start(LARGE)
    cluster.wait(lambda: cluster.step("m1-large-1k") > 60, killed)
    killed.kill()
    killed.wait()
    assert states() == ["RUNNING"]

    going_on = cluster.start(LARGE)  # the documented restart: the same command
    cluster.wait(lambda: states()[1:] == ["RUNNING"], going_on)
    assert (
        "0 orphaned jobs ended, 1 SLURM jobs cancelled, lock removed; going on from what is finished"
        in cluster.said.read_text()
    )
    old, new = cluster.jobs()
    assert old["JobState"] == "CANCELLED"
    assert old["EndTime"] <= new["SubmitTime"], "the orphan was gone before its work was given to another job"
    step = cluster.step("m1-large-1k")
    cluster.wait(lambda: cluster.step("m1-large-1k") > step, going_on)

    going_on.send_signal(signal.SIGINT)
    assert going_on.wait(timeout=PATIENCE) == 1
    assert states() == ["CANCELLED", "CANCELLED"], cluster.said.read_text()
    assert not list((cluster.project.folder / ".snakemake/locks").glob("*"))
    assert not (cluster.project.folder / LARGE).exists()
