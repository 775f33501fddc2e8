"""Files of the working directory come before those that the workflow comes with."""

from __future__ import annotations

from pathlib import Path

import pytest
from m1.core.places import SOURCE, locate, source_file


def test_a_file_of_the_working_directory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("config/accelerate/ddp.yaml") == SOURCE / "config/accelerate/ddp.yaml"
    (tmp_path / "config/accelerate").mkdir(parents=True)
    (tmp_path / "config/accelerate/ddp.yaml").touch()
    assert locate("config/accelerate/ddp.yaml") == Path("config/accelerate/ddp.yaml")
    assert locate("config/accelerate/fsdp2.yaml").is_file()


def test_files_of_the_source_have_the_same_path_in_every_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SOURCE)
    assert source_file("resources/paper/table1.csv") == "resources/paper/table1.csv"
    monkeypatch.chdir(SOURCE / "docs")
    assert source_file("resources/paper/table1.csv") == "../resources/paper/table1.csv"
