"""What of this machine a configuration needs and lacks (``make doctor``): a line for each thing, and what to do about it.

Also runs with a bare Python, before the virtual environment is there; what needs the package's own requirements is then left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m1.errors import UserError, run

ROOT = Path(__file__).parents[2]
PYTHON = (3, 11)
PACKAGES_GB, DEMO_GB, DEMO_MEMORY_GB = 2.0, 1.0, 4.0
"""Free space for the virtual environment and for the demo, and memory for two of its jobs at a time."""
WEIGHTS, TRAINING, CHECKPOINTS = 2, 16, 24
"""Bytes a parameter: of weights in bfloat16; of a training, with gradients and optimizer (docs/training.md); of its two checkpoints."""
ROOM = 1.3
"""Times what must be held: room for activations and for the key-value cache, at the least."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    name: str
    found: str
    need: str = ""
    """What it is needed for, and the remedy, where it is missing; empty where all is well."""
    stops_demo: bool = False


def line(finding: Finding) -> str:
    """A finding as it is shown."""
    return f"{'missing' if finding.need else 'ok':8}{finding.name:12}{finding.found}{f': {finding.need}' if finding.need else ''}"


def machine() -> Iterator[Finding]:
    """What everything needs: Python, packages, space and memory."""
    version = platform.python_version()
    need = "" if sys.version_info >= PYTHON else "for everything; run: make PYTHON=python3.11 doctor"
    yield Finding("Python", version, need, True)
    environment = (ROOT / ".venv").is_dir()
    lacking = packages()
    if lacking and not environment and sys.prefix == sys.base_prefix:
        yield Finding("packages", f"no virtual environment; `make demo` makes it ({PACKAGES_GB:.0f} GB, some minutes)")
    else:
        need = "for everything; run: make clean-venv demo" if lacking else ""
        yield Finding("packages", ", ".join(lacking[:5]) or "all of requirements.txt, as pinned", need, True)
    free = shutil.disk_usage(ROOT).free / 1e9
    wanted = DEMO_GB + (0 if environment else PACKAGES_GB)
    yield Finding("disk", f"{free:,.0f} GB free", "" if free >= wanted else f"the demo needs {wanted:.0f} GB; make room", True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    need = "" if memory >= DEMO_MEMORY_GB else f"the demo needs {DEMO_MEMORY_GB:.0f} GB; use a larger machine"
    yield Finding("memory", f"{memory:,.0f} GB", need, True)
    for name, program, use in PROGRAMS:
        where = shutil.which(program)
        yield Finding(name, where or f"no {program}", "" if where else use)


PROGRAMS = (
    ("git", "git", "manifests cannot name the commit; install git"),
    ("chromium", "chromium", "only for the tests of report.html, which are skipped without; install chromium"),
    ("SLURM", "sbatch", "only to hand jobs to a cluster; run on its login node"),
)


def packages() -> list[str]:
    """Packages of requirements.txt that are not there as pinned."""
    lacking = []
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            lacking.append(f"no {name}")
            continue
        if found.partition("+")[0] != version:
            lacking.append(f"{name} {found}, not {version}")
    return lacking


def cards() -> list[float]:
    """Memory of each GPU of this machine, in GB."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [float(part) * 2**20 / 1e9 for part in said.split("\n") if part.strip().isdigit()]


def parameters(base: dict[str, Any]) -> float:
    """Parameters of a model, in billions, by the ``7B`` in its name; 0 where there is none."""
    found = re.search(r"(\d+(?:\.\d+)?)[bB](?![a-zA-Z])", str(base.get("hub") or base.get("path")))
    return float(found[1]) if found else 0.0


def needs(config: dict[str, Any]) -> Iterator[Finding]:
    """What a configuration needs besides: GPUs, space for weights, SGLang, the hub, keys.

    Args:
        config: from :func:`m1.config.load`.
    """
    from m1.wiring import Wiring

    wiring = Wiring(config)
    computed = {name: recipe for name, recipe in config["recipes"].items() if name not in wiring.enter["results"]}
    yield from gpus(computed, wiring, cards())
    yield from weights(computed, wiring)
    sglang = [name for name, recipe in computed.items() if recipe["serve"]["engine"] == "sglang"]
    if sglang:
        places = {config["recipes"][name]["serve"]["options"].get("python") or os.environ.get("M1_SGLANG_PYTHON") for name in sglang}
        there = all(place and shutil.which(place) for place in places)
        need = "" if there else f"for {listed(sglang)}; make its environment (docs/engines.md) and set M1_SGLANG_PYTHON to its python"
        yield Finding("SGLang", ", ".join(map(str, filter(None, places))) or "M1_SGLANG_PYTHON is not set", need)
    yield from files(config, wiring)
    if hub := from_hub(config, wiring):
        yield reach(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), hub)
    yield from keys(wiring)


def gpus(recipes: dict[str, Any], wiring: Any, there: list[float]) -> Iterator[Finding]:
    """Whether the GPUs of this machine hold the models, by what weights and training take at the least."""
    found = f"{len(there)} of {min(there):.0f} GB" if there else "none"
    too_large = []
    for name, recipe in recipes.items():
        size = parameters(wiring.config["bases"][recipe["base"]])
        asked = []
        if answering := wiring.answers_on(name):
            asked.append((answering, ROOM * WEIGHTS * size / recipe["serve"]["options"].get("tp", 1)))
        if name in wiring.trainings:
            nodes, training = wiring.trains_on(name)
            shared = nodes * training if recipe["train"]["strategy"].startswith("fsdp") else 1
            asked.append((training, ROOM * TRAINING * size / shared))
        lacking = [(count, memory) for count, memory in asked if size and (len(there) < count or min(there) < memory)]
        if lacking:
            count, memory = (max(column) for column in zip(*lacking))
            too_large.append((count * memory, f"{name} wants {count} of {memory:.0f} GB or more"))
    if too_large:
        remedy = "run on such a machine, lower `train` and `serve` in the recipe, or take what is published (`enter`)"
        largest = [said for _, said in sorted(too_large, key=lambda one: -one[0])]
        yield Finding("GPUs", found, f"{listed(largest)}; {remedy}")
    elif there or any(parameters(base) for base in wiring.config["bases"].values()):
        yield Finding("GPUs", f"{found}; enough for {len(recipes)} models, at the least")
    else:
        yield Finding("GPUs", "none, and none is needed")


def weights(recipes: dict[str, Any], wiring: Any) -> Iterator[Finding]:
    """Whether there is space for the models: bases, what is trained, and two checkpoints of a training."""
    sizes = {name: parameters(wiring.config["bases"][recipe["base"]]) for name, recipe in recipes.items()}
    bases = sum(parameters(wiring.config["bases"][name]) for name in wiring.bases)
    tuned = sum(size for name, size in sizes.items() if name in wiring.tuned)
    largest = max((size for name, size in sizes.items() if name in wiring.trainings), default=0)
    wanted = WEIGHTS * (bases + tuned) + CHECKPOINTS * largest
    free = shutil.disk_usage(ROOT).free / 1e9
    if wanted:
        need = "" if free > wanted else "for models; make room, or link `results` to a larger disk"
        yield Finding("weights", f"{wanted:,.0f} GB wanted, {free:,.0f} GB free", need)


def files(config: dict[str, Any], wiring: Any) -> Iterator[Finding]:
    """Local files and folders that the configuration names and that are not there; those of the embedded world are made."""
    world = f"{config['pathvars']['results']}/world/"
    used = {f"bases.{name}": config["bases"][name] for name in wiring.bases}
    sources = {f"data.{name}": source for name, source in wiring.data_check().items() if not source["optional"]}
    places = {name: one["path"] for name, one in (used | sources).items() if one.get("path")}
    lacking = {name: path for name, path in places.items() if not path.startswith(world) and not Path(path).expanduser().exists()}
    if lacking:
        remedy = "correct the path, or bring the file (make data-check says where from)"
        yield Finding("files", listed(list(lacking.values())), f"for {listed(list(lacking))}; {remedy}")


def from_hub(config: dict[str, Any], wiring: Any) -> list[str]:
    """What comes from the hub and is not there yet: bases, pools and benchmarks."""
    results = Path(config["pathvars"]["results"])
    found = [f"bases.{name}" for name in wiring.bases if config["bases"][name].get("hub") and not (results / "bases" / name).exists()]
    for kind in ("pools", "benchmarks"):
        sources = config[kind].items()
        there = {name for name, _ in sources if (results / kind / f"{name}.parquet").exists()}
        found += [f"{kind}.{name}" for name, source in sources if source["hub"] and not source["path"] and name not in there]
    return sorted(found)


def reach(url: str, needed: list[str]) -> Finding:
    """Whether the hub answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5):
            return Finding("hub", f"{url} answers")
    except urllib.error.HTTPError as error:
        return Finding("hub", f"{url} answers (HTTP {error.code})")
    except OSError as error:
        reason = getattr(error, "reason", error)
        return Finding("hub", f"{url}: {reason}", f"for {listed(needed)}; check the network, or give local files (`path`)")


def keys(wiring: Any) -> Iterator[Finding]:
    """Whether the variables that hold the keys of paid providers are set."""
    for name, provider in wiring.called().items():
        if variable := provider["api_key_env"]:
            there = bool(os.environ.get(variable))
            yield Finding("key", f"{variable} is {'set' if there else 'not set'}", "" if there else f"for {name}; run: export {variable}=…")


def listed(names: Sequence[str]) -> str:
    """Some names, the first three in full."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def main(argv: Sequence[str] | None = None) -> None:
    """Say what is there and what is missing; exit code 1 only if the demo could not run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", nargs="*", default=[], type=Path, help="laid over the default configuration")
    options = parser.parse_args(argv)
    findings = list(machine())
    try:
        from m1.config import load
    except ImportError as error:
        findings.append(Finding("config", f"not looked at, without the package {error.name}"))
    else:
        findings += needs(load(options.configfile))
    print("\n".join(map(line, findings)))
    if any(finding.need and finding.stops_demo for finding in findings):
        raise UserError("the demo cannot run here: see the lines above that begin with `missing`")


if __name__ == "__main__":
    run(main)
