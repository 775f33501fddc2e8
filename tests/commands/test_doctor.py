"""What `make doctor` finds: on this machine, on one with a program in place of nvidia-smi, and with a bare Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from m1.commands import doctor
from m1.wiring import config
from m1.wiring.run import Run

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
            self.send_response(403)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield url
    server.shutdown()
    server.server_close()


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One card of 24 GB."""
    command(tmp_path / "nvidia-smi", "echo 24564")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty."""
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf/hub"


def command(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def written(folder: Path, text: str) -> Path:
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return folder / "mine.yaml"


def test_the_demo_can_run_here_and_needs_nothing_else() -> None:
    here = list(doctor.machine())
    assert not [str(finding) for finding in here if finding.need and finding.stops_demo]
    assert {name: finding.need for name, finding in examine([]).items()} == {"GPUs": ""}


def test_local_files_that_are_not_there_are_missing(tmp_path: Path) -> None:
    overlay = written(
        tmp_path,
        "{bases: {small: {path: nowhere}}, data: {mine: {path: mine.csv, layout: eval}}, "
        "benchmarks: {mine: {from: mine}}}",
    )
    found = examine([overlay])["files"]
    assert (found.found, found.need.split(";")[0]) == ("nowhere, mine.csv", "for bases.small, data.mine")
    assert "files" not in examine([])


def test_a_local_path_is_looked_for_where_the_run_looks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.csv").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    overlay = written(tmp_path, "{data: {mine: {path: ~/mine.csv, layout: eval}}, benchmarks: {mine: {from: mine}}}")
    assert "files" not in examine([overlay])
    assert config.load([overlay])["benchmarks"]["mine"]["path"] == str(tmp_path / "mine.csv")
    overlay = written(tmp_path, "{screen: {models: {small: {path: ~/none}}}}")
    assert examine([overlay])["files"].need.startswith("for screen.models.small")


M1_7B = "{models: [m1-7b-1k], report: {table1: {models: [m1-7b-1k]}, table2: null, figures: [m1-7b-1k]}, %s}"
ENTERED = "subsets: {m1k: m1k_tokenized, m23k: m23k_tokenized, random_1k: m1k_tokenized, hard_random_1k: m1k_tokenized"
ENTERED += ", hard_domain_1k: m1k_tokenized, random_23k: m23k_tokenized}"


def wanted(overlay: Path) -> dict[str, float]:
    return {str(place): gb for place, gb in doctor.room(Run(config.load([*PAPER, overlay]))) if gb}


def test_a_published_checkpoint_needs_no_room_for_a_training(tmp_path: Path, cache: Path) -> None:
    overlay = written(tmp_path, M1_7B % f"published: {{checkpoints: {{m1-7b-1k: m1_7b_1k}}, {ENTERED}}}")
    assert wanted(overlay) == {str(cache): 28}, "the base, for Figure 8a, and the checkpoint"
    assert examine([*PAPER, overlay])["weights"].found.startswith(f"28 GB wanted in {cache}, ")


def test_a_store_on_another_disk_keeps_trained_models_there(tmp_path: Path, cache: Path, other_disk: Path) -> None:
    results = str(tmp_path / "results")
    text = M1_7B % f"scratch: {tmp_path / 'scratch'}, store: {other_disk / 'store'}, pathvars: {{results: {results}}}"
    found = wanted(written(tmp_path, text))
    assert found[str(other_disk / "store")] == found[results] == 14


def test_room_is_wanted_where_models_go_less_what_is_there(tmp_path: Path, cache: Path) -> None:
    scratch, results = str(tmp_path / "scratch"), str(tmp_path / "results")
    text = M1_7B % f"scratch: {scratch}, pathvars: {{results: {results}}}, published: {{%s}}"
    overlay = written(tmp_path, text % "")
    assert wanted(overlay) == {str(cache): 14 + 64, scratch: 168, results: 14}, (
        "the base screens, too, and is one model on the hub"
    )
    [finding] = list(doctor.check_weights(Run(config.load([*PAPER, overlay]))))
    assert finding.found.startswith(f"260 GB wanted in {cache}, {scratch}, {results}, "), "one disk, added up"
    weights = cache / "models--Qwen--Qwen2.5-32B-Instruct/blobs/weights"
    weights.parent.mkdir(parents=True)
    with weights.open("wb") as stream:
        stream.truncate(10**9)
    (tmp_path / "results/train/m1-7b-1k").mkdir(parents=True)
    assert wanted(overlay) == {str(cache): 14 + 63}
    weights.unlink()
    assert wanted(written(tmp_path, text % ENTERED)) == {str(cache): 14}, "nothing is screened"


SCREENING = """
pathvars: {results: %s/results}
screen:
  models: {small: {hub: Qwen/Qwen2.5-72B-Instruct, path: null}}
  serve: {engine: sglang, options: {tp: 2, python: %s}}
"""


@pytest.mark.usefixtures("card", "hub")
def test_screening_models_count(tmp_path: Path, cache: Path) -> None:
    """The embedded world, where one screening model comes from the hub: nothing else needs anything."""
    found = examine([written(tmp_path, SCREENING % (tmp_path, "none"))])
    assert found["GPUs"].need.startswith("screen.models.small wants 2 of 94 GB or more; ")
    assert found["weights"].found.startswith(f"144 GB wanted in {cache}, ")
    assert (found["SGLang"].found, found["SGLang"].need.split(";")[0]) == (
        "none: no Python with SGLang",
        "for screen.models.small, screen.models.large",
    )
    assert found["hub"].need == ""
    assert doctor.missing_from_hub(Run(config.load([tmp_path / "mine.yaml"]))) == ["screen/models/small"]
    assert "SGLang" not in examine([])


@pytest.mark.usefixtures("card", "hub")
def test_the_small_model_fits_one_card_of_24_gb_and_those_of_the_paper_do_not() -> None:
    small = examine(ONE_GPU)
    assert small["GPUs"].need == ""
    assert small["GPUs"].found.startswith("1 of 26 GB")
    assert "SGLang" not in small
    paper = examine(PAPER)["GPUs"]
    assert paper.need.startswith("32b wants 8 of 42 GB or more"), "the largest first"
    assert paper.need.endswith("take what is published (`published`)")


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("base", "there", "wanted", "enough"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 8, 5, True),
        ("Qwen/Qwen2.5-0.5B-Instruct", 8, 12, False),
        ("Qwen/Qwen2.5-0.5B-Instruct", 16, 12, True),
    ],
)
def test_the_memory_that_a_laptop_needs_follows_from_its_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, there: int, wanted: int, enough: bool
) -> None:
    monkeypatch.setattr(doctor, "memory_gb", lambda: there)
    mine = written(tmp_path, f"bases: {{135m: {{hub: {base}}}}}\n")
    found = examine([*PAPER, ROOT / "config/overlays/laptop.yaml", mine])["memory"]
    assert found.found == f"m1-135m wants {wanted} GB or more on the CPU, {there} GB there"
    assert found.need == ("" if enough else "choose a smaller base, or use a larger machine")


@pytest.mark.usefixtures("hub")
def test_an_adapter_on_7b_fits_a_card_of_48_gb_and_its_checkpoints_take_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    one_card = [*PAPER, ROOT / "config/overlays/one-card-7b.yaml"]
    command(tmp_path / "nvidia-smi", "echo 49140")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert examine(one_card)["GPUs"].need == ""
    places = {str(tmp_path / "results"): 14, str(cache): 14}
    overlay = written(tmp_path, f"{{pathvars: {{results: {tmp_path / 'results'}}}}}")
    assert {str(place): gb for place, gb in doctor.room(Run(config.load([*one_card, overlay]))) if gb} == places


@pytest.mark.server
@pytest.mark.usefixtures("card")
def test_a_hub_that_does_not_answer_is_said_with_what_needs_it(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examine(ONE_GPU)["hub"].need == ""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    finding = examine(ONE_GPU)["hub"]
    assert "127.0.0.1:1" in finding.found
    assert finding.need.startswith("for bases/0.5b, select/m1k.parquet")
    monkeypatch.setenv("HF_ENDPOINT", hub)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in examine(ONE_GPU)["hub"].found


@pytest.mark.usefixtures("hub")
def test_keys_and_sglang_are_needed_where_they_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("M1_SGLANG_PYTHON", raising=False)
    found = examine(PAPER)
    assert (
        str(found["key"]) == "missing key         OPENAI_API_KEY is not set: for labeller; run: export OPENAI_API_KEY=…"
    )
    assert "set M1_SGLANG_PYTHON" in found["SGLang"].need
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("M1_SGLANG_PYTHON", command(tmp_path / "python", "exit 1"))
    assert examine(PAPER)["SGLang"].found == f"{tmp_path}/python: no Python with SGLang"
    command(tmp_path / "python", "exit 0")
    found = examine(PAPER)
    assert (found["key"].need, found["SGLang"].need) == ("", "")
    assert "secret" not in str(found["key"])
    assert "key" not in examine(ONE_GPU), "no paid call is in it"


def test_the_key_of_a_server_is_needed_where_the_run_asks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVER_KEY", raising=False)
    serve = "serve: {engine: openai, options: {base_url: 'http://127.0.0.1:1/v1', api_key_env: SERVER_KEY}}"
    found = examine([written(tmp_path, f"screen: {{{serve}}}")])
    assert found["key"].need == "for screen.models.small, screen.models.large; run: export SERVER_KEY=…"


def test_a_file_of_published_answers_that_is_not_there_is_named(tmp_path: Path) -> None:
    place = tmp_path / "a.json"
    overlay = f"published: {{beside: {{m1-small-1k: [{{from: m1_results, path: {place}, budget: 192}}]}}}}"
    found = examine([written(tmp_path, overlay)])["files"]
    assert (found.found, found.need.split(";")[0]) == (str(place), f"for data.m1_results: {place}")
    place.touch()
    assert "files" not in examine([written(tmp_path, overlay)])


def test_a_key_that_goes_unencrypted_to_another_machine_is_warned_of(tmp_path: Path) -> None:
    def keys(url: str) -> list[str]:
        serve = f"serve: {{engine: openai, options: {{base_url: '{url}', api_key_env: SERVER_KEY}}}}"
        overlay = written(tmp_path, f"screen: {{{serve}}}")
        return [str(one) for one in doctor.needs(config.load([overlay])) if one.name == "key"]

    warned = keys("http://api.example.com/v1")
    assert any(
        "http://api.example.com/v1: of screen.models.small; the key goes there unencrypted" in one for one in warned
    )
    assert not any("unencrypted" in one for one in keys("http://127.0.0.1:1/v1") + keys("https://api.example.com/v1"))


def test_a_python_that_is_too_old_or_too_new_is_said() -> None:
    assert [doctor.check_python((3, minor)) for minor in (11, 12, 13)] == ["", "", ""]
    needed = "3.11 to 3.13 for everything (immutables 0.21, which Snakemake needs, has no wheel for 3.14); run: make"
    assert all(doctor.check_python((3, minor)).startswith(needed) for minor in (9, 10, 14, 15))


def test_packages_that_differ_from_the_pins_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements.txt").write_text("psutil==0.0.1\nm1-nowhere==1\n", encoding="utf-8")
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    (tmp_path / ".venv").mkdir()
    found = next(finding for finding in doctor.machine() if finding.name == "packages")
    assert found.found.startswith("psutil ")
    assert found.found.endswith(", not 0.0.1, no m1-nowhere")
    assert (found.stops_demo, found.need) == (True, "for everything; run: make clean-venv demo")

    text = re.search(r'UNFINISHED = "(.+)\\n"', (ROOT / "envs/install.py").read_text(encoding="utf-8"))
    (tmp_path / ".venv/.ready").write_text(f"{text and text[1]}\n", encoding="utf-8")
    found = next(finding for finding in doctor.machine() if finding.name == "packages")
    assert "wait for the installation" in found.need, "an environment that is being made is not to be removed"


def test_it_runs_without_any_package(tmp_path: Path) -> None:
    """As the first thing in a fresh clone: an isolated Python sees nothing but the standard library."""
    shutil.copytree(ROOT / "workflow/m1", tmp_path / "workflow/m1", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy2(ROOT / name, tmp_path)
    code = (
        "import sys; sys.path.insert(0, 'workflow'); sys.prefix = sys.base_prefix; from "
        "m1.commands.doctor import main; main([])"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no virtual environment; `make demo` makes it" in done.stdout
    assert "not looked at, without the package" in done.stdout
