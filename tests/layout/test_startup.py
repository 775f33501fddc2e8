"""With some sixty jobs, start-up is most of the time: steps that need no torch must do without it, and say what their
flags are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKFLOW = Path(__file__).parents[2] / "workflow"
LIGHT = [
    "m1.world.build",
    "m1.world.server",
    "m1.pools.collect",
    "m1 check-data",
    "m1 check-cluster",
    "m1.pools.merge",
    "m1.pools.audit",
    "m1.screen.hard",
    "m1.distill.draw",
    "m1.distill.traces",
    "m1 plan",
    "m1.screen.ask",
    "m1.report.spending",
    "m1.report.sweep_cost",
    "m1.select.domains",
    "m1.select.sample",
    "m1.select.published",
    "m1.infer.published",
    "m1.score.predictions",
    "m1.report.tables",
    "m1.report.figures",
    "m1.report.lengths",
]
HEAVY = ("torch", "transformers", "datasets", "trl")


CODE = """
import runpy, sys
sys.argv[1:] = [*{words!r}, "--help"]
try:
    runpy.run_module({module!r}, run_name="__main__")
except SystemExit:
    print("heavy:", [name for name in {heavy!r} if name in sys.modules])
"""


@pytest.mark.parametrize("module", LIGHT)
def test_light_steps_start_without_heavy_packages(module: str) -> None:
    name, *words = module.split()
    code = CODE.format(module=name, words=words, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(WORKFLOW)}
    )
    assert "usage:" in done.stdout, done.stderr
    assert done.stdout.endswith("heavy: []\n")
