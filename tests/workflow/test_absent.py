"""What a finished run was made from, or is to be made from now, and is not there: an error at once, although Snakemake
has nothing to do; results that were adopted without it stay usable."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from edits import settings
from project import MAIN, Project

pytestmark = pytest.mark.workflow

TABLE = MAIN[0]


def gone(name: str) -> Callable[[Project], None]:
    return lambda project: project.path(name).unlink()


def pipe(project: Project) -> None:
    os.mkfifo(project.folder / "mine.csv")
    project.configure(data={"world_medqa": {"path": "mine.csv"}})


ABSENT: dict[str, tuple[Callable[[Project], None], str]] = {
    "the file of a benchmark": (
        settings(data={"world_medqa": {"path": "nothere.csv"}}),
        "error: data.world_medqa.path: nothere.csv: No such file or directory; correct the path, or bring what is "
        "missing; to keep results/short/benchmarks/medqa.parquet without it, `make adopt`",
    ),
    "a file of the world": (
        settings(data={"world_medqa": {"path": "<results>/world/benchmarks/medqq.jsonl"}}),
        "error: data.world_medqa.path: results/short/world/benchmarks/medqq.jsonl: No such file or directory",
    ),
    "the folder of a base": (
        settings(bases={"small": {"path": "models/nothere"}}),
        "error: bases.small.path: models/nothere: No such file or directory",
    ),
    "notes of the labeller": (
        settings(labeller={"notes": "nothere.tsv"}),
        "error: labeller.notes: nothere.tsv: No such file or directory",
    ),
    "a prompt": (gone("resources/prompts/domain.txt"), "git checkout -- resources/prompts/domain.txt"),
    "a caption": (gone("workflow/report/table1.rst"), "git checkout -- workflow/report/table1.rst"),
    "the default configuration": (gone("config/config.yaml"), "git checkout -- config/config.yaml"),
    "the schema": (gone("workflow/schemas/config.schema.yaml"), "git checkout -- workflow/schemas/config.schema.yaml"),
    "a pipe": (pipe, "error: data.world_medqa.path: mine.csv: a pipe, a socket or a device, where a file is needed"),
    "an environment": (gone("envs/report.yaml"), "git checkout -- envs/report.yaml"),
}


@pytest.mark.parametrize("case", ABSENT)
def test_what_is_not_there_is_an_error_after_a_finished_run(case: str, project: Project) -> None:
    edit, expected = ABSENT[case]
    edit(project)
    code, said = project.run("--dry-run", TABLE)
    said = " ".join(said.split())
    assert expected in said
    assert (code, "Traceback" in said) == (1, False)


def test_adopted_results_are_used_without_their_sources(project: Project, tmp_path: Path) -> None:
    source = project.path("results/short/world/benchmarks/medqa.jsonl").rename(tmp_path / "mine.jsonl")
    project.configure(data={"world_medqa": {"path": str(source)}})
    assert "pools_collect_benchmark medqa" in project.plan(TABLE)
    source.unlink()
    project.make(*MAIN, "--touch", module="m1 launch")
    project.replace("workflow/m1/core/style.py", "#0072B2", "#0072B3")
    said = project.make("--dry-run", *MAIN)
    assert project.jobs(said) == {"report_figure1", "report_figure3"}
    told = [line for line in said.splitlines() if "adopted.json" in line]
    assert told == [
        f"results/short/adopted.json: results were taken without data.world_medqa.path ({source}); "
        "no step that reads it can run"
    ]
