"""The server of the library transformers (``transformers serve``), with a model of a folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from m1.client.serving import end_server, is_healthy

SECONDS = 300


@contextmanager
def transformers_server(model: Path, log: Path) -> Iterator[str]:
    """The base URL, ending in ``/v1``, of a server that lives until the block ends; it loads nothing from the hub."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(model)]
    options = ["--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    with open(log, "wb") as output:
        env = os.environ | {"HF_HUB_OFFLINE": "1"}
        server = subprocess.Popen([*command, *options], stdout=output, stderr=subprocess.STDOUT, env=env)
    try:
        end = time.monotonic() + SECONDS
        while not is_healthy(port):
            ended = server.poll() is not None or time.monotonic() > end
            assert not ended, f"{' '.join(command)} does not answer:\n{log.read_text(errors='replace')[-2000:]}"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        end_server(server)
