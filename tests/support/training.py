"""Trainings of a tiny model, as programs."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from m1.core.files import sha256_file
from m1.core.records import Sample
from m1.train import checkpoints
from patience import PATIENCE

ROOT = Path(__file__).parents[2]

SETTINGS: dict[str, Any] = {
    **{
        "subset": "m1k",
        "epochs": 3,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "warmup_ratio": 0.05,
        "weight_decay": 1e-4,
    },
    **{"betas": [0.9, 0.95], "bf16": False, "block_size": 128, "truncated": 0, "group_by_length": True, "seed": 42},
}

RUNTIME: dict[str, Any] = {
    **{
        "nodes": 1,
        "processes": 1,
        "strategy": "ddp",
        "per_device": 4,
        "gradient_checkpointing": False,
        "attention": "sdpa",
    },
    **{"kernels": False, "save_minutes": 30, "save_steps": 2, "report_to": "none"},
}

STEPS = 24
"""60 samples by 8 are 7.5 batches: 8 steps, three times."""


def samples(count: int) -> list[Sample]:
    """Make samples of 40 to 100 tokens."""
    rng = random.Random(3)
    texts = [
        " ".join(rng.choices(["so", "we", "go", "on", "to", "the", "next", "one", "and", "stop"], k=rng.randint(5, 40)))
        for _ in range(count)
    ]
    return [
        Sample(f"id{n}", "medqa", "", f"Which of the {n}?\nA. a\nB. b", text, "B", "m1k", "all", 0)
        for n, text in enumerate(texts)
    ]


LORA: dict[str, Any] = {
    "lora": {"r": 4, "alpha": 8, "dropout": 0.05, "targets": None, "base_dtype": "float32"},
    "learning_rate": 1e-2,
}
"""What of :data:`SETTINGS` is another where an adapter is trained."""


def flags(
    material: Path, output: Path, settings: dict[str, Any], runtime: dict[str, Any], store: Path | None = None
) -> list[str]:
    """Of :mod:`m1.train.sft`; each output has a store of its own by default."""
    values = {"settings": json.dumps({**SETTINGS, **settings}), "runtime": json.dumps({**RUNTIME, **runtime})}
    fixed = {"name": "tiny", "base": str(material / "base"), "subset": str(material / "m1k.parquet")}
    fixed |= {"scratch": f"{output}.scratch", "store": str(store or f"{output}.store"), "output": str(output)}
    return [word for key, value in {**fixed, **values}.items() for word in (f"--{key}", value)]


def as_on_gpus(
    emulated: str, material: Path, output: Path, settings: dict[str, Any], **runtime: Any
) -> subprocess.Popen[str]:
    """A training at work in two processes with a process group of its own, in which ``emulated``
    (``tests/support/as_on_gpus.py``) is as on GPUs."""
    program = str(Path(__file__).with_name("as_on_gpus.py"))
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", program]
    return subprocess.Popen(
        [*words, *flags(material, output, settings, {**runtime, "processes": 2})],
        cwd=ROOT,
        env={**environment(), "EMULATED": emulated},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(
    material: Path, output: Path, store: Path | None = None, sft: dict[str, Any] | None = None, **runtime: Any
) -> list[str]:
    """The command that the rule runs; ``sft`` are other settings."""
    return [sys.executable, "-m", "m1.train.launch", *flags(material, output, sft or {}, runtime, store)]


def train(
    material: Path, output: Path, store: Path | None = None, sft: dict[str, Any] | None = None, **runtime: Any
) -> str:
    """Train to the end; returns the output."""
    words = command(material, output, store, sft, **runtime)
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(material: Path, output: Path, **runtime: Any) -> subprocess.Popen[str]:
    """Start a training in a process group of its own."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        command(material, output, **runtime), cwd=ROOT, env=environment(), start_new_session=True, **pipes
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1"}


def weights(output: Path) -> str:
    return sha256_file(output / "model.safetensors")


def wait_for_a_step(scratch: Path, number: int, process: subprocess.Popen[str]) -> None:
    """Wait until the log has the step, or the training is over."""
    while process.poll() is None:
        logs = list(scratch.glob("train/tiny/*/log.jsonl"))
        if logs and any(line["step"] >= number for line in checkpoints.losses(logs[0])):
            return
        time.sleep(0.01)
