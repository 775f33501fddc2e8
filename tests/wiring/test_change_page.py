"""docs/change.md: the configuration takes what the page offers to type, and its recipe chapter works as said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from m1.core.errors import UserError
from m1.wiring.check import check
from m1.wiring.config import load, merge
from m1.wiring.run import RESOURCES, Run
from m1.wiring.schema import config_schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/change.md").read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "workflow/schemas/overlay.schema.json").read_text(encoding="utf-8"))
RECIPE_KEYS = {"label", "sft", "train", "seeds", "serve"}


def blocks(text: str) -> list[dict[str, Any]]:
    """The examples in YAML, without the mark that says that a recipe has more keys."""
    found = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [yaml.safe_load(block.replace("{…, ", "{")) for block in found]


ALL = blocks(PAGE)
RECIPES = [block for block in ALL if RECIPE_KEYS & set(block)]
OVERLAYS = [block for block in ALL if not RECIPE_KEYS & set(block)]
CHAPTER = PAGE.split("\n## A model of your own\n")[1].split("\n## ")[0]


def write_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chapter's recipe, in a working directory of its own."""
    monkeypatch.chdir(folder)
    (folder / "config/models").mkdir(parents=True)
    recipe = yaml.safe_dump(blocks(CHAPTER)[0])
    (folder / "config/models/m1-small-100.yaml").write_text(recipe, encoding="utf-8")


def test_the_page_has_examples_of_both() -> None:
    assert len(RECIPES) >= 4
    assert len(OVERLAYS) >= 11


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda block: "-".join(block))
def test_each_overlay_goes_over_the_default_or_the_paper(
    overlay: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = list(Draft202012Validator(SCHEMA).iter_errors(overlay))
    assert not faults, faults[0].message
    write_recipe(tmp_path, monkeypatch)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    refused = []
    for below in ([], [ROOT / "config/paper.yaml"]):
        try:
            load([*below, tmp_path / "mine.yaml"])
        except UserError as error:
            refused.append(str(error))
    assert len(refused) < 2, refused


@pytest.mark.parametrize("part", RECIPES, ids=lambda block: "-".join(block))
def test_each_part_of_a_recipe_is_valid(part: dict[str, Any]) -> None:
    whole = yaml.safe_load((ROOT / "config/models/m1-7b-1k.yaml").read_text(encoding="utf-8"))
    recipe = part if "label" in part else merge(whole, part)
    check(recipe, config_schema()["$defs"]["recipe"], "the page")


def test_the_table_names_every_key_of_a_recipe_and_says_which_are_needed() -> None:
    schema = config_schema()["$defs"]["recipe"]
    rows = {row[1]: row[2].strip() for row in re.finditer(r"^\| `(\w+)` \| ([^|]*) \|", CHAPTER, re.MULTILINE)}
    assert set(rows) == set(schema["properties"])
    assert {key for key, needed in rows.items() if needed == "needed"} == set(schema["required"])
    assert rows["group"] == f"`{schema['properties']['group']['default']}`"
    assert rows["resources"] == "{threads} core, {mem_mb:,} MB, {runtime} minutes".format(**RESOURCES)


def test_the_recipe_chapter_gives_a_row_a_line_and_a_training_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recipe(tmp_path, monkeypatch)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(blocks(CHAPTER)[1]), encoding="utf-8")
    run = Run(load([tmp_path / "mine.yaml"]))
    assert run.config["report"]["table1"]["models"][-1] == run.config["report"]["figures"][-1] == "m1-small-100"
    assert "m1-small-100" in run.needed_trainings
    assert "m1-small-100" in run.sweep_models
    assert run.training_gpus("m1-small-100") == (1, 0)
    assert run.answering_gpus("m1-small-100") == 0
    assert run.resources("train", "m1-small-100") == RESOURCES
    assert run.config["subsets"]["m100"]["size"] == 100


def test_a_recipe_that_exists_is_changed_to_answer_on_one_card_and_trains_nothing(tmp_path: Path) -> None:
    section = PAGE.split("### A recipe that exists, changed in an overlay\n")[1].split("\n## ")[0]
    (tmp_path / "7b-one.yaml").write_text(yaml.safe_dump(blocks(section)[0]), encoding="utf-8")
    run = Run(load([ROOT / "config/paper.yaml", tmp_path / "7b-one.yaml"]))
    assert run.answering_gpus("m1-7b-1k") == 1
    assert not run.needed_trainings
