"""The demo with the ablations of Table 2, with changes."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from m1.wiring.config import default_files, merge, prepare, read
from m1.wiring.run import Run

ROOT = Path(__file__).parents[2]


class Wildcards(SimpleNamespace):
    """As Snakemake's: attributes, and a mapping."""

    def keys(self) -> Any:
        return vars(self).keys()

    def __getitem__(self, name: str) -> Any:
        return vars(self)[name]


def given() -> dict[str, Any]:
    """The configuration, unchecked."""
    files = (*default_files(), ROOT / "config/overlays/demo-full.yaml")
    config: dict[str, Any] = functools.reduce(merge, map(read, files))
    return config


def made(**changes: Any) -> Run:
    """The run of the configuration with other values at its top."""
    return Run(prepare(copy.deepcopy(given() | changes)))
