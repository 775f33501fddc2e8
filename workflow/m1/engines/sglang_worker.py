"""SGLang in an environment of its own, whose pins exclude the core's: a program of the standard library and sglang
alone.

:mod:`m1.engines.sglang` starts it as the leader of a session. The first line on standard input holds the arguments of
``sglang.Engine``; every further line a request. Lines on standard output: ``{"ready": …}``, then a generation for each
request, as it finishes. When standard input ends, for whatever reason, so does this program with all its processes.
"""

import asyncio
import json
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any, TextIO

ON_CPU: dict[str, Any] = {"device": "cpu", "disable_cuda_graph": True, "mem_fraction_static": 0.2}
ON_CPU |= {"attention_backend": "torch_native", "sampling_backend": "pytorch", "grammar_backend": "none"}
ON_CPU["max_total_tokens"] = 1 << 16
"""What SGLang needs without a GPU; arguments that are given come before these."""
GRACE = 20.0
"""Seconds for an orderly end, before all processes are killed."""


def read(lines: TextIO, requests: queue.SimpleQueue[str]) -> None:
    """Pass the lines on; after the last one see to it that this program ends."""
    for line in lines:
        requests.put(line)
    requests.put("")
    threading.Event().wait(GRACE)
    os.killpg(os.getpgrp(), signal.SIGKILL)


async def serve(engine: Any, requests: queue.SimpleQueue[str], results: TextIO) -> None:
    """Generate until there are no more lines."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def generate(request: dict[str, Any]) -> None:
        try:
            given = {"sampling_params": request["sampling"], "routed_dp_rank": request["copy"]}
            found = await engine.async_generate(input_ids=request["prompt"], **given)
            answer = {"token_ids": found["output_ids"], "said": found["meta_info"]["finish_reason"]}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"id": request["id"], **answer}), file=results, flush=True)

    while line := await loop.run_in_executor(None, requests.get):
        task = loop.create_task(generate(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def main() -> None:
    """Serve standard input; see the module."""
    lines, results = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what SGLang and its processes print goes to the log
    arguments = json.loads(lines.readline())
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=read, args=(lines, requests), daemon=True).start()
    try:
        import sglang
        import torch

        on_gpu = torch.cuda.is_available()
        engine: Any = sglang.Engine(**({} if on_gpu else ON_CPU) | arguments | {"trust_remote_code": False})
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=results, flush=True)
        sys.exit(1)
    ready = f"sglang {sglang.__version__} on {'GPU' if on_gpu else 'CPU'}"
    print(json.dumps({"ready": ready}), file=results, flush=True)
    engine.loop.run_until_complete(serve(engine, requests, results))
    engine.shutdown()


if __name__ == "__main__":  # SGLang's own processes import this file
    main()
