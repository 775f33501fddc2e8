"""Are a run's benchmarks the published questions (4.1)? Read from the manifests of its benchmarks; what each remark
means is in docs/paper.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from m1.core import records
from m1.core.errors import UserError
from m1.core.files import read_json
from m1.core.records import Question
from m1.report.settings import Shown

COLUMNS = ["key", "n", "evaluation", "list", "questions"]
"""What :func:`read_asked` needs of ``resources/paper/benchmarks.csv``."""
REMEDY = "Delete it to have it made again."
DIGITS = 12  # of a digest, in a remark


@dataclass(frozen=True)
class Asked:
    """The questions that a run asks as a benchmark of the paper, beside the published ones."""

    key: str
    n: int  # questions of this run
    published_n: int
    other: bool  # they are other questions than the published ones
    remark: str  # why they are other ones, or what is not sure of them; empty for the published questions, verified


@dataclass(frozen=True)
class Collection:
    """What is known of a benchmark's questions."""

    size: int  # records of the set, before a part or a limit was taken and records were refused
    n: int  # questions that were made of them
    source: tuple[str | None, str | None]  # checksum of their file, list in it; None where the settings have none
    sha256: str | None  # of the questions; None in a manifest of an earlier version


def read_asked(folder: Path, benchmarks: pd.DataFrame) -> dict[str, Asked]:
    """What this run asks, by benchmark of the paper, in the order of ``benchmarks``
    (``resources/paper/benchmarks.csv``, with :data:`COLUMNS`). ``folder`` holds ``shown.json`` and the folder of the
    run's benchmarks.

    A benchmark has no entry if the configuration leaves it out, or if it is optional and missing.
    """
    keys = Shown.load(folder / "shown.json").benchmarks
    found = {}
    for row in benchmarks[benchmarks["key"].isin(keys)].to_dict("records"):
        path = folder / "benchmarks" / f"{row['key']}.json"
        if collection := read_collection(path):
            found[row["key"]] = compare_questions(collection, row, path)
    return found


def read_collection(path: Path) -> Collection | None:
    """What the manifest of a benchmark says of its questions; None where the set was optional and is missing.

    Questions that were changed by hand and adopted are no longer those that the manifest tells of. They are read
    themselves, and what file they were made from proves nothing.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run the workflow again to have it made.")
    try:
        manifest = read_json(path)
    except UserError as error:
        raise UserError(f"{error}. {REMEDY}") from error
    facts = manifest if isinstance(manifest, dict) else {}
    settings, counts = (one if isinstance(one := facts.get(key), dict) else {} for key in ("settings", "counts"))
    lacking = [f"settings.{key}" for key in ("checksum", "key") if key not in settings]
    lacking += [f"counts.{key}" for key in ("published", "questions") if not isinstance(counts.get(key), int)]
    if lacking:
        raise incomplete(path, ", ".join(lacking))
    if facts.get("missing"):
        return None
    questions_file = path.with_suffix(".parquet")
    if questions_file.name in facts.get("adopted", []):
        questions = records.read(questions_file, Question)
        return Collection(len(questions), len(questions), (None, None), records.questions_sha256(questions))
    source = (settings["checksum"], settings["key"])
    return Collection(counts["published"], counts["questions"], source, facts.get("questions_sha256"))


def incomplete(path: Path, lacking: str) -> UserError:
    """The error of a manifest that lacks a field."""
    fault = f"not the manifest of a benchmark, or one of an earlier version: no {lacking}"
    return UserError(f"{path}: {fault}. {REMEDY}")


def compare_questions(collection: Collection, published: Mapping[str, Any], path: Path) -> Asked:
    """A benchmark beside the published one (its row of ``resources/paper/benchmarks.csv``). ``path`` names the
    manifest.

    The digest decides where the published one is known and there are as many questions, because it is of the questions
    themselves. Otherwise the authors' file and list prove the questions, and a set of the published size may be theirs.
    """
    n, wanted, known = collection.n, int(published["n"]), published["questions"]

    def result(remark: str, other: bool = False) -> Asked:
        return Asked(str(published["key"]), n, wanted, other, f"other questions: {remark}" if other else remark)

    if isinstance(known, str) and known and n == wanted:
        if collection.sha256 is None:
            raise incomplete(path, "questions_sha256")
        digests = f"their digest is {collection.sha256[:DIGITS]}…, the published one is {known[:DIGITS]}…"
        return result("") if collection.sha256 == known else result(digests, other=True)
    verified = collection.source == (published["evaluation"], published["list"])
    if collection.size > wanted or (collection.size < wanted and not verified):
        return result(f"{collection.size:,} records, the published benchmark has {wanted:,}", other=True)
    remarks = [f"{n:,} of {wanted:,} published questions"] if n < wanted else []
    return result(", ".join(remarks if verified else [*remarks, "questions not verified"]))
