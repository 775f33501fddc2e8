"""common: read and check the configuration, and set up the shell that all jobs share."""

import os
import sys
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError
from snakemake.pathvars import Pathvars

from m1.core.errors import UserError, printable
from m1.core.fingerprint import step
from m1.core.locks import use_environments
from m1.core.places import SOURCE, source_file
from m1.wiring.config import load, prepare, read
from m1.wiring.run import Run, any_name, optional_flags
from m1.wiring.schema import export_call_settings

try:
    use_environments()
    # Another workflow uses this one as a module: Snakemake has merged its configuration into `config`. The files
    # are read only for their errors, such as a key that is given twice.
    if workflow.modifier.skip_configfile:
        for file in workflow.configfiles if workflow.is_main_process else ():
            read(Path(file))
        whole = prepare(config)
    else:  # read the files as the commands do, because Snakemake merges them differently and accepts a key given twice
        given = workflow.config_settings
        whole = load(
            workflow.overwrite_configfiles,
            given.config_args or (),
            alone=given.replace_workflow_config,
        )
    run = Run(
        whole,
        remote=workflow.remote_exec,
        makes=lambda path: any(rule.is_producer(path) for rule in workflow.rules),
    )
except UserError as error:
    raise WorkflowError(printable(str(error))) from None

export_call_settings(run.config)
# Snakemake took the folders word for word. The checked configuration has them normalised, without a slash at the end,
# so that paths in rules equal those in `run`.
workflow.pathvars.update(Pathvars.from_config(run.config, module_level=True))

# Jobs run with the Python of this Snakemake, unless Snakemake activated a conda environment for them, which changes
# CONDA_PREFIX.
prefix = os.environ.get("CONDA_PREFIX", "")
python = f'if [ "$CONDA_PREFIX" = "{prefix}" ]; then export PATH={quote(str(Path(sys.executable).parent))}:$PATH; fi'
# Let the allocator keep large blocks instead of returning them to the system: otherwise, a training on a CPU spends a
# fifth of its time on page faults.
shell.prefix(
    f"{python}; set -euo pipefail; export PYTHONPATH={quote(f'{SOURCE}/workflow')} TOKENIZERS_PARALLELISM=false "
    "MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TOP_PAD_=100000000; "
)


wildcard_constraints:
    pool=any_name(run.config["pools"]),
    benchmark=any_name(run.config["benchmarks"]),
    base=any_name([*run.config["bases"], *run.config["screen"]["models"]]),
    model=any_name(run.recipes),
    set=any_name(run.config["distill"]),
    subset=any_name(run.config["subsets"]),
    shard=r"[1-9]\d*",
    shards=r"[1-9]\d*",


def entry(name, category, **labels):
    """Mark an output (table, figure or page) for Snakemake's own report; its caption is report/{name}.rst."""
    caption = f"report/{Path(name).stem}.rst"
    source_file(f"workflow/{caption}")
    return report(
        f"<results>/{name}", f"../{caption}", category=category, labels=labels
    )
