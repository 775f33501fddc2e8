"""benchmarks/gpu.py: the whole of it in small on a CPU, and how it goes on where a measurement does not."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benchmark_scripts import FOLDER, load

gpu = load("gpu")

NOT_THERE = {"openai", "snakemake", "rapidfuzz", "statsmodels", "matplotlib", "fastapi", "uvicorn"}
"""Packages of this environment that are neither in the wheels of gpu.sh nor on the machine that its head describes."""
NOTE_MODULES = """
import atexit, os, sys
def note():
    with open(os.environ["NOTED"], "a") as lines:
        lines.write(" ".join({name.split(".")[0] for name in sys.modules}) + "\\n")
atexit.register(note)
"""


def lines(out: Path) -> dict[str, list[dict]]:
    """The results by task."""
    found: dict[str, list[dict]] = {}
    for line in (out / "results.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.setdefault(row["task"], []).append(row)
    return found


@pytest.mark.slow
@pytest.mark.train
def test_everything_runs_in_small(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOTE_MODULES)
    noted, out = tmp_path / "noted", tmp_path / "out"
    command = ["bash", str(FOLDER / "gpu.sh"), "--tiny"]
    environment = {**os.environ, "PYTHON": sys.executable, "WHEELS": "none", "OUT": str(out), "NOTED": str(noted)}
    environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    found = lines(out)
    assert list(found) == [task.name for task in gpu.TASKS], (out / "log.txt").read_text()[-3000:]
    lora = "train 7b ours-2-ac-lora, 28 layers"
    for name, rows in found.items():
        assert not any("failed" in row or not row.get("fits", True) for row in rows), (name, rows)
        assert not any("left_out" in row for row in rows), (name, rows)
    curves = {name: rows[0]["losses"] for name, rows in found.items() if name.startswith("train") and name != lora}
    first = curves["train 7b ours-2-ac, 8 layers"]
    assert len(first) == 2
    for name, losses in curves.items():
        if "8 layers" in name:
            assert losses == pytest.approx(first, abs=1e-4), name
    assert found["train 7b ours-2-ac-fsdp, 8 layers"][0]["save_seconds"] > 0
    for shape in ("1.5b", "7b"):
        *speeds, at_8, at_1 = found[f"engine {shape}, 28 layers"]
        assert all(row["tokens_s"] > 0 and 0 < row["busy"] <= 1 for row in speeds)
        assert (at_8["equal"], at_1["equal"]) == (24, 4), "float32"
    [swept] = found["sweep 1.5b, 28 layers"]
    assert swept["of"] == 6 * 11
    assert swept["equal"] == swept["equal_thinking"] == swept["of"], "float32"
    assert swept["token_share"] < 0.3
    for task in gpu.TASKS:
        assert task.section == "base" or f"| {task.name} | {task.predicted} | " in done.stdout
    assert "28 layers: " in done.stdout.splitlines()[-1], "extrapolated by the two depths"
    assert "sweep" in (out / "log.txt").read_text()
    assert not {name for line in noted.read_text().splitlines() for name in line.split()} & NOT_THERE


def test_a_measurement_that_fails_or_hangs_is_said_and_the_others_go_on(tmp_path: Path) -> None:
    tasks = [gpu.Task("hangs", seconds=1), gpu.Task("fails"), gpu.Task("works"), gpu.Task("late", seconds=3000)]
    tasks.append(gpu.Task("train", "ours-1", "7b", 8))
    late = tmp_path / "late"
    child = f"import time; time.sleep(3); open({str(late)!r}, 'w')"
    programs = {
        "hangs": f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)",
        "fails": "import sys; print('why'); sys.exit(3)",
        "works": f"open({str(tmp_path / 'worked')!r}, 'w')",
    }
    gpu.run_tasks(tasks, lambda task: [sys.executable, "-c", programs[task.section]], tmp_path, tmp_path, 600)
    found = {name: rows[0]["said"] for name, rows in lines(tmp_path).items()}
    assert found == {
        "hangs": "failed (over 1 s): see log.txt",
        "fails": "failed (exit code 3): see log.txt",
        "late": "left out: no time",
        "train 7b ours-1, 8 layers": "left out: no model",
    }
    assert (tmp_path / "worked").exists()
    assert "== fails\nwhy\n" in (tmp_path / "log.txt").read_text()
    time.sleep(4)
    assert not late.exists(), "what a killed measurement had started is killed, too"


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a card")
def test_the_probe_fails_without_a_card(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "gpu.py"), "--out", str(tmp_path), "--work", str(tmp_path), "--task", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no GPU that torch sees; try the program with --tiny" in done.stderr


def test_without_a_card_nothing_else_is_run(tmp_path: Path) -> None:
    tasks = [gpu.Task("probe"), gpu.Task("sweep"), gpu.Task("base")]
    gpu.run_tasks(tasks, lambda task: [sys.executable, "-c", "raise SystemExit(1)"], tmp_path, tmp_path, 600)
    said = [rows[0]["said"] for rows in lines(tmp_path).values()]
    assert said == ["failed (exit code 1): see log.txt", *["left out: the probe failed"] * 2]


def test_measured_stands_beside_predicted() -> None:
    tasks = [gpu.Task("probe", predicted="fast"), gpu.Task("base"), gpu.Task("sweep", predicted="faster")]
    rows = [{"task": "probe", "said": "slow"}, {"task": "probe", "said": "and hot"}, {"task": "base", "seconds": 3}]
    assert gpu.table(tasks, rows)[2:] == ["| probe | fast | slow; and hot |", "| sweep | faster | not run |"]


def test_names_are_unique_and_every_model_is_made_before_it_is_read() -> None:
    names = [task.name for task in gpu.TASKS]
    assert len({*names}) == len(names)
    made: set[str] = set()
    for task in gpu.TASKS:
        if task.section == "base":
            made.add(task.base)
        assert task.section == "probe" or task.base in made, task.name


def test_wheels_are_the_versions_that_are_tested_here() -> None:
    pins = re.findall(r"([A-Za-z-]+)==([0-9.]+)", (FOLDER / "gpu.sh").read_text())
    assert {"transformers", "trl", "peft", "datasets", "tokenizers", "jsonschema"} <= {name for name, _ in pins}
    assert dict(pins) == {name: importlib.metadata.version(name) for name, _ in pins}


def test_the_predictions_are_in_the_readme() -> None:
    text = (FOLDER / "README.md").read_text()
    assert [line for line in gpu.table(gpu.TASKS, ())[2:] if line.rsplit("|", 2)[0] not in text] == []
