"""Kept models: shared or copied, whole or not there."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from m1.core.errors import UserError
from m1.core.files import identity_file, model_identity, replacing_model
from m1.train import archive, checkpoints

FILES = {"config.json": "{}", "model.safetensors": "weights", "additional/one.jinja": "template"}


def put(folder: Path) -> Path:
    """A model that is kept in a folder."""
    with replacing_model(folder) as new:
        for name, text in FILES.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_text(text)
    return folder


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return put(tmp_path / "store/m/0123")


def taken(kept: Path, output: Path) -> set[bool]:
    """Take a model; whether its files are those of the store."""
    archive.take(kept, output)
    assert {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()} == set(FILES)
    assert all((output / name).read_text() == text for name, text in FILES.items())
    assert identity_file(output).read_text() == f"{model_identity(kept)}\n"
    return {(output / name).samefile(kept / name) for name in FILES}


def test_on_one_disk_the_files_are_shared(kept: Path, tmp_path: Path) -> None:
    assert taken(kept, tmp_path / "results/model") == {True}


def test_on_another_disk_they_are_copied(kept: Path, other_disk: Path) -> None:
    assert taken(kept, other_disk / "results/model") == {False}


def test_on_another_disk_the_model_wants_its_space_twice(tmp_path: Path, other_disk: Path) -> None:
    places = tmp_path / "scratch", other_disk / "m/0123", tmp_path / "results/model"
    checkpoints.check_space(*places, 1000, 2, "train m")
    with pytest.raises(
        UserError, match=r"wanted for two checkpoints and the model in the results; .*`scratch` and `pathvars`"
    ):
        checkpoints.check_space(*places, 10**15, 2, "train m")


def test_what_was_kept_when_it_was_killed_before_its_identity_was_written_is_whole(kept: Path, tmp_path: Path) -> None:
    identity_file(kept).unlink()
    assert archive.identity(kept, "train m") == model_identity(kept)
    assert taken(kept, tmp_path / "model") == {True}


def test_what_was_changed_is_not_taken(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kept / "model.safetensors").write_text("other")
    assert archive.identity(kept, "train m") == ""
    assert (
        f"[train m] {kept}: its files were changed since it was trained, so it is trained again"
        in capsys.readouterr().err
    )


def test_nothing_kept(tmp_path: Path) -> None:
    assert archive.identity(tmp_path / "store/m/0123", "train m") == ""


def test_a_full_disk_is_one_clear_error_and_the_model_stays_kept(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.link", fails)
    monkeypatch.setattr(shutil, "copy2", fails)
    with pytest.raises(UserError, match=r"results/model: cannot be written: No space left on device\. Free space"):
        archive.take(kept, tmp_path / "results/model")
    assert not list((tmp_path / "results").iterdir())
    monkeypatch.undo()
    assert archive.identity(kept, "train m") == model_identity(kept)
