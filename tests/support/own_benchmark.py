"""A benchmark of one's own, as the manual (docs/change.md) says, from its examples."""

from __future__ import annotations

import csv
import re

from project import REPOSITORY, Project

MANUAL = (
    (REPOSITORY / "docs/change.md")
    .read_text(encoding="utf-8")
    .split("## A benchmark of your own\n")[1]
    .split("\n## ")[0]
)

QUESTIONS = 20


def block(kind: str) -> str:
    """Return the first example of a kind in the manual's section."""
    found = re.search(rf"^```{kind}\n(.*?)^```", MANUAL, re.MULTILINE | re.DOTALL)
    assert found, f"the manual shows no {kind}"
    return found[1]


def write_questions(project: Project) -> None:
    """Write `mine.csv` with the manual's columns and its own question first."""
    heading, example = block("csv").splitlines()
    with open(project.folder / "mine.csv", "w", newline="", encoding="utf-8") as stream:
        stream.write(f"{heading}\n{example}\n")
        rows = csv.DictWriter(stream, heading.split(","))
        for number in range(1, QUESTIONS):
            options = {f"op{letter}": f"answer {number}{letter}, of mine" for letter in "abcde"[: 2 + number % 4]}
            rows.writerow(
                {"question": f'What is the "answer" to number {number}?', "answer_idx": "AB"[number % 2], **options}
            )
