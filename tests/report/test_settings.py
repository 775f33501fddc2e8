"""``shown.json``: unknown and missing keys are errors, at any depth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from m1.core.errors import UserError
from m1.report.settings import CountRow, Model, RuleManifests, Shown, Subset
from shown import accuracy_row, save_shown

EVERYTHING = {
    "models": (Model("a", "A", "train/a"), Model("b", "B", None)),
    "table1": (accuracy_row("a", published="m1-7B-1K", bold=True), accuracy_row("b", budget=0)),
    "table2": (accuracy_row("a", group="1K Scale"),),
    "table3": (CountRow("All", None, ("pools/a.parquet", "pools/b.parquet")),),
    "figures": ("b", "a"),
    "figure8a": (Subset("m1K", "select/m1k.parquet"),),
    "manifests": (RuleManifests("pools_merge", ("pools/merged.json",)),),
    "budgets": (16, 32),
    "page_megabytes": 1.5,
}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    shown = Shown.load(save_shown(tmp_path, **EVERYTHING))
    assert {key: getattr(shown, key) for key in EVERYTHING} == EVERYTHING
    assert [model.key for model in shown.figure_models] == ["b", "a"]
    assert shown.accuracy_tables == {"table1": EVERYTHING["table1"], "table2": EVERYTHING["table2"]}
    assert list(Shown.load(save_shown(tmp_path)).accuracy_tables) == ["table1"], "there is no Table 2"


def change(path: list[Any], value: Any) -> Callable[[Any], None]:
    """Set a part of the JSON; None takes it out."""

    def edit(shown: Any) -> None:
        for key in path[:-1]:
            shown = shown[key]
        if value is None:
            del shown[path[-1]]
        else:
            shown[path[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(["seed"], None), "shown.json: missing key 'seed'"),
        (change(["sed"], 1), "shown.json: unknown key 'sed'"),
        (change(["table1", 1, "budgets"], None), "table1[1]: missing key 'budgets'"),
        (change(["models", 0, "colour"], "red"), "models[0]: unknown key 'colour'"),
        (change(["manifests", 0, "file"], "x"), "manifests[0]: unknown key 'file'"),
        (change(["budgets"], ["16"]), 'budgets[0] is "16"; a whole number is needed'),
        (change(["figure8a"], {"m1K": "select/m1k.parquet"}), "figure8a"),
    ],
)
def test_a_key_that_is_unknown_missing_or_of_another_type_is_named(
    tmp_path: Path, edit: Callable[[Any], None], message: str
) -> None:
    path = save_shown(tmp_path, **EVERYTHING)
    shown = json.loads(path.read_text())
    edit(shown)
    path.write_text(json.dumps(shown))
    with pytest.raises(UserError) as found:
        Shown.load(path)
    assert message in str(found.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"shown\.json: no such file"):
        Shown.load(tmp_path / "shown.json")
