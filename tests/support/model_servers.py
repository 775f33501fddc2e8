"""Servers of a model in a folder, as processes: that of the library transformers (``transformers serve``), and SGLang's
on a CPU, in the environment of ``make test-sglang``."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from m1.client.serving import is_healthy
from m1.engines.sglang import PYTHON
from m1.engines.sglang_worker import ON_CPU
from patience import PATIENCE

needs_sglang = pytest.mark.skipif(
    PYTHON not in os.environ, reason=f"`make test-sglang` makes SGLang's environment and sets {PYTHON}"
)


@contextmanager
def transformers_server(model: Path, log: Path) -> Iterator[str]:
    """The base URL, ending in ``/v1``, of transformers' server."""
    program = str(Path(sys.executable).parent / "transformers")
    with _serving([program, "serve", str(model), "--device", "cpu", "--dtype", "float32"], log) as url:
        yield url


@contextmanager
def sglang_server(model: Path, log: Path) -> Iterator[str]:
    """The base URL, ending in ``/v1``, of SGLang's server."""
    settings = ON_CPU | {"max_total_tokens": 1 << 14}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items() if value is not True]
    options += ["--disable-cuda-graph", "--dtype=float32", "--model-path", str(model)]
    # -I, as the worker has it (m1.engines.sglang)
    with _serving([os.environ[PYTHON], "-I", "-m", "sglang.launch_server", *options], log) as url:
        yield url


@contextmanager
def _serving(command: list[str], log: Path) -> Iterator[str]:
    """A server that lives until the block ends, with all its processes; it loads nothing from the hub."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*command, "--host", "127.0.0.1", "--port", str(port)]
    with open(log, "wb") as output:
        env = os.environ | {"HF_HUB_OFFLINE": "1"}
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env, start_new_session=True)
    try:
        end = time.monotonic() + PATIENCE
        while not is_healthy(port, seconds=60):
            ended = server.poll() is not None or time.monotonic() > end
            assert not ended, f"{' '.join(command)} does not answer:\n{log.read_text(errors='replace')[-2000:]}"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
