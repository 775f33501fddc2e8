"""Run SGLang in its own environment, whose pins exclude ours: a program of the standard library, torch and sglang.

:mod:`m1.engines.sglang` starts it as the leader of a session. The first line on standard input gives the number of
``gpus`` and the arguments of ``sglang.Engine``; each further line is a request. The first line on standard output is
``{"ready": …}``, which says how the engine runs, or ``{"lacking": …}``, which says what torch sees instead of the GPUs.
Then follows one line for each generation, as it finishes. When standard input ends, for whatever reason, the program
ends with all its processes.
"""

import asyncio
import importlib.metadata
import json
import os
import queue
import runpy
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

ON_CPU: dict[str, Any] = {"device": "cpu", "disable_cuda_graph": True, "mem_fraction_static": 0.2}
ON_CPU |= {"attention_backend": "torch_native", "sampling_backend": "pytorch", "grammar_backend": "none"}
ON_CPU["max_total_tokens"] = 1 << 16
"""Arguments that SGLang needs without a GPU; the caller's arguments override them."""
PINNED = {"SGLANG_USE_SGL_FA3_KERNEL": "1"}
"""Environment variables of SGLang that decide which kernel computes. With 1, fa3 comes from the package sglang-kernel.
With 0, it would be the hub's newest build or, without a network, that of sglang-kernel: not the same kernel every time.
"""
PACKAGES = ("sglang", "sglang-kernel", "torch", "triton", "flashinfer-python")
"""Packages whose versions the manifest records."""
LOOK = Path(__file__).parents[1] / "core/gpus.py"
GRACE = 20.0
"""Seconds for an orderly end before all processes are killed."""


def read(lines: TextIO, requests: queue.SimpleQueue[str]) -> None:
    """Pass the lines on; after the last line, make sure that this program ends."""
    for line in lines:
        requests.put(line)
    requests.put("")
    threading.Event().wait(GRACE)
    os.killpg(os.getpgrp(), signal.SIGKILL)


async def serve(engine: Any, requests: queue.SimpleQueue[str], results: TextIO) -> None:
    """Answer requests until there are no more lines."""
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


def describe(engine: Any, card: str) -> dict[str, Any]:
    """Describe how an engine really runs, for the manifest: versions, card and attention backend.

    The backend is asked of SGLang's own processes: if the configured one cannot run, SGLang warns and takes another.
    Without a name SGLang chooses by the card: in deterministic mode fa3 up to Hopper, flashinfer on Blackwell (source
    of 0.5.23).
    """
    found: dict[str, Any] = {"device": card, "versions": {}}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found["versions"][package] = importlib.metadata.version(package)
    phases = ("prefill_attention_backend", "decode_attention_backend")
    states = engine.get_server_info()["internal_states"]
    backends = sorted({state[phase] or state["attention_backend"] for state in states for phase in phases})
    found |= {"attention_backend": ", ".join(backends), "kernel": None}
    if "fa3" in backends:
        from sglang.kernels.ops.attention.flash_attention_v3 import _load_fa3_kernels

        found["kernel"] = _load_fa3_kernels()["flash_attn_with_kvcache"].__module__
    return found


def main() -> None:
    """Serve the requests on standard input, as the module's docstring describes."""
    lines, results = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what SGLang and its processes print goes to the log
    asked = json.loads(lines.readline())
    os.environ |= PINNED
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=read, args=(lines, requests), daemon=True).start()
    try:
        seen = runpy.run_path(str(LOOK))["look"]()
        if seen["gpus"] < asked["gpus"]:
            print(json.dumps({"lacking": seen}), file=results, flush=True)
            sys.exit(1)
        import sglang

        on_gpu = seen["gpus"] > 0
        engine: Any = sglang.Engine(**({} if on_gpu else ON_CPU) | asked["engine"] | {"trust_remote_code": False})
        ready = describe(engine, next(iter(seen["cards"]), "GPU") if on_gpu else "CPU")
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=results, flush=True)
        sys.exit(1)
    print(json.dumps({"ready": ready}), file=results, flush=True)
    engine.loop.run_until_complete(serve(engine, requests, results))
    engine.shutdown()


if __name__ == "__main__":  # SGLang's own processes import this file
    main()
