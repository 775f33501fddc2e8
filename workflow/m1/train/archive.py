"""Finished trainings, kept in the store: what was trained before is taken from there, and no GPU hour is paid for
twice.

An edit upstream (another benchmark, by which the pools are decontaminated) lets Snakemake delete a trained model and
train it again, even where the samples turn out to be the same. A model is kept under what decides its weights. Where
store and results are on one disk, its files are hard links, which take no space beside the model in the results.
"""

import os
import shutil
from pathlib import Path

from m1.core.errors import UserError, tell
from m1.core.files import identity_file, model_identity, replacing_model


def identity(kept: Path, title: str) -> str:
    """The identity of the model that is kept in a folder; empty where there is none, or where its files were changed
    since."""
    if not (kept / "config.json").is_file():
        return ""
    try:
        return model_identity(kept)
    except UserError:
        tell(f"[{title}] {kept}: its files were changed since it was trained, so it is trained again")
        return ""


def take(kept: Path, output: Path) -> None:
    """Put a kept model into the results."""
    recorded = identity_file(kept)
    known = recorded.read_text(encoding="utf-8").strip() if recorded.is_file() else None
    with replacing_model(output, known) as folder:
        folder.mkdir()
        for source in sorted(kept.rglob("*")):
            target = folder / source.relative_to(kept)
            if source.is_dir():
                target.mkdir()
                continue
            try:
                os.link(source, target)
            except OSError:  # another disk, or one without hard links
                shutil.copy2(source, target)


def report_older(kept: Path, title: str) -> None:
    """Name what the same model's trainings with other settings, samples or code keep: it takes space once the results
    do not have it."""
    others = [path for path in kept.parent.glob("[!.]*") if path.is_dir() and path != kept]
    if others:
        size = sum(file.stat().st_size for path in others for file in path.iterdir())
        of_them = f"{len(others)} of its trainings with other settings, samples or code"
        tell(f"[{title}] {kept.parent} keeps {of_them}, {size / 1e9:.1f} GB; delete what is not wanted")
