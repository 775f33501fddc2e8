"""Finished runs, made once for all tests (and all processes of pytest-xdist)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
import yaml
from own_benchmark import block, write_questions
from project import MAIN, Project
from shared import made_once


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """SLURM's tests first: they mostly wait. The other process begins with unit tests, and needs no finished run
    yet."""
    items.sort(key=lambda item: not item.path.name.startswith("test_slurm"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The short run of the tables and figures of the rerun contract; copy it before editing."""
    return Project(made_once(tmp_path_factory, "finished", lambda folder: Project.of_repository(folder).make(*MAIN)))


@pytest.fixture(scope="session")
def complete(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished run with a benchmark of one's own, and all that a configuration makes in the end; what was said on
    the way is in ``said.txt``. Copy it before editing."""

    def make(folder: Path) -> None:
        project = finished.copy(folder)
        write_questions(project)
        project.configure(**yaml.safe_load(block("yaml")))
        (folder / "said.txt").write_text(project.make("all"), encoding="utf-8")

    return Project(made_once(tmp_path_factory, "complete", make))


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished run, to edit."""
    return finished.copy(tmp_path / "project")


@pytest.fixture(scope="session")
def slurm_daemons() -> Iterator[dict[str, str]]:
    """Environment of a running SLURM (:mod:`slurm_cluster`)."""
    with slurm_cluster.running() as environment:
        yield environment


@pytest.fixture
def slurm(slurm_daemons: dict[str, str]) -> Iterator[dict[str, str]]:
    """The same, for one test, which leaves nothing at work there."""
    yield slurm_daemons
    slurm_cluster.end_all(slurm_daemons)
