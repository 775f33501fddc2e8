"""With some sixty jobs, start-up is most of the time: steps that need no torch must do without it, and say what their
flags are. Every command of Snakemake waits for the plan, so that it reads and checks each file of the configuration
once."""

from __future__ import annotations

import json
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


PLAN = """
import json, sys
from collections import Counter
from pathlib import Path
from unittest import mock
from snakemake import cli
sys.modules.update(dict.fromkeys({heavy!r}))  # Snakemake's plugins may have them; from here on, an import fails
from m1.core import fingerprint
from m1.wiring import config, schema
opened = Counter()
def watch(event, arguments):
    if event == "open" and str(arguments[0]).startswith("{root}") and arguments[0].endswith(".yaml"):
        opened[Path(arguments[0]).resolve().relative_to("{root}").as_posix()] += 1
sys.addaudithook(watch)
with mock.patch.object(config, "check", wraps=config.check) as check:
    try:
        cli.main(["-n", "--quiet", "--snakefile", "{root}/Snakefile", "--configfile", "{root}/config/paper.yaml"])
    except SystemExit as end:
        assert not end.code, end.code
checked = Counter(call.args[2] for call in check.mock_calls)
caches = [cache.cache_info().misses for cache in (schema.config_schema, fingerprint._kept)]
print(json.dumps([opened, checked, caches]))
"""
READINGS = {"config/data.yaml": 2, "config/config.yaml": 2, "config/paper.yaml": 2}
"""Of each: by Snakemake itself, and by ours."""


@pytest.mark.workflow
def test_a_plan_reads_each_file_of_the_configuration_once_and_imports_nothing_heavy(tmp_path: Path) -> None:
    """The paper's plan, in an empty folder: configuration, schema and recipes, and the sources for fingerprints."""
    heavy = [*HEAVY, "pandas", "numpy", "pyarrow", "scipy", "statsmodels", "matplotlib", "sklearn"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PLAN.format(heavy=heavy, root=WORKFLOW.parent)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(WORKFLOW)},
    )
    assert done.returncode == 0, done.stderr
    opened, checked, caches = json.loads(done.stdout.splitlines()[-1])
    assert {name: count for name, count in opened.items() if count > 1} == READINGS
    assert {"workflow/schemas/config.schema.yaml", "config/models/m1-7b-1k.yaml"} <= opened.keys()
    assert {name: count for name, count in checked.items() if count > 1} == {}
    assert {"configuration", "config/models/m1-7b-1k.yaml"} <= checked.keys()
    assert caches == [1, 1]
