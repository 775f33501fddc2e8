"""Segments of a store: their format, and where in them the values are.

A segment is a file of JSON lines that one process appends to and no other ever changes. Each line carries the CRC-32 of
what follows it, and its number in the segment, from 0 (segments of old have none)::

    {"crc":"9f0c2a1b","key":"<digest of the request>","value":{...},"n":0}
    {"crc":"52d1c09e","key":"<digest of the request>","forget":"<segment>@<byte>","n":1}

The second form takes back the record that begins at that byte of that segment, wherever it is read itself: nothing is
ever rewritten.

Beside a segment, the hidden file ``.<segment>.count`` lists how many records it has, so that a segment that was cut at
a line end, or is gone, is noticed. It also lists the segment before it, and those that were there without such a file.
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
"""A last line without its end, which stays so for this long, is no longer taken for one that is being written."""
SHOWN = 5  # damaged records, and segments with lost ones, that are named one by one
ACCEPTED = ".accepted"
"""File of a store that lists, by segment, how many lost records its owner has accepted."""
_BEFORE_SUM = b'{"crc":"'
_AFTER_SUM = len(b'{"crc":"01234567')
_BEFORE_KEY = len(b'{"crc":"01234567","key":"')
_FORGET = b'","forget":'
_NUMBER = b',"n":'
_KEY = re.compile(r"[0-9A-Za-z_.:-]+")
_SEGMENT = re.compile(r"\d{20}-.+-\d+-[0-9a-f]{8}\.jsonl")
Place = tuple[Path, int, int]  # segment of a record, the byte that it begins at, and its length in bytes
Damage = tuple[Path, int, str]  # segment of a line that is not sound, the byte that it begins at, and its key
Entry = tuple[str, str, Any]
"""Key of a line, its kind (``value`` or ``forget``), and its content."""


class Line(NamedTuple):
    """A line of a segment, sound or not."""

    offset: int  # byte of the segment that it begins at
    content: bytes
    key: str  # empty where the line is cut before its key ends
    sound: bool
    finished: bool  # whether it has its line end

    @property
    def forgets(self) -> tuple[str, int, str] | None:
        """Segment, byte and key of the record that this line takes back; None for a record."""
        if not self.content.startswith(_FORGET, _BEFORE_KEY + len(self.key)):
            return None
        name, _, offset = json.loads(self.content)["forget"].rpartition("@")
        return name, int(offset), self.key

    @property
    def number(self) -> int | None:
        """Place of the line in the segment that it was written to, from 0; None in segments of old."""
        place = self.content.rfind(_NUMBER, -30)
        digits = self.content[place + len(_NUMBER) : -2] if place >= 0 else b""
        return int(digits) if digits.isdigit() else None

    @property
    def like_a_record(self) -> bool:
        """Whether it begins as all lines of segments do."""
        return self.content.startswith(_BEFORE_SUM)


class Tally:
    """Counts the records of a segment while its lines are read, by the numbers that they carry.

    What an older version wrote has no numbers, so that each of its lines counts as one. Where the numbers begin anew,
    another segment has been appended.
    """

    def __init__(self) -> None:
        self.records = 0
        """Records up to the last sound one, those among them that are damaged or missing included."""
        self.damaged = 0
        """Damaged lines after the last sound one."""
        self.end = 0
        """How far the segment has been read, in bytes."""
        self._before = 0

    def add(self, line: Line) -> tuple[int, int]:
        """Take the next line into account; how many records should be between the last sound one and this one, if it is
        sound, and how many damaged lines there are."""
        content = line.content
        self.end = line.offset + len(content)
        if not line.sound:
            self.damaged += 1
            return 0, 0
        damaged, following = self.damaged, b',"n":%d}\n' % (self.records - self._before)
        if not damaged and (content.endswith(following) or content.endswith(b"}}\n")):
            self.records += 1  # the rule, and the fast way: a value without a number ends so
            return 0, 0
        number = line.number
        if number == 0 and self.records:
            self._before = self.records + damaged
        place = self.records + damaged if number is None else self._before + number
        between = max(0, place - self.records)
        self.records, self.damaged = max(self.records, place + 1), 0
        return between, damaged


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


def record_line(entry: Entry, number: int | None = None) -> bytes:
    """A line of a segment; without a number, of what is no segment. A key that is no digest is a ValueError."""
    key, kind, content = entry
    if not _KEY.fullmatch(key):
        raise ValueError(f"a store's key is a digest, not {key!r}")
    counted = "" if number is None else f',"n":{number}'
    rest = f'","key":"{key}","{kind}":{json.dumps(content, separators=(",", ":"))}{counted}}}\n'.encode("ascii")
    return _BEFORE_SUM + b"%08x" % zlib.crc32(rest) + rest


def without_number(line: bytes) -> bytes:
    """A sound line as it stands in an export, whose lines are not those of one segment."""
    if (number := Line(0, line, "", True, True).number) is None:
        return line
    rest = line[_AFTER_SUM : -len(f',"n":{number}}}\n')] + b"}\n"
    return _BEFORE_SUM + b"%08x" % zlib.crc32(rest) + rest


def segment_paths(folder: Path) -> list[Path]:
    """The segments of a folder in their order. Hidden files are none, nor is what is no regular file: opening a pipe
    would wait for a writer."""
    return _files(folder, lambda name: name.endswith(".jsonl") and not name.startswith("."))


def listed_counts(folder: Path) -> dict[str, int]:
    """How many records segments had when that was last noted, by their name, also of segments that are gone."""
    found: dict[str, int] = {}
    for path in _files(folder, lambda name: name.startswith(".") and name.endswith(".count")):
        for name, count in _read_counts(path).items():
            found[name] = max(count, found.get(name, 0))
    return found


def accepted_losses(folder: Path) -> dict[str, int]:
    """How many lost records of segments their owner has accepted, by the segment's name."""
    return _read_counts(folder / ACCEPTED) if (folder / ACCEPTED).is_file() else {}


def accept_losses(folder: Path, lost: Mapping[str, int]) -> None:
    """Report such losses no more."""
    lines = [count_line(name, count) for name, count in lost.items() if count]
    with replacing(folder / ACCEPTED) as partial:
        partial.write_bytes(b"".join(lines))


def is_segment(path: Path) -> bool:
    """Whether a file is one of a store, by its name or by a line of it, and no other JSON lines."""
    if _SEGMENT.fullmatch(path.name):
        return True
    with open(path, "rb") as stream:
        return any(line.startswith(_BEFORE_SUM) for line in stream)


def count_line(name: str, count: int) -> bytes:
    """A line of a list of segments; its length depends on the name alone."""
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
    """What the file system refuses becomes the message of a store that cannot be read, written or locked."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: the store cannot be {how}: {error.strerror or error}. {remedy}") from error


def unique_name() -> str:
    """A name for a file of this process's own: when it is made (ns), by which host and process, and a random part."""
    return f"{time.time_ns():020d}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Writer:
    """A segment of this process's own, which it appends to, and the list beside it.

    The list never counts more than the segment has on the disk: it is brought up to date after each write, and after a
    power cut may be behind.

    Args:
        others: how many records other segments have that this one's list is to name, too.

    Raises:
        OSError: the folder cannot be written.
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
        """Write lines; on return they are on the disk. After an error nothing more may be appended."""
        lines = [record_line(entry, number) for number, entry in enumerate(entries, start=self.records)]
        start = os.fstat(self._segment).st_size
        _write(self._segment, lines)
        self.records += len(lines)
        with suppress(OSError):  # the records are kept all the same
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
    """Where the values of a folder's segments are; of two values of one key the first counts, in the order of segments,
    whenever each was read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: dict[str, Place] = {}  # of each key's value, in the order of the segments
        self._spares: dict[str, list[Place]] = {}  # further values of keys that have one, should that be forgotten
        self._forgotten: set[tuple[str, int, str]] = set()
        self._stuck: dict[Path, int] = {}  # size of those that end in a torn line: nothing to read while they have it
        self._tallies: dict[Path, Tally] = {}  # of the segments that have been read
        self._missing: dict[str, int] = {}  # records of segments that are not there, so far as that was not said yet
        self._ours: set[Path] = set()  # those that are segments, and no other JSON lines
        self._listed: dict[str, int] | None = None  # how many records segments should have; None before they are read

    def places_of(self, key: str) -> list[Place]:
        """Places of all values of a key."""
        return [self.places[key], *self._spares.get(key, [])] if key in self.places else []

    def to_list(self) -> dict[str, int]:
        """Segments that a new one's list is to name, and how many records they have: the last one, and those that no
        list names."""
        paths = sorted(self._ours)
        named = [path for path in paths if path.name not in (self._listed or {})] + paths[-1:]
        return {path.name: self._tallies[path].records for path in named if path in self._tallies}

    def refresh(self) -> None:
        """Notice what other processes have added since the store was opened, or refreshed.

        A damaged record is left out and said, with its file and byte; a last line without its end may still be in the
        writing, so that it counts as damaged only if it stays as it is for :data:`UNFINISHED_SECONDS`. Records that are
        not there, by the numbers of others or by the list of segments, are counted and said.

        Raises:
            UserError: a segment cannot be read, or it is gone or shorter than it was.
        """
        opening = self._listed is None
        if opening:  # before the segments: a list is never ahead of its segment
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
        """Whether a segment's last line, which has no end, is one that its writer knew to be on the disk, as far as the
        list tells."""
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
        """Say how many records are lost without a trace, once."""
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
        """Note where the values are that are new; the new damaged lines, and last lines without their end."""
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
                        # What a crash leaves behind the last record are zeros; and nothing was kept after it.
                        last = None if line.content.endswith(b"\0") else (path, line.offset, line.key)
                        break
                    if not line.sound:
                        unsound.append((path, line.offset, line.key))
                    self.note(path, line)
            if ours:  # else JSON lines of somebody else
                self._ours.add(path)
                damaged += unsound
                unfinished += [last] if last else []
        return damaged, unfinished

    def note(self, path: Path, line: Line) -> None:
        """Take a finished line of a segment into account; one that is not sound is passed over."""
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
                if place < first:  # read later, yet it counts: so it does for all who read the store from now on
                    self.places[line.key], place = place, first
                self._spares.setdefault(line.key, []).append(place)
