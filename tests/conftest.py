"""What all tests share; they run side by side on machines of any speed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Threads of torch that wait for each other's cores take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in each run, and no deadline: what takes long on a busy machine is correct all the same.
settings.load_profile("ci")

WORLD = '{"seed": 5, "entities": 12, "pools": {"medmcqa": 4}, "benchmark_size": 2, "facts_first": 40, "mixed": 200}'


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of a tiny world, 900 tokens, in Hugging Face format."""
    from m1.world.build import main as build_world
    from m1.world.tokenizer import main as train_tokenizer

    world = tmp_path_factory.mktemp("world")
    build_world(["--settings", WORLD, "--output", str(world)])
    train_tokenizer(["--world", str(world), "--vocabulary", "900", "--output", str(world / "tokenizer")])
    return world / "tokenizer"


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than ``tmp_path``."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)
