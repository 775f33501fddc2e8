"""The published counts: they are those of Tables 3 and 4, and a manifest has them beside its own."""

from __future__ import annotations

import csv
import time
from pathlib import Path

from m1.core.counts import published_counts
from m1.core.files import read_json, write_manifest

PAPER = Path(__file__).parents[2] / "resources/paper"
COUNTS = PAPER / "counts.csv"
POOLS = {"medqa": "MedQA", "pubmedqa": "PubMedQA", "headqa": "HeadQA", "medmcqa": "MedMCQA"}


def rows(name: str) -> list[dict[str, str]]:
    with open(PAPER / name, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_counts_of_tables_3_and_4_are_those_of_the_tables() -> None:
    table3 = {row["Dataset"]: row for row in rows("table3.csv")}
    table4 = {row["Domain"]: row for row in rows("table4.csv")}
    checked = 0
    for row in rows("counts.csv"):
        table, _, where = row["source"].partition(", ")
        *_, key = [part for part in row["count"].split(".") if part != "correct"] or [""]
        if table == "Table 4":
            cells = [table4[key][where]] if key in table4 else [str(sum(int(one[where]) for one in table4.values()))]
        elif table == "Table 3" and where in table3:
            cells = [table3[where][POOLS.get(row["step"].removeprefix("pools/"), POOLS.get(key, "Summation"))]]
        else:
            continue
        assert cells == [row["published"]], row
        checked += 1
    assert checked == 200


def test_a_manifest_says_published_found_and_equal(tmp_path: Path) -> None:
    counts = {"questions": 192_023, "correct": {"7b": 1}, "hard": 37_816, "hard_by_source": {"medqa": 2_099}}
    (tmp_path / "screen").mkdir()
    path = tmp_path / "screen/hard.json"
    write_manifest(path, inputs={}, settings={}, counts=counts, started=time.time(), published=COUNTS)
    found = read_json(path)["published"]
    assert found["hard"] == {"published": 37_816, "found": 37_816, "equal": True}
    assert found["correct.7b"] == {"published": 117_754, "found": 1, "equal": False}
    assert found["correct.32b"] == {"published": 140_286, "found": None, "equal": False}
    assert found["hard_by_source.medqa"]["equal"]
    assert found.keys() == published_counts(COUNTS)["screen/hard"].keys()


def test_a_step_without_published_counts_says_nothing_of_them(tmp_path: Path) -> None:
    for name, published in (("screen/hard", None), ("screen/other", COUNTS)):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        write_manifest(path, inputs={}, settings={}, counts={}, started=time.time(), published=published)
        assert "published" not in read_json(path)
