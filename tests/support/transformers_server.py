"""The server of the library transformers (``transformers serve``), with a model of a folder."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
        while not _is_healthy(port):
            ended = server.poll() is not None or time.monotonic() > end
            assert not ended, f"{' '.join(command)} does not answer:\n{log.read_text(errors='replace')[-2000:]}"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False
