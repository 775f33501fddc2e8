"""Read texts and CSV tables that others wrote; a fault is refused with its line, and nothing is guessed."""

import codecs
import csv
import io
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from m1.core.errors import UserError
from m1.core.progress import say

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}  # between columns, with their names
# Spreadsheets often write blank cells behind the last column. With this many rows, if all rows have equally many blank
# cells there, they are taken for that and not for cells that have shifted.
SAME_WIDTH = 10


def decode(path: Path, content: bytes) -> str:
    """Decode a file's content as UTF-8.

    Raises:
        UserError: the file is empty.
        ValueError: the file is not UTF-8; names the line, the likely encoding, and the remedy.
    """
    marks = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32"}  # the first begins as UTF-16's does
    marks |= {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
    seems = next((name for mark, name in marks.items() if content.startswith(mark)), "")
    place = 0
    if not seems:
        try:
            text = content.decode("utf-8-sig")
            if not text.strip():
                raise UserError(f"{path}: the file is empty. Get it again, or correct the path.")
            if "\0" not in text:
                return text
            place = content.index(b"\0")
        except UnicodeDecodeError as error:
            if error.end == len(content) and error.reason == "unexpected end of data":
                raise ValueError("it ends in the middle of a character. Get the file again.") from None
            place, seems = error.start, "WINDOWS-1252"
        if content.count(b"\0") * 3 > len(content):  # every other byte of most texts
            place, seems = 0, "UTF-16BE" if content.startswith(b"\0") else "UTF-16LE"
    line = content.count(b"\n", 0, place) + 1
    if not seems:
        raise ValueError(f"line {line} holds a NUL byte, which no text has. Get the file again.")
    raise ValueError(f"line {line} is not UTF-8; it seems to be {seems}. Convert the file (iconv -f {seems} -t UTF-8)")


def check_headings(path: Path, headings: Sequence[tuple[int, str]]) -> None:
    """Raise a :class:`UserError` if a heading stands twice, because one of the two columns would be lost.

    The ``headings`` are each column's number and heading.
    """
    for name, count in Counter(name for _, name in headings).items():
        if count > 1:
            numbers = ", ".join(str(number) for number, other in headings if other == name)
            called = f"heading {name!r} stands {count} times" if name else f"{count} columns have no heading"
            raise UserError(f"{path}: {called} (columns {numbers}). Give each column a heading of its own.")


def csv_rows(path: Path, content: bytes) -> list[dict[str, str]]:
    """Read a CSV: one dictionary a row, from heading (without surrounding blanks) to cell.

    Columns without heading and content, which spreadsheets write behind the last one, are left out.

    Raises:
        UserError: the file is empty, a quote or the number of cells of a row is wrong, a heading stands twice, or the
            heading is repeated below; names the file and the line.
        ValueError: as :func:`decode`.
    """
    text = decode(path, content)
    csv.field_size_limit(sys.maxsize)  # of all readers in this process; the library's own limit is 131,072 characters
    mark = _separator(text)
    if mark != ",":
        say("data", f"{path}: read with a {SEPARATORS[mark]} between the columns")
    lines = _csv_lines(path, text, mark)
    if not lines:
        raise UserError(f"{path}: no cell of the table holds anything.")
    if lines[0][1][0].strip().startswith("sep=") and lines[1:]:  # how a spreadsheet notes the separator
        lines = lines[1:]
    (first, cells), body = lines[0], lines[1:]
    names = [name.replace("\ufeff", "").strip() for name in cells]
    widths = {len(cells) for _, cells in body}
    if len(widths) == 1 and len(body) >= SAME_WIDTH and not any(any(cells[len(names) :]) for _, cells in body):
        names += [""] * (max(widths) - len(names))
    for line, cells in body:
        if len(cells) != len(names):
            faulty = sum(len(cells) != len(names) for _, cells in body)
            rows = f" ({faulty:,} of {len(body):,} rows are so)" if faulty > 1 else ""
            found = f"{len(cells)} cells, but the heading in line {first} has {len(names)}{rows}"
            remedy = f"A cell with a {SEPARATORS[mark]} in it must stand in quotes, and an empty cell counts, too"
            raise UserError(f"{path}: line {line}: {found}. {remedy}.{separator_hint(names)}")
        if len(names) > 1 and all(cell.strip().lstrip("\ufeff") in names for cell in cells):
            fault = f"the heading of line {first} once more, perhaps of a second file behind the first"
            raise UserError(f"{path}: line {line}: {fault}. Take the line out.")
    kept = [place for place, name in enumerate(names) if name or any(cells[place].strip() for _, cells in body)]
    check_headings(path, [(place + 1, names[place]) for place in kept])
    return [{names[place]: cells[place] for place in kept} for _, cells in body]


def separator_hint(names: Collection[str]) -> str:
    """The end of a message about columns: a hint at another separator, if the columns' names contain one."""
    marks = [word for mark, word in SEPARATORS.items() if any(mark in name for name in names)]
    if not marks:
        return ""
    return f" Perhaps the columns are separated by a {marks[0]}; put one and the same mark between all."


def _separator(text: str) -> str:
    """The mark between the columns: a comma, unless only one other mark splits the heading into several columns."""
    columns = {}
    for mark in SEPARATORS:
        heading = next(filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=mark)))
        columns[mark] = len(heading)
    others = [mark for mark, count in columns.items() if count > 1]
    return others[0] if len(others) == 1 else ","


def _csv_lines(path: Path, text: str, mark: str) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of its first line (from 1)."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    rows, line = [], 1
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        remedy = "A cell with a quote in it must stand in quotes, and that quote be doubled."
        raise UserError(f"{path}: the row that begins in line {line}: {error}. {remedy}") from None
    return rows
