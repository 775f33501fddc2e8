"""Run a model server for exactly as long as the step that needs it."""

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import m1
from m1.core.errors import UserError


@contextmanager
def running_server(command: Sequence[str], seconds: float) -> Iterator[str]:
    """Start ``python -m <command> --port-file FILE``, wait for its ``/health``, and yield its base URL.

    The URL ends in ``/v1``. The server is stopped when the context ends, for whatever reason, also on SIGTERM. If this
    process is killed by SIGKILL, the pipe on the server's standard input closes, and the server ends by itself
    (:mod:`m1.world.server`). This needs no polling, and works on every Unix.

    Raises:
        UserError: the server ended, or does not answer within ``seconds``; the message has its last lines of output.
    """
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="m1-served-") as folder:
        port_file, log = Path(folder, "port"), Path(folder, "log")
        paths = [str(Path(m1.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        with open(log, "wb") as output:
            words = [sys.executable, "-m", *command, "--port-file", str(port_file)]
            env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
            server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=env)
        try:
            yield f"http://127.0.0.1:{_wait(server, command, port_file, log, seconds)}/v1"
        finally:
            end_server(server)
            server.stdin.close()  # type: ignore[union-attr]
            signal.signal(signal.SIGTERM, before)


def _wait(server: subprocess.Popen[bytes], command: Sequence[str], port_file: Path, log: Path, seconds: float) -> int:
    """Wait until the server answers, and return its port."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        if port_file.exists() and is_healthy(port := int(port_file.read_text())):
            return port
        time.sleep(0.02)
    ended = server.poll() is not None
    state = f"ended with exit code {server.returncode}" if ended else f"does not answer after {seconds:g} s"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) or "(nothing)"
    remedy = "Correct `serve` (or raise `serve_seconds`) in the configuration and run again."
    raise UserError(f"the server `python -m {' '.join(command)}` {state}. {remedy} Its last lines:\n{tail}")


def end_server(server: subprocess.Popen[bytes]) -> None:
    """End a server, by force if it does not end within five seconds."""
    server.terminate()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def is_healthy(port: int) -> bool:
    """Whether a server on this machine answers ``/health``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    connection.close()
    return False
