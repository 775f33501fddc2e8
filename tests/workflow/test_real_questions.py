"""The same workflow on real questions, to Table 1: config/real-sample.yaml with the short run's tiny models."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
import yaml
from m1.wiring.config import merge
from project import REPOSITORY, SHORT, Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
DATA = Path(os.environ.get("M1_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real questions in {DATA} (set M1_SHARED_DATA to their folder)")
def test_real_questions_go_through_every_stage(tmp_path: Path) -> None:
    project = Project.of_repository(tmp_path / "real")
    (project.folder / "data").symlink_to(DATA.resolve())
    short = yaml.safe_load(project.path(SHORT).read_text(encoding="utf-8"))
    real = yaml.safe_load(project.path("config/real-sample.yaml").read_text(encoding="utf-8"))
    for kind, limit in (("pools", 30), ("benchmarks", 4)):
        for source in real[kind].values():
            source["limit"] = limit
    small = {
        "pathvars": short["pathvars"],
        "report": short["report"],
        "subsets": short["subsets"],
    }
    project.path(SHORT).write_text(yaml.safe_dump(merge(merge(short, real), small)), encoding="utf-8")

    said = project.make("results/short/table1.csv")

    assert "[pools] medqa: 756 records in, 30 questions out" in said
    assert "[pools] merge: 120 questions in" in said
    with open(project.path("results/short/table1.csv"), encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == len(short["report"]["table1"]["models"])
    for row in rows:
        assert row["GPQA"] == row["Lancet"] == row["NEJM"] == "missing"
        assert all(
            0 <= float(row[name]) <= 100
            for name in ("MedMC", "MedQA", "PubMed", "MMLU-P", "MedB (4)", "MedB (5)", "MedX", "Avg.")
        )
