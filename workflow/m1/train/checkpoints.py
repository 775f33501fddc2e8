"""Checkpoints of an unfinished training: outside the declared output, whole or not there, at most one.

Snakemake deletes the output of a job that failed or was killed. So a training keeps its state in a scratch folder and
goes on from there. A checkpoint counts only with its mark, which is written when all processes have written their part;
older ones are deleted after that.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m1.core.errors import UserError, tell
from m1.core.files import digest

MARK = "complete"
"""File in a checkpoint that says that it is whole."""
ADAM_BYTES = 12
"""Bytes of a parameter in a checkpoint: its weight and both moments of Adam, in float32."""


def folder(folder: Path, name: str, decided: Sequence[object]) -> Path:
    """The folder of one training below that of all: only what has the same base, samples and settings goes on from its
    checkpoints.

    Args:
        decided: JSON values that decide the weights.
    """
    return folder / "train" / name / digest(list(decided))[:12]


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
    the model.

    Args:
        kept: where the finished model is kept; in the results it takes space of its own only on another disk.
        itemsize: bytes of a parameter in the finished model.

    Raises:
        UserError: names folder, bytes needed and bytes free.
    """
    wanted = {
        "scratch": (scratch, "two checkpoints", 2 * ADAM_BYTES * parameters),
        "store": (kept.parent, "the model", itemsize * parameters),
        "pathvars": (output.parent, "the model in the results", itemsize * parameters),
    }
    disks: dict[int, list[str]] = {}
    for key, (folder, _, _) in wanted.items():
        folder.mkdir(parents=True, exist_ok=True)
        disks.setdefault(folder.stat().st_dev, []).append(key)
    for keys in disks.values():
        if {"store", "pathvars"} <= set(keys):
            keys.remove("pathvars")  # it shares the files
        folder, needed = wanted[keys[0]][0], sum(wanted[key][2] for key in keys)
        free = shutil.disk_usage(folder).free
        if free < needed:
            what, where = (
                " and ".join(part) for part in ([wanted[key][1] for key in keys], [f"`{key}`" for key in keys])
            )
            raise UserError(
                f"{title}: {folder.resolve()} has {free / 1e9:,.1f} GB free, and {needed / 1e9:,.1f} GB are "
                f"wanted for {what};"
                f" free space, or choose another {where} in the config"
            )


def report_older(folder: Path, title: str) -> None:
    """Name unfinished trainings of the same model with other settings: they are kept, and take space."""
    for other in sorted(folder.parent.glob("*")):
        if other != folder and any(other.glob("checkpoint-*")):
            tell(
                f"[{title}] {other} holds an unfinished training with other settings or data; delete it if "
                "it is not wanted"
            )


def losses(path: Path) -> list[dict[str, Any]]:
    """The lines of a log that are whole."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found
