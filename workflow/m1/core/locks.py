"""A lock on a folder among processes, also on several hosts of a shared file system."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from m1.core.errors import UserError
from m1.core.progress import say

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system without locks answers."""
_locked: set[Path] = set()
"""Folders that this process has the lock of: a second descriptor of a lock file, once closed, would release the first
one's lock."""


class FolderLock:
    """A POSIX lock on the file ``lock`` of a store's folder. The kernel releases it however its process ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._without_locks = False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Wait for the process that has the lock, then have it. Where the file system has no locks, that is said once,
        and the work goes on without.

        Raises:
            UserError: the folder cannot be written.
            RuntimeError: this process has the lock already.
        """
        folder = self.folder.resolve()
        if folder in _locked:
            raise RuntimeError(f"{folder}: this process has the lock already")
        try:
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(
                f"{self.folder}: the store cannot be written: {error.strerror or error}. Correct the "
                "permissions and run again."
            ) from error
        _locked.add(folder)
        try:
            self._wait_for(descriptor)
            yield
        finally:
            _locked.remove(folder)
            os.close(descriptor)

    def _wait_for(self, descriptor: int) -> None:
        try:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
                say("store", f"{self.folder}: {holder} is making calls; waiting for it, so that none is paid for twice")
                fcntl.lockf(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise UserError(
                    f"{self.folder}: the store cannot be locked: {error.strerror or error}. Run again."
                ) from error
            if not self._without_locks:
                say(
                    "store",
                    f"{self.folder}: this file system has no locks; two runs at once could pay for one call twice",
                )
            self._without_locks = True
        with suppress(OSError):  # who has the lock is only for the message
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
