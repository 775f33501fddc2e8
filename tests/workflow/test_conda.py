"""`--sdm conda`: rules run in the environments that `envs/` names, with nothing but what these pin (conda itself is a
stand-in)."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import conda
import pytest
from environments import provided
from project import REPOSITORY, Project

pytestmark = pytest.mark.workflow

MADE = {
    "data": ("pools/medqa.parquet", "pools/medqa.json"),
    "teacher": ("distill/hard.parquet", "distill/hard.json"),
    "train": ("bases/small", None),
    "infer": ("infer/small/predictions.parquet", "infer/small/manifest.json"),
    "report": ("score/small.parquet", "score/small.json"),
    "workflow": ("rulegraph.dot", None),
}
"""Environment to something that a rule makes in it, and its manifest."""


@pytest.mark.slow
def test_every_environment_runs_its_rules(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{conda.install(tmp_path / 'conda')}:{os.environ['PATH']}")
    results = project.folder / "results/short"
    before = (results / "infer/small/predictions.parquet").read_bytes()
    for path in (results / made for made, _ in MADE.values()):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    targets = [f"results/short/{made}" for made, _ in MADE.values()]
    said = project.make(*targets, "--sdm", "conda", "--rerun-triggers", "mtime")
    assert said.count("Activating conda environment") == said.count("Finished jobid") >= len(MADE), said
    assert (results / "infer/small/predictions.parquet").read_bytes() == before
    for name, (_, manifest) in MADE.items():
        if manifest:
            pinned = provided(REPOSITORY / f"envs/{name}.yaml")
            packages = json.loads((results / manifest).read_text(encoding="utf-8"))["made_by"]["packages"]
            packages = {
                package: version.partition("+")[0] for package, version in packages.items()
            }  # of torch, there are builds
            assert packages, "what ran was no environment of ours"
            assert packages.items() <= pinned.items(), f"{name}: not the environment that was deployed"
