"""What several unit tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from m1.world.build import main as build_world
from m1.world.tokenizer import main as train_tokenizer

WORLD = '{"seed": 5, "entities": 12, "pools": {"medmcqa": 4}, "benchmark_size": 2, "facts_first": 40, "mixed": 200}'


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of a tiny world, 900 tokens, in Hugging Face format."""
    world = tmp_path_factory.mktemp("world")
    build_world(["--settings", WORLD, "--output", str(world)])
    train_tokenizer(["--world", str(world), "--vocabulary", "900", "--output", str(world / "tokenizer")])
    return world / "tokenizer"
