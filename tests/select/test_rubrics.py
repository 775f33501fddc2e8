"""The labeller's two turns: the 76 qualifiers with their codes, a user's own notes, and the code at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from m1.core.errors import UserError
from m1.core.records import Question
from m1.select import rubrics

ROOT = Path(__file__).parents[2]
QUALIFIERS = ROOT / "resources/mesh/qualifiers.csv"
PROMPT = ROOT / "resources/prompts/domain.txt"


def test_qualifiers_are_the_76_of_table_4_from_00_to_75() -> None:
    qualifiers = rubrics.read_qualifiers(QUALIFIERS)
    names = [name for name, _ in qualifiers.values()]
    assert list(qualifiers) == [f"{n:02}" for n in range(76)]
    assert names == sorted(set(names))
    assert all(note.endswith(".") and 15 < len(note) < 140 for _, note in qualifiers.values())
    table = (ROOT / "resources/paper/table4.csv").read_text()
    assert [line.split(",")[0].strip('"') for line in table.splitlines()[1:]][:76] == names


def test_the_user_turn_has_the_question_and_then_every_qualifier() -> None:
    qualifiers = rubrics.read_qualifiers(QUALIFIERS)
    question = Question("q", "s", "Why {this}?", None, ("yes", "no"), "A")
    turn = rubrics.user_turn(qualifiers, question)
    assert turn.startswith("## Question\nWhy {this}?\nA. yes\nB. no\n\n## Classification rubrics\n### Abnormalities\n")
    blocks = turn.partition("## Classification rubrics\n")[2].split("\n\n")
    assert len(blocks) == 76
    assert blocks[1].splitlines()[:2] == ["### Administration & Dosage", "* Code: 01"]
    assert blocks[-1] == f"### Virology\n* Code: 75\n* Description: {qualifiers['75'][1]}"


def test_the_task_asks_for_the_code_on_a_line_of_its_own() -> None:
    assert "two-digit code on a line of its own" in rubrics.read_task(PROMPT)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("It asks for a cause.\n21", "21"),
        ("It is 21", "21"),
        ("It is **21**.", "21"),
        ("It is `21`", "21"),
        ("21\n", "21"),
        ("01 or 02, so 02.", "02"),
        ("It is 21, I think", None),
        ("It is 2021", None),
        ("It is 3.21", None),
        ("It is 1,021", None),
        ("code_21", None),
        ("It is 7", None),
        ("It is ٢١", None),
        ("21 Diagnosis", None),
        ("", None),
    ],
)
def test_only_a_code_at_the_end_counts(answer: str, code: str | None) -> None:
    assert rubrics.final_code(answer) == code


@pytest.mark.parametrize(
    ("file", "header", "delimiter"),
    [
        ("notes.tsv", "Name\tAbbreviation\tShort Form\tScope Notes", "\t"),
        ("notes.csv", "scope_note,name", ","),
    ],
)
def test_notes_of_a_users_file_take_the_place_of_ours(tmp_path: Path, file: str, header: str, delimiter: str) -> None:
    qualifiers = rubrics.read_qualifiers(QUALIFIERS)
    columns = header.split(delimiter)
    lines = [header]
    for name, _ in qualifiers.values():
        cells = {"name": f'"{name}"' if delimiter == "," else name, "scope": f"Used with {name}."}
        row = [cells["name"] if "ame" in c else f'"{cells["scope"]}"' if "cope" in c else "x" for c in columns]
        lines.append(delimiter.join(row))
    (tmp_path / file).write_text("\n".join(lines) + "\n")
    found = rubrics.with_notes(qualifiers, tmp_path / file)
    assert found == {code: (name, f"Used with {name}.") for code, (name, _) in qualifiers.items()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"notes\.tsv: cannot be read: No such file"),
        (b"Title\tNotes\nx\ty\n", "columns Name and Scope Notes .*; there are Title, Notes"),
        (b"Name\tScope Notes\n", "columns Name and Scope Notes .*; there are none"),
        (b"", "the file is empty"),
        (b"Name,Scope Notes\nAbnormalities,Used, as a rule.\n", "line 2: 3 cells, but the heading in line 1 has 2"),
        (b"Name\tScope Notes\nVirology\tUsed.\nvirology \tNot used.\n", "qualifier 'virology' is listed twice"),
        (b"Name\tScope Notes\nAbnormalities\tUsed.\n", "75 of 76 qualifiers have no scope note.*'Administration"),
        (b"Name\tScope Notes\n\xff\n", "cannot be read"),
    ],
)
def test_notes_that_cannot_be_used_are_told(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "notes.tsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        rubrics.with_notes(rubrics.read_qualifiers(QUALIFIERS), path)


def test_qualifiers_and_a_task_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("code,name,scope_note\n1,One,Note\n")
    with pytest.raises(UserError, match=r"q\.csv: line 2, field 'code': '1'; two digits"):
        rubrics.read_qualifiers(tmp_path / "q.csv")
    with pytest.raises(UserError, match=r"none\.csv: cannot be read"):
        rubrics.read_qualifiers(tmp_path / "none.csv")
    (tmp_path / "p.txt").write_text("\n")
    with pytest.raises(UserError, match=r"p\.txt: it is empty"):
        rubrics.read_task(tmp_path / "p.txt")
    with pytest.raises(UserError, match=r"none\.txt: cannot be read"):
        rubrics.read_task(tmp_path / "none.txt")
