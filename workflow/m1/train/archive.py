"""Finished trainings, kept in the store: what was trained before is taken from there, and no GPU hour is paid for
twice.

An edit upstream (another benchmark, by which the pools are decontaminated) lets Snakemake delete a trained model and
train it again, even where the samples turn out to be the same. A model is kept under what decides its weights. Where
store and results are on one disk, its files are hard links, which take no space beside the model in the results.
"""

import errno
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from m1.core.errors import UserError, tell
from m1.core.files import fsync, identity_file, model_identity, recorded_identity, remove, replacing_model
from m1.core.locks import Lock
from m1.train import checkpoints

LEFT_SECONDS = 24 * 3600
"""Age from which an unfinished model of another machine is one that was left there."""


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


def version(kept: Path) -> str:
    """What changes when another process keeps the model; empty where none is kept."""
    return str(kept.stat().st_ino) if kept.is_dir() else ""


def lock_of(kept: Path) -> Lock:
    """The lock of the one process that trains a model."""
    return Lock(kept.with_name(f".{kept.name}.lock"))


def claim(lock: Lock, title: str) -> str:
    """Take the lock of a model; who is training it, where another process is known to."""
    holder = checkpoints.take(lock, title, "store")
    if holder and not lock.kernel and holder.alive is None:
        tell(f"[{title}] {holder} may be training the same; {lock.path.parent} has no locks, so this goes on beside it")
        return ""
    return str(holder or "")


@contextmanager
def keeping(kept: Path, title: str, alone: bool) -> Iterator[Path]:
    """Yield a folder to write a model to, which is kept if all goes well.

    The folder has a name of this process's own, so that two that train the same, where no lock keeps them apart, mix
    nothing; the one that is done first counts. What the dead have left is deleted: with ``alone``, when the kernel
    knows of no other process, all of this machine; else what is older than a day.
    """
    host = quote(socket.gethostname(), safe="")
    for path in [*kept.parent.glob(f".{kept.name}.*"), *kept.parent.glob(f"..{kept.name}.*")]:
        ours = alone and path.name.lstrip(".").startswith(f"{kept.name}.{host}-")
        with suppress(FileNotFoundError):  # another process may delete it, too
            if path != lock_of(kept).path and (ours or time.time() - path.stat().st_mtime > LEFT_SECONDS):
                remove(path)
    mine = kept.with_name(f".{kept.name}.{host}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with replacing_model(mine) as folder:
            yield folder
        if alone or not identity(kept, title):
            _publish(mine, kept)
    finally:
        remove(mine)
        remove(identity_file(mine))


def remove_damaged(kept: Path) -> None:
    """Delete a kept model that is no longer what was written; its identity goes last."""
    remove(kept)
    remove(identity_file(kept))


def _publish(mine: Path, kept: Path) -> None:
    remove_damaged(kept)
    try:
        mine.rename(kept)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was first
            return
        raise UserError(
            f"{kept}: cannot be written: {error.strerror}. Correct the permissions and run again."
        ) from error
    identity_file(mine).replace(identity_file(kept))
    fsync(kept.parent)


def take(kept: Path, output: Path) -> None:
    """Put a kept model into the results."""
    with replacing_model(output, recorded_identity(kept) or None) as folder:
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
