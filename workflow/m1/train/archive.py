"""Keep finished trainings in the store, so that no GPU hour is paid for twice.

After an edit upstream, Snakemake deletes a trained model and trains it again, even if the samples turn out to be the
same. So the store keeps each model under a digest of everything that decides its weights.
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
"""Age in seconds from which an unfinished model of another machine counts as abandoned."""


def identity(kept: Path, title: str) -> str:
    """The identity of a kept model; an empty text if there is none, or if its files have changed since."""
    if not (kept / "config.json").is_file():
        return ""
    try:
        return model_identity(kept)
    except UserError:
        tell(f"[{title}] {kept}: its files were changed since it was trained, so it is trained again")
        return ""


def version(kept: Path) -> str:
    """A text that changes when another process keeps the model anew; empty if none is kept."""
    return str(kept.stat().st_ino) if kept.is_dir() else ""


def lock_of(kept: Path) -> Lock:
    """The lock that the one process that trains a model holds."""
    return Lock(kept.with_name(f".{kept.name}.lock"))


def claim(lock: Lock, title: str) -> str:
    """Take the lock of a model; returns the holder if another process is training it, else an empty text."""
    holder = checkpoints.take(lock, title, "store")
    if holder and not lock.kernel and holder.alive is None:
        tell(f"[{title}] {holder} may be training the same; {lock.path.parent} has no locks, so this goes on beside it")
        return ""
    return str(holder or "")


@contextmanager
def keeping(kept: Path, title: str, alone: bool) -> Iterator[Path]:
    """Yield a folder to write a model to; it is kept in the store if the context ends without error.

    The folder's name is unique, so two processes that train the same, where no lock separates them, do not mix files.
    Leftovers of killed processes are deleted: with ``alone`` (the kernel's lock says that no other process is at work)
    all of this machine, otherwise those older than a day.
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
    """Delete a kept model whose files have changed; its identity goes last, so a kill leaves it marked as damaged."""
    remove(kept)
    remove(identity_file(kept))


def _publish(mine: Path, kept: Path) -> None:
    remove_damaged(kept)
    try:
        mine.rename(kept)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was first
            return
        remedy = "Correct the permissions and run again."
        raise UserError(f"{kept}: cannot be written: {error.strerror}. {remedy}") from error
    identity_file(mine).replace(identity_file(kept))
    fsync(kept.parent)


def take(kept: Path, output: Path) -> None:
    """Put a kept model into the results, by hard links if possible."""
    with replacing_model(output, recorded_identity(kept) or None) as folder:
        folder.mkdir()
        for source in sorted(kept.rglob("*")):
            target = folder / source.relative_to(kept)
            if source.is_dir():
                target.mkdir()
                continue
            try:
                os.link(source, target)
            except OSError:  # another disk, or a file system without hard links
                shutil.copy2(source, target)


def report_older(kept: Path, title: str) -> None:
    """Report the same model's kept trainings with other settings, samples or code, because they take space."""
    others = [path for path in kept.parent.glob("[!.]*") if path.is_dir() and path != kept]
    if others:
        size = sum(file.stat().st_size for path in others for file in path.iterdir())
        of_them = f"{len(others)} of its trainings with other settings, samples or code"
        tell(f"[{title}] {kept.parent} keeps {of_them}, {size / 1e9:.1f} GB; delete what is not wanted")
