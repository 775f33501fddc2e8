"""Tables of plain cells: what spreadsheets write is read, and what would be read as something else is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core import tables
from m1.core.errors import UserError

HEADING = ["question", "opa", "opb", "answer_idx"]
HEAD = ",".join(HEADING)


def read(text: str | bytes) -> list[dict[str, str]]:
    return tables.csv_rows(Path("mine.csv"), text.encode() if isinstance(text, str) else text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{HEAD}\nWhich, if any?,a,b,A\n",
            "line 2: 5 cells, but the heading in line 1 has 4. A cell with a comma in it",
        ),
        (f"{HEAD}\nOne?,a,b,A\n\nTwo?,a,B\n", "line 4: 3 cells, but the heading in line 1 has 4"),
        (f"{HEAD}\nOne?,a,b,A,\nTwo?,a,b,B,\n", r"line 2: 5 cells, .* has 4 \(2 of 2 rows are so\)"),
        (f'{HEAD}\n"One\nor two?",a,b,A\nThree?,a\n', "line 4: 2 cells"),
        ("question,opa,opa,answer_idx\nOne?,a,b,A\n", r"heading 'opa' stands 2 times \(columns 2, 3\)"),
        ("question,opa, opa\t,answer_idx\nOne?,a,b,A\n", r"heading 'opa' stands 2 times \(columns 2, 3\)"),
        ("question,opa,\ufeffopa,answer_idx\nOne?,a,b,A\n", r"heading 'opa' stands 2 times \(columns 2, 3\)"),
        (",,question\n0,0,One?\n", r"2 columns have no heading \(columns 1, 2\)"),
        (f"{HEAD}\nOne?,a,b,A\n{HEAD}\nTwo?,a,b,A\n", "line 3: the heading of line 1 once more"),
        (f"{HEAD}\nOne?,a,b,A\n\ufeffopa,question,opb,answer_idx\n", "line 3: the heading of line 1 once more"),
        (f'{HEAD}\nOne?,a,b,A\n"Two?,a,b,B\nThree?,a,b,A\n', "the row that begins in line 3: unexpected end of data"),
        (f'{HEAD}\nOne?,"a" or so,b,A\n', "the row that begins in line 2: ',' expected after '\"'"),
        (f"{HEAD};x\nOne?,a,b\n", "line 2: 3 cells, but the heading in line 1 has 4"),
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        (',,\n""\n', "no cell of the table holds anything"),
        (HEAD.encode("utf-16"), "line 1 is not UTF-8; it seems to be UTF-16. Convert the file"),
        (
            HEAD.encode("utf-16-le"),
            r"line 1 is not UTF-8; it seems to be UTF-16LE. Convert .*iconv -f UTF-16LE -t UTF-8",
        ),
        (HEAD.encode("utf-16-be"), "line 1 is not UTF-8; it seems to be UTF-16BE"),
        (HEAD.encode("utf-32"), "line 1 is not UTF-8; it seems to be UTF-32"),
        (f"{HEAD}\nMénière?,a,b,A\n".encode("latin-1"), "line 2 is not UTF-8; it seems to be WINDOWS-1252"),
        (f"{HEAD}\nOne\0?,a,b,A\n", "line 2 holds a NUL byte"),
        (f"{HEAD}\nOne?,a,b,é".encode()[:-1], "it ends in the middle of a character"),
    ],
)
def test_a_table_that_is_not_whole_is_refused_with_its_line(text: str | bytes, message: str) -> None:
    with pytest.raises((UserError, ValueError), match=rf"^(mine\.csv: )?{message}"):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{HEAD}\r\nOne?,a,b,A\r\n",
        f"\n{HEAD}\n\nOne?,a,b,A\n,,,\n  \n",
        "question , opa,\topb,answer_idx\nOne?,a,b,A\n",
        f"{HEAD},,\nOne?,a,b,A,,\n",
        '"question","opa","opb","answer_idx"\n"One?","a","b","A"\n',
        f"{HEAD.replace(',', ';')}\nOne?;a;b;A\n",
        f"sep=;\r\n{HEAD.replace(',', ';')}\r\nOne?;a;b;A\r\n",
        f"{HEAD.replace(',', chr(9))}\nOne?\ta\tb\tA\n",
        f"{HEAD.replace(',', '|')}\nOne?|a|b|A\n",
    ],
)
def test_a_table_is_read_as_spreadsheets_write_it(text: str) -> None:
    assert read(text) == [dict(zip(HEADING, ["One?", "a", "b", "A"]))]


def test_another_separator_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    read("question;opa\nOne, two?;a\n")
    assert "mine.csv: read with a semicolon between the columns" in capfd.readouterr().out


def test_blank_cells_behind_every_row_of_many_are_no_shift() -> None:
    """As in the first edition of MedBullets."""
    rows = [f"Which {number}?,a,b,A" for number in range(tables.SAME_WIDTH)]
    assert read("\n".join([HEAD, *(f"{row},,," for row in rows)])) == read("\n".join([HEAD, *rows]))
    with pytest.raises(UserError, match="line 2: 7 cells, but the heading in line 1 has 4"):
        read("\n".join([HEAD, *(f"{row},,,x" for row in rows)]))


def test_a_cell_may_be_longer_than_the_librarys_own_limit() -> None:
    text = "a" * 200_000
    assert read(f"question,opa\n{text},b\n") == [{"question": text, "opa": "b"}]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@given(st.lists(st.lists(CELLS, min_size=4, max_size=4), max_size=6), st.sampled_from(list(tables.SEPARATORS)))
def test_every_written_table_comes_back(rows: list[list[str]], mark: str) -> None:
    rows = [row for row in rows if any(cell.strip() for cell in row) and not {*row} <= {*HEADING}]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=mark).writerows([HEADING, *rows])
    assert read(text.getvalue()) == [dict(zip(HEADING, row)) for row in rows]


PIECES = st.sampled_from(
    [",", ";", "\t", "|", '"', "\n", "\r\n", " ", "a", "question", "sep=", "\ufeff", "\0", "é", "=1"]
)


@given(st.lists(PIECES, max_size=30).map("".join), st.sampled_from(["utf-8", "utf-16", "utf-16-be", "cp1252"]))
def test_any_file_is_rows_of_one_width_or_one_line_of_refusal(text: str, encoding: str) -> None:
    rows, said = [], ""
    try:
        rows = read(text.encode(encoding, "replace"))
    except (UserError, ValueError) as error:
        said = str(error)
    assert len({tuple(row) for row in rows}) <= 1
    assert "\n" not in said
