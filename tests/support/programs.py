"""``python -m MODULE`` without the seconds that imports take: a process that has imported Snakemake is forked.

The fork is what the interpreter would have been after these imports: its folder, environment, arguments and output are
its own, and nothing of the package has been imported, so that each project runs its own copy. What a program starts in
its turn (jobs of rules) is started as ever. Tests of signals and kills start an interpreter of their own.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any


def run(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run ``python -m`` to its end; returns its exit code and output.

    Args:
        words: the module, and its arguments.
        folder: where it runs.
        environment: all its variables; paths in ``PYTHONPATH`` may be relative to the folder.
    """
    server = _server()
    assert server.stdin
    assert server.stdout
    with tempfile.TemporaryFile() as said:
        order = {"words": list(words), "folder": str(folder), "environment": dict(environment)}
        order["said"] = f"/proc/{os.getpid()}/fd/{said.fileno()}"
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        process = int(server.stdout.readline())
        try:
            code = int(server.stdout.readline())
        except BaseException:
            os.killpg(process, signal.SIGKILL)
            raise
        said.seek(0)
        return code, said.read().decode()


@cache
def _server() -> subprocess.Popen[str]:
    """Start the process that is forked; it ends with this one, whose end closes its standard input."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.Popen(
        [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _serve() -> None:
    """Answer each order with the number of the process, and with its exit code once it has ended."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        if not (process := os.fork()):
            _become(json.loads(line))
            return
        print(process, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), file=answers, flush=True)


def _become(order: dict[str, Any]) -> None:
    """Become the program, in the forked process."""
    os.setsid()
    os.chdir(order["folder"])
    said = os.open(order["said"], os.O_WRONLY | os.O_APPEND)
    for number, stream in enumerate((os.open(os.devnull, os.O_RDONLY), said, said)):
        os.dup2(stream, number)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.path[0:1] = [str(Path(path).resolve()) for path in (".", *os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    module, *sys.argv[1:] = order["words"]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    import jsonschema  # noqa: F401
    from snakemake.cli import get_argument_parser

    get_argument_parser()  # loads Snakemake's plugins
    _serve()
