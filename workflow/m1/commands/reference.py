"""Write the files that are generated from the configuration's schema (make reference): the comments of
config/config.yaml, config/reference.md, and the schema of overlays.

The values of config/config.yaml are edited by hand, but the meaning of each key is written only once, in the schema. An
overlay may leave out any key and may remove named parts by null, so editors that complete its keys need a schema of its
own.
"""

import argparse
import functools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from m1.core.errors import UserError
from m1.core.files import write_text
from m1.core.places import SOURCE
from m1.wiring.config import NAMED, merge
from m1.wiring.schema import SCHEMA, config_schema

Schema = Mapping[str, Any]
PAGE = SOURCE / "config" / "reference.md"
REGISTRY = SOURCE / "config" / "data.yaml"
FILE = SOURCE / "config" / "config.yaml"
OVERLAY = SCHEMA.with_name("overlay.schema.json")
SHORT = 40  # longest default, in characters, that the reference shows; for a longer one it points to config.yaml
HEAD = """# Every key of the configuration

Made by `make reference` from `workflow/schemas/config.schema.yaml` and the default configuration.
A test fails where it is not up to date. [docs/change.md](../docs/change.md) says how the keys go together.
`{name}` stands for a name of your choice, `[]` for each entry of a list.
A default is what `config/config.yaml` has or, for what may be left out there, the schema.
*needed*: whoever makes such a part must give the key.
"""
FILE_HEAD = """\
# yaml-language-server: $schema=../workflow/schemas/config.schema.yaml
# The default configuration: the paper on the embedded world (docs/start.md), on a laptop, in minutes. The paper itself
# is config/paper.yaml, laid over this file. Values are edited here; `make reference` takes the comments from the
# schema. An unknown key is an error. Keys that are left out here are in config/reference.md; docs/change.md says how
# keys go together.
"""
WIDTH = 120


@dataclass(frozen=True)
class Key:
    """A key of the configuration."""

    path: str
    kind: str
    default: str
    meaning: str


def resolve(schema: Schema, whole: Schema) -> tuple[dict[str, Any], str]:
    """Resolve a ``$ref``; returns the schema, whose own keys override the referred ones, and the name of the reference
    (empty if there is none)."""
    if "$ref" not in schema:
        return dict(schema), ""
    name = schema["$ref"].rsplit("/", 1)[1]
    return {**whole["$defs"][name], **schema}, name


def keys(schema: Schema, whole: Schema, values: Any, path: str = "") -> Iterator[Key]:
    """Yield all keys below a schema, in its order; objects in ``$defs`` have sections of their own.

    Args:
        values: the default configuration at this part, if there is one.
        path: the keys that lead to this part.
    """
    for name, part in schema.get("properties", {}).items():
        inner, refers = resolve(part, whole)
        place = f"{path}.{name}" if path else name
        if not part.get("description"):
            remedy = "say in a few words what the key means, with its unit"
            raise UserError(f"{SCHEMA.name}: {place} has no description; {remedy}")
        value = values.get(name) if isinstance(values, dict) else None
        yield Key(place, kind(inner, refers), default(name, part, schema, values), meaning(part))
        yield from inner_keys(inner, refers, whole, value, place)
    for branch in schema.get("allOf", []):
        for name, part in branch["then"]["properties"].items():
            yield from keys(part, whole, None, f"{path}.{name}" if path else name)


def inner_keys(schema: Schema, refers: str, whole: Schema, values: Any, path: str) -> Iterator[Key]:
    """Yield the keys inside a key's value: its own keys, those of named parts, or those of a list's entries."""
    if refers:
        return
    yield from keys(schema, whole, values, path)
    for way, mark in (("additionalProperties", ".{name}"), ("items", "[]")):
        if isinstance(part := schema.get(way), dict):
            inner, other = resolve(part, whole)
            yield from inner_keys(inner, other, whole, None, f"{path}{mark}")


def meaning(part: Schema) -> str:
    """The description of a key, which adds "reruns nothing" if the key decides no result."""
    said: str = part["description"]
    return f"{said}; reruns nothing" if part.get("decides") is False else said


def kind(schema: Schema, refers: str = "") -> str:
    """The allowed values of a key, in words."""
    if refers and schema.get("type") == "object":
        return f"[{refers}](#{refers})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{one_line(value)}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(kind(*resolve(part, config_schema())) for part in schema["anyOf"])
    types = schema.get("type", "any")
    words = []
    for one in [types] if isinstance(types, str) else types:
        inner = schema.get("items" if one == "array" else "additionalProperties")
        holds = f" of {kind(*resolve(inner, config_schema()))}" if isinstance(inner, dict) else ""
        words.append({"array": f"list{holds}", "object": f"mapping{holds}", "string": "text"}.get(one, one))
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = "".join(f" {sign} {schema[key]}" for key, sign in signs.items() if key in schema)
    return " or ".join(words) + bounds


def default(name: str, part: Schema, schema: Schema, values: Any) -> str:
    """A key's default, from the default configuration or else the schema; for a required key, ``*needed*``."""
    if isinstance(values, dict) and name in values:
        text = one_line(values[name])
        return f"`{text}`" if len(text) <= SHORT and "|" not in text else "in config.yaml"
    if "default" in part:
        return f"`{one_line(part['default'])}`"
    return "*needed*" if name in schema.get("required", []) else ""


def one_line(value: Any) -> str:
    """A value in YAML, on one line."""
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) or not value else value


def page(schema: Schema, values: Mapping[str, Any]) -> str:
    sections: dict[str, tuple[str, list[Key]]] = {}
    scalars: list[Key] = []
    for name, part in schema["properties"].items():
        own = list(keys({"properties": {name: part}}, schema, values))
        if len(own) > 1:
            sections[name] = (part["description"], own[1:])
        else:
            scalars += own
    for name, part in schema["$defs"].items():
        if part["type"] == "object":
            sections[name] = (part["description"], list(keys(part, schema, None)))
    lines = [HEAD, "## Top level", "", *table(scalars)]
    for name, (meaning, rows) in sections.items():
        lines += ["", f"## {name}", f"{meaning[:1].upper()}{meaning[1:]}.", "", *table(rows)]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Key]) -> list[str]:
    cells = [f"| `{row.path}` | {row.kind} | {row.default} | {row.meaning} |" for row in rows]
    return ["| key | value | default | meaning |", "|---|---|---|---|", *cells]


def overlay(schema: Schema) -> dict[str, Any]:
    """The schema of an overlay: no key is required, and null removes a named part or a model's place."""

    def loosen(part: Any) -> Any:
        if isinstance(part, dict):
            kept = {key: value for key, value in part.items() if key != "required" or not isinstance(value, list)}
            return {key: loosen(value) for key, value in kept.items()}
        return [loosen(value) for value in part] if isinstance(part, list) else part

    def make_removable(part: dict[str, Any]) -> dict[str, Any]:
        def or_null(value: Any) -> dict[str, Any]:
            return {"anyOf": [value, {"type": "null"}]}

        names = {key: or_null(value) for key, value in part.get("properties", {}).items()}
        others = part.get("additionalProperties")
        return part | {"properties": names} | ({"additionalProperties": or_null(others)} if others else {})

    whole: dict[str, Any] = loosen(schema)
    properties = whole["properties"]
    beside = properties["report"]["properties"]["figure8a"]["properties"]
    beside |= {"beside": make_removable(beside["beside"])}
    properties |= {name: make_removable(properties[name]) for name in NAMED}
    screen = properties["screen"]["properties"]
    screen |= {name: make_removable(screen[name]) for name in ("models", "providers")}
    whole["$defs"] |= {"weights": make_removable(whole["$defs"]["weights"])}
    return whole | {"description": "an overlay; made by `python -m m1 reference` from config.schema.yaml"}


def default_file(schema: Schema, values: Mapping[str, Any]) -> str:
    """The default file with comments, in the order of the schema; keys that several parts share are explained once."""
    lines, explained = [FILE_HEAD.rstrip()], set()
    for name, part in schema["properties"].items():
        if name not in values:
            continue
        inner, refers = resolve(part, schema)
        value, said = values[name], meaning(part)
        if not isinstance(value, dict | list):
            lines += add_comment(f"{name}: {flow(value)}", said)
            continue
        lines += ["", f"# --- {said} ".ljust(WIDTH - 8, "-"), f"{name}:"]
        if isinstance(value, list):
            lines += [f"  - {flow(one)}" for one in value]
        else:
            lines += block(inner, schema, value, "  ", refers in explained)
        explained |= {refers} - {""}
    return "\n".join(lines) + "\n"


def block(schema: Schema, whole: Schema, values: Mapping[str, Any], indent: str, bare: bool) -> list[str]:
    """The lines of a part, one for each key or named part, with comments unless ``bare``."""
    lines, known = [], schema.get("properties", {})
    for name in [*(name for name in known if name in values), *(name for name in values if name not in known)]:
        value, line = values[name], f"{indent}{name}:"
        said = "" if bare or name not in known else meaning(known[name])
        if isinstance(value, dict) and any(isinstance(one, dict) for one in value.values()):
            lines += add_comment(line, said)
            lines += block(resolve(known[name], whole)[0], whole, value, f"{indent}  ", bare)
        else:
            lines += add_comment(f"{line} {flow(value)}", said)
    return lines


def add_comment(line: str, said: str) -> list[str]:
    """A line with its comment behind it, or above it if the line would be too long."""
    whole = f"{line} # {said}" if said else line
    if len(whole) <= WIDTH or not said:
        return [whole]
    return [f"{' ' * (len(line) - len(line.lstrip()))}# {said}", line]


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf)
    return text.removesuffix("...\n").strip()


def file_contents() -> dict[Path, str]:
    files = {path: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (REGISTRY, FILE)}
    values: Any = functools.reduce(merge, files.values())
    return {
        FILE: default_file(config_schema(), files[FILE]),
        PAGE: page(config_schema(), values),
        OVERLAY: json.dumps(overlay(config_schema()), indent=1, ensure_ascii=False) + "\n",
    }


def main(argv: Sequence[str] | None = None) -> None:
    as_written = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(prog="m1 reference", description=__doc__, formatter_class=as_written).parse_args(argv)
    for path, text in file_contents().items():
        write_text(path, text)
        print(f"{path.relative_to(SOURCE)}: {text.count(chr(10)):,} lines")
