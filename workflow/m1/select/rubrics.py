"""Make the labeller's prompt, and read its answer (3.1 "Diversity sampling", Table 4).

The system turn holds the task. The user turn holds the question and the rubrics: the 76 MeSH qualifiers with name, code
and scope note.
"""

import re
from collections import Counter
from pathlib import Path

from m1.core.errors import UserError
from m1.core.prompts import question_text
from m1.core.records import Question
from m1.core.tables import csv_rows

QUESTION, RUBRICS = "## Question", "## Classification rubrics"  # headings of the user turn, as in the released code
Qualifiers = dict[str, tuple[str, str]]  # code to name and scope note


def read_qualifiers(path: str | Path) -> Qualifiers:
    """Read the qualifiers from a CSV with the columns code (two digits), name and scope_note, in its order; a
    :class:`UserError` says what is wrong with it."""
    rows = _read_table(path)
    if not rows or set(rows[0]) != {"code", "name", "scope_note"}:
        raise UserError(f"{path}: the columns code, name, scope_note and at least one row are needed")
    qualifiers: Qualifiers = {}
    for number, row in enumerate(rows, start=2):
        code = row["code"]
        if not re.fullmatch(r"[0-9]{2}", code) or code in qualifiers:
            raise UserError(f"{path}: line {number}, field 'code': {code!r}; two digits are needed, each code once")
        qualifiers[code] = row["name"], row["scope_note"]
    return qualifiers


def with_notes(qualifiers: Qualifiers, path: str | Path) -> Qualifiers:
    """Replace the qualifiers' scope notes by those of a user's file (CSV or TSV), for example NLM's own.

    The columns ``Name`` and ``Scope Notes`` are read, in any letter case, with a blank or an underscore, and with or
    without the last s. A :class:`UserError` names what the file lacks, or has twice.
    """
    rows = _read_table(path)
    columns = {name.lower().replace(" ", "_").rstrip("s"): name for name in (rows or [{}])[0]}
    if not {"name", "scope_note"} <= columns.keys():
        raise UserError(
            f"{path}: the columns Name and Scope Notes and at least one row are needed; there are "
            f"{', '.join(columns.values()) or 'none'}. Give labeller.notes a .csv or a .tsv with them."
        )
    cells = [(row[columns["name"]], row[columns["scope_note"]]) for row in rows]
    names = Counter(name.strip().casefold() for name, _ in cells)
    if twice := [name for name, count in names.items() if count > 1]:
        raise UserError(f"{path}: qualifier {twice[0]!r} is listed twice. Remove one of the two rows.")
    notes = {name.strip().casefold(): " ".join(note.split()) for name, note in cells}
    if lacking := [name for name, _ in qualifiers.values() if not notes.get(name.casefold())]:
        raise UserError(
            f"{path}: {len(lacking)} of {len(qualifiers)} qualifiers have no scope note there, the first is "
            f"{lacking[0]!r}. Add a row for it, or set labeller.notes to null for the notes that come with the package."
        )
    return {code: (name, notes[name.casefold()]) for code, (name, _) in qualifiers.items()}


def _read_table(path: str | Path) -> list[dict[str, str]]:
    try:
        return csv_rows(Path(path), Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_task(path: str | Path) -> str:
    """Read the labeller's task, which is the system turn; raises a :class:`UserError` if it is empty or unreadable."""
    try:
        task = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not task:
        raise UserError(f"{path}: it is empty; the labeller needs its task")
    return task


def user_turn(qualifiers: Qualifiers, question: Question) -> str:
    """The user turn: the question with its options, then all qualifiers."""
    rubrics = (f"### {name}\n* Code: {code}\n* Description: {note}" for code, (name, note) in qualifiers.items())
    return f"{QUESTION}\n{question_text(question)}\n\n{RUBRICS}\n" + "\n\n".join(rubrics)


def final_code(answer: str) -> str | None:
    """The two-digit code at the end of an answer, before an optional full stop and marks of bold or code; else None."""
    found = re.search(r"(?<![\w.,])([0-9]{2})[\s.*`]*\Z", answer)
    return found[1] if found else None
