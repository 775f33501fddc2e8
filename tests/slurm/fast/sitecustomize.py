"""In PYTHONPATH of the tests only: Snakemake asks SLURM for the state of jobs every few seconds, and not ever more rarely.

Not faster than the profile's rate: while a question waits for its turn, Ctrl-C does not know which jobs to cancel (docs/cluster.md).
"""

import asyncio
import sys

if "snakemake" in sys.orig_argv:
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    async def _sleep(self: RemoteExecutor) -> None:
        await asyncio.sleep(2.5)

    RemoteExecutor.sleep = _sleep
