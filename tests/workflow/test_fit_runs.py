"""From what there is to a table: fit, plan and run, on the embedded world, at two sizes."""

from __future__ import annotations

import re

import pytest
from programs import run
from project import SHORT, Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def command(project: Project, *words: str) -> str:
    code, said = run(["m1", *words], project.folder, project.environment())
    assert code == 0, said[-4000:]
    return said


@pytest.mark.parametrize(("hours", "trained"), [("0.04", False), ("1", True)])
def test_what_fits_is_what_runs(project: Project, hours: str, trained: bool) -> None:
    said = command(project, "fit", "--world", "--hours", hours, "--configfile", SHORT, "--output", "mine.yaml")
    typed = re.findall(r'CONFIG="(.*)"', said)
    assert typed == [f"{SHORT} mine.yaml"] * 2
    files = typed[0].split()
    command(project, "plan", "--configfile", *files)
    code, said = project.run("results/mine/table1.csv", overlays=files)
    assert code == 0, said[-4000:]
    models = project.path("results/mine/table1.csv").read_text(encoding="utf-8")
    assert ("m1-small-1K" in models) is trained
    assert "small" in models
    said = command(project, "fit", "--world", "--hours", hours, "--configfile", SHORT, "--output", "mine.yaml")
    assert "measured by the run before" in said
