"""How a training is started: one process, several, and several nodes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from m1.core.errors import UserError
from m1.core.files import model_identity, replacing_model
from m1.train import checkpoints, launch, sft
from m1.train.launch import srun, wait_for_others
from m1.train.settings import SftSettings, TrainRuntime
from patience import PATIENCE
from training import ROOT, RUNTIME, SETTINGS, command, environment, flags, start, train, wait_for_a_step, weights

TWO_NODES = {**RUNTIME, "nodes": 2, "processes": 8}


def test_several_nodes_need_a_slurm_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(
        UserError, match=r"train\.nodes: 2 nodes need a SLURM job; use profiles/slurm, or set train.nodes to 1"
    ):
        launch.start(TrainRuntime(**TWO_NODES), [])


class Started:
    """Takes the place of ``Popen``: the command that would have been started."""

    commands: list[list[str]]

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        Started.commands.append(command)

    def wait(self) -> int:
        return 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    Started.commands = []
    monkeypatch.setattr(launch.subprocess, "Popen", Started)
    monkeypatch.setattr(launch.signal, "signal", lambda number, handler: None)
    return Started.commands


def on_a_node(monkeypatch: pytest.MonkeyPatch, seen: int) -> None:
    """A machine whose torch sees so many GPUs, with a driver of eight that is too old for more."""
    facts = {"gpus": seen, "torch": "2.13.0", "cuda": "13.0", "driver": "535.129.03", "cards": ["H100"] * 8}
    monkeypatch.setattr(launch.gpus, "look", lambda: facts | {"visible": None, "host": "n7"})


@pytest.mark.parametrize("seen", [0, 7])
def test_a_training_with_fewer_gpus_than_it_was_given_stops_before_any_process(
    seen: int, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_node(monkeypatch, seen)
    said = rf"train: 8 GPUs asked for on n7, and torch sees {seen} \(driver 535.129.03 .*CUDA 13.0 wants driver 580"
    with pytest.raises(UserError, match=said):
        launch.start(TrainRuntime(**{**RUNTIME, "processes": 8, "gpus": 8}), [])
    assert started == []


@pytest.mark.parametrize(("gpus", "seen"), [(0, 0), (8, 8)])
def test_a_training_that_has_its_gpus_or_was_given_none_is_started(
    gpus: int, seen: int, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_node(monkeypatch, seen)
    assert launch.start(TrainRuntime(**{**RUNTIME, "processes": 8, "gpus": gpus}), ["--name", "m1"]) == 0
    assert "--nproc-per-node=8" in started[0]


def test_of_several_nodes_each_looks_for_its_own_gpus(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runtime = TrainRuntime(**{**TWO_NODES, "gpus": 8})
    on_a_node(monkeypatch, 0)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert launch.start(runtime, []) == 0
    assert started.pop()[0] == "srun", "the batch script of the job needs no GPU"
    monkeypatch.setenv("SLURM_STEP_NODELIST", "n[7-8]")
    monkeypatch.setenv("M1_NODE", "1")
    with pytest.raises(UserError, match="8 GPUs asked for on n7, and torch sees 0"):
        launch.start(runtime, [])
    assert started == []


def test_the_program_says_so_and_trains_nothing(material: Path, tmp_path: Path) -> None:
    """With the torch of this environment, which is a build for CPUs, or on a machine without GPUs."""
    if torch.cuda.is_available():
        pytest.skip("this machine has GPUs")
    done = subprocess.run(
        command(material, tmp_path / "model", gpus=1), cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "error: train: 1 GPU asked for on" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "model.scratch").exists()


def test_a_finished_training_is_taken_from_the_store_without_a_gpu(material: Path, tmp_path: Path) -> None:
    """The launcher looks into the store first, then for the cards; what it takes is what the step says is there."""
    words = flags(material, tmp_path / "model", {}, {"gpus": 1})
    assert sft.count_stored(words) == (0, 1, "models")
    arguments = sft.parse_arguments(words)
    _, kept = sft.places(arguments, SftSettings(**SETTINGS), model_identity(material / "base"))
    with replacing_model(kept) as folder:
        shutil.copytree(material / "base", folder)
        (folder / "log.jsonl").write_text('{"step": 1, "loss": 1.0, "learning_rate": 0.1}\n')
    assert sft.count_stored(words) == (1, 1, "models")
    done = subprocess.run(
        [sys.executable, "-m", "m1.train.launch", *words], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"trained before, with the same base, samples, settings and code: taken from {kept}" in done.stderr
    assert model_identity(tmp_path / "model") == model_identity(kept)
    assert not (tmp_path / "model.scratch").exists()
    other = flags(material, tmp_path / "model", {"seed": 43}, {"gpus": 1})
    assert sft.count_stored(other) == (0, 1, "models"), "another seed is another training"


def test_a_step_that_srun_ends_without_an_error_is_no_trained_model(
    material: Path, tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When SLURM preempts a step, ``srun`` may end with 0. Taken as a success, Snakemake would wait for the model, and
    remove the one that the job, queued again, had written in the meantime."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    said = rf"train tiny: no model in {tmp_path}/model: it was stopped, .*preempts"
    with pytest.raises(UserError, match=said):
        launch.main(flags(material, tmp_path / "model", {}, {"nodes": 2}))
    assert [words[0] for words in started] == ["srun"]


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
    said = [launcher.communicate(timeout=PATIENCE) for launcher in launchers]
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
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode != 0
    kept = checkpoints.latest(next(Path(f"{output}.scratch").glob("train/tiny/*")), "train tiny")
    assert kept is not None, said
    train(material, output, processes=2, save_steps=None)
    assert weights(output) == weights(undisturbed)
    assert json.loads((output / "manifest.json").read_text())["ran"]["resumed"] >= 9


def test_a_job_of_slurm_waits_for_a_training_of_the_model_that_goes_on_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the first run of a job does on a node that SLURM has lost; also where none is at work, and none was."""
    wait_for_others(tmp_path, "m1")
    lock = tmp_path / "train/m1/0123/lock"
    program = (
        "import sys, time; from pathlib import Path; from m1.core.locks import Lock; lock = Lock(Path(sys.argv[1]))"
    )
    program += "; assert not lock.take(); print(flush=True); time.sleep(1); Path(sys.argv[1] + '.ended').touch()"
    words = [sys.executable, "-c", program, lock]
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        wait_for_others(tmp_path, "other")
        assert not capsys.readouterr().out
        wait_for_others(tmp_path, "m1")
        assert lock.with_name("lock.ended").exists()
    assert f"[train m1] process {other.pid} on " in (said := capsys.readouterr().out)
    assert "waiting until it has ended" in said
    assert not lock.exists(), "the training itself takes it next"
