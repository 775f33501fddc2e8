"""Files of the working directory come before those that the workflow comes with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from m1.core.errors import UserError
from m1.core.places import SOURCE, locate, source_file, unreadable


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


def test_a_file_of_the_source_that_is_gone_is_said() -> None:
    with pytest.raises(UserError, match=r"tabel1\.csv: No such file or directory; .* git checkout -- resources"):
        source_file("resources/tabel1.csv")


def test_why_a_file_cannot_be_read(tmp_path: Path) -> None:
    file, link = tmp_path / "a.csv", tmp_path / "link.csv"
    link.symlink_to("a.csv")
    assert unreadable(link) == "No such file or directory (it is a link to a.csv)"
    file.touch()
    assert (unreadable(link), unreadable(tmp_path, folder=True)) == ("", "")
    assert unreadable(tmp_path) == "a folder, where a file is needed"
    assert unreadable(file, folder=True) == "a file, where a folder is needed"
    assert unreadable(file / "b") == "Not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch(mode=0)
    assert unreadable(tmp_path / "a.csv") == "Permission denied"
