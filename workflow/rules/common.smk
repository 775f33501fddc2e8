"""The checked configuration, and the shell that all rules share."""

import json
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from m1.config import prepare
from m1.errors import UserError
from m1.fingerprint import fingerprint
from m1.wiring import one_of
from m1.wiring_report import ReportWiring

try:
    wiring = ReportWiring(prepare(config, Path(workflow.basedir)))
except UserError as error:
    raise WorkflowError(str(error)) from None

wiring.export_calls()

# Jobs run with the Python of this Snakemake, unless conda environments are deployed (they come first in PATH then).
# Large blocks are kept by the allocator: without this, a fifth of the time of a training on a CPU goes into page faults.
shell.prefix(
    f"set -euo pipefail; export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={workflow.basedir}/workflow TOKENIZERS_PARALLELISM=false "
    "MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TOP_PAD_=100000000; "
)


wildcard_constraints:
    pool=one_of(wiring.config["pools"]),
    benchmark=one_of(wiring.config["benchmarks"]),
    base=one_of([*wiring.config["bases"], *wiring.config["screen"]["models"]]),
    model=one_of(wiring.recipes),
    set=one_of(wiring.config["distill"]),
    subset=one_of(wiring.config["subsets"]),
