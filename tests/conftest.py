"""Fixtures and hooks of all tests, which run side by side on machines of any speed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from m1.core.errors import UserError
from m1.core.locks import use_environments
from shared import made_once

# Threads of torch that wait for each other's cores take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in each run, and no deadline: what takes long on a busy machine is correct all the same.
settings.load_profile("ci")

WORLD = '{"seed": 5, "entities": 12, "pools": {"medmcqa": 4}, "benchmark_size": 2, "facts_first": 40, "mixed": 200}'


KINDS = ("real", "slow", "workflow", "train", "server")
left_out: Counter[str] = Counter()
"""Kind of the tests that the options leave out to their number."""


LONGEST = "tests/workflow/test_report.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest test first, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        left_out[next((kind for kind in KINDS if item.get_closest_marker(kind)), "fast")] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the number of deselected tests from a process of pytest-xdist to the main one."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(left_out)


class LeftOut:
    """Counts deselected tests once, although each process of pytest-xdist collects them all."""

    def pytest_testnodedown(self, node: Any) -> None:
        left_out.update(Counter(getattr(node, "workeroutput", {}).get("left_out", {})) - left_out)


def pytest_configure(config: pytest.Config) -> None:
    try:
        use_environments()
    except UserError as error:
        pytest.exit(str(error), 2)
    if config.pluginmanager.has_plugin("dsession") or config.pluginmanager.has_plugin("xdist"):
        config.pluginmanager.register(LeftOut())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report how many tests were deselected, by kind."""
    if left_out:
        counts = ", ".join(f"{count} {kind}" for kind, count in left_out.items())
        kinds = [kind for kind in ("slow", "real") if left_out[kind]]
        more = f" ({', '.join(f'`make test-{kind}` runs those that are {kind}' for kind in kinds)})" if kinds else ""
        terminalreporter.write_line(f"tests left out: {counts}{more}")


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the tokenizer of a tiny world (900 tokens) in Hugging Face format."""

    def make(world: Path) -> None:
        from m1.world.build import main as build_world
        from m1.world.tokenizer import main as train_tokenizer

        build_world(["--settings", WORLD, "--output", str(world)])
        train_tokenizer(["--world", str(world), "--vocabulary", "900", "--output", str(world / "tokenizer")])

    return made_once(tmp_path_factory, "tiny-world", make) / "tokenizer"


@pytest.fixture(scope="session")
def model_folder(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a random model of Qwen2's architecture with the tokenizer of a tiny world."""
    from random_model import random_model

    return random_model(shutil.copytree(tokenizer_folder, tmp_path_factory.mktemp("random") / "model"))


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on another file system than ``tmp_path``."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)
