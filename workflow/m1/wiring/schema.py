"""Tell keys of the configuration that decide results from those that do not (``decides: false`` in the schema).

A key that decides results reaches its job in a param, so a change of it reruns the step. The other keys reach the job
as a resource or an environment variable, and a change of them reruns nothing.
"""

import functools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from m1.core.places import SOURCE, source_file
from m1.engines.settings import ServeRuntime, ServeSettings

SCHEMA = SOURCE / "workflow/schemas/config.schema.yaml"


@functools.cache
def config_schema() -> dict[str, Any]:
    """The schema of the configuration; raises a :class:`UserError` if its file cannot be read."""
    source_file(str(SCHEMA.relative_to(SOURCE)))
    # The C library is seven times as fast, and every command waits for this; where it lacks, PyYAML reads the same.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load(SCHEMA.read_text(encoding="utf-8"), loader)
    return found


def deciding_keys(part: Mapping[str, Any], definition: str) -> dict[str, Any]:
    """The keys of a part of the configuration that decide results.

    Args:
        part: keys and values.
        definition: the part's name in ``$defs`` of the schema, such as ``provider`` or ``serve.options``.
    """
    runtime = runtime_keys(definition)
    return {key: value for key, value in part.items() if key not in runtime}


def runtime(part: Mapping[str, Any], definition: str) -> dict[str, Any]:
    """The other keys of the part: they say where, how fast and at what price a step runs."""
    names = runtime_keys(definition)
    return {key: value for key, value in part.items() if key in names}


@functools.cache
def runtime_keys(definition: str) -> frozenset[str]:
    name, *path = definition.split(".")
    nodes = [config_schema()["$defs"][name]]
    for key in path:
        nodes = [properties[key] for node in nodes for properties in _properties(node) if key in properties]
    parts = [one for node in nodes for properties in _properties(node) for one in properties.items()]
    return frozenset(key for key, part in parts if part.get("decides") is False)


def _properties(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The properties of an object in the schema, and those of each of its branches (such as an engine's options)."""
    yield node.get("properties", {})
    for branch in node.get("allOf", []):
        yield branch["then"].get("properties", {})


def serve_json(serve: dict[str, Any]) -> str:
    """The part of ``serve`` that decides a model's answers, as JSON: the value of a param."""
    return ServeSettings.from_parts(serve, {"options": deciding_keys(serve["options"], "serve.options")}).to_json()


def serve_runtime(serve: dict[str, Any], gpus: int) -> str:
    """The rest of ``serve`` as JSON: concurrent requests, options such as a URL, and the number of the job's GPUs."""
    options = runtime(serve["options"], "serve.options")
    return ServeRuntime.from_parts(serve, {"options": options, "gpus": gpus}).to_json()


def provider_json(provider: dict[str, Any]) -> str:
    """The settings that decide a provider's answers, as JSON: the value of a param."""
    return json.dumps(deciding_keys(provider, "provider"), sort_keys=True)


def export_call_settings(config: Mapping[str, Any]) -> None:
    """Put the pace and price of calls into environment variables, so that a change of them asks nothing again.

    ``M1_TEACHER_CALLS`` and ``M1_LABELLER_CALLS`` hold one JSON object each, ``M1_SCREEN_CALLS`` one by provider.
    """
    for name in ("teacher", "labeller"):
        os.environ[f"M1_{name.upper()}_CALLS"] = json.dumps(runtime(config[name], "provider"))
    screening = {name: runtime(provider, "provider") for name, provider in config["screen"]["providers"].items()}
    os.environ["M1_SCREEN_CALLS"] = json.dumps(screening)
