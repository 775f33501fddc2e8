"""Checkpoints of an unfinished training: outside the declared output, whole or not there, at most one.

Snakemake deletes the output of a job that failed or was killed. So a training keeps its state in a scratch folder and
goes on from there. A checkpoint counts only with its mark, which is written when all processes have written their part;
older ones are deleted after that.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m1.core.errors import UserError, tell
from m1.core.files import digest
from m1.core.locks import Lock

MARK = "complete"
"""File in a checkpoint that says that it is whole."""
LOCK = "lock"
"""File in the folder of a training that says which process is at work in it."""


def folder(folder: Path, name: str, decided: Sequence[object]) -> Path:
    """The folder of one training below that of all: only what has the same base, samples and settings (``decided``, the
    JSON values that decide the weights) goes on from its checkpoints."""
    return folder / "train" / name / digest(list(decided))[:12]


def claim(lock: Lock, title: str) -> str:
    """Take the lock of a training's folder; where another process has it, what is said before the end, as two would
    write each other's checkpoints.

    Raises:
        UserError: the folder cannot be written.
    """
    scratch = lock.path.parent
    try:
        holder = lock.take()
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}. Correct the permissions or `scratch` and run again"
        raise UserError(f"{title}: {scratch} {problem}") from error
    if holder is None:
        return ""
    remedy = "Wait until it has ended, or end it; then run again: nothing that it has trained is lost"
    if not lock.kernel and holder.alive is None:
        remedy = f"If it has ended, delete {lock.path} and run again (this file system has no locks, which would tell)"
    return f"{title}: {holder} is training in {scratch} already. {remedy}."


def discard(scratch: Path, title: str) -> None:
    """Delete the checkpoints of a training that is done, unless another process is training there."""
    lock = Lock(scratch / LOCK)
    if scratch.is_dir() and not claim(lock, title):
        shutil.rmtree(scratch, ignore_errors=True)
        lock.release()


def latest(folder: Path) -> Path | None:
    """The last whole checkpoint, if there is one; remains of a kill during saving are deleted."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in found if (path / MARK).is_file()]
    for path in found:
        if path not in whole[-1:]:
            shutil.rmtree(path, ignore_errors=True)
    return whole[-1] if whole else None


def write_mark(checkpoint: Path) -> None:
    """Say that a checkpoint is whole, and delete those before it."""
    (checkpoint / MARK).touch()
    latest(checkpoint.parent)


def check_space(scratch: Path, kept: Path, output: Path, parameters: int, itemsize: int, title: str) -> None:
    """Stop before the start where a disk cannot hold two checkpoints (the old one goes when the new one is whole) and
    the model, whose parameters have ``itemsize`` bytes each; in the results it takes space only on another disk.

    Raises:
        UserError: names folder, bytes needed and bytes free.
    """
    disks: dict[int, dict[str, tuple[Path, str, int]]] = {}
    for key, folder, what, size in (
        ("scratch", scratch, "two checkpoints", 2 * 12 * parameters),  # weight and Adam's two moments, in float32
        ("store", kept.parent, "the model", itemsize * parameters),
        ("pathvars", output.parent, "the model in the results", itemsize * parameters),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        on_disk = disks.setdefault(folder.stat().st_dev, {})
        if key != "pathvars" or "store" not in on_disk:  # else it shares the files
            on_disk[key] = folder, what, size
    for wanted in disks.values():
        folders, parts, sizes = zip(*wanted.values())
        free, needed = shutil.disk_usage(folders[0]).free, sum(sizes)
        if free < needed:
            space = f"{free / 1e9:,.1f} GB free, and {needed / 1e9:,.1f} GB are wanted for {' and '.join(parts)}"
            where = " and ".join(f"`{key}`" for key in wanted)
            raise UserError(
                f"{title}: {folders[0].resolve()} has {space}; free space, or choose another {where} in the config"
            )


def report_older(folder: Path, title: str) -> None:
    """Name unfinished trainings of the same model with other settings: they are kept, and take space."""
    for other in sorted(folder.parent.glob("*")):
        if other != folder and any(other.glob("checkpoint-*")):
            unfinished = "holds an unfinished training with other settings or data"
            tell(f"[{title}] {other} {unfinished}; delete it if it is not wanted")


def losses(path: Path) -> list[dict[str, Any]]:
    """The lines of a log that are whole."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found
