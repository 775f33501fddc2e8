"""Report the GPUs that torch sees, and explain why they are fewer than expected.

A job that was given GPUs and does not see them must stop (:func:`lack`), because transformers, accelerate and SGLang
would all silently go on with the CPU. The file needs only the standard library and torch, so the Python of another
environment can run it, too (``python -I gpus.py``).
"""

import importlib.metadata
import json
import os
import re
import socket
import subprocess
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

DRIVERS = {11: 450, 12: 525, 13: 580}
"""CUDA's major version to the oldest driver that supports it (NVIDIA's table of compatibility)."""


class Lack(NamedTuple):
    """A lack of requested GPUs: what was found instead, and what to do about it."""

    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.found}. {self.remedy}."


def look() -> dict[str, Any]:
    """Look for the GPUs that torch sees in this process, and for facts that explain missing ones.

    Returns:
        ``gpus``: the number that torch can use. ``torch`` and ``cuda``: the versions of torch and of the CUDA that it
        is built for (None for a CPU build). ``driver`` and ``cards``: the driver's version and the names of the cards,
        both empty if nvidia-smi does not answer. ``visible``: CUDA_VISIBLE_DEVICES (None if not set). ``host``.
    """
    import torch

    driver, cards = ask_driver()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would warn of an old driver; our own message says so with a remedy
        # device_count asks only the driver's library, which also counts cards when the driver is too old for CUDA.
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    # The names come from nvidia-smi, because torch would reserve memory on a card in every process that asks for them.
    found = {"gpus": gpus, "torch": str(torch.__version__), "cuda": torch.version.cuda, "driver": driver}
    more = {"cards": cards, "visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "host": socket.gethostname()}
    return found | more


def ask_driver() -> tuple[str, list[str]]:
    """The version of NVIDIA's driver and the names of its cards, by nvidia-smi; both empty if it does not answer."""
    command = ["nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return "", []
    found = re.findall(r"^\s*(\d[\d.]*)\s*,\s*(.*\S)", done.stdout, re.MULTILINE) if not done.returncode else []
    return (found[0][0], [name for _, name in found]) if found else ("", [])


def lack(wanted: int, seen: Mapping[str, Any]) -> Lack | None:
    """Explain why torch sees fewer GPUs than ``wanted``, by the facts from :func:`look`; None if it sees enough."""
    if seen["gpus"] >= wanted:
        return None
    driver = f"driver {seen['driver']} with {len(seen['cards'])} cards" if seen["driver"] else "no answer of nvidia-smi"
    visible = "not set" if seen["visible"] is None else repr(seen["visible"])
    built = f"torch {seen['torch']} for {'CUDA ' + seen['cuda'] if seen['cuda'] else 'CPUs only'}"
    asked = f"{wanted} GPU{'s' * (wanted > 1)} asked for on {seen['host']}, and torch sees {seen['gpus']}"
    return Lack(f"{asked} ({driver}; {built}; CUDA_VISIBLE_DEVICES {visible})", _remedy(wanted, seen))


def _remedy(wanted: int, seen: Mapping[str, Any]) -> str:
    on_cpu = "to run on the CPU, say `device: cpu`"
    if seen["cuda"] is None:
        return f"Install torch with CUDA into this environment; {on_cpu}"
    if not seen["driver"]:
        nodes = "nodes with GPUs (cluster.gpu_partition, gpu_type)"
        return f"Choose {nodes}, or give the container the driver (--nv); {on_cpu}"
    least = DRIVERS.get(int(seen["cuda"].partition(".")[0]), 0)
    if int(seen["driver"].partition(".")[0]) < least:
        return f"CUDA {seen['cuda']} wants driver {least} or newer: choose nodes with one, or torch for an older CUDA"
    if seen["visible"] is not None or len(seen["cards"]) < wanted:
        fewer = "ask for fewer (train.processes, or tp × dp in serve.options)"
        return f"Give the job as many as it asks for (cluster.gpu_type, CUDA_VISIBLE_DEVICES), or {fewer}"
    return "The cards are there and CUDA does not start: ask those who run the machine, with this message"


def multiply() -> list[str]:
    """Multiply two small matrices on each GPU; for each, an empty text if the product is right, else the fault."""
    import torch

    said = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        try:
            ones = torch.ones(64, 64, device=f"cuda:{number}")
            right = bool(((ones @ ones) == 64).all())
            said.append("" if right else "a product of matrices is wrong")
        except Exception as error:  # whatever torch or the driver raise: such as a card that torch is not built for
            said.append(next(iter(str(error).strip().splitlines()), type(error).__name__))
    return said


def glibc() -> tuple[int, ...]:
    """The version of this process's glibc, as (major, minor); empty for another C library."""
    try:
        return tuple(map(int, re.findall(r"\d+", os.confstr("CS_GNU_LIBC_VERSION") or "")))[:2]
    except (ValueError, OSError):
        return ()


def wanted_glibc() -> tuple[tuple[int, ...], str]:
    """The newest glibc that any package of this environment needs, as (major, minor), and that package."""
    found: tuple[tuple[int, ...], str] = (), ""
    for package in importlib.metadata.distributions():
        tags = re.findall(r"manylinux_(\d+)_(\d+)_", package.read_text("WHEEL") or "")
        if tags:  # a wheel with several tags runs on each of them
            found = max(found, (min((int(major), int(minor)) for major, minor in tags), str(package.name)))
    return found


def main() -> None:
    """Print, as one line of JSON, :func:`look`, :func:`multiply` and the C library."""
    facts = {"products": multiply(), "glibc": glibc(), "wanted_glibc": wanted_glibc()}
    print(json.dumps(look() | facts))


if __name__ == "__main__":
    main()
