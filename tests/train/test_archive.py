"""Kept models: shared or copied, whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from pathlib import Path

import pytest
from m1.core.errors import UserError
from m1.core.files import identity_file, model_identity, replacing_model
from m1.train import archive, checkpoints

FILES = {"config.json": "{}", "model.safetensors": "weights", "additional/one.jinja": "template"}


def put(folder: Path) -> Path:
    """A model that is kept in a folder."""
    with replacing_model(folder) as new:
        put_into(new)
    return folder


def put_into(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


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


def test_two_writers_mix_nothing_and_the_first_to_end_counts(tmp_path: Path) -> None:
    kept = tmp_path / "store/m/0123"
    with archive.keeping(kept, "train m", alone=False) as one:
        one.mkdir(parents=True)
        (one / "config.json").write_text("{}")
        with archive.keeping(kept, "train m", alone=False) as other:
            assert one.is_dir(), "the second one leaves the first one's alone"
            put_into(other)
        (one / "model.safetensors").write_text("others")
    assert {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()} == set(FILES)
    assert archive.identity(kept, "train m") == model_identity(kept)
    assert identity_file(kept).read_text() == f"{model_identity(kept)}\n"
    assert sorted(path.name for path in kept.parent.iterdir()) == ["0123", "0123.sha256"]


def test_what_the_dead_have_left_is_deleted(tmp_path: Path) -> None:
    kept, host = tmp_path / "store/m/0123", socket.gethostname()
    names = [
        f".0123.{host}-1-abcd",
        f"..0123.{host}-2-ef01.partial",
        ".0123.another-3-2345",
        "..0123.old-4-6789.partial",
    ]
    for name in names:
        put_into(kept.parent / name)
    day = time.time() - 2 * archive.LEFT_SECONDS
    os.utime(kept.parent / names[3], (day, day))
    with archive.keeping(kept, "train m", alone=True) as folder:
        assert sorted(path.name for path in kept.parent.glob("*0123*")) == [".0123.another-3-2345"]
        put_into(folder)
    assert archive.identity(kept, "train m")


def test_a_damaged_model_is_replaced(kept: Path) -> None:
    (kept / "model.safetensors").write_text("other")
    with archive.keeping(kept, "train m", alone=False) as folder:
        put_into(folder)
    assert archive.identity(kept, "train m") == model_identity(kept)
    assert (kept / "model.safetensors").read_text() == "weights"
