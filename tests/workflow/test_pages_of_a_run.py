"""What docs/paper.md and docs/cluster.md tell a user to write is a valid configuration, and plans what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from m1.wiring.check import check
from m1.wiring.config import load
from m1.wiring.schema import config_schema
from project import REPOSITORY, Project

PAPER = (REPOSITORY / "docs/paper.md").read_text(encoding="utf-8")
CLUSTER = (REPOSITORY / "docs/cluster.md").read_text(encoding="utf-8")


def blocks(page: str) -> list[dict[str, Any]]:
    """The page's YAML blocks; where one shows a key twice, as two alternatives, each is one."""
    found = []
    for block in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        lines = block.splitlines()
        alternatives = [line for line in lines if line.startswith("serve:")]
        rest = "\n".join(line for line in lines if line not in alternatives)
        found += [yaml.safe_load(text) for text in (*alternatives, rest) if text.strip()]
    return found


def test_each_overlay_and_each_serve_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = blocks(PAPER) + blocks(CLUSTER)
    serves = [block["serve"] for block in found if "serve" in block]
    overlays = [block for block in found if "serve" not in block]
    assert (len(serves), len(overlays)) == (3, 5)
    monkeypatch.chdir(REPOSITORY)
    for number, overlay in enumerate(overlays):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(overlay), encoding="utf-8")
        load([Path("config/paper.yaml"), file])
    for serve in serves:
        check(serve, config_schema()["$defs"]["serve"], "serve")


@pytest.mark.workflow
def test_only_7b_on_the_published_sets(tmp_path: Path) -> None:
    project = Project.of_repository(tmp_path / "new")
    overlays = ("config/paper.yaml", "config/overlays/7b-published.yaml")
    assert " ".join(overlays) in PAPER
    said = project.dry_run("all", *overlays)
    found = dict(re.findall(r"^(\w+) +(\d+)$", said.split("Job stats:")[1], re.MULTILINE))
    assert [found[step] for step in ("train_sft", "infer_sweep", "infer_answer")] == ["2", "2", "2"]
    assert not {"screen_attempt", "distill_traces", "select_domains"} & set(found)
