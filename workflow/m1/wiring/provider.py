"""How the settings of a provider reach a job: what decides answers as a param, the rest by an environment variable."""

from __future__ import annotations

import json
import os
from typing import Any

from m1.wiring.run import Run
from m1.wiring.schema import deciding, runtime


def provider_json(provider: dict[str, Any]) -> str:
    """What decides the answers of a provider, as JSON: the value of a param."""
    return json.dumps(deciding(provider, "provider"), sort_keys=True)


def export_call_settings(run: Run) -> None:
    """How calls are made and what they cost, as JSON, into environment variables: ``M1_TEACHER_CALLS``,
    ``M1_LABELLER_CALLS`` and, by provider, ``M1_SCREEN_CALLS``. Another price or pace then asks nothing again."""
    for name in ("teacher", "labeller"):
        os.environ[f"M1_{name.upper()}_CALLS"] = json.dumps(runtime(run.config[name], "provider"))
    screening = {name: runtime(provider, "provider") for name, provider in run.providers.items()}
    os.environ["M1_SCREEN_CALLS"] = json.dumps(screening)
