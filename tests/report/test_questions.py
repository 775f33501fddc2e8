"""Whether a run's benchmarks are the published questions: from collecting them to the remark of each."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from m1.core import records
from m1.core.errors import UserError
from m1.core.files import adopt, read_json, write_json
from m1.core.records import Question
from m1.pools import collect
from m1.report.questions import COLUMNS, Asked, read_asked
from m1.report.settings import Shown
from m1.wiring.pools import PoolsRules
from runs import published_run, wildcards
from shown import save_shown

PUBLISHED = pd.read_csv(Path(__file__).parents[2] / "resources" / "paper" / "benchmarks.csv")
ROWS = [{"question": f"Which is {n}?", "options": {"A": "a", "B": "b"}, "answer_idx": "AB"[n % 2]} for n in range(40)]
OTHERS = [row | {"question": f"Other: {row['question']}"} for row in ROWS]
EVALUATION = json.dumps({"MedQA_USLME_test": ROWS, "NEJM": ROWS[:30], "Other": OTHERS})
MD5 = f"md5:{hashlib.md5(EVALUATION.encode()).hexdigest()}"
MEDQA = {"key": "medqa", "n": 40, "evaluation": MD5, "list": "MedQA_USLME_test", "questions": None}


def paper(**changes: Any) -> pd.DataFrame:
    """A published benchmark of forty questions, those of :data:`ROWS`, as a list of a file like the authors'."""
    return pd.DataFrame([MEDQA | changes], columns=COLUMNS)


def make(folder: Path, rows: list[dict[str, Any]] | None = None, name: str = "medqa", **settings: Any) -> Path:
    """Collect a benchmark, as the rule does, from records of its own, else from the authors' file; its manifest."""
    own = {"path": str(folder / "own.json"), "key": None}
    authors = {"path": str(folder / "evaluation.json"), "checksum": MD5, "key": "MedQA_USLME_test"}
    (folder / "own.json").write_text(json.dumps(rows))
    (folder / "evaluation.json").write_text(EVALUATION)
    told = {"layout": "eval", "part": None, "limit": None, "shuffle_options": False, "draws": "exact", "seed": 42}
    told |= {"invalid": "drop", "optional": False} | (authors if rows is None else own) | settings
    manifest = folder / "benchmarks" / f"{name}.json"
    files = ["--output", str(manifest.with_suffix(".parquet")), "--manifest", str(manifest)]
    collect.main(["--name", name, "--settings", json.dumps(told), *files])
    return manifest


def read(folder: Path, keys: tuple[str, ...] = ("medqa",), **changes: Any) -> dict[str, Asked]:
    save_shown(folder, benchmarks=keys)
    return read_asked(folder, paper(**changes))


def digest(folder: Path) -> str:
    """That of the published questions, however they are collected."""
    return str(read_json(make(folder))["questions_sha256"])


def broken(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The first ``count`` records without an answer, which are refused."""
    return [row | {"answer_idx": "Z"} if n < count else row for n, row in enumerate(rows)]


VERIFIED, PART = "", {"seed": 1, "take": "first", "size": 15}
NOT_VERIFIED = "questions not verified"
RULES: dict[str, tuple[dict[str, Any], int, str]] = {
    "the authors' list": ({}, 40, VERIFIED),
    "its options shuffled": ({"shuffle_options": True}, 40, VERIFIED),
    "a limit of it": ({"limit": 12}, 12, "12 of 40 published questions"),
    "a seeded part of it": ({"part": PART}, 15, "15 of 40 published questions"),
    "one kind of its records": ({"where": {"answer_idx": ["A"]}}, 20, "20 of 40 published questions"),
    "another list of that file": ({"key": "Other"}, 40, NOT_VERIFIED),
    "that file, unchecked": ({"checksum": None}, 40, NOT_VERIFIED),
    "another set of that size": ({"rows": OTHERS}, 40, NOT_VERIFIED),
    "a part of another set of that size": (
        {"rows": OTHERS, "part": PART},
        15,
        "15 of 40 published questions, questions not verified",
    ),
    "another set of that size, some refused": (
        {"rows": broken(OTHERS, 3)},
        37,
        "37 of 40 published questions, questions not verified",
    ),
}
OTHER: dict[str, tuple[dict[str, Any], int, int]] = {
    "fewer": ({"rows": OTHERS[:25]}, 25, 25),
    "fewer of the same": ({"rows": ROWS[:25]}, 25, 25),
    "more": ({"rows": [*OTHERS, *ROWS]}, 80, 80),
    "as many out of more": ({"rows": [*OTHERS, *ROWS], "limit": 40}, 40, 80),
    "another list of that file, shorter": ({"key": "NEJM"}, 30, 30),
}


@pytest.mark.parametrize("name", RULES)
def test_what_a_set_is_beside_the_published_one(tmp_path: Path, name: str) -> None:
    settings, n, remark = RULES[name]
    make(tmp_path, **settings)
    assert read(tmp_path) == {"medqa": Asked("medqa", n, 40, other=False, remark=remark)}


@pytest.mark.parametrize("name", OTHER)
def test_a_set_of_another_size_is_other_questions(tmp_path: Path, name: str) -> None:
    settings, n, size = OTHER[name]
    make(tmp_path, **settings)
    remark = f"other questions: {size} records, the published benchmark has 40"
    assert read(tmp_path) == {"medqa": Asked("medqa", n, 40, other=True, remark=remark)}


def test_numbers_have_commas(tmp_path: Path) -> None:
    make(tmp_path, rows=OTHERS)
    assert read(tmp_path, n=1000)["medqa"].remark == "other questions: 40 records, the published benchmark has 1,000"


def test_a_known_digest_verifies_the_questions_wherever_they_come_from(tmp_path: Path) -> None:
    known = digest(tmp_path)
    for rows in (None, ROWS, ROWS[::-1], [*ROWS, *broken(OTHERS, 1)[:1]]):
        make(tmp_path, rows=rows)
        assert read(tmp_path, questions=known)["medqa"] == Asked("medqa", 40, 40, other=False, remark="")


def test_a_known_digest_that_differs_is_other_questions(tmp_path: Path) -> None:
    known = digest(tmp_path)
    for settings in ({"rows": OTHERS}, {"rows": [*ROWS[:39], ROWS[0]]}, {"key": "Other"}):
        found = read_json(make(tmp_path, **settings))["questions_sha256"]
        remark = f"other questions: their digest is {found[:12]}…, the published one is {known[:12]}…"
        assert read(tmp_path, questions=known)["medqa"] == Asked("medqa", 40, 40, other=True, remark=remark)


def test_a_known_digest_says_nothing_of_a_part(tmp_path: Path) -> None:
    known = digest(tmp_path)
    make(tmp_path, part=PART)
    assert read(tmp_path, questions=known)["medqa"].remark == "15 of 40 published questions"
    make(tmp_path, rows=OTHERS, part=PART)
    assert read(tmp_path, questions=known)["medqa"].remark == "15 of 40 published questions, questions not verified"


def test_only_benchmarks_of_the_paper_that_the_run_asks_are_there(tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path, name="mine")
    assert read(tmp_path, keys=("mine", "medqa")).keys() == {"medqa"}
    assert read(tmp_path, keys=("mine",)) == {}, "made by an earlier configuration, not shown any more"
    assert read(tmp_path, keys=("mine",), key="nejm") == {}, "not in the run, so without a manifest"
    make(tmp_path, path=str(tmp_path / "nowhere.json"), optional=True)
    assert read(tmp_path) == {}, "optional and missing"


def test_questions_that_were_edited_and_adopted_are_read_anew(tmp_path: Path) -> None:
    path, known = make(tmp_path).with_suffix(".parquet"), digest(tmp_path)
    questions = records.read(path, Question)
    records.write(path, questions[::-1], Question)
    with pytest.raises(UserError, match="changed or damaged since it was written"):
        records.read(path, Question)
    assert adopt(tmp_path) == [path]
    assert read(tmp_path)["medqa"].remark == "questions not verified"
    assert read(tmp_path, questions=known)["medqa"] == Asked("medqa", 40, 40, other=False, remark="")
    records.write(path, questions[1:], Question)
    adopt(tmp_path)
    assert read(tmp_path)["medqa"].remark == "other questions: 39 records, the published benchmark has 40"


@pytest.mark.parametrize(
    ("part", "key", "message"),
    [
        (None, "settings", "no settings.checksum, settings.key."),
        (None, "counts", "no counts.published, counts.questions."),
        ("settings", "checksum", "no settings.checksum."),
        ("settings", "key", "no settings.key."),
        ("counts", "published", "no counts.published."),
        ("counts", "questions", "no counts.questions."),
        (None, "questions_sha256", "no questions_sha256."),
    ],
)
def test_a_manifest_of_an_earlier_version_is_refused(tmp_path: Path, part: str | None, key: str, message: str) -> None:
    known, path = digest(tmp_path), make(tmp_path)
    manifest = read_json(path)
    del (manifest[part] if part else manifest)[key]
    write_json(path, manifest)
    with pytest.raises(UserError) as error:
        read(tmp_path, questions=known)
    assert str(error.value).startswith(f"{path}: not the manifest of a benchmark, or one of an earlier version: ")
    assert str(error.value).endswith(f"{message} Delete it to have it made again.")


def test_a_digest_that_nothing_asks_for_may_be_missing(tmp_path: Path) -> None:
    path = make(tmp_path)
    write_json(path, {key: value for key, value in read_json(path).items() if key != "questions_sha256"})
    assert read(tmp_path)["medqa"].remark == ""


def test_a_manifest_that_is_missing_or_damaged_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = make(tmp_path)
    for content, message in (
        ("{", "not readable as JSON: .*. Delete it to have it made again."),
        ("[]", "not the manifest of a benchmark.*Delete it to have it made again."),
        ('{"counts": 3, "settings": [1]}', "no settings.checksum, .*Delete it to have it made again."),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=message) as error:
            read(tmp_path)
        assert str(error.value).startswith(f"{path}: ")
    path.unlink()
    with pytest.raises(UserError, match=r"medqa\.json: no such file\. Run the workflow again to have it made\."):
        read(tmp_path)


def test_the_configured_evaluation_file_is_the_published_one() -> None:
    """What the rule tells the step, and so the manifest says, is what the table of the paper's benchmarks has."""
    run = published_run()
    collected = PoolsRules(run).collect("benchmark")
    told = {key: json.loads(collected(wildcards(benchmark=key))) for key in PUBLISHED["key"]}
    rows = PUBLISHED.set_index("key")
    assert {key: (one["checksum"], one["key"], one["rows"]) for key, one in told.items()} == {
        key: (row["evaluation"], row["list"], row["n"]) for key, row in rows.iterrows()
    }


def test_the_table_of_the_paper_has_what_is_read(tmp_path: Path) -> None:
    assert {*COLUMNS} <= {*PUBLISHED.columns}
    make(tmp_path)
    shown = Shown.load(save_shown(tmp_path, benchmarks=("medqa",)))
    assert shown.benchmarks == ("medqa",)
    remark = "other questions: 40 records, the published benchmark has 1,273"
    assert read_asked(tmp_path, PUBLISHED) == {"medqa": Asked("medqa", 40, 1273, other=True, remark=remark)}
