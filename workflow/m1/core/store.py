"""The durable store of calls that nobody wants to pay for twice: the teacher's, the labeller's, our own models'.

A store is a folder of segments (:mod:`m1.core.segments`). Each is written by one process only, so several processes,
also on several hosts of a shared file system, write without a lock. Copying a segment into another store's folder
imports it. ``docs/architecture.md`` says what holds on which file system.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from m1.core.errors import UserError
from m1.core.files import make_private
from m1.core.locks import SETTLE, Lock
from m1.core.progress import say
from m1.core.segments import Entry, SegmentIndex, Writer, is_sound, usable


class Stored(NamedTuple):
    """What of a step's work the store has, as the step itself says before it runs."""

    there: int
    of: int
    unit: str
    """What is counted: ``questions``, ``calls``, ``models``."""


CALLS = "is making calls; waiting for it, so that none is paid for twice"
"""What is said of the process that has the lock."""


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
        self.without_locks = False
        """Whether two processes may make the same at once, see :meth:`share`."""
        self._writer: Writer | None = None
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
        if self._writer:
            self._writer.close()
        if self._reader:
            os.close(self._reader[1])
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
        if self.without_locks:
            self._look_again()
        new: dict[str, Entry] = {}
        for key, value in items:
            if key not in self and key not in new:
                new[key] = key, "value", value
        self._append(list(new.values()))

    def forget(self, keys: Iterable[str]) -> None:
        """Take records back, so that their keys are asked again.

        The records stay in their segments; a line that names segment and byte takes each back. So it holds for that
        very record, in whatever order segments are read, and not for the next answer to the same request.
        """
        places = [(key, path.name, offset) for key in keys for path, offset, _ in self._index.places_of(key)]
        for note in self.folder.glob(".answered-*"):  # m1.engines.settings.Answered
            note.unlink(missing_ok=True)
        self._append([(key, "forget", f"{segment}@{offset}") for key, segment, offset in places])

    def _append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        remedy = f"The {len(self):,} records before are kept. Free space or correct the permissions and run again."
        with usable(self.folder, "written", remedy):
            try:
                self._writer = self._writer or Writer(self.folder, self._index.to_list())
                written = self._writer.append(entries)
            except BaseException:
                if self._writer:
                    self._writer.close()
                    self._writer = None  # never append to what may end in a torn line
                raise
        for line in written:
            self._index.note(self._writer.path, line)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one process that spends for this store: wait for the others, then see what they have added.

        The lock is the file ``lock`` (:mod:`m1.core.locks`). Where the file system has none, and the other process is
        not known to be at work, that is said once, and the work goes on without it. Writing needs no lock.

        Raises:
            UserError: the folder cannot be written.
            RuntimeError: this process has the lock already.
        """
        lock = Lock(self.folder / "lock", keep=True)
        with usable(self.folder, "written", "Correct the permissions and run again."):
            lock.wait(lambda holder: say("store", f"{self.folder}: {holder} {CALLS}"))
        try:
            self.share(lock)
            yield
        finally:
            lock.release()

    def share(self, lock: Lock) -> None:
        """See what others have added, before something is made that a lock guards; where it is none of the kernel's,
        say so once, and from now on look again whenever something is put."""
        if not lock.kernel and not self.without_locks:
            self.without_locks = True
            said = "this file system has no locks; two runs at once could pay for one call twice"
            say("store", f"{self.folder}: {said}")
        self._look_again()

    def settle(self) -> None:
        """See what others have added, when all has been put: of two values of one key the one that counts from now on
        is the one that is read, in every process."""
        if self.without_locks:
            time.sleep(SETTLE)
        self._look_again()

    def _look_again(self) -> None:
        # A network file system may answer the next listing from its cache; a change of our own makes it look.
        with suppress(OSError), tempfile.TemporaryFile(dir=self.folder):
            pass
        self.refresh()


@contextmanager
def look_into(folder: str | Path) -> Iterator[Store]:
    """A store of which only is said what it has: where there is none, an empty one, and no folder is made."""
    if Path(folder).is_dir():
        with Store(folder) as store:
            yield store
    else:
        with tempfile.TemporaryDirectory() as nothing, Store(nothing) as store:
            yield store
