from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def untaught() -> Iterator[None]:
    """Snakemake's executor for SLURM is as it was after each test, whatever a command has taught it."""
    import snakemake_executor_plugin_slurm as plugin

    with pytest.MonkeyPatch.context() as patch:
        for name in ("query_job_status", "get_min_job_age"):
            patch.setattr(plugin, name, getattr(plugin, name))
        yield
