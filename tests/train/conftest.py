"""Fixtures of trainings: their inputs, and the model of an undisturbed run."""

from __future__ import annotations

from pathlib import Path

import pytest
from m1.core.records import Sample, write
from random_model import random_model
from shared import made_once
from training import samples, train
from transformers import AutoTokenizer


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """Make a base with a tokenizer, and 60 samples of different lengths."""

    def make(folder: Path) -> None:
        AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(random_model(folder / "base"))
        write(folder / "m1k.parquet", samples(60), Sample)

    return made_once(tmp_path_factory, "material", make)


@pytest.fixture(scope="session")
def undisturbed(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that an undisturbed run in one process gives."""

    def make(folder: Path) -> None:
        said = train(material, folder)
        assert "single on CPU, 1 × 4 × 2 samples a step, sdpa attention" in said

    return made_once(tmp_path_factory, "undisturbed", make)
