"""What torch sees of the GPUs that a job was given, and what is said where it is less."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_gpus import fake_driver, fake_torch
from m1.core import gpus


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a driver nor a choice of cards of the machine that tests run on."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def use_torch(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    spec = importlib.util.spec_from_file_location("torch", folder / "torch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "torch", module)


def test_a_driver_too_old_for_torchs_cuda_is_no_gpu_although_the_cards_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_torch(monkeypatch, fake_torch(tmp_path, gpus=8, works=False))
    monkeypatch.setenv("PATH", f"{fake_driver(tmp_path / 'bin', '535.129.03', 8)}:/usr/bin:/bin")
    seen = gpus.look()
    assert (seen["gpus"], seen["driver"], len(seen["cards"])) == (0, "535.129.03", 8)
    said = str(gpus.lack(8, seen))
    for part in (
        f"8 GPUs asked for on {seen['host']}, and torch sees 0",
        "driver 535.129.03 with 8 cards",
        "torch 2.14.1 for CUDA 13.0",
        "CUDA_VISIBLE_DEVICES not set",
        "CUDA 13.0 wants driver 580 or newer: choose nodes with one, or torch for an older CUDA.",
    ):
        assert part in said


SEEN = {"gpus": 0, "torch": "2.14.1", "cuda": "13.0", "driver": "580.82.07", "cards": ["H100"] * 8}
SEEN |= {"visible": None, "host": "n7"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"cuda": None}, "torch 2.14.1 for CPUs only; CUDA_VISIBLE_DEVICES not set). Install torch with CUDA into"),
        ({"driver": "", "cards": []}, "no answer of nvidia-smi; torch 2.14.1 for CUDA 13.0; CUDA_VISIBLE_DEVICES not"),
        (
            {"driver": "", "cards": []},
            "Choose nodes with GPUs (cluster.gpu_partition, gpu_type), or give the container",
        ),
        ({"gpus": 2, "visible": "0,1"}, "sees 2 (driver 580.82.07 with 8 cards; torch 2.14.1 for CUDA 13.0; CUDA_VISI"),
        ({"gpus": 2, "visible": "0,1"}, "CUDA_VISIBLE_DEVICES '0,1'). Give the job as many as it asks for"),
        ({"gpus": 2, "cards": ["H100"] * 2}, "or ask for fewer (train.processes, or tp × dp in serve.options)."),
        ({"visible": ""}, "CUDA_VISIBLE_DEVICES ''). Give the job as many as it asks for"),
        ({"driver": "550.54", "cuda": "12.8"}, "The cards are there and CUDA does not start: ask those who run"),
        ({"driver": "470.57", "cuda": "12.8"}, "CUDA 12.8 wants driver 525 or newer"),
    ],
)
def test_the_remedy_is_that_of_the_cause(more: dict[str, object], said: str) -> None:
    assert said in str(gpus.lack(8, SEEN | more))


def test_as_many_as_asked_for_and_more_are_no_lack() -> None:
    assert gpus.lack(8, SEEN | {"gpus": 8}) is None
    assert gpus.lack(1, SEEN | {"gpus": 8}) is None
    assert gpus.lack(0, SEEN) is None


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("printf '580.82.07, NVIDIA H100 80GB HBM3\\n580.82.07, NVIDIA H200\\n'", ("580.82.07", 2)),
        ("echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver'; exit 9", ("", 0)),
        ("echo 'No devices were found'", ("", 0)),
    ],
)
def test_what_nvidia_smi_says(
    script: str, found: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    driver, cards = gpus.ask_driver()
    assert (driver, len(cards)) == found


def as_program(folder: Path, **torch: object) -> dict[str, object]:
    """What the module says as a program of another environment."""
    environment = {"PYTHONPATH": str(fake_torch(folder, **torch)), "PATH": "/usr/bin:/bin"}  # type: ignore[arg-type]
    command = [sys.executable, "-P", gpus.__file__]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_as_a_program_it_multiplies_on_each_gpu(tmp_path: Path) -> None:
    assert as_program(tmp_path, gpus=2)["products"] == ["", ""]
    assert as_program(tmp_path, gpus=1, right=False)["products"] == ["a product of matrices is wrong"]
    fault = "raise RuntimeError('no kernel image is available for execution on the device\\nmore')"
    assert as_program(tmp_path, gpus=1, ones=fault)["products"] == [
        "no kernel image is available for execution on the device"
    ]
    assert as_program(tmp_path, gpus=4, works=False)["products"] == []


def test_the_newest_c_library_that_a_package_is_built_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {
        "old": "cp311-cp311-manylinux_2_17_x86_64",
        "both": "cp311-cp311-manylinux_2_17_x86_64\nTag: cp311-cp311-manylinux_2_39_x86_64",
        "newest": "cp311-cp311-manylinux_2_34_x86_64",
        "plain": "py3-none-any",
    }
    for name, tag in tags.items():
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "WHEEL").write_text(f"Wheel-Version: 1.0\nTag: {tag}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert gpus.wanted_glibc() == ((2, 34), "newest")
    assert gpus.glibc() >= (2, 17)
    assert os.confstr("CS_GNU_LIBC_VERSION") == "glibc " + ".".join(map(str, gpus.glibc()))
