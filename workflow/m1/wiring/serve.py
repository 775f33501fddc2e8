"""How ``serve`` reaches a job: what decides answers as a param, the rest as a resource, which reruns nothing."""

from __future__ import annotations

from typing import Any

from m1.engines.settings import ServeRuntime, ServeSettings
from m1.wiring.schema import deciding, runtime


def serve_json(serve: dict[str, Any]) -> str:
    """What of a ``serve`` decides answers."""
    return ServeSettings.from_parts(serve, {"options": deciding(serve["options"], "serve.options")}).to_json()


def serve_runtime(serve: dict[str, Any]) -> str:
    """The rest: requests at a time, and options such as GPUs or a URL."""
    return ServeRuntime.from_parts(serve, {"options": runtime(serve["options"], "serve.options")}).to_json()
