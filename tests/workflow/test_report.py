"""Everything that a configuration makes in the end, from a finished run: tables, figures, page, and Snakemake's own report."""

from __future__ import annotations

import csv
import shutil
import zipfile
from pathlib import Path

import pytest
from project import Project

pytestmark = pytest.mark.slow


def test_all_of_the_report_is_made_and_an_edit_of_its_look_makes_the_page_only(project: Project, tmp_path: Path) -> None:
    said = project.make("all")
    results = project.path("results/short")
    made = {path.name for path in results.iterdir() if path.is_file()}
    assert {f"table{n}.{form}" for n in (1, 2, 3, 4) for form in ("csv", "tex", "md")} <= made
    assert {f"figure{n}.{form}" for n in ("1", "2", "3", "4", "5", "8", "8a") for form in ("pdf", "png")} <= made
    assert {"compare.csv", "paired.csv", "scaling.csv", "best_budget.csv", "cases.csv", "sweep_cost.csv", "spending.csv"} <= made
    assert "readings" in said
    with (results / "compare.csv").open(encoding="utf-8") as stream:
        verdicts = {(row["verdict"], row["why"]) for row in csv.DictReader(stream)}
    assert {verdict for verdict, _ in verdicts} == {"out of reach"}, "the embedded world says nothing about medicine"
    assert ("out of reach", "embedded world, not medicine") in verdicts
    assert project.plan("all") == set()

    elsewhere = project.copy(tmp_path / "elsewhere")
    elsewhere.forget_times()
    assert elsewhere.plan("all") == set()
    shutil.rmtree(elsewhere.path(".snakemake"))
    elsewhere.make("all", "--touch", module="m1.launch")
    assert elsewhere.plan("all") == set()

    project.make("all", "--report", "report.zip")
    with zipfile.ZipFile(project.path("report.zip")) as packed:
        names = packed.namelist()
    assert any(name.endswith("report.html") for name in names)
    assert sum(name.endswith(".png") for name in names) >= 7

    style = project.path("workflow/report/page/style.css")
    style.write_text(style.read_text(encoding="utf-8") + "\n/* another look */\n", encoding="utf-8")
    assert project.plan("all") == {"report_page", "all"}
