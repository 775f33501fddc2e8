"""Checkpoints of an unfinished training: outside the declared output, whole or not there, at most one.

Snakemake deletes the output of a job that failed or was killed. So a training keeps its state in a scratch folder and goes on from there.
A checkpoint counts only with its mark, which is written when all processes have written their part; older ones are deleted after that.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m1.errors import UserError, tell
from m1.files import digest

MARK = "complete"
"""File in a checkpoint that says that it is whole."""
ADAM_BYTES = 12
"""Bytes of a parameter in a checkpoint: its weight and both moments of Adam, in float32."""


def home(scratch: Path, name: str, identity: Sequence[object]) -> Path:
    """The folder of one training: only what has the same base, samples and settings goes on from its checkpoints.

    Args:
        identity: JSON values that decide the weights.
    """
    return scratch / "train" / name / digest(list(identity))[:12]


def last(folder: Path) -> Path | None:
    """The last whole checkpoint, if there is one; remains of a kill during saving are deleted."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in found if (path / MARK).is_file()]
    for path in found:
        if path not in whole[-1:]:
            shutil.rmtree(path, ignore_errors=True)
    return whole[-1] if whole else None


def mark(checkpoint: Path) -> None:
    """Say that a checkpoint is whole, and delete those before it."""
    (checkpoint / MARK).touch()
    last(checkpoint.parent)


def check_space(scratch: Path, output: Path, parameters: int, itemsize: int, title: str) -> None:
    """Stop before the start where the disk cannot hold two checkpoints (the old one goes when the new one is whole) and the model.

    Args:
        itemsize: bytes of a parameter in the finished model.

    Raises:
        UserError: names folder, bytes needed and bytes free.
    """
    needs = {scratch: 2 * ADAM_BYTES * parameters, output.parent: itemsize * parameters}
    for folder in needs:
        folder.mkdir(parents=True, exist_ok=True)
    same = scratch.stat().st_dev == output.parent.stat().st_dev
    for folder, needed in ({scratch: sum(needs.values())} if same else needs).items():
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise UserError(
                f"{title}: {folder.resolve()} has {free / 1e9:,.1f} GB free, and two checkpoints and the model need {needed / 1e9:,.1f} GB;"
                " free space, or choose another `scratch` in the config"
            )


def tell_others(folder: Path, title: str) -> None:
    """Name unfinished trainings of the same model with other settings: they are kept, and take space."""
    for other in sorted(folder.parent.glob("*")):
        if other != folder and any(other.glob("checkpoint-*")):
            tell(f"[{title}] {other} holds an unfinished training with other settings or data; delete it if it is not wanted")


def losses(path: Path) -> list[dict[str, Any]]:
    """The lines of a log that are whole."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found
