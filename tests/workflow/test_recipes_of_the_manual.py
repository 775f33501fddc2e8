"""What the manual (docs/change.md) offers to a person with one GPU can be planned and would run, offline."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from m1.wiring.config import merge
from project import REPOSITORY, Project

pytestmark = pytest.mark.workflow

MANUAL = (REPOSITORY / "docs/change.md").read_text(encoding="utf-8")
DEAR = {"screen_attempt", "screen_ask", "distill_traces", "select_domains", "world_build", "world_pretrain"}


def rules(said: str) -> dict[str, int]:
    """Rule to the number of its jobs, from the table of a dry run."""
    return {
        name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", said.split("Job stats:")[1], re.MULTILINE)
    }


def test_one_gpu(tmp_path: Path) -> None:
    project = Project.of_repository(tmp_path / "new")
    overlays = ("config/paper.yaml", "config/overlays/one-gpu.yaml")
    found = rules(project.dry_run("all", *overlays))
    assert not DEAR & set(found)
    assert (found["train_sft"], found["infer_sweep"], found["infer_answer"], found["pools_collect_benchmark"]) == (
        1,
        1,
        2,
        2,
    )
    assert {"report_page", "report_figure1", "report_figure3", "report_figure8a", "report_table4"} <= set(found)
    for overlay in overlays:
        assert overlay in MANUAL


def test_7b_by_lora_on_one_card(tmp_path: Path) -> None:
    project = Project.of_repository(tmp_path / "new")
    overlays = ("config/paper.yaml", "config/overlays/one-card-7b.yaml")
    found = rules(project.dry_run("all", *overlays))
    assert not DEAR & set(found)
    steps = ("train_fetch", "train_sft", "infer_sweep", "infer_answer", "pools_collect_benchmark")
    assert [found[step] for step in steps] == [1, 1, 1, 2, 10]
    assert {"report_page", "report_figure1", "report_figure3", "report_compare"} <= set(found)
    for overlay in overlays:
        assert overlay in MANUAL


def test_only_7b_on_one_card(tmp_path: Path) -> None:
    project = Project.of_repository(tmp_path / "new")
    section = MANUAL.split("### A recipe that exists, changed in an overlay\n")[1].split("\n## ")[0]
    (overlay,) = re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (project.folder / "7b-one.yaml").write_text(overlay, encoding="utf-8")
    said = project.dry_run("all", "config/paper.yaml", "7b-one.yaml")
    found = rules(said)
    assert not (DEAR | {"train_sft", "infer_answer"}) & set(found)
    assert (found["train_published"], found["infer_sweep"]) == (1, 1)


def test_a_benchmark_of_ones_own_for_trained_models_only(tmp_path: Path) -> None:
    project = Project.of_repository(tmp_path / "new")
    section = MANUAL.split("## A benchmark of your own\n")[1].split("\n## ")[0]
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)]
    (project.folder / "mine.yaml").write_text(yaml.safe_dump(merge(*blocks)), encoding="utf-8")
    (project.folder / "mine.csv").write_text("question\n", encoding="utf-8")
    (project.folder / "results/paper/train/m1-7b-1k").mkdir(parents=True)
    found = rules(project.dry_run("results/mine/table1.csv", "config/paper.yaml", "mine.yaml"))
    assert (found["train_published"], found["infer_sweep"], found["pools_collect_benchmark"]) == (1, 1, 11)
    assert not (DEAR | {"train_sft", "pools_collect", "infer_answer"}) & set(found)


def test_only_one_figure(tmp_path: Path) -> None:
    project = Project.of_repository(tmp_path / "new")
    assert "snakemake results/paper/figure1.pdf --configfile config/paper.yaml" in MANUAL
    found = rules(project.dry_run("results/paper/figure1.pdf", "config/paper.yaml"))
    assert (found["infer_sweep"], found["report_figure1"]) == (3, 1)
    assert not {"infer_answer", "report_table1", "report_page", "world_build"} & set(found)
