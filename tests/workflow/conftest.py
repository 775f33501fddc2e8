"""A finished short run, made once for all tests (and all processes of pytest-xdist)."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest
from project import MAIN, Project


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """SLURM's tests first: they mostly wait. The other process begins with unit tests, and needs no finished run
    yet."""
    items.sort(key=lambda item: item.path.name != "test_slurm.py")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The short run of the tables and figures of the rerun contract; copy it before editing."""
    common = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    folder, marker = common / "finished", common / "finished.ok"
    with open(common / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert marker.exists() or not folder.exists(), "the short run failed in another test"
        if not marker.exists():
            started = time.monotonic()
            Project.of_repository(folder).make(*MAIN)
            marker.write_text(f"{time.monotonic() - started:.1f} s\n")
    return Project(folder)


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished run, to edit."""
    return finished.copy(tmp_path / "project")
