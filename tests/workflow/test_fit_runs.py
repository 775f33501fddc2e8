"""From what there is to a table: fit, plan and run, on the embedded world, at two sizes."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from m1.commands import fit_choose, kept
from m1.commands.finished import seconds
from m1.commands.fit_choose import Question, choose
from m1.commands.fit_menu import Machine
from programs import run
from project import SHORT, Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def command(project: Project, *words: str) -> str:
    code, said = run(["m1", *words], project.folder, project.environment())
    assert code == 0, said[-4000:]
    return said


def fit(project: Project, hours: str) -> str:
    return command(project, "fit", "--world", "--hours", hours, "--configfile", SHORT, "--output", "mine.yaml")


def planned(said: str) -> dict[str, tuple[str, float, float]]:
    """Way, and hours of training and of answers, of each model that is chosen, by the table."""
    found = re.findall(r"^(\S+) +(trained, stored|trained|as it is) +([\d.]+) +([\d.]+) +\d+$", said, re.MULTILINE)
    return {name: (way, float(training), float(answers)) for name, way, training, answers in found}


def make(project: Project, said: str) -> str:
    """Type what was said."""
    typed = re.findall(r'CONFIG="(.*)"', said)
    assert typed == [f"{SHORT} mine.yaml"] * 2
    files = typed[0].split()
    command(project, "plan", "--configfile", *files)
    code, said = project.run("results/mine/table1.csv", overlays=files)
    assert code == 0, said[-4000:]
    return project.path("results/mine/table1.csv").read_text(encoding="utf-8")


def guessed(project: Project, monkeypatch: pytest.MonkeyPatch, measured: bool) -> dict[str, tuple[float, float]]:
    """Hours of training and of answers of each model, if the store had nothing."""
    with monkeypatch.context() as patch:
        patch.chdir(project.folder)
        patch.setattr(kept, "models", lambda run: {})
        if not measured:
            patch.setattr(fit_choose, "slowness", lambda runs, machine: {})
        machine = Machine(1, 0, None, os.cpu_count() or 1, 1.0, 0.0, 100.0)
        answer = choose(Question("world", machine, (), "results/mine", Path("mine.yaml"), None, (Path(SHORT),)))
    return {one.model: (one.training, one.answering[answer.choice.size]) for one in answer.choice.parts}


def test_what_fits_is_what_runs_and_what_it_left_is_free(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the bases alone, then a training, too; then as little as at first is enough for it."""
    for folder in ("results", "store"):  # of the short configuration: what it took, and what it kept
        shutil.rmtree(project.folder / folder)
    little, much = "0.01", "1000"  # hours; much is more than the slowest machine takes
    said = fit(project, little)
    assert "m1-small-1k" not in planned(said)
    assert "m1-small-1K" not in make(project, said)
    said = fit(project, much)
    before = guessed(project, monkeypatch, measured=False)
    assert "m1-small-1k" in planned(said)
    assert "m1-small-1K" in make(project, said)

    # What it took replaces what was modelled: the guess is closer.
    after = guessed(project, monkeypatch, measured=True)
    results = project.folder / "results/mine"
    for place, kind in enumerate(("train", "infer")):
        took = {name: seconds(results / kind / name / "manifest.json") for name in before}
        hours = sum(one / 3600 for one in took.values() if one)
        off = [abs(sum(guess[name][place] for name, one in took.items() if one) - hours) for guess in (before, after)]
        assert off[1] < off[0], kind

    again = fit(project, little)
    assert "measured by the run before" in again
    assert planned(again)["m1-small-1k"] == ("trained, stored", 0.0, 0.0)
    assert "m1-small-1K" in make(project, again)
    # The store and the inputs say it, not the results: what is deleted is taken from the store. The answers of a
    # deleted model are counted anew, at the speed that was measured here.
    shutil.rmtree(results / "train/m1-small-1k")
    (results / "infer/m1-small-1k/predictions.parquet").unlink()
    assert planned(fit(project, much))["m1-small-1k"][:2] == ("trained, stored", 0.0)
