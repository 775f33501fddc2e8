"""The durable store of calls that nobody wants to pay for twice: the teacher's, the labeller's, our own models'.

A store is a folder of segments (:mod:`m1.core.segments`). Each is written by one process only, so several processes,
also on several hosts of a shared file system, write without a lock. Copying a segment into another store's folder
imports it. ``docs/store.md`` says what holds on which file system.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from m1.core.errors import UserError
from m1.core.files import make_private, sync_folder
from m1.core.progress import say
from m1.core.segments import SegmentIndex, is_sound, record_line, scan, usable

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what a file system without locks answers
_locked: set[Path] = set()
"""Folders that this process has the lock of: closing a second descriptor of a lock file would release the lock."""


class Store:
    """Keys (see :func:`m1.core.files.digest`) to JSON objects; what :meth:`put` has returned from survives a kill and a
    power cut.

    Only the places of values are held in memory, some 350 bytes a key. What others add after opening is seen after
    :meth:`refresh`; of two values of one key the first stays. One process may open a store many times; an instance
    belongs to one thread.

    Raises:
        UserError: the folder cannot be read, or made if it is missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._index = SegmentIndex(self.folder)
        self._without_locks = False
        self._writer: tuple[Path, int] | None = None
        self._reader: tuple[Path, int] | None = None
        with usable(self.folder):
            make_private(self.folder)
        self.refresh()

    def refresh(self) -> None:
        """Notice what other processes have added, see :meth:`m1.core.segments.SegmentIndex.refresh`."""
        self._index.refresh()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; everything is on the disk already."""
        for opened in filter(None, (self._writer, self._reader)):
            os.close(opened[1])
        self._writer = self._reader = None

    def __len__(self) -> int:
        return len(self._index.places)

    def __contains__(self, key: str) -> bool:
        return key in self._index.places

    def __iter__(self) -> Iterator[str]:
        """The keys, in the order of the segments."""
        return iter(self._index.places)

    def get(self, key: str) -> Any:
        """The value of a key, or None."""
        line = self.line(key)
        return None if line is None else json.loads(line)["value"]

    def line(self, key: str) -> bytes | None:
        """The record of a key as the segment has it, or None."""
        if key not in self._index.places:
            return None
        path, offset, length = self._index.places[key]
        with usable(path):
            if self._reader is None or self._reader[0] != path:
                descriptor = os.open(path, os.O_RDONLY)
                if self._reader:
                    os.close(self._reader[1])
                self._reader = path, descriptor
            line = os.pread(self._reader[1], length, offset)
        if not is_sound(line):
            changed = f"the record at byte {offset} was changed while the store was in use"
            raise UserError(f"{path}: {changed}. Run again: it is asked again.")
        return line

    def put(self, key: str, value: Any) -> None:
        self.put_many([(key, value)])

    def put_many(self, items: Iterable[tuple[str, Any]]) -> None:
        """Keep values; on return they are on the disk. Keys that are there already keep their first value.

        Raises:
            UserError: the disk is full or fails; whatever was put before is kept.
        """
        lines: dict[str, bytes] = {}
        for key, value in items:
            if key not in self and key not in lines:
                lines[key] = record_line(key, "value", value)
        self._append(list(lines.values()))

    def forget(self, keys: Iterable[str]) -> None:
        """Take records back, so that their keys are asked again.

        The records stay in their segments; a line that names segment and byte takes each back. So it holds for that
        very record, in whatever order segments are read, and not for the next answer to the same request.
        """
        places = [(key, path.name, offset) for key in keys for path, offset, _ in self._index.places_of(key)]
        self._append([record_line(key, "forget", f"{segment}@{offset}") for key, segment, offset in places])

    def _append(self, lines: list[bytes]) -> None:
        if not lines:
            return
        remedy = f"The {len(self):,} records before are kept. Free space or correct the permissions and run again."
        with usable(self.folder, "written", remedy):
            try:
                path, descriptor = self._writer = self._writer or self._new_segment()
                start = os.fstat(descriptor).st_size
                unwritten = memoryview(b"".join(lines))
                while unwritten:
                    unwritten = unwritten[os.write(descriptor, unwritten) :]
                os.fsync(descriptor)
            except BaseException:
                if self._writer:
                    os.close(self._writer[1])
                    self._writer = None  # never append to what may end in a torn line
                raise
        for line in scan(lines, start):
            self._index.note(path, line)

    def _new_segment(self) -> tuple[Path, int]:
        path = self.folder / f"{time.time_ns():020d}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o660)
        sync_folder(self.folder)
        return path, descriptor

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one process that spends for this store: wait for the others, then see what they have added.

        The lock is one of the kernel's (POSIX, on the file ``lock``), which releases it however its process ends. Where
        the file system has none, that is said once, and the work goes on without it. Writing needs no lock.

        Raises:
            UserError: the folder cannot be written.
            RuntimeError: this process has the lock already.
        """
        folder = self.folder.resolve()
        if folder in _locked:
            raise RuntimeError(f"{folder}: this process has the lock already")
        with usable(self.folder, "written", "Correct the permissions and run again."):
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o660)
        _locked.add(folder)
        try:
            with usable(self.folder, "locked", "Run again."):
                self._wait_for_lock(descriptor)
            with suppress(OSError):  # who has the lock is only for the message
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
            # A network file system may answer the next listing from its cache; a change of our own makes it look.
            with suppress(OSError), tempfile.TemporaryFile(dir=self.folder):
                pass
            self.refresh()
            yield
        finally:
            _locked.remove(folder)
            os.close(descriptor)

    def _wait_for_lock(self, descriptor: int) -> None:
        try:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
                say("store", f"{self.folder}: {holder} is making calls; waiting for it, so that none is paid for twice")
                fcntl.lockf(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            if not self._without_locks:
                said = "this file system has no locks; two runs at once could pay for one call twice"
                say("store", f"{self.folder}: {said}")
            self._without_locks = True
