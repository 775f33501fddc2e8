"""Keep at most one complete checkpoint of an unfinished training, outside the job's declared output.

Snakemake deletes the output of a job that failed or was killed, so a training keeps its state in a scratch folder. A
checkpoint counts only with its mark, which lists the hashes of its files and is written when the parts of all processes
are on the disk. A training does not continue from a checkpoint that was damaged since.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from m1.core.errors import UserError, tell
from m1.core.files import fsync, read_json, sha256_files, write_json
from m1.core.locks import Holder, Lock

MARK = "complete"
"""File in a checkpoint that marks it as complete: JSON with the SHA-256 of each of its files."""
LOCK = "lock"
"""File in a training's folder that its process locks."""


def take(lock: Lock, title: str, key: str) -> Holder | None:
    """Try to get a lock; returns the holder if another process has it.

    Raises:
        UserError: the lock's folder cannot be written; ``key`` is the key of the configuration that names it.
    """
    try:
        return lock.take()
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}. Correct the permissions or `{key}` and run again."
        raise UserError(f"{title}: {lock.path.parent} {problem}") from error


def claim(lock: Lock, title: str) -> str:
    """Take the lock of a training's folder, because two processes would overwrite each other's checkpoints.

    Returns:
        An empty text on success, else the message with which this process must end.

    Raises:
        UserError: the folder cannot be written.
    """
    holder = take(lock, title, "scratch")
    if holder is None:
        return ""
    remedy = "Wait until it has ended, or end it; then run again: nothing that it has trained is lost"
    if not lock.kernel and holder.alive is None:
        remedy = f"If it has ended, delete {lock.path} and run again (this file system has no locks, which would tell)"
    return f"{title}: {holder} is training in {lock.path.parent} already. {remedy}."


def discard(scratch: Path, title: str) -> None:
    """Delete the checkpoints of a finished training, unless another process is training there."""
    lock = Lock(scratch / LOCK)
    if scratch.is_dir() and not claim(lock, title):
        shutil.rmtree(scratch, ignore_errors=True)
        lock.release()


def latest(folder: Path, title: str) -> Path | None:
    """The last undamaged checkpoint, or None. Damaged ones are reported, and all others are deleted."""
    left = sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.rpartition("-")[2]))
    whole = next((path for path in left if (path / MARK).is_file() and _undamaged(path, title)), None)
    _delete(path for path in left if path != whole)
    return whole


def write_mark(checkpoint: Path) -> None:
    """Mark a checkpoint as complete, once it is on the disk, and delete the others."""
    write_json(checkpoint / MARK, _hashes(checkpoint))
    fsync(checkpoint.parent)
    _delete(path for path in checkpoint.parent.glob("checkpoint-*") if path != checkpoint)


def _hashes(checkpoint: Path) -> dict[str, str]:
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != MARK]
    return sha256_files(files, checkpoint)


def _undamaged(checkpoint: Path, title: str) -> bool:
    try:
        wanted, found = dict(read_json(checkpoint / MARK)), _hashes(checkpoint)
        other = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
    except (UserError, TypeError, ValueError):
        other = [MARK]
    if other:
        tell(f"[{title}] {checkpoint}: {other[0]} is not what was written, so training does not go on from there")
    return not other


def _delete(checkpoints: Iterable[Path]) -> None:
    for path in checkpoints:
        shutil.rmtree(path, ignore_errors=True)


def check_space(
    scratch: Path, kept: Path, output: Path, parameters: int, itemsize: int, title: str, trained: int | None = None
) -> None:
    """Check that the disks have room for two checkpoints and the model, before training starts.

    There are two checkpoints for a moment, as the old one is deleted when the new one is complete. In the results, the
    model takes space only if they are on another disk than the store. A parameter has ``itemsize`` bytes in the saved
    model; a checkpoint has ``trained`` parameters (None: all of them).

    Raises:
        UserError: a disk has too little room; names the folder, bytes needed and bytes free.
    """
    disks: dict[int, dict[str, tuple[Path, str, int]]] = {}
    checkpoint = 12 * (parameters if trained is None else trained)  # weight and Adam's two moments, in float32
    for key, folder, what, size in (
        ("scratch", scratch, "two checkpoints", 2 * checkpoint),
        ("store", kept.parent, "the model", itemsize * parameters),
        ("pathvars", output.parent, "the model in the results", itemsize * parameters),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        on_disk = disks.setdefault(folder.stat().st_dev, {})
        if key != "pathvars" or "store" not in on_disk:  # on one disk, results and store share the files by hard links
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
    """Report unfinished trainings of the same model with other settings, because they are kept and take space."""
    for other in sorted(folder.parent.glob("*")):
        if other != folder and any(other.glob("checkpoint-*")):
            unfinished = "holds an unfinished training with other settings or data"
            tell(f"[{title}] {other} {unfinished}; delete it if it is not wanted")


def losses(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a log; a kill may leave the last line unfinished."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found
