"""How a training is started: one process, several, and several nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from m1.core.errors import UserError
from m1.train import checkpoints, launch
from m1.train.launch import srun
from m1.train.settings import TrainRuntime
from training import RUNTIME, command, environment, start, train, wait_for_a_step, weights

TWO_NODES = {**RUNTIME, "nodes": 2, "processes": 8}


def test_several_nodes_need_a_slurm_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(
        UserError, match=r"train\.nodes: 2 nodes need a SLURM job; use profiles/slurm, or set train.nodes to 1"
    ):
        launch.start(TrainRuntime(**TWO_NODES), [])


def test_srun_starts_one_launcher_on_each_node() -> None:
    found = srun(2, ["--name", "m1"])
    expected = ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpu-bind=none", "--kill-on-bad-exit=1"]
    assert found[: len(expected)] == expected
    assert found[-4:] == ["-m", "m1.train.launch", "--name", "m1"]


@pytest.mark.train
@pytest.mark.slow
def test_two_launchers_as_on_two_nodes_find_each_other(material: Path, undisturbed: Path, tmp_path: Path) -> None:
    """torchrun and its rendezvous are real; only ``scontrol``, which names the nodes, is replaced: both are this
    machine."""
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho localhost\necho localhost\n")
    (tmp_path / "scontrol").chmod(0o755)
    job = {
        "SLURM_STEP_NODELIST": "node[1-2]",
        "SLURM_JOB_ID": str(os.getpid()),
        "M1_NODE": "1",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    words = command(material, tmp_path / "model", nodes=2)
    launchers = [
        subprocess.Popen(
            words,
            env={**environment(), **job, "SLURM_NODEID": node},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in "01"
    ]
    said = [launcher.communicate(timeout=300) for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], said
    assert weights(tmp_path / "model") == weights(undisturbed)
    assert json.loads((tmp_path / "model/manifest.json").read_text())["ran"]["processes"] == 2


@pytest.mark.train
@pytest.mark.slow
def test_all_processes_told_to_stop_as_slurm_does_keep_their_state(
    material: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """SLURM signals every process of a step: launcher, torchrun, and its processes, which are signalled once more by
    torchrun."""
    output = tmp_path / "told"
    process = start(material, output, processes=2, save_steps=None)
    wait_for_a_step(Path(f"{output}.scratch"), 9, process)  # within the second of three epochs
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    kept = checkpoints.latest(next(Path(f"{output}.scratch").glob("train/tiny/*")), "train tiny")
    assert kept is not None, said
    train(material, output, processes=2, save_steps=None)
    assert weights(output) == weights(undisturbed)
    assert json.loads((output / "manifest.json").read_text())["ran"]["resumed"] >= 9
