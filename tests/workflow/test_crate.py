"""The crate of a finished run: what is in it, and what the profile's own validator says of it."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from m1.commands.crate import ADOPTED, PINS
from programs import run
from project import REPOSITORY, SHORT, Project

pytestmark = pytest.mark.workflow

VALIDATE = Path(__file__).parents[1] / "support/validate_crate.py"


def validate(crate: Path) -> list[str]:
    """What the validator says, in lines; the last one is ``passed`` or ``failed``."""
    if not (python := os.environ.get("M1_CRATE_VALIDATOR")):
        pytest.skip("M1_CRATE_VALIDATOR is not set; make test-slow makes the validator's environment")
    done = subprocess.run([python, str(VALIDATE), str(crate)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def run_crate(project: Project, *flags: str) -> tuple[int, str]:
    """Exit code, and what was said."""
    for name in (*PINS, "README.md", "CITATION.cff", "LICENSE"):
        shutil.copy2(REPOSITORY / name, project.folder)
    return run(["m1", "crate", "--configfile", SHORT, *flags], project.folder, project.environment())


def make_crate(project: Project, *flags: str) -> tuple[zipfile.ZipFile, dict[str, dict[str, Any]]]:
    """The crate of the short run, and its entities by their names."""
    code, said = run_crate(project, *flags)
    assert code == 0, said
    packed = zipfile.ZipFile(project.path("crate.zip"))
    return packed, {one["@id"]: one for one in json.loads(packed.read("ro-crate-metadata.json"))["@graph"]}


@pytest.mark.slow
def test_the_crate_of_a_finished_run(complete: Project, tmp_path: Path) -> None:
    project = complete.copy(tmp_path / "project")
    packed, entities = make_crate(project)
    names = set(packed.namelist())
    assert {"configuration.json", "constraints.txt", "workflow/Snakefile", "envs/train.yaml"} <= names
    assert {"resources/paper/claims.csv", "LICENSE"} <= names
    kept = {"table1.csv", "figure1.pdf", "report.html", "infer/small/predictions.parquet", "select/m1k.json"}
    assert {f"results/{name}" for name in kept} <= names
    assert not [name for name in names if name.endswith((".safetensors", ".jsonl"))]

    for name in names - {"ro-crate-metadata.json"}:
        assert entities[name]["identifier"] == f"sha256:{hashlib.sha256(packed.read(name)).hexdigest()}"
    made_by = json.loads(packed.read("results/train/m1-small-1k/manifest.json"))["made_by"]
    edits = " with edits" if made_by["dirty"] else ""
    assert entities["workflow/Snakefile"]["version"] == (made_by["commit"] or "unknown") + edits
    assert {"@id": "resources/mesh/qualifiers.csv"} in entities["#run"]["object"]
    assert entities["./"]["datePublished"] == entities["#run"]["endTime"]
    with (project.path("results/short/claims.csv")).open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            claim = entities[f"#claim-{row['id']}"]
            verdicts = f"by the paper's tables: {row['tables_verdict']}; by this run: {row['verdict']}"
            assert (claim["text"], claim["description"]) == (row["words"], verdicts)

    assert validate(project.path("crate.zip")) == ["passed"]
    before = project.path("crate.zip").read_bytes()
    make_crate(project)
    assert project.path("crate.zip").read_bytes() == before, "the same run gives the same bytes"
    whole = set(make_crate(project, "--whole")[0].namelist())
    assert whole > names
    assert "results/train/m1-small-1k/model.safetensors" in whole
    (project.folder / "published.yaml").write_text("published: {checkpoints: {m1-small-1k: m1_7b_1k}}\n")
    code, said = run_crate(project, "published.yaml")
    assert (code, "by this configuration, work is left (make dry-run shows it)" in said) == (1, True), said
    code, said = project.run("all", "--touch", module="m1 launch", overlays=(SHORT, "published.yaml"))
    assert code == 0, said
    taken = make_crate(project, "published.yaml")[1]["#published-checkpoints"]
    assert (taken["name"], json.loads(taken["value"])) == ("checkpoints", {"m1-small-1k": "m1_7b_1k"})
    assert validate(project.path("crate.zip")) == ["passed"]


@pytest.mark.slow
def test_the_validator_finds_what_is_wrong(complete: Project, tmp_path: Path) -> None:
    """A crate without its run."""
    project = complete.copy(tmp_path / "project")
    packed, entities = make_crate(project)
    packed.extractall(tmp_path / "crate")
    del entities["#run"]
    (tmp_path / "crate/ro-crate-metadata.json").write_text(
        json.dumps({"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": list(entities.values())})
    )
    assert validate(tmp_path / "crate")[-1] == "failed"


@pytest.mark.slow
def test_results_that_are_not_what_the_run_made(complete: Project, tmp_path: Path) -> None:
    """A table that was edited and then adopted; a figure that is missing."""
    project = complete.copy(tmp_path / "project")
    table = project.path("results/short/table3.csv")
    table.write_text(table.read_text() + "more\n")
    code, said = run_crate(project)
    assert code == 1
    assert "table3.csv: changed or damaged since it was written" in said
    assert not (project.folder / "crate.zip").exists()
    project.make("all", "--touch", module="m1 launch")
    _, entities = make_crate(project)
    assert [name for name, one in entities.items() if one.get("description") == ADOPTED] == ["results/table3.csv"]
    project.path("results/short/figure1.pdf").unlink()
    code, said = run_crate(project)
    assert code == 1
    assert "figure1.pdf: not there, so this run is not finished" in said


def test_an_unfinished_run_has_no_crate(project: Project) -> None:
    """The tables are there; the page is not."""
    code, said = run_crate(project)
    assert code == 1
    assert "claims.csv: not there, so this run is not finished; finish it, then make its crate" in said
    assert not (project.folder / "crate.zip").exists()
