"""Which keys of the configuration decide results: the schema has ``decides: false`` at those that do not.

What decides reaches a job as a param, whose change reruns the step; the rest as a resource or an environment variable.
"""

import functools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from m1.core.places import SOURCE
from m1.engines.settings import ServeRuntime, ServeSettings

SCHEMA = SOURCE / "workflow/schemas/config.schema.yaml"


@functools.cache
def config_schema() -> dict[str, Any]:
    """The schema of the configuration."""
    # The C library is seven times as fast, and every command waits for it; without it, PyYAML reads the same.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load(SCHEMA.read_text(encoding="utf-8"), loader)
    return found


def deciding(part: Mapping[str, Any], definition: str) -> dict[str, Any]:
    """What decides results in a part of the configuration; ``definition`` is its name in ``$defs`` of the schema, such
    as ``provider``, or below, as in ``serve.options``."""
    runtime = runtime_keys(definition)
    return {key: value for key, value in part.items() if key not in runtime}


def runtime(part: Mapping[str, Any], definition: str) -> dict[str, Any]:
    """The rest of the part: where, how fast and at what price a step runs."""
    names = runtime_keys(definition)
    return {key: value for key, value in part.items() if key in names}


@functools.cache
def runtime_keys(definition: str) -> frozenset[str]:
    """Keys of a definition that decide no result; see :func:`deciding`."""
    name, *path = definition.split(".")
    nodes = [config_schema()["$defs"][name]]
    for key in path:
        nodes = [properties[key] for node in nodes for properties in _properties(node) if key in properties]
    parts = [one for node in nodes for properties in _properties(node) for one in properties.items()]
    return frozenset(key for key, part in parts if part.get("decides") is False)


def _properties(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The keys of an object, also of each branch (an engine's options)."""
    yield node.get("properties", {})
    for branch in node.get("allOf", []):
        yield branch["then"].get("properties", {})


def serve_json(serve: dict[str, Any]) -> str:
    """What of a ``serve`` decides answers."""
    return ServeSettings.from_parts(serve, {"options": deciding(serve["options"], "serve.options")}).to_json()


def serve_runtime(serve: dict[str, Any], gpus: int) -> str:
    """The rest: requests at a time, options such as a URL, and the GPUs that the job is given."""
    options = runtime(serve["options"], "serve.options")
    return ServeRuntime.from_parts(serve, {"options": options, "gpus": gpus}).to_json()


def provider_json(provider: dict[str, Any]) -> str:
    """What decides the answers of a provider, as JSON: the value of a param."""
    return json.dumps(deciding(provider, "provider"), sort_keys=True)


def export_call_settings(config: Mapping[str, Any]) -> None:
    """How calls are made and what they cost, as JSON, into environment variables: ``M1_TEACHER_CALLS``,
    ``M1_LABELLER_CALLS`` and, by provider, ``M1_SCREEN_CALLS``. Another price or pace then asks nothing again."""
    for name in ("teacher", "labeller"):
        os.environ[f"M1_{name.upper()}_CALLS"] = json.dumps(runtime(config[name], "provider"))
    screening = {name: runtime(provider, "provider") for name, provider in config["screen"]["providers"].items()}
    os.environ["M1_SCREEN_CALLS"] = json.dumps(screening)
