"""The durable store of calls that nobody wants to pay for twice: the teacher's, the labeller's, our own models'.

A store is a folder of segments (:mod:`m1.core.segments`), each written by one process only, and so without a lock.
``docs/architecture.md`` says what holds on which file system.
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
from m1.core.files import make_folder
from m1.core.locks import SETTLE, Lock
from m1.core.progress import say
from m1.core.segments import Entry, SegmentIndex, Writer, is_sound, usable


class Stored(NamedTuple):
    """The part of a step's work that is in the store, as the step itself reports it before it runs."""

    there: int  # how many are in the store
    of: int  # how many the step needs
    unit: str
    """What is counted: ``questions``, ``calls``, ``models``."""


CALLS = "is making calls; waiting for it, so that none is paid for twice"
"""The end of the message about the process that holds the lock."""


class Store:
    """A durable map from keys (:func:`m1.core.files.digest`) to JSON objects.

    When :meth:`put` has returned, the value survives a kill and a power cut. Of two values of one key, the first stays.
    Memory holds only the places of values, some 350 bytes a key. Values that other processes add later are seen after
    :meth:`refresh`. A process may open a store several times; each instance belongs to one thread.

    Raises:
        UserError: the folder cannot be read or made.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._index = SegmentIndex(self.folder)
        self.without_locks = False
        """Whether two processes may generate the same value at once, because the file system has no locks."""
        self._writer: Writer | None = None
        self._reader: tuple[Path, int] | None = None
        with usable(self.folder):
            make_folder(self.folder, mode=0o770)
        self.refresh()

    def refresh(self) -> None:
        """Read what other processes have added (:meth:`m1.core.segments.SegmentIndex.refresh`)."""
        self._index.refresh()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files. All values are on the disk already."""
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
        """The value of a key; None if the store has none."""
        line = self.line(key)
        return None if line is None else json.loads(line)["value"]

    def line(self, key: str) -> bytes | None:
        """The line of a key's record in its segment; None if the store has none.

        Raises:
            UserError: the record was changed after the store was opened.
        """
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
        """Store values; on return they are on the disk. A key that the store has already keeps its first value.

        Raises:
            UserError: the disk is full or fails.
        """
        if self.without_locks:
            self._look_again()
        new: dict[str, Any] = {}
        for key, value in items:
            if key not in self:
                new.setdefault(key, value)
        self._append([(key, "value", value) for key, value in new.items()])

    def forget(self, keys: Iterable[str]) -> None:
        """Take records back, so that their keys are asked again.

        The records stay in their segments; for each, a new line names its segment and byte. So only this very record is
        taken back, in whatever order segments are read, and not the next answer to the same request.
        """
        places = [(key, path.name, offset) for key in keys for path, offset, _ in self._index.places_of(key)]
        for note in self.folder.glob(".answered-*"):  # m1.engines.settings.AnswerNote
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
                    self._writer = None  # the segment may end in a torn line now, so the next write starts a new one
                raise
        for line in written:
            self._index.note(self._writer.path, line)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make this process the only one that pays for calls of this store: wait for others, then read what they added.

        If the file system has no locks, and the other process cannot be seen from here, the work goes on without the
        lock, and says so once. Writing needs no lock.

        Raises:
            UserError: the folder cannot be written.
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
        """Read what others have added, after a lock was taken and before the work that it guards.

        If the lock is none of the kernel's, say so once, and from now on refresh before each write.
        """
        if not lock.kernel and not self.without_locks:
            self.without_locks = True
            said = "this file system has no locks; two runs at once could pay for one call twice"
            say("store", f"{self.folder}: {said}")
        self._look_again()

    def settle(self) -> None:
        """Read what others have added, after the last write.

        If two processes wrote one key at once, every process then reads the same value of the two.
        """
        if self.without_locks:
            time.sleep(SETTLE)
        self._look_again()

    def _look_again(self) -> None:
        # A network file system may list a folder from its cache; a change of our own makes it ask the server.
        with suppress(OSError), tempfile.TemporaryFile(dir=self.folder):
            pass
        self.refresh()


@contextmanager
def look_into(folder: str | Path) -> Iterator[Store]:
    """Open a store only to read it. If there is none, yield an empty one, and do not make the folder."""
    if Path(folder).is_dir():
        with Store(folder) as store:
            yield store
    else:
        with tempfile.TemporaryDirectory() as nothing, Store(nothing) as store:
            yield store
