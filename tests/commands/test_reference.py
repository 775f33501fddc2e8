"""The reference of the configuration is up to date and whole, and editors find a schema that fits each file."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from m1.commands import reference
from m1.core.errors import UserError
from m1.wiring.schema import SCHEMA as FILE
from referencing import Registry, Resource

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
FILES = sorted([*(ROOT / "config").rglob("*.yaml"), *(ROOT / "tests/configs").glob("*.yaml")])
EDITED = [path for path in FILES if path.parent.name != "accelerate"]


@pytest.mark.parametrize("path", reference.file_contents(), ids=lambda path: path.name)
def test_what_is_made_from_the_schema_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == reference.file_contents()[path], "run: python -m m1 reference"


def test_a_key_without_a_description_is_refused() -> None:
    schema = copy.deepcopy(SCHEMA)
    del schema["properties"]["merge"]["properties"]["ngram"]["description"]
    with pytest.raises(UserError, match=r"merge\.ngram has no description"):
        reference.page(schema, {})


def test_every_key_is_in_the_reference() -> None:
    """Whatever way the schema holds it."""

    def names(part: Any) -> set[str]:
        if isinstance(part, list):
            return set().union(*map(names, part))
        if not isinstance(part, dict):
            return set()
        own = set(part["properties"]) if isinstance(part.get("properties"), dict) else set()
        return own.union(*(names(value) for key, value in part.items() if key != "if"))

    shown = reference.PAGE.read_text(encoding="utf-8")
    last = set(re.findall(r"^\| `(?:[^`]*\.)?(\w+)` \|", shown, re.MULTILINE)) | set(
        re.findall(r"^## (\w+)", shown, re.MULTILINE)
    )
    assert names(SCHEMA) - last == set()


def test_a_sentence_of_a_description_is_whole() -> None:
    """A comma in an unquoted text of a mapping in braces would end it there, and leave a key without a value."""

    def require_entry(part: Any) -> list[dict[str, Any]]:
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
        return [one for value in inner for one in require_entry(value)] + (
            [part] if isinstance(part, dict) and "description" in part else []
        )

    assert not [one for one in require_entry(SCHEMA) if None in one.values() and "default" not in one]


@pytest.mark.parametrize("path", EDITED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_editors_find_the_schema_of_a_file_and_the_file_fits_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named, f"{path}: its first line names no schema"
    schema = (path.parent / named[1]).resolve()
    whole = schema.with_name("config.schema.yaml")
    registry: Registry[Any] = Registry().with_resource("config.schema.yaml", Resource.from_contents(SCHEMA))
    assert whole == FILE.resolve()
    validator = Draft202012Validator(yaml.safe_load(schema.read_text(encoding="utf-8")), registry=registry)
    assert [fault.message for fault in validator.iter_errors(yaml.safe_load(text))] == []


def test_an_editor_marks_a_wrong_key_and_a_wrong_value_of_an_overlay() -> None:
    validator = Draft202012Validator(json.loads(reference.OVERLAY.read_text(encoding="utf-8")))
    assert not list(validator.iter_errors({"benchmarks": {"gpqa": None}, "merge": {"threshold": 90}}))
    assert not list(validator.iter_errors({"bases": {"small": {"hub": "a/b", "path": None}}}))
    for incorrect in (
        {"sead": 1},
        {"merge": {"threshold": 900}},
        {"benchmarks": {"gpqa": {"form": "a"}}},
        {"report": {"table1": {"budget": 0}}},
    ):
        assert list(validator.iter_errors(incorrect)), incorrect
