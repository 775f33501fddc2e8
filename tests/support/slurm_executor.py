"""Snakemake's SLURM executor: as far as it asks for jobs and submits them, without a workflow."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

TAUGHT: dict[Any, tuple[str, ...]] = {plugin: ("query_job_status", "get_min_job_age", "is_query_tool_available")}
TAUGHT[plugin.Executor] = (
    "check_active_jobs", "_report_job_error_threadsafe", "_report_job_submission_threadsafe", "cancel_jobs"
)  # fmt: skip
"""What ``slurm.teach_executor`` replaces."""


@pytest.fixture(autouse=True)
def untaught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor is as it was after each test, whatever a command has taught it."""
    for where, names in TAUGHT.items():
        for name in names:
            monkeypatch.setattr(where, name, getattr(where, name))


class Executor(plugin.Executor):
    """Asks for the jobs with a name by a status command; what it reports to Snakemake is in ``reports``."""

    def __init__(self, command: str, name: str = "m1") -> None:
        self.run_uuid, self.logger, self.reports = name, logging.getLogger(), dict[Any, str]()
        settings = SimpleNamespace(status_command=command, status_attempts=1, requeue=True, keep_successful_logs=True)
        remote = SimpleNamespace(seconds_between_status_checks=10)
        self.workflow: Any = SimpleNamespace(executor_settings=settings, remote_execution_settings=remote)
        self.status_rate_limiter = contextlib.nullcontext()
        self._next_seconds_between_status_checks, self._main_event_loop = 180, None
        self._status_query_calls = self._status_query_failures = 0
        self._status_query_total_seconds = self._status_query_max_seconds = 0.0
        self._status_query_min_seconds, self._status_query_cycle_rows = None, []
        self._failed_nodes, self._preemption_warning, self._submitted_job_clusters = set(), True, set()
        self._job_submission_executor = ThreadPoolExecutor(2)
        self.submitted, self.submissions = list[Any](), threading.Semaphore(0)

    def report_job_success(self, job_info: SubmittedJobInfo) -> None:
        self.reports[job_info.external_jobid] = "finished"

    def report_job_error(self, job_info: SubmittedJobInfo, msg: str | None = None, **more: Any) -> None:
        self.reports[job_info.external_jobid] = msg or ""

    def report_job_submission(self, job_info: SubmittedJobInfo, **more: Any) -> None:
        self.reports[job_info.external_jobid] = f"submitted, {job_info.aux['slurm_logfile']}"  # type: ignore[index]

    def run_job(self, job: Any) -> None:
        self.submitted.append(job)
        self.submissions.release()

    def ask(self, *jobs: str) -> list[str]:
        """Ask for jobs once, as Snakemake does; returns those that it goes on to wait for."""

        async def active() -> list[str]:
            wanted = [SubmittedJobInfo(None, external_jobid=job, aux={}) for job in jobs]  # type: ignore[arg-type]
            return [job.external_jobid async for job in self.check_active_jobs(wanted)]

        return asyncio.run(active())
