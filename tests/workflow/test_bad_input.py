"""Bad input ends with one clear message that names place and remedy, and leaves nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from project import SHORT, Project

pytestmark = pytest.mark.workflow


@pytest.fixture
def new(tmp_path: Path) -> Project:
    """A copy of the repository, where nothing has been made."""
    return Project.of_repository(tmp_path / "new")


def refused(project: Project, *targets: str) -> str:
    """What a run says that fails as it should: with exit code 1, without a traceback, leaving no target and nothing
    partial."""
    code, said = project.run(*targets)
    assert code == 1, said
    assert "Traceback" not in said
    for target in targets:
        assert not (project.folder / target).exists()
    assert not list(project.folder.rglob("*.partial"))
    return " ".join(said.split())


def test_answer_letter_that_is_not_among_the_options(new: Project) -> None:
    rows = [
        {
            "question": f"Which one, {number}?",
            "options": {"A": "this", "B": "that"},
            "answer_idx": letter,
            "answer": text,
        }
        for number, (letter, text) in enumerate([("A", "this"), ("B", "that"), ("E", "these")])
    ]
    (new.folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    new.configure(data={"mine": {"layout": "eval", "path": "mine.jsonl"}}, benchmarks={"medqa": {"from": "mine"}})
    said = refused(new, "results/short/benchmarks/medqa.parquet")
    assert "error: mine.jsonl: record 2 (from 0), field 'answer_idx'" in said
    assert "(found 'E, options A, B')" in said
    assert "Correct the record" in said


def test_misspelled_key_in_the_configuration(new: Project) -> None:
    new.configure(sead=1)
    assert "configuration: unknown key 'sead'; did you mean 'seed'?" in refused(new, "results/short/table1.csv")


def test_misspelled_key_inside_the_configuration(new: Project) -> None:
    new.configure(thinking={"budget": [16]})
    assert "configuration: unknown key 'budget' in thinking; did you mean 'budgets'?" in refused(
        new, "results/short/table1.csv"
    )


def test_key_that_stands_twice_in_an_overlay(new: Project) -> None:
    """By plain Snakemake, which takes the last of both by itself."""
    text = "benchmarks: {medqa: {from: world_medqa, limit: 3}}\nbenchmarks: {nejm: {from: world_nejm}}\n"
    (new.folder / "mine.yaml").write_text(text)
    code, said = new.run("all", "-n", overlays=(SHORT, "mine.yaml"))
    assert code == 1
    assert "mine.yaml: key 'benchmarks' stands twice, in lines 1 and 2" in " ".join(said.split())


def test_misspelled_key_in_a_recipe(new: Project) -> None:
    new.replace("config/models/m1-small-1k.yaml", "learning_rate", "learning_rte")
    said = refused(new, "results/short/table1.csv")
    assert "config/models/m1-small-1k.yaml: unknown key 'learning_rte' in sft; did you mean 'learning_rate'?" in said


def test_unknown_model(new: Project) -> None:
    new.configure(models=["small", "m1-smal-1k", "m1-large-1k"])
    assert "models: no recipe config/models/m1-smal-1k.yaml; did you mean 'm1-small-1k'?" in refused(
        new, "results/short/table1.csv"
    )


def test_base_that_is_not_there(new: Project) -> None:
    new.configure(bases={"mine": {"path": "models/nowhere"}})
    said = refused(new, "results/short/bases/mine")
    assert "error: bases.mine.path: models/nowhere: No such file or directory; correct the path" in said


def test_teacher_that_fails_for_ever(project: Project) -> None:
    serve = ["m1.world.server", "--facts", "<results>/world/facts.json", "--fail", "always"]
    project.configure(teacher={"serve": serve, "max_retries": 1})
    said = refused(
        project, *(f"results/short/distill/{name}" for name in ("hard.parquet", "hard.dropped.parquet", "hard.json"))
    )
    assert "failed 2 times, the last time with: HTTP 500" in said
    assert "Wait until the provider is well again" in said
    assert "the same command goes on with the rest" in said
