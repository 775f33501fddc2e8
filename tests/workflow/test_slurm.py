"""The workflow on a real SLURM: two nodes with fake GPUs, and Snakemake's executor. What was asked for is read from
SLURM's own records."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from m1.train import checkpoints
from project import MAIN, REPOSITORY, SHORT, Project
from safetensors.numpy import load_file

HERE = REPOSITORY / "tests/slurm"
PROGRAMS = ("slurmctld", "slurmd", "srun", "munged")
pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """Environment of a running SLURM of two nodes with eight GPUs each."""
    system = f"/usr/sbin:/sbin:{os.environ['PATH']}"
    if absent := [program for program in PROGRAMS if not shutil.which(program, path=system)]:
        pytest.skip(
            f"no SLURM here: {', '.join(absent)} not found; Debian: apt-get install slurmctld slurmd slurm-client munge"
        )
    if os.getuid():
        pytest.skip("two SLURM nodes on one machine need root, for namespaces of their own")
    folder = Path(tempfile.mkdtemp(prefix="m1-slurm-", dir="/tmp"))  # short: it holds a socket
    try:
        started = subprocess.run(["bash", HERE / "start_slurm.sh", folder], capture_output=True, text=True)
        assert started.returncode == 0, started.stdout + started.stderr
        yield {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    finally:
        subprocess.run(["bash", HERE / "stop_slurm.sh", folder], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


class Cluster:
    """A project that runs on SLURM."""

    def __init__(self, project: Project, slurm: dict[str, str]) -> None:
        self.project = project
        paths = f"workflow:{HERE / 'fast'}"
        self.environment = {name: value for name, value in os.environ.items() if name != "SNAKEMAKE_PROFILE"}
        self.environment |= slurm | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.said = project.folder / "said.txt"

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The documented command."""
        words = ["-m", "m1", "launch", *arguments, "--workflow-profile", "profiles/slurm", "--configfile", SHORT]
        with open(self.said, "wb") as said:
            return subprocess.Popen(
                [sys.executable, *words],
                cwd=self.project.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(
                    signal.SIGINT, signal.SIG_DFL
                ),  # tests in the background were told to ignore it
            )

    def ask(self, *command: str) -> str:
        """What a program of SLURM says."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def jobs(self, rule: str = "") -> list[dict[str, str]]:
        """SLURM's records of the jobs of this project, in the order in which they were submitted."""
        rows = [
            dict(re.findall(r"(\S+?)=(\S*)", line))
            for line in self.ask("scontrol", "--oneliner", "show", "job").splitlines()
        ]
        found = [
            row
            for row in rows
            if row.get("WorkDir") == str(self.project.folder) and row["Comment"].startswith(f"rule_{rule}")
        ]
        return sorted(found, key=lambda row: int(row["JobId"]))

    def wait(
        self, condition: Callable[[], Any], process: subprocess.Popen[bytes] | None = None, seconds: float = 120
    ) -> Any:
        """What a condition gives as soon as it gives something."""
        until = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < until, (
                f"{[(job['JobId'], job['JobState']) for job in self.jobs()]}\n{self.said.read_text()}"
            )
            assert process is None or process.poll() is None, self.said.read_text()
            time.sleep(0.2)
        return found

    def step(self, model: str) -> int:
        """The last step of an unfinished training; 0 where there is none."""
        logs = list((self.project.folder / "scratch/train" / model).glob("*/log.jsonl"))
        return max([line["step"] for log in logs for line in checkpoints.losses(log)], default=0)


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
    """These nodes' GPUs are fake: jobs that are given some take it that torch sees them, and compute on the CPU."""
    source = project.path("workflow/m1/core/gpus.py")
    told = "\n\ndef lack(wanted: int, seen: Mapping[str, Any]) -> Lack | None:\n    return None\n"
    before, mark, after = source.read_text().partition('\n\nif __name__ == "__main__"')
    source.write_text(before + told + mark + after)


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
    cluster.wait(lambda: cluster.step("m1-large-1k") > 60, process, seconds=240)
    (first,) = cluster.jobs("train_sft_wildcards_m1-large-1k")
    cluster.ask(
        "scontrol",
        "update",
        f"JobId={first['JobId']}",
        f"EndTime={datetime.now() + timedelta(seconds=2):%Y-%m-%dT%H:%M:%S}",
    )
    assert process.wait(timeout=300) == 1, "what can be done is done; one model fails"
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
    shutil.rmtree(project.path(SMALL))
    project.path("results/short/infer/small/predictions.parquet").unlink()
    assert cluster.start(*MAIN).wait(timeout=300) == 0
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
    assert going_on.wait(timeout=120) == 1
    assert states() == ["CANCELLED", "CANCELLED"], cluster.said.read_text()
    assert not list((cluster.project.folder / ".snakemake/locks").glob("*"))
    assert not (cluster.project.folder / LARGE).exists()
