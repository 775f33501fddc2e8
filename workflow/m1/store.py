"""The durable store of calls that nobody wants to pay for twice: the teacher's, the labeller's, and our own models' generations.

A store is a folder of segments. A segment is a file of JSON lines that one process appends to and no other ever changes, so several
processes, also on several hosts of a shared file system, need no lock. Each line carries the CRC-32 of what follows it::

    {"crc":"9f0c2a1b","key":"<digest of the request>","value":{...}}

Copying a segment into another store's folder imports it; a store is exported by copying its folder.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from m1.errors import UserError
from m1.progress import say

_BEFORE_SUM = b'{"crc":"'
_AFTER_SUM = len(b'{"crc":"01234567')
_BEFORE_KEY = len(b'{"crc":"01234567","key":"')
_KEY = re.compile(r"[0-9A-Za-z_.:-]+")


class Store:
    """Keys (see :func:`m1.files.digest`) to JSON objects; what :meth:`put` has returned from survives a kill and a power cut.

    Only the places of values are held in memory, some 300 bytes a key. What others add after opening is not seen; of two values of one
    key the first stays. One process may open a store many times; an instance belongs to one thread.

    Args:
        folder: made if missing.

    Raises:
        UserError: the folder cannot be read or made.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._places: dict[str, tuple[Path, int, int]] = {}
        self._writer: tuple[Path, int] | None = None
        self._reader: tuple[Path, int] | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            damaged = [key for path in sorted(self.folder.glob("*.jsonl")) for key in self._load(path)]
        except OSError as error:
            raise UserError(
                f"{self.folder}: the store cannot be read: {error.strerror or error}. Correct the path or its permissions."
            ) from error
        lost = sum(key not in self._places for key in damaged)
        if lost:
            say("store", f"{self.folder}: {lost:,} damaged or unfinished record{'s' * (lost > 1)} left out; asked again when needed")

    def _load(self, path: Path) -> Iterator[str]:
        """Note where the values of a segment are; yield the key, or what is left of it, of each damaged line."""
        offset = 0
        with open(path, "rb") as lines:
            for line in lines:
                end = line.find(b'"', _BEFORE_KEY)
                key = line[_BEFORE_KEY:end].decode("ascii", "replace")
                if _is_sound(line):
                    self._places.setdefault(key, (path, offset, len(line)))
                else:
                    yield key
                offset += len(line)

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

    def get(self, key: str) -> Any:
        """The value of a key, or None."""
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
            raise UserError(f"{path}: the store cannot be read: {error.strerror or error}. Run again.") from error
        if not _is_sound(line):
            raise UserError(f"{path}: the record at byte {offset} was changed while the store was in use. Run again: it is asked again.")
        return json.loads(line)["value"]

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
                lines[key] = _line(key, value)
        if not lines:
            return
        try:
            path, descriptor = self._writer = self._writer or self._new_segment()
            place = os.fstat(descriptor).st_size
            _write_all(descriptor, b"".join(lines.values()))
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
        for key, line in lines.items():
            self._places[key] = path, place, len(line)
            place += len(line)

    def _new_segment(self) -> tuple[Path, int]:
        name = f"{time.time_ns():020d}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        path = self.folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # else a power cut could forget the file's name
        finally:
            os.close(folder)
        return path, descriptor


def _line(key: str, value: Any) -> bytes:
    if not _KEY.fullmatch(key):
        raise ValueError(f"a store's key is a digest, not {key!r}")
    rest = f'","key":"{key}","value":{json.dumps(value, separators=(",", ":"))}}}\n'.encode("ascii")
    return _BEFORE_SUM + b"%08x" % zlib.crc32(rest) + rest


def _is_sound(line: bytes) -> bool:
    return line[:_AFTER_SUM] == _BEFORE_SUM + b"%08x" % zlib.crc32(memoryview(line)[_AFTER_SUM:])


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)
