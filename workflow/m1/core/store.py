"""The durable store of calls that nobody wants to pay for twice: the teacher's, the labeller's, and our own models'
generations.

A store is a folder of segments. A segment is a file of JSON lines that one process appends to and no other ever
changes, so several processes, also on several hosts of a shared file system, write without a lock. Each line carries
the CRC-32 of what follows it::

    {"crc":"9f0c2a1b","key":"<digest of the request>","value":{...}}
    {"crc":"52d1c09e","key":"<digest of the request>","forget":"<segment>@<byte>"}

The second form takes back the record that begins at that byte of that segment, wherever it is read itself: nothing is
ever rewritten. Copying a segment into another store's folder imports it. ``docs/store.md`` says what holds on which
file system.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import socket
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from m1.core.errors import UserError
from m1.core.files import sync_folder
from m1.core.progress import say

UNFINISHED_SECONDS = 0.2
"""A last line without its end, which stays so for this long, is no longer taken for one that is being written."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system without locks answers."""
SHOWN = 5
"""Damaged records that are named one by one."""
_BEFORE_SUM = b'{"crc":"'
_AFTER_SUM = len(b'{"crc":"01234567')
_BEFORE_KEY = len(b'{"crc":"01234567","key":"')
_FORGET = b'","forget":'
_KEY = re.compile(r"[0-9A-Za-z_.:-]+")
_locked: set[Path] = set()
"""Folders that this process has the lock of: a second descriptor of a lock file, once closed, would release the first
one's lock."""


class Line(NamedTuple):
    """A line of a segment, sound or not."""

    offset: int
    """Byte of the segment that it begins at."""
    content: bytes
    key: str
    """Empty where the line is cut before its key ends."""
    sound: bool
    finished: bool
    """Whether it has its line end."""

    @property
    def forgets(self) -> tuple[str, int] | None:
        """Segment and byte of the record that this line takes back; None for a record."""
        if not self.content.startswith(_FORGET, _BEFORE_KEY + len(self.key)):
            return None
        name, _, offset = json.loads(self.content)["forget"].rpartition("@")
        return name, int(offset)

    @property
    def value(self) -> Any:
        """What a record keeps."""
        return json.loads(self.content)["value"]


def scan(lines: Iterable[bytes], offset: int = 0) -> Iterator[Line]:
    """Read lines of a segment; ``offset`` is the byte that the first one begins at."""
    for content in lines:
        end = content.find(b'"', _BEFORE_KEY)
        key = content[_BEFORE_KEY : max(end, 0)].decode("ascii", "replace")
        yield Line(offset, content, key, _is_sound(content), content.endswith(b"\n"))
        offset += len(content)


class Store:
    """Keys (see :func:`m1.core.files.digest`) to JSON objects; what :meth:`put` has returned from survives a kill and a
    power cut.

    Only the places of values are held in memory, some 350 bytes a key. What others add after opening is seen after
    :meth:`refresh`; of two values of one key the first stays. One process may open a store many times; an instance
    belongs to one thread.

    Args:
        folder: made if missing.

    Raises:
        UserError: the folder cannot be read or made.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._places: dict[str, tuple[Path, int, int]] = {}
        self._spares: dict[str, list[tuple[Path, int, int]]] = {}
        """Further values of keys that have one, for when that one is forgotten."""
        self._forgotten: set[tuple[str, int]] = set()
        self._ends: dict[Path, int] = {}
        """How far each segment has been read."""
        self._stuck: dict[Path, int] = {}
        """Size of each segment that ends in a torn line: there is nothing more to read while it has this size."""
        self._writer: tuple[Path, int] | None = None
        self._reader: tuple[Path, int] | None = None
        self._without_locks = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unreadable(self.folder, error) from error
        self.refresh()

    def refresh(self) -> None:
        """Notice what other processes have added since the store was opened, or refreshed.

        A damaged record is left out and said, with its file and byte; a last line without its end may still be in the
        writing, so that it counts as damaged only if it stays as it is for :data:`UNFINISHED_SECONDS`.

        Raises:
            UserError: a segment cannot be read, or it is gone or shorter than it was.
        """
        damaged, unfinished = self._read_on()
        if self._lost(unfinished):
            time.sleep(UNFINISHED_SECONDS)
            more, still = self._read_on()
            damaged += more + [place for place in still if place in unfinished]
            self._stuck |= {path: path.stat().st_size for path, _, _ in still}
        lost = self._lost(damaged)
        if lost:
            shown = ", ".join(f"{path.name} byte {offset:,}" for path, offset, _ in lost[:SHOWN])
            others = f" and {len(lost) - SHOWN:,} more" if len(lost) > SHOWN else ""
            what = f"{len(lost):,} damaged or unfinished record{'s' * (len(lost) > 1)} left out"
            say("store", f"{self.folder}: {what}; asked again when needed ({shown}{others})")

    def _lost(self, damaged: list[tuple[Path, int, str]]) -> list[tuple[Path, int, str]]:
        return [place for place in damaged if place[2] not in self._places]

    def _read_on(self) -> tuple[list[tuple[Path, int, str]], list[tuple[Path, int, str]]]:
        """Note where the values are that are new; file, byte and key of new damaged lines, and of last lines without
        their end."""
        damaged, unfinished = [], []
        try:
            paths = sorted(path for path in self.folder.iterdir() if path.suffix == ".jsonl")
        except OSError as error:
            raise self._unreadable(self.folder, error) from error
        for gone in self._ends.keys() - set(paths):
            raise UserError(
                f"{gone}: this segment of the store is gone. Put it back and run again; without it, its "
                "calls are asked again."
            )
        for path in paths:
            start = self._ends.get(path, 0)
            try:
                with open(path, "rb") as stream:
                    size = os.fstat(stream.fileno()).st_size
                    if size < start:
                        raise UserError(
                            f"{path}: {size:,} bytes, but it had {start:,}: it "
                            "was changed while the store was in use. Run again."
                        )
                    if size == self._stuck.get(path):
                        continue
                    stream.seek(start)
                    for line in scan(stream, start):
                        if not line.finished:
                            unfinished.append((path, line.offset, line.key))
                            break
                        if line.sound:
                            self._note(path, line)
                        else:
                            damaged.append((path, line.offset, line.key))
                        self._ends[path] = line.offset + len(line.content)
            except OSError as error:
                raise self._unreadable(path, error) from error
        return damaged, unfinished

    def _note(self, path: Path, line: Line) -> None:
        places = [(path, line.offset, len(line.content))]
        if forgotten := line.forgets:
            self._forgotten.add(forgotten)
            places = [
                *([self._places.pop(line.key)] if line.key in self._places else []),
                *self._spares.pop(line.key, []),
            ]
        for place in places:
            if self._forgotten and (place[0].name, place[1]) in self._forgotten:
                continue
            if self._places.setdefault(line.key, place) is not place:
                self._spares.setdefault(line.key, []).append(place)

    def _unreadable(self, path: Path, error: OSError) -> UserError:
        return UserError(
            f"{path}: the store cannot be read: {error.strerror or error}. Correct the path or its "
            "permissions and run again."
        )

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; everything is on the disk already."""
        if self._writer:
            os.close(self._writer[1])
        if self._reader:
            os.close(self._reader[1])
        self._writer = self._reader = None

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        """The keys, in the order of the segments."""
        return iter(self._places)

    def get(self, key: str) -> Any:
        """The value of a key, or None."""
        line = self.line(key)
        return None if line is None else json.loads(line)["value"]

    def line(self, key: str) -> bytes | None:
        """The record of a key as the segment has it, or None."""
        if key not in self._places:
            return None
        path, offset, length = self._places[key]
        try:
            if self._reader is None or self._reader[0] != path:
                descriptor = os.open(path, os.O_RDONLY)
                if self._reader:
                    os.close(self._reader[1])
                self._reader = path, descriptor
            line = os.pread(self._reader[1], length, offset)
        except OSError as error:
            raise self._unreadable(path, error) from error
        if not _is_sound(line):
            raise UserError(
                f"{path}: the record at byte {offset} was changed while the store was in use. Run again: it "
                "is asked again."
            )
        return line

    def put(self, key: str, value: Any) -> None:
        """Keep one value; see :meth:`put_many`."""
        self.put_many([(key, value)])

    def put_many(self, items: Iterable[tuple[str, Any]]) -> None:
        """Keep values; on return they are on the disk. Keys that are there already keep their first value.

        Raises:
            UserError: the disk is full or fails; whatever was put before is kept.
        """
        lines: dict[str, bytes] = {}
        for key, value in items:
            if key not in self._places and key not in lines:
                lines[key] = _line(key, "value", value)
        self._append(list(lines.values()))

    def forget(self, keys: Iterable[str]) -> None:
        """Take records back, so that their keys are asked again.

        The records stay in their segments; a line that names segment and byte takes each back. So it holds for that
        very record, in whatever order segments are read, and not for the next answer to the same request, be it equal
        to the last letter.
        """
        places = [
            (key, place)
            for key in keys
            if key in self._places
            for place in [self._places[key], *self._spares.get(key, [])]
        ]
        self._append([_line(key, "forget", f"{path.name}@{offset}") for key, (path, offset, _) in places])

    def _append(self, lines: list[bytes]) -> None:
        """Write lines and note them."""
        if not lines:
            return
        try:
            path, descriptor = self._writer = self._writer or self._new_segment()
            start = os.fstat(descriptor).st_size
            _write_all(descriptor, b"".join(lines))
        except BaseException as error:
            if self._writer:
                os.close(self._writer[1])
                self._writer = None  # never append to what may end in a torn line
            if not isinstance(error, OSError):
                raise
            raise UserError(
                f"{self.folder}: the store cannot be written: {error.strerror or error}. "
                f"The {len(self):,} records before are kept. Free space or correct the permissions and run again."
            ) from error
        for line in scan(lines, start):
            self._note(path, line)
            self._ends[path] = line.offset + len(line.content)

    def _new_segment(self) -> tuple[Path, int]:
        name = f"{time.time_ns():020d}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        path = self.folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        sync_folder(self.folder)
        return path, descriptor

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one process that spends for this store: wait for the others, then see what they have added.

        The lock is one of the kernel's (POSIX, on the file ``lock``), which releases it however its process ends;
        nothing is ever left to be cleaned up. Where the file system has none, that is said, and the work goes on
        without it. Writing needs no lock.

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
            # A network file system may answer the next listing from its cache; a change of our own makes it look.
            with suppress(OSError), tempfile.TemporaryFile(dir=folder):
                pass
            self.refresh()
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


def _line(key: str, kind: str, content: Any) -> bytes:
    if not _KEY.fullmatch(key):
        raise ValueError(f"a store's key is a digest, not {key!r}")
    rest = f'","key":"{key}","{kind}":{json.dumps(content, separators=(",", ":"))}}}\n'.encode("ascii")
    return _BEFORE_SUM + b"%08x" % zlib.crc32(rest) + rest


def _is_sound(line: bytes) -> bool:
    return line[:_AFTER_SUM] == _BEFORE_SUM + b"%08x" % zlib.crc32(memoryview(line)[_AFTER_SUM:])


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)
