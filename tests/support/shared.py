"""Share what is made only once among all processes of pytest-xdist."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that the first process makes, while the others wait.

    Args:
        factory: where temporary folders of this session are.
        name: of the folder; one name, one way of making it.
        make: fills the folder, which may not be there yet.

    Raises:
        AssertionError: making it failed in another process.
    """
    common = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    folder, marker = common / name, common / f"{name}.ok"
    with open(common / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert marker.exists() or not folder.exists(), f"{name} could not be made in another test"
        if not marker.exists():
            make(folder)
            marker.touch()
    return folder
