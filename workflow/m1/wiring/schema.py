"""Which keys of the configuration decide results: the schema has ``decides: false`` at those that do not."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from m1.core.places import SOURCE

SCHEMA = SOURCE / "workflow/schemas/config.schema.yaml"


@functools.cache
def config_schema() -> dict[str, Any]:
    """The schema of the configuration."""
    found: dict[str, Any] = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return found


def deciding(part: Mapping[str, Any], definition: str) -> dict[str, Any]:
    """What decides results in a part of the configuration: the value of a param, so that a change reruns the step.

    Args:
        definition: the part's name in ``$defs`` of the schema, such as ``provider``; below it, as in ``serve.options``.
    """
    runtime = runtime_keys(definition)
    return {key: value for key, value in part.items() if key not in runtime}


def runtime(part: Mapping[str, Any], definition: str) -> dict[str, Any]:
    """The rest of the part: where, how fast and at what price a step runs. It reaches the job outside its params."""
    names = runtime_keys(definition)
    return {key: value for key, value in part.items() if key in names}


@functools.cache
def runtime_keys(definition: str) -> frozenset[str]:
    """Keys of a definition that decide no result; see :func:`deciding`."""
    name, *path = definition.split(".")
    nodes = [config_schema()["$defs"][name]]
    for key in path:
        nodes = [properties[key] for node in nodes for properties in _properties(node) if key in properties]
    return frozenset(
        key
        for node in nodes
        for properties in _properties(node)
        for key, part in properties.items()
        if part.get("decides") is False
    )


def _properties(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The keys of an object, also of each branch (an engine's options)."""
    yield node.get("properties", {})
    for branch in node.get("allOf", []):
        yield branch["then"].get("properties", {})
