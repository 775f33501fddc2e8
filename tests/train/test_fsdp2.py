"""FSDP2 for real, in two processes over gloo (``tests/support/as_on_gpus.py``): what it computes, keeps and saves."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from m1.train import checkpoints
from patience import PATIENCE
from safetensors.torch import load_file
from shared import made_once
from training import STEPS, as_on_gpus, wait_for_a_step, weights

pytestmark = [pytest.mark.train, pytest.mark.slow]
SHARE: dict[str, Any] = {"per_device": 2, "save_steps": None}
"""Two samples at a time, on average, twice for a step."""


def losses(output: Path) -> list[float]:
    return [line["loss"] for line in checkpoints.losses(output / "log.jsonl")]


def finish(material: Path, output: Path, emulated: str = "fsdp2,rows", **settings: Any) -> str:
    """Train to the end; what it said."""
    process = as_on_gpus(emulated, material, output, settings, **SHARE)
    said, problems = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, problems
    return said


@pytest.fixture(scope="module")
def sharded(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a training by FSDP2 in float32, whose micro-batches are rows with like numbers of tokens."""

    def make(folder: Path) -> None:
        (folder.with_suffix(".said")).write_text(finish(material, folder), encoding="utf-8")

    return made_once(tmp_path_factory, "sharded", make)


def test_sharded_and_in_balanced_rows_the_losses_are_those_of_one_process(sharded: Path, undisturbed: Path) -> None:
    said = sharded.with_suffix(".said").read_text(encoding="utf-8")
    assert "FSDP2 on CPU, 2 × 2 × 2 samples a step, sdpa attention, padding-free" in said
    assert len(losses(sharded)) == STEPS
    assert losses(sharded) == pytest.approx(losses(undisturbed), abs=2e-6)


def test_the_saved_model_is_that_of_one_process(sharded: Path, undisturbed: Path) -> None:
    found, wanted = (load_file(folder / "model.safetensors") for folder in (sharded, undisturbed))
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=2e-6, rtol=0)


def test_stopped_in_a_later_epoch_it_goes_on_to_the_same_bytes(sharded: Path, material: Path, tmp_path: Path) -> None:
    output = tmp_path / "stopped"
    process = as_on_gpus("fsdp2,rows", material, output, {}, **SHARE)
    wait_for_a_step(Path(f"{output}.scratch"), 9, process)
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "asked to stop after step " in "".join(said)
    finish(material, output)
    assert 9 <= json.loads((output / "manifest.json").read_text())["ran"]["resumed"] < STEPS
    assert weights(output) == weights(sharded)
    assert (output / "log.jsonl").read_bytes() == (sharded / "log.jsonl").read_bytes()


def test_a_kill_while_the_model_is_being_saved_costs_no_step(sharded: Path, material: Path, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    killed = as_on_gpus("fsdp2,rows,dies", material, output, {}, **SHARE)
    killed.communicate(timeout=PATIENCE)
    assert killed.returncode != 0
    finish(material, output)
    assert json.loads((output / "manifest.json").read_text())["ran"]["resumed"] == STEPS
    assert weights(output) == weights(sharded)


def test_in_bf16_neither_losses_nor_sums_are_rounded_and_no_tensor_is_whole_in_float32(
    material: Path, undisturbed: Path, tmp_path: Path
) -> None:
    said = finish(material, tmp_path / "model", bf16=True)
    seen = json.loads(said.rpartition("SEEN ")[2])
    assert seen["policies"] == ["torch.bfloat16 torch.float32 None"]
    assert seen["outputs"] == ["torch.float32"], "what losses are made of"
    assert seen["gathered"] == ["torch.bfloat16"]
    assert seen["kept whole"] == [], "gradients are sharded after each micro-batch"
    assert seen["timeouts"] == ["1:00:00"]
    assert losses(tmp_path / "model") == pytest.approx(losses(undisturbed), rel=0.02)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model/model.safetensors").values()} == {torch.bfloat16}
