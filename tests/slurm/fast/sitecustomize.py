"""In PYTHONPATH of the tests only: Snakemake asks SLURM for the state of jobs all the time, and not ever more rarely.

So the profile's rate lets it wait within nearly every question, when Snakemake's own Ctrl-C does not know which jobs to
cancel.
"""

import asyncio
import sys

if {"snakemake", "launch"} & {*sys.orig_argv}:
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    async def _sleep(self: RemoteExecutor) -> None:
        await asyncio.sleep(0.1)

    RemoteExecutor.sleep = _sleep
