"""GPUs, as torch sees them; also a program of the standard library and torch alone, which the Python of another
environment can run (``python -I gpus.py``).

A job that was given GPUs and does not see them must stop (:func:`lack`): transformers, accelerate and SGLang would all
go on without a word, on the CPU.
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
"""CUDA's major version to the least driver that its programs run on (NVIDIA's table of compatibility)."""


class Lack(NamedTuple):
    """GPUs that were asked for and are not there: what was found, and what to do about it."""

    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.found}. {self.remedy}."


def look() -> dict[str, Any]:
    """What torch sees in this process, and what explains that it is less than there is.

    Returns:
        ``gpus``, how many torch can use; ``torch``, its version, and ``cuda``, the version that it is built for (None:
        a build for CPUs); ``driver``, its version, and ``cards``, their names (both empty where nvidia-smi does not
        answer); ``visible``, the variable CUDA_VISIBLE_DEVICES (None: not set); ``host``.
    """
    import torch

    driver, cards = ask_driver()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says of an old driver is in the message that follows
        # device_count alone asks the driver's own library: that counts cards even if the driver is too old for CUDA.
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    # The names are nvidia-smi's: asked for them, torch would take up memory of a card, in each process that looks.
    found = {"gpus": gpus, "torch": str(torch.__version__), "cuda": torch.version.cuda, "driver": driver}
    more = {"cards": cards, "visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "host": socket.gethostname()}
    return found | more


def ask_driver() -> tuple[str, list[str]]:
    """Version of NVIDIA's driver, and its cards, by nvidia-smi; both empty where that does not answer."""
    command = ["nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return "", []
    found = re.findall(r"^\s*(\d[\d.]*)\s*,\s*(.*\S)", done.stdout, re.MULTILINE) if not done.returncode else []
    return (found[0][0], [name for _, name in found]) if found else ("", [])


def lack(wanted: int, seen: Mapping[str, Any]) -> Lack | None:
    """What is wrong where ``wanted`` GPUs were asked for and torch has ``seen`` others (:func:`look`); None if nothing
    is."""
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
    """A product of small matrices on each GPU: empty where it is right, else what is wrong."""
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
    """Version of this process's C library; empty for another one than glibc."""
    try:
        return tuple(map(int, re.findall(r"\d+", os.confstr("CS_GNU_LIBC_VERSION") or "")))[:2]
    except (ValueError, OSError):
        return ()


def wanted_glibc() -> tuple[tuple[int, ...], str]:
    """The newest glibc that a package of this environment was built for, and the package."""
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
