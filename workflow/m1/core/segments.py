"""Segments of a store: their format, and where in them the values are.

A segment is a file of JSON lines that one process appends to and no other ever changes. Each line carries the CRC-32 of
what follows it::

    {"crc":"9f0c2a1b","key":"<digest of the request>","value":{...}}
    {"crc":"52d1c09e","key":"<digest of the request>","forget":"<segment>@<byte>"}

The second form takes back the record that begins at that byte of that segment, wherever it is read itself: nothing is
ever rewritten.
"""

import json
import os
import re
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from m1.core.errors import UserError
from m1.core.progress import say

UNFINISHED_SECONDS = 0.2
"""A last line without its end, which stays so for this long, is no longer taken for one that is being written."""
SHOWN = 5  # damaged records that are named one by one
_BEFORE_SUM = b'{"crc":"'
_AFTER_SUM = len(b'{"crc":"01234567')
_BEFORE_KEY = len(b'{"crc":"01234567","key":"')
_FORGET = b'","forget":'
_KEY = re.compile(r"[0-9A-Za-z_.:-]+")
Place = tuple[Path, int, int]  # segment of a record, the byte that it begins at, and its length in bytes
Damage = tuple[Path, int, str]  # segment of a line that is not sound, the byte that it begins at, and its key


class Line(NamedTuple):
    """A line of a segment, sound or not."""

    offset: int  # byte of the segment that it begins at
    content: bytes
    key: str  # empty where the line is cut before its key ends
    sound: bool
    finished: bool  # whether it has its line end

    @property
    def forgets(self) -> tuple[str, int] | None:
        """Segment and byte of the record that this line takes back; None for a record."""
        if not self.content.startswith(_FORGET, _BEFORE_KEY + len(self.key)):
            return None
        name, _, offset = json.loads(self.content)["forget"].rpartition("@")
        return name, int(offset)


def scan(lines: Iterable[bytes], offset: int = 0) -> Iterator[Line]:
    """Read lines of a segment; ``offset`` is the byte that the first one begins at."""
    for content in lines:
        end = content.find(b'"', _BEFORE_KEY)
        key = content[_BEFORE_KEY : max(end, 0)].decode("ascii", "replace")
        yield Line(offset, content, key, is_sound(content), content.endswith(b"\n"))
        offset += len(content)


def is_sound(line: bytes) -> bool:
    """Whether a line is as it was written."""
    return line[:_AFTER_SUM] == _BEFORE_SUM + b"%08x" % zlib.crc32(memoryview(line)[_AFTER_SUM:])


def record_line(key: str, kind: str, content: Any) -> bytes:
    """A line of a segment; ``kind`` is ``value`` or ``forget``. A key that is no digest is a ValueError."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"a store's key is a digest, not {key!r}")
    rest = f'","key":"{key}","{kind}":{json.dumps(content, separators=(",", ":"))}}}\n'.encode("ascii")
    return _BEFORE_SUM + b"%08x" % zlib.crc32(rest) + rest


@contextmanager
def usable(
    folder: Path, how: str = "read", remedy: str = "Correct the path or its permissions and run again."
) -> Iterator[None]:
    """What the file system refuses becomes the message of a store that cannot be read, written or locked."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: the store cannot be {how}: {error.strerror or error}. {remedy}") from error


class SegmentIndex:
    """Where the values of a folder's segments are; of two values of one key the first counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: dict[str, Place] = {}  # of each key's value, in the order of the segments
        self._spares: dict[str, list[Place]] = {}  # further values of keys that have one, should that be forgotten
        self._forgotten: set[tuple[str, int]] = set()
        self._ends: dict[Path, int] = {}  # how far each segment has been read
        self._stuck: dict[Path, int] = {}  # size of those that end in a torn line: nothing to read while they have it

    def places_of(self, key: str) -> list[Place]:
        """Places of all values of a key."""
        return [self.places[key], *self._spares.get(key, [])] if key in self.places else []

    def refresh(self) -> None:
        """Notice what other processes have added since the store was opened, or refreshed.

        A damaged record is left out and said, with its file and byte; a last line without its end may still be in the
        writing, so that it counts as damaged only if it stays as it is for :data:`UNFINISHED_SECONDS`.

        Raises:
            UserError: a segment cannot be read, or it is gone or shorter than it was.
        """
        damaged, unfinished = self._read_on()
        if any(key not in self.places for _, _, key in unfinished):
            time.sleep(UNFINISHED_SECONDS)
            more, still = self._read_on()
            damaged += more + [place for place in still if place in unfinished]
            self._stuck |= {path: path.stat().st_size for path, _, _ in still}
        if lost := [place for place in damaged if place[2] not in self.places]:
            shown = ", ".join(f"{path.name} byte {offset:,}" for path, offset, _ in lost[:SHOWN])
            others = f" and {len(lost) - SHOWN:,} more" if len(lost) > SHOWN else ""
            what = f"{len(lost):,} damaged or unfinished record{'s' * (len(lost) > 1)} left out"
            say("store", f"{self.folder}: {what}; asked again when needed ({shown}{others})")

    def _read_on(self) -> tuple[list[Damage], list[Damage]]:
        """Note where the values are that are new; the new damaged lines, and last lines without their end."""
        damaged, unfinished = [], []
        with usable(self.folder):
            paths = sorted(path for path in self.folder.iterdir() if path.suffix == ".jsonl")
        for gone in self._ends.keys() - set(paths):
            remedy = "Put it back and run again; without it, its calls are asked again."
            raise UserError(f"{gone}: this segment of the store is gone. {remedy}")
        for path in paths:
            start = self._ends.get(path, 0)
            with usable(path), open(path, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                if size < start:
                    what = f"{size:,} bytes, but it had {start:,}"
                    raise UserError(f"{path}: {what}: it was changed while the store was in use. Run again.")
                if size == self._stuck.get(path):
                    continue
                stream.seek(start)
                for line in scan(stream, start):
                    if not line.finished:
                        unfinished.append((path, line.offset, line.key))
                        break
                    if not line.sound:
                        damaged.append((path, line.offset, line.key))
                    self.note(path, line)
        return damaged, unfinished

    def note(self, path: Path, line: Line) -> None:
        """Take a finished line of a segment into account; one that is not sound is passed over."""
        self._ends[path] = line.offset + len(line.content)
        if not line.sound:
            return
        places = [(path, line.offset, len(line.content))]
        if forgotten := line.forgets:
            self._forgotten.add(forgotten)
            places = self.places_of(line.key)
            self.places.pop(line.key, None)
            self._spares.pop(line.key, None)
        for place in places:
            if self._forgotten and (place[0].name, place[1]) in self._forgotten:
                continue
            if self.places.setdefault(line.key, place) is not place:
                self._spares.setdefault(line.key, []).append(place)
