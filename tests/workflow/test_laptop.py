"""The laptop's configuration from an imitated hub: what is said of it before, its plan, and the whole run, with sets in
their published layouts and a tiny random model in the place of SmolLM2."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub import Hub, serving
from project import REPOSITORY, Project
from random_model import random_model

pytestmark = [pytest.mark.workflow, pytest.mark.server, pytest.mark.slow]
OVERLAYS = ("config/paper.yaml", "config/overlays/laptop.yaml", "small.yaml")
SETS = {"medqa_train": 12, "headqa_train": 12, "medmcqa_train": 12, "pubmedqa_labeled": 1000}
SETS |= {"m1k_tokenized": 20, "m23k_tokenized": 40}
BENCHMARKS = ("medmcqa", "medqa", "pubmedqa", "mmlu_pro")
SMALL = {
    "data": {name: {"rows": rows, "checksum": None} for name, rows in SETS.items()}
    | {"m1_eval_data": {"checksum": None, "sets": {name: {"rows": 4} for name in BENCHMARKS}}},
    "subsets": {"m1k": {"size": 16}},
}
"""What is imitated is smaller than what is published."""
LARGER = ("HuggingFaceTB/SmolLM2-360M-Instruct", "Qwen/Qwen2.5-0.5B-Instruct")
LETTERS = "ABCD"


def questions(source: str, count: int) -> list[dict[str, Any]]:
    """Of words that no other question has, in MedQA's own layout."""
    chance = random.Random(source)
    words = ["".join(chance.choices("abcdefghilmnoprstuvy", k=7)) for _ in range(12 * count)]
    cut = [words[12 * number : 12 * number + 12] for number in range(count)]
    return [
        {"question": f"Which is {' '.join(some[:8])}?", "options": dict(zip(LETTERS, some[8:])), "answer_idx": "B"}
        | {"answer": some[9], "meta_info": "step1"}
        for some in cut
    ]


def traces(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": "\n".join([one["question"], *(f"{letter}. {text}" for letter, text in one["options"].items())]),
            "answer_letter": "B",
            "source": "GBaker/MedQA-USMLE-4-options",
            "reasoning": f"It is {one['answer']}, as it is none of the others.",
            "distilled_answer_string": "The answer is \\boxed{B}.",
            "domain_name": "Diagnosis",
        }
        for one in questions("traces", count)
    ]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def medmcqa(one: dict[str, Any]) -> dict[str, Any]:
    return {"question": one["question"], "cop": 1} | {f"op{key.lower()}": text for key, text in one["options"].items()}


def headqa(one: dict[str, Any]) -> dict[str, Any]:
    inside = {"Question": one["question"], "Options": one["options"], "Correct Option": "B"}
    return {"data": inside | {"Correct Answer": one["answer"]}}


def pubmedqa(one: dict[str, Any]) -> dict[str, Any]:
    return {"question": one["question"], "context": {"contexts": list(one["options"].values())}, "final_decision": "no"}


PUBMEDQA_CARD = b"""---
configs:
- config_name: pqa_labeled
  data_files: [{split: train, path: pqa_labeled/train.jsonl}]
---
"""


def repositories(model: Path) -> dict[str, dict[str, bytes]]:
    evaluation = ("MedMCQA_validation", "MedQA_USLME_test", "PubMedQA_test", "MMLU-Pro_Medical_test")
    return {
        **{
            f"models/{base}": {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
            for base in ("HuggingFaceTB/SmolLM2-135M-Instruct", *LARGER)
        },
        "datasets/GBaker/MedQA-USMLE-4-options": {"phrases_no_exclude_train.jsonl": lines(questions("medqa", 12))},
        "datasets/openlifescienceai/medmcqa": {
            "data/train-00000-of-00001.parquet": parquet([medmcqa(one) for one in questions("medmcqa", 12)])
        },
        "datasets/openlifescienceai/headqa": {"train.jsonl": lines([headqa(one) for one in questions("headqa", 12)])},
        "datasets/qiaojin/PubMedQA": {
            "README.md": PUBMEDQA_CARD,
            "pqa_labeled/train.jsonl": lines([pubmedqa(one) for one in questions("pubmedqa", 1000)]),
        },
        "datasets/UCSC-VLAA/m1_eval_data": {
            "m1_eval_data.json": json.dumps({name: questions(name, 4) for name in evaluation}).encode()
        },
        "datasets/UCSC-VLAA/m1k-tokenized": {"train.jsonl": lines(traces(20))},
        "datasets/UCSC-VLAA/m23k-tokenized": {"train.jsonl": lines(traces(40))},
    }


@pytest.fixture
def hub(tmp_path: Path, tokenizer_folder: Path) -> Iterator[Hub]:
    model = random_model(shutil.copytree(tokenizer_folder, tmp_path / "model"), positions=4096)
    with serving(repositories(model)) as server:
        yield server


@pytest.fixture
def project(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = Project.of_repository(tmp_path / "project")
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy2(REPOSITORY / name, project.folder)
    (project.folder / "small.yaml").write_text(json.dumps(SMALL), encoding="utf-8")
    for name, value in hub.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    return project


def command(project: Project, name: str, *more: str, overlays: tuple[str, ...] = OVERLAYS) -> str:
    words = [sys.executable, "-m", "m1", name, "--configfile", *overlays, *more]
    done = subprocess.run(words, cwd=project.folder, env=project.environment(), capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("base", LARGER)
def test_a_larger_base_is_the_line_that_the_overlay_names(hub: Hub, project: Project, base: str) -> None:
    assert base in project.path(OVERLAYS[1]).read_text(encoding="utf-8")
    larger = (*OVERLAYS, "larger.yaml")
    (project.folder / "larger.yaml").write_text(f"bases: {{135m: {{hub: {base}}}}}\n", encoding="utf-8")
    said = command(project, "doctor", overlays=larger)
    assert f"{base} at main" in said
    size = {"360M": 9, "0.5B": 12}[base.split("-")[1]]
    assert f"m1-135m wants {size} GB or more on the CPU" in said
    code, said = project.run("--dry-run", "all", overlays=larger)
    assert code == 0, said[-4000:]
    assert {"train_sft m1-135m", "infer_sweep m1-135m", "infer_answer 135m-cot"} <= Project.jobs(said)
    code, said = project.run("results/laptop/bases/135m", overlays=larger)
    assert code == 0, said[-4000:]
    assert any(base in path for path in hub.paths)
    assert not any("135M" in path for path in hub.paths)


def test_from_the_hub_to_the_page(hub: Hub, project: Project, tmp_path: Path) -> None:
    said = command(project, "doctor")
    assert f"ok      hub         {hub.environment(tmp_path)['HF_ENDPOINT']} answers" in said
    assert "HuggingFaceTB/SmolLM2-135M-Instruct at main" in said
    said = command(project, "check-data")
    for name in (*SETS, "m1_eval_data: MedQA_USLME_test"):
        assert f"\n{name} " in said
    assert "problem:" not in said
    code, said = project.run("--dry-run", "all", overlays=OVERLAYS)
    assert code == 0, said[-4000:]
    planned = Project.jobs(said)
    assert {"train_sft m1-135m", "infer_sweep m1-135m", "infer_answer 135m-cot"} <= planned
    assert any(job.startswith("train_fetch") for job in planned)

    assert "modelled" in command(project, "fit", "--gpus", "0", "--hours", "1", "--output", "mine.yaml")
    code, said = project.run("all", overlays=OVERLAYS)
    assert code == 0, said[-6000:]
    assert project.path("results/laptop/report.html").stat().st_size > 50_000
    code, said = project.run("--dry-run", "all", overlays=OVERLAYS)
    assert "Nothing to be done" in said

    said = command(project, "fit", "--gpus", "0", "--hours", "1", "--output", "mine.yaml")
    assert "m1-135m" in said, said
    assert "measured by the run before" in said
    overlays = (*OVERLAYS, "mine.yaml")
    code, said = project.run("results/mine/table1.csv", overlays=overlays)
    assert code == 0, said[-6000:]
    assert "m1-135M" in project.path("results/mine/table1.csv").read_text(encoding="utf-8")
