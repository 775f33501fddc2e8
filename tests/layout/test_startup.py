"""With some sixty jobs, start-up is most of the time: steps that need no torch must do without it, and say what their
flags are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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
import contextlib, io, json, runpy, sys
found = {{}}
for words in {steps!r}:
    module, *sys.argv[1:] = [*words.split(), "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        runpy.run_module(module, run_name="__main__")
    found[words] = ["usage:" in said.getvalue(), [name for name in {heavy!r} if name in sys.modules]]
print(json.dumps(found))
"""


def test_light_steps_start_without_heavy_packages() -> None:
    """One after another in one process: the first that loads one is to blame."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE.format(steps=LIGHT, heavy=HEAVY)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(WORKFLOW)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {step: [True, []] for step in LIGHT}
