"""The checked configuration, and the shell that all rules share."""

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from m1.core.errors import UserError
from m1.core.fingerprint import step
from m1.core.places import SOURCE, source_file
from m1.wiring.config import prepare
from m1.wiring.run import one_of
from m1.wiring.report import ReportWiring, planned_anew

try:
    wiring = ReportWiring(prepare(config), remote=workflow.remote_exec)
except UserError as error:
    raise WorkflowError(str(error)) from None

wiring.export_calls()

# Jobs run with the Python of this Snakemake, unless a conda environment was activated for them: then CONDA_PREFIX is another one than here.
prefix = os.environ.get("CONDA_PREFIX", "")
python = f'if [ "$CONDA_PREFIX" = "{prefix}" ]; then export PATH={Path(sys.executable).parent}:$PATH; fi'
# Large blocks are kept by the allocator: without this, a fifth of the time of a training on a CPU goes into page faults.
shell.prefix(
    f"{python}; set -euo pipefail; export PYTHONPATH={SOURCE}/workflow TOKENIZERS_PARALLELISM=false "
    "MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TOP_PAD_=100000000; "
)


wildcard_constraints:
    pool=one_of(wiring.config["pools"]),
    benchmark=one_of(wiring.config["benchmarks"]),
    base=one_of([*wiring.config["bases"], *wiring.config["screen"]["models"]]),
    model=one_of(wiring.recipes),
    set=one_of(wiring.config["distill"]),
    subset=one_of(wiring.config["subsets"]),
    shard=r"[1-9]\d*",
    shards=r"[1-9]\d*",
