"""What `make doctor` finds: on this machine, on one with a program in place of nvidia-smi, and with a bare Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from m1 import config, doctor

ROOT = Path(__file__).parents[2]
PAPER = [ROOT / "config/paper.yaml"]
ONE_GPU = [*PAPER, ROOT / "config/overlays/one-gpu.yaml"]


def examine(overlays: list[Path]) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.needs(config.load(overlays))}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on this machine in the hub's place."""

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", url)
    yield url
    server.shutdown()
    server.server_close()


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One card of 24 GB."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 24564\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_the_demo_can_run_here_and_needs_nothing_else() -> None:
    here = list(doctor.machine())
    assert not [doctor.line(finding) for finding in here if finding.need and finding.stops_demo]
    assert {name: finding.need for name, finding in examine([]).items()} == {"GPUs": ""}


def test_local_files_that_are_not_there_are_missing(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("{bases: {small: {path: nowhere}}, data: {mine: {path: mine.csv, layout: eval}}, benchmarks: {mine: {from: mine}}}")
    found = examine([overlay])["files"]
    assert (found.found, found.need.split(";")[0]) == ("nowhere, mine.csv", "for bases.small, data.mine")
    assert "files" not in examine([])


def test_a_published_checkpoint_needs_no_room_for_a_training(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(
        "{enter: {checkpoints: {m1-7b-1k: m1_7b_1k}}, models: [m1-7b-1k], "
        "report: {table1: {models: [m1-7b-1k]}, table2: null, figures: [m1-7b-1k]}}"
    )
    assert examine([*PAPER, overlay])["weights"].found.startswith("14 GB wanted")


@pytest.mark.usefixtures("card", "hub")
def test_the_small_model_fits_one_card_of_24_gb_and_those_of_the_paper_do_not() -> None:
    small = examine(ONE_GPU)
    assert small["GPUs"].need == ""
    assert small["GPUs"].found.startswith("1 of 26 GB")
    assert "SGLang" not in small
    paper = examine(PAPER)["GPUs"]
    assert paper.need.startswith("32b wants 8 of 42 GB or more"), "the largest first"
    assert paper.need.endswith("take what is published (`enter`)")


@pytest.mark.usefixtures("card")
def test_a_hub_that_does_not_answer_is_said_with_what_needs_it(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examine(ONE_GPU)["hub"].need == ""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    finding = examine(ONE_GPU)["hub"]
    assert "127.0.0.1:1" in finding.found
    assert finding.need.startswith("for bases.0.5b, benchmarks.medqa")


@pytest.mark.usefixtures("hub")
def test_keys_and_sglang_are_needed_where_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("M1_SGLANG_PYTHON", raising=False)
    found = examine(PAPER)
    assert doctor.line(found["key"]) == "missing key         OPENAI_API_KEY is not set: for labeller; run: export OPENAI_API_KEY=…"
    assert "set M1_SGLANG_PYTHON" in found["SGLang"].need
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("M1_SGLANG_PYTHON", sys.executable)
    found = examine(PAPER)
    assert (found["key"].need, found["SGLang"].need) == ("", "")
    assert "secret" not in doctor.line(found["key"])
    assert "key" not in examine(ONE_GPU), "no paid call is in it"


def test_packages_that_differ_from_the_pins_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements.txt").write_text("psutil==0.0.1\nm1-nowhere==1\n", encoding="utf-8")
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    (tmp_path / ".venv").mkdir()
    found = next(finding for finding in doctor.machine() if finding.name == "packages")
    assert found.found.startswith("psutil ")
    assert found.found.endswith(", not 0.0.1, no m1-nowhere")
    assert (found.stops_demo, found.need) == (True, "for everything; run: make clean-venv demo")


def test_it_runs_without_any_package(tmp_path: Path) -> None:
    """As the first thing in a fresh clone: an isolated Python sees nothing but the standard library."""
    shutil.copytree(ROOT / "workflow/m1", tmp_path / "workflow/m1", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "requirements.txt", tmp_path)
    code = "import sys; sys.path.insert(0, 'workflow'); sys.prefix = sys.base_prefix; from m1.doctor import main; main([])"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no virtual environment; `make demo` makes it" in done.stdout
    assert "not looked at, without the package" in done.stdout
