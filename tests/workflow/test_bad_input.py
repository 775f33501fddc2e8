"""Bad input ends with one clear message that names place and remedy, and leaves nothing half-written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from programs import run
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


def test_null_then_a_dictionary_is_one_thing_to_the_plan_and_to_snakemake(new: Project) -> None:
    """By plain Snakemake, which merges overlays with each other first, and so forgets the null by itself."""
    overlays = (SHORT, "without.yaml", "anew.yaml")
    (new.folder / "without.yaml").write_text("subsets: {m1k: null}\nbases: {large: null}\n")
    (new.folder / "elsewhere").mkdir()
    anew = "bases: {large: {path: elsewhere}}\nsubsets: {m1k: {size: 24"
    (new.folder / "anew.yaml").write_text(anew + "}}\n")
    plan = ["m1", "plan", "--configfile", *overlays]
    for code, said in (new.run("all", "-n", overlays=overlays), run(plan, new.folder, new.environment())):
        assert code == 1
        assert "configuration: subsets.m1k: key 'traces' is missing" in " ".join(said.split())
    (new.folder / "anew.yaml").write_text(anew + ", traces: hard, rule: random}}\n")
    code, said = new.run("all", "-n", overlays=overlays)
    assert code == 0, said[-3000:]
    assert re.findall(r"^select_sample +(\d+)$", said, re.MULTILINE)
    code, said = run(plan, new.folder, new.environment())
    assert code == 0, said[-3000:]


def test_numbers_and_names_as_people_type_them(new: Project) -> None:
    """By plain Snakemake, which takes 1e-3 for a text, 2024 for a number, and all that is nested after ``--config`` for
    texts."""
    recipe = new.path("config/models/small.yaml").read_text(encoding="utf-8")
    (new.folder / "config/models/2024.yaml").write_text(recipe, encoding="utf-8")
    (new.folder / "mine.yaml").write_text("world: {models: {small: {learning_rate: 1e-3}}}\nmodels: [2024]\n")
    words = ["thinking={budgets: [16, 64, 96, 1e2]}", "report={table1: {models: [2024, m1-small-1k]}}"]
    code, said = new.run("all", "-n", "--printshellcmds", "--config", *words, overlays=(SHORT, "mine.yaml"))
    assert code == 0, said[-3000:]
    assert '"learning_rate": 0.001' in said
    assert re.search(r"rule infer_answer:(?:\n .*)*wildcards: model=2024\n", said)
    assert re.search(r'm1\.infer\.sweep .*"budgets": \[16, 64, 96, 100\]', said)
    code, said = new.run("all", "-n", "--config", "sft.epochs=1", overlays=(SHORT,))
    assert (code, "Config entry must start with a valid identifier" in said) == (1, True)
    code, said = new.run("all", "-n", "--config", "sft.epochs=1", module="m1 launch")
    assert (code, "what is below it goes into a file: --configfile mine.yaml" in " ".join(said.split())) == (1, True)


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
