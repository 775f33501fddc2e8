"""Everything that a configuration makes in the end, from a finished run: tables, figures, page, and Snakemake's own
report."""

from __future__ import annotations

import csv
import re
import shutil
import threading
import zipfile
from pathlib import Path

import pytest
from project import SHORT, Project

pytestmark = pytest.mark.workflow


@pytest.mark.slow
def test_all_of_the_report_is_made_and_an_edit_of_its_look_makes_the_page_only(
    complete: Project, tmp_path: Path
) -> None:
    project, said = complete.copy(tmp_path / "project"), complete.path("said.txt").read_text(encoding="utf-8")
    results = project.path("results/short")
    made = {path.name for path in results.iterdir() if path.is_file()}
    assert {f"table{n}.{form}" for n in (1, 2, 3, 4) for form in ("csv", "tex", "md")} <= made
    assert {f"figure{n}.{form}" for n in ("1", "2", "3", "4", "5", "8", "8a") for form in ("pdf", "png")} <= made
    assert {
        "compare.csv",
        "budget_choice.csv",
        "claims.csv",
        "paired.csv",
        "scaling.csv",
        "best_budget.csv",
        "cases.csv",
        "sweep_cost.csv",
        "spending.csv",
    } <= made
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
    elsewhere.make("all", "--touch", module="m1 launch")
    assert elsewhere.plan("all") == set()

    project.make("all", "--report", "report.zip")
    with zipfile.ZipFile(project.path("report.zip")) as packed:
        names = packed.namelist()
    assert any(name.endswith("report.html") for name in names)
    assert sum(name.endswith(".png") for name in names) >= 7

    style = project.path("workflow/report/page/style.css")
    style.write_text(style.read_text(encoding="utf-8") + "\n/* another look */\n", encoding="utf-8")
    assert project.plan("all") == {"report_page", "all"}


def test_the_graph_is_of_the_whole_configuration_whatever_is_made_meanwhile(project: Project) -> None:
    """Two overlays and two keys by ``--config``, of which the first has the effect, while another step's file comes and
    goes."""
    entered = {"train_published": "published: {checkpoints: {m1-small-1k: m1_7b_1k}}\n", "nothing": "seed: 42\n"}
    for name, text in entered.items():
        (project.folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    overlays = (
        SHORT,
        *(f"{name}.yaml" for name in entered),
        "--config",
        "published={'subsets': {'m1k': 'm1k_tokenized'}}",
        "seed=7",
    )
    graph, made = project.folder / "results/short/rulegraph.dot", project.path("results/short/score/m1-small-1k.json")
    kept, ended = made.read_bytes(), threading.Event()

    def come_and_go() -> None:
        while not ended.wait(0.005):
            made.unlink() if made.exists() else made.write_bytes(kept)

    step = threading.Thread(target=come_and_go)
    step.start()
    try:
        for _ in range(3):
            graph.unlink(missing_ok=True)
            code, said = project.run("results/short/rulegraph.dot", overlays=overlays)
            assert code == 0, said[-6000:]
    finally:
        ended.set()
        step.join()
    rules = set(re.findall(r'label = "(\w+)', graph.read_text(encoding="utf-8")))
    assert {"train_published", "select_published", "train_sft", "screen_attempt"} <= rules, rules
