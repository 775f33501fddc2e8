"""Runs of the embedded world's configuration, and wildcards of their jobs."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

from m1.wiring.config import default_files, merge, prepare, read
from m1.wiring.run import Run
from snakemake.iocontainers import Wildcards

ROOT = Path(__file__).parents[2]
RESULTS = [
    {"from": "m1_results", "file": "a.json", "budget": 192},
    {"from": "m1_results", "path": "b.json", "budget": 64, "forced": 1},
]


def wildcards(**values: str) -> Wildcards:
    """Make the wildcards of a job."""
    return Wildcards(fromdict=values)


def demo() -> dict[str, Any]:
    """The demo's configuration with the ablations of Table 2, unchecked."""
    files = (*default_files(), ROOT / "config/overlays/demo-full.yaml")
    config: dict[str, Any] = functools.reduce(merge, map(read, files))
    return config


def demo_run(**changes: Any) -> Run:
    """The demo's run with other values at the top level."""
    return Run(prepare(copy.deepcopy(demo() | changes)))


def published_run() -> Run:
    """A run that takes one artifact of every kind as published."""
    published = {
        "evaluation": "m1_eval_data",
        "subsets": {"m23k": "m23k_tokenized"},
        "checkpoints": {"m1-small-1k": "m1_7b_1k"},
        "results": {"m1-large-1k": RESULTS},
    }
    return demo_run(published=published, report=demo()["report"] | {"figures": ["m1-small-1k"]})
