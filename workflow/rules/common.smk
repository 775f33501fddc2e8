"""The checked configuration, and the shell that all rules share."""

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
    # The configuration of a module is given by its user, as Snakemake has merged it.
    if workflow.modifier.skip_configfile:
        for file in workflow.configfiles if workflow.is_main_process else ():
            read(Path(file))
        whole = prepare(config)
    else:  # read as programs read it: Snakemake merges otherwise, and takes the last of two equal keys without a word
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
# Snakemake has read the folders as they were written; here they are in their plain form, without a slash at the end.
workflow.pathvars.update(Pathvars.from_config(run.config, module_level=True))

# Jobs run with the Python of this Snakemake, unless a conda environment was activated for them: then CONDA_PREFIX is
# another one than here.
prefix = os.environ.get("CONDA_PREFIX", "")
python = f'if [ "$CONDA_PREFIX" = "{prefix}" ]; then export PATH={quote(str(Path(sys.executable).parent))}:$PATH; fi'
# Large blocks are kept by the allocator: without this, a fifth of the time of a training on a CPU goes into page
# faults.
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
    """A table, figure or page, and its entry in Snakemake's report, whose caption has the same name."""
    caption = f"report/{Path(name).stem}.rst"
    source_file(f"workflow/{caption}")
    return report(
        f"<results>/{name}", f"../{caption}", category=category, labels=labels
    )
