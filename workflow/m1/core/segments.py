"""Read, write and index the segments of a store.

A segment is a file of JSON lines that one process appends to and no other process ever changes. Each line carries the
CRC-32 of the rest of the line, and its number in the segment, from 0 (older segments have no numbers)::

    {"crc":"9f0c2a1b","key":"<digest of the request>","value":{...},"n":0}
    {"crc":"52d1c09e","key":"<digest of the request>","forget":"<segment>@<byte>","n":1}

The second form takes back the record that begins at that byte of that segment. It may stand in any segment, because
nothing is ever rewritten.

The hidden file ``.<segment>.count`` lists how many records the segment has, so one that is missing, or was cut at a
line end, is noticed. It also lists the previous segment, and segments without such a file.
"""

import errno
import json
import os
import re
import secrets
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from m1.core.errors import UserError
from m1.core.files import fsync, replacing
from m1.core.progress import say

UNFINISHED_SECONDS = 0.2
"""If the last line stays without a line end for this long, it counts as damaged and not as being written."""
SHOWN = 5  # how many damaged records, or segments with lost records, a message names one by one
ACCEPTED = ".accepted"
"""File of a store that lists, by segment, how many lost records its owner has accepted (``store forget --lost``)."""
_BEFORE_SUM = b'{"crc":"'
_AFTER_SUM = len(b'{"crc":"01234567')
_BEFORE_KEY = len(b'{"crc":"01234567","key":"')
_FORGET = b'","forget":'
_NUMBER = b',"n":'
_KEY = re.compile(r"[0-9A-Za-z_.:-]+")
_SEGMENT = re.compile(r"\d{20}-.+-\d+-[0-9a-f]{8}\.jsonl")
Place = tuple[Path, int, int]  # segment of a record, the byte that it begins at, and its length in bytes
Damage = tuple[Path, int, str]  # segment of a damaged line, the byte that it begins at, and its key
Entry = tuple[str, str, Any]
"""Key of a line, its kind (``value`` or ``forget``), and its content."""


class Line(NamedTuple):
    """A line of a segment, which may be damaged."""

    offset: int  # byte of the segment that it begins at
    content: bytes
    key: str  # empty where the line is cut before its key ends
    sound: bool
    finished: bool  # whether it has a line end

    @property
    def forgets(self) -> tuple[str, int, str] | None:
        """Segment, byte and key of the record that this line takes back; None for a record."""
        if not self.content.startswith(_FORGET, _BEFORE_KEY + len(self.key)):
            return None
        name, _, offset = json.loads(self.content)["forget"].rpartition("@")
        return name, int(offset), self.key

    @property
    def number(self) -> int | None:
        """Number of the line in the segment that it was written to, from 0; None in older segments."""
        place = self.content.rfind(_NUMBER, -30)
        digits = self.content[place + len(_NUMBER) : -2] if place >= 0 else b""
        return int(digits) if digits.isdigit() else None

    @property
    def like_a_record(self) -> bool:
        """Whether the line begins as every line of a segment does."""
        return self.content.startswith(_BEFORE_SUM)


class Tally:
    """Counts the records of a segment while its lines are read, by the numbers that they carry.

    Lines of an older version have no numbers, so each of them counts as one. If the numbers begin again at 0, another
    segment was appended to this one.
    """

    def __init__(self) -> None:
        self.records = 0
        """Records up to the last sound one, including damaged and missing ones before it."""
        self.damaged = 0
        """Damaged lines after the last sound one."""
        self.end = 0
        """Number of bytes of the segment that have been read."""
        self._before = 0

    def add(self, line: Line) -> tuple[int, int]:
        """Take the next line into account.

        Returns:
            For a sound line, how many records should lie between the last sound line and this one, and how many damaged
            lines do; (0, 0) for a damaged line.
        """
        content = line.content
        self.end = line.offset + len(content)
        if not line.sound:
            self.damaged += 1
            return 0, 0
        damaged, following = self.damaged, b',"n":%d}\n' % (self.records - self._before)
        if not damaged and (content.endswith(following) or content.endswith(b"}}\n")):
            self.records += 1  # the usual case, without parsing: the expected number, or a value without a number
            return 0, 0
        number = line.number
        if number == 0 and self.records:
            self._before = self.records + damaged
        place = self.records + damaged if number is None else self._before + number
        between = max(0, place - self.records)
        self.records, self.damaged = max(self.records, place + 1), 0
        return between, damaged


def scan(lines: Iterable[bytes], offset: int = 0) -> Iterator[Line]:
    """Parse lines of a segment; ``offset`` is the byte at which the first one begins."""
    for content in lines:
        end = content.find(b'"', _BEFORE_KEY)
        key = content[_BEFORE_KEY : max(end, 0)].decode("ascii", "replace")
        yield Line(offset, content, key, is_sound(content), content.endswith(b"\n"))
        offset += len(content)


def is_sound(line: bytes) -> bool:
    """Whether a line equals what was written, by its CRC-32."""
    return line[:_AFTER_SUM] == _BEFORE_SUM + b"%08x" % zlib.crc32(memoryview(line)[_AFTER_SUM:])


def record_line(entry: Entry, number: int | None = None) -> bytes:
    """The line for an entry, with its number in the segment; lines outside of segments (exports) have no number."""
    key, kind, content = entry
    if not _KEY.fullmatch(key):
        raise ValueError(f"a store's key is a digest, not {key!r}")
    counted = "" if number is None else f',"n":{number}'
    rest = f'","key":"{key}","{kind}":{json.dumps(content, separators=(",", ":"))}{counted}}}\n'.encode("ascii")
    return _BEFORE_SUM + b"%08x" % zlib.crc32(rest) + rest


def without_number(line: bytes) -> bytes:
    """A sound line in the form of an export: without its number, because an export mixes lines of several segments."""
    if (number := Line(0, line, "", True, True).number) is None:
        return line
    rest = line[_AFTER_SUM : -len(f',"n":{number}}}\n')] + b"}\n"
    return _BEFORE_SUM + b"%08x" % zlib.crc32(rest) + rest


def segment_paths(folder: Path) -> list[Path]:
    """The segments of a folder, in order of their names, which begin with their time."""
    return _files(folder, lambda name: name.endswith(".jsonl") and not name.startswith("."))


def listed_counts(folder: Path) -> dict[str, int]:
    """Return each segment's number of records when its list was last written, including segments that are gone."""
    found: dict[str, int] = {}
    for path in _files(folder, lambda name: name.startswith(".") and name.endswith(".count")):
        for name, count in _read_counts(path).items():
            found[name] = max(count, found.get(name, 0))
    return found


def accepted_losses(folder: Path) -> dict[str, int]:
    """Return the number of lost records that the store's owner has accepted, by the segment's name."""
    return _read_counts(folder / ACCEPTED) if (folder / ACCEPTED).is_file() else {}


def accept_losses(folder: Path, lost: Mapping[str, int]) -> None:
    """Note that the owner accepts these losses, by segment, so that they are no longer reported."""
    lines = [count_line(name, count) for name, count in lost.items() if count]
    with replacing(folder / ACCEPTED) as partial:
        partial.write_bytes(b"".join(lines))


def is_segment(path: Path) -> bool:
    """Whether a ``.jsonl`` file is a segment, by its name or one of its lines, and not somebody's other JSON lines."""
    if _SEGMENT.fullmatch(path.name):
        return True
    with open(path, "rb") as stream:
        return any(line.startswith(_BEFORE_SUM) for line in stream)


def count_line(name: str, count: int) -> bytes:
    """A line of a list of segments; its length depends only on the name, so it can be overwritten in place."""
    rest = f"{count:020d} {name}\n".encode()
    return b"%08x " % zlib.crc32(rest) + rest


def _read_counts(path: Path) -> dict[str, int]:
    found = {}
    for line in path.read_bytes().splitlines(keepends=True):
        name = line[30:].decode(errors="replace").rstrip("\n")
        if line[9:29].isdigit() and line == count_line(name, int(line[9:29])):
            found[name] = int(line[9:29])
    return found


def _files(folder: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """The regular files with wanted names, sorted; opening a pipe would wait for a writer."""

    def regular(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_file()
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link to itself
                return False
            raise

    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if wanted(entry.name) and regular(entry))


@contextmanager
def usable(
    folder: Path, how: str = "read", remedy: str = "Correct the path or its permissions and run again."
) -> Iterator[None]:
    """Turn an :class:`OSError` inside the context into a :class:`UserError`: a store or segment cannot be ``read`` or
    ``written``."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: the store cannot be {how}: {error.strerror or error}. {remedy}") from error


def unique_name() -> str:
    """A unique file name: the time in nanoseconds, the host, the process and a random part."""
    return f"{time.time_ns():020d}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Writer:
    """Appends records to a new segment of this process's own, and keeps the list beside it.

    The list is updated after each write. So it never counts more records than the segment has on the disk, but after a
    power cut it may count fewer. It also names the ``others``, with their numbers of records.
    """

    def __init__(self, folder: Path, others: Mapping[str, int]) -> None:
        made = f"{unique_name()}.jsonl"
        self.path, self.records = folder / made, 0
        listed = [count_line(name, count) for name, count in {made: 0, **others}.items()]
        self._list = os.open(folder / f".{made}.count", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o660)
        try:
            _write(self._list, listed)
            self._segment = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o660)
        except BaseException:
            os.close(self._list)
            raise
        fsync(folder)

    def append(self, entries: Sequence[Entry]) -> Iterator[Line]:
        """Write entries, and return their lines once they are on the disk. After an error, do not append any more."""
        lines = [record_line(entry, number) for number, entry in enumerate(entries, start=self.records)]
        start = os.fstat(self._segment).st_size
        _write(self._segment, lines)
        self.records += len(lines)
        with suppress(OSError):  # the records are safe even if the list is not updated
            os.pwrite(self._list, count_line(self.path.name, self.records), 0)
        return scan(lines, start)

    def close(self) -> None:
        os.close(self._segment)
        os.close(self._list)


def _write(descriptor: int, lines: Iterable[bytes]) -> None:
    unwritten = memoryview(b"".join(lines))
    while unwritten:
        unwritten = unwritten[os.write(descriptor, unwritten) :]
    os.fsync(descriptor)


class SegmentIndex:
    """The places of all values in a folder's segments; of two values of one key, the first in their order counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: dict[str, Place] = {}  # place of each key's value, in the order of the segments
        self._spares: dict[str, list[Place]] = {}  # further values of a key, which count if the first is forgotten
        self._forgotten: set[tuple[str, int, str]] = set()
        self._stuck: dict[Path, int] = {}  # sizes of segments that end in a torn line; nothing to read until they grow
        self._tallies: dict[Path, Tally] = {}  # counts of the segments that have been read
        self._missing: dict[str, int] = {}  # missing records by segment, until they are reported
        self._ours: set[Path] = set()  # files that are segments, and not other JSON lines
        self._listed: dict[str, int] | None = None  # numbers of records by the lists; None before the lists are read

    def places_of(self, key: str) -> list[Place]:
        """The places of all values of a key, the one that counts first."""
        return [self.places[key], *self._spares.get(key, [])] if key in self.places else []

    def to_list(self) -> dict[str, int]:
        """The segments that a new segment's list must name, with their numbers of records: the last one, and those that
        no list names yet."""
        paths = sorted(self._ours)
        named = [path for path in paths if path.name not in (self._listed or {})] + paths[-1:]
        return {path.name: self._tallies[path].records for path in named if path in self._tallies}

    def refresh(self) -> None:
        """Read what other processes have added since the store was opened or last refreshed.

        Damaged records are left out and reported. A last line without a line end may still be in the writing, so it
        counts as damaged only if it stays so for :data:`UNFINISHED_SECONDS`. Records that are missing, by the numbers
        of the lines or by the lists of segments, are counted and reported.

        Raises:
            UserError: a segment cannot be read, is gone, or is shorter than before.
        """
        opening = self._listed is None
        if opening:  # read the lists before the segments, as another process may append to both meanwhile
            with usable(self.folder):
                self._listed = listed_counts(self.folder)
        damaged, unfinished = self._read_on()
        if any(key not in self.places for _, _, key in unfinished):
            time.sleep(UNFINISHED_SECONDS)
            more, still = self._read_on()
            unfinished = [place for place in still if place in unfinished]
            damaged += more + [place for place in unfinished if self._was_kept(place[0])]
            self._stuck |= {path: path.stat().st_size for path, _, _ in still}
        if lost := [place for place in damaged if place[2] not in self.places]:
            shown = ", ".join(f"{path.name} byte {offset:,}" for path, offset, _ in lost[:SHOWN])
            others = f" and {len(lost) - SHOWN:,} more" if len(lost) > SHOWN else ""
            what = f"{len(lost):,} damaged or unfinished record{'s' * (len(lost) > 1)} left out"
            say("store", f"{self.folder}: {what}; asked again when needed ({shown}{others})")
        if opening:
            self._compare_with_lists({path for path, _, _ in unfinished})
        self._report_missing()

    def _was_kept(self, path: Path) -> bool:
        """Whether a segment's unfinished last line once was complete on the disk, as far as the list tells."""
        tally, listed = self._tallies.get(path, Tally()), (self._listed or {}).get(path.name)
        return listed is None or listed > tally.records + tally.damaged

    def _compare_with_lists(self, unfinished: set[Path]) -> None:
        for name, count in (self._listed or {}).items():
            path = self.folder / name
            tally = self._tallies.get(path, Tally())
            there = tally.records + tally.damaged + (path in unfinished)
            if count > there:
                self._missing[name] = self._missing.get(name, 0) + count - there

    def _report_missing(self) -> None:
        """Report once how many records are missing, unless the owner has accepted the loss."""
        if not self._missing:
            return
        accepted = accepted_losses(self.folder)
        lost = {name: count - accepted.get(name, 0) for name, count in sorted(self._missing.items())}
        self._missing = {}
        if lost := {name: count for name, count in lost.items() if count > 0}:
            shown = ", ".join(f"{count:,} of {name}" for name, count in list(lost.items())[:SHOWN])
            others = f" and of {len(lost) - SHOWN:,} more segments" if len(lost) > SHOWN else ""
            total = sum(lost.values())
            what = f"{total:,} record{'s' * (total > 1)} lost since written ({shown}{others})"
            remedy = "put the files back from a copy, or they are asked again when needed"
            command = f"`python -m m1 store verify {self.folder}` names the places, `store forget --lost` accepts it"
            say("store", f"{self.folder}: {what}; {remedy}; {command}")

    def _read_on(self) -> tuple[list[Damage], list[Damage]]:
        """Index the new lines of all segments; return the damaged ones, and last lines without a line end."""
        damaged, unfinished = [], []
        with usable(self.folder):
            paths = segment_paths(self.folder)
        for gone in self._tallies.keys() - set(paths):
            remedy = "Put it back and run again; without it, its calls are asked again."
            raise UserError(f"{gone}: this segment of the store is gone. {remedy}")
        for path in paths:
            start, unsound, last = self._tallies[path].end if path in self._tallies else 0, [], None
            ours = path in self._ours or _SEGMENT.fullmatch(path.name) is not None
            with usable(path), open(path, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                if size < start:
                    what = f"{size:,} bytes, but it had {start:,}"
                    raise UserError(f"{path}: {what}: it was changed while the store was in use. Run again.")
                if size == self._stuck.get(path):
                    continue
                stream.seek(start)
                for line in scan(stream, start):
                    ours = ours or line.like_a_record
                    if not line.finished:
                        # After a crash, a file may end in zeros; these were never acknowledged, so nothing is lost.
                        last = None if line.content.endswith(b"\0") else (path, line.offset, line.key)
                        break
                    if not line.sound:
                        unsound.append((path, line.offset, line.key))
                    self.note(path, line)
            if ours:  # else it holds JSON lines of somebody else
                self._ours.add(path)
                damaged += unsound
                unfinished += [last] if last else []
        return damaged, unfinished

    def note(self, path: Path, line: Line) -> None:
        """Add a finished line of a segment to the index; a damaged line is only counted."""
        tally = self._tallies.get(path)
        if tally is None:
            tally = self._tallies[path] = Tally()
        between, damaged = tally.add(line)
        if between > damaged:
            self._missing[path.name] = self._missing.get(path.name, 0) + between - damaged
        if not line.sound:
            return
        place = path, line.offset, len(line.content)
        forgotten = line.forgets
        if not forgotten and not self._forgotten and self.places.setdefault(line.key, place) is place:
            return
        places = [place]
        if forgotten:
            self._forgotten.add(forgotten)
            places = self.places_of(line.key)
            self.places.pop(line.key, None)
            self._spares.pop(line.key, None)
        for place in places:
            if self._forgotten and (place[0].name, place[1], line.key) in self._forgotten:
                continue
            first = self.places.setdefault(line.key, place)
            if first is not place:
                if place < first:  # it was read later but comes first in the order, as for all later readers
                    self.places[line.key], place = place, first
                self._spares.setdefault(line.key, []).append(place)
