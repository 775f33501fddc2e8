"""Check what this machine lacks for a configuration (make doctor), and say what to do about it.

It prints one line for each thing. It also runs with a bare Python, before the virtual environment exists; checks that
need the package's requirements are then left out. The exit code is 1 only if the demo cannot run.
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
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m1.commands import add_configfile, silence
from m1.core.errors import UserError
from m1.core.places import nearest_folder, refusal

if TYPE_CHECKING:
    from m1.wiring.run import Run

ROOT = Path(__file__).parents[3]  # the workflow's own source, with its requirements and its virtual environment
PACKAGES_GB, DEMO_GB, DEMO_MEMORY_GB = 2.0, 1.0, 4.0
"""Disk space of the virtual environment and of the demo, and memory for two jobs of the demo at a time."""
WEIGHTS, TRAINING, CHECKPOINTS = 2, 16, 24
"""Bytes a parameter: of weights in bfloat16; of a training, with gradients and optimizer (docs/architecture.md); of its
two checkpoints."""
HELD = {"float32": 4, "bfloat16": 2}
"""Bytes of a frozen weight, by its type."""
# This looks for SGLang without importing it, which would take long.
FIND_SGLANG = "import importlib.util as u, sys; sys.exit(u.find_spec('sglang') is None)"
UNFINISHED = "an installation has begun\n"  # in `.venv/.ready`, as envs/install.py writes it
PROCESS_GB = 2.0  # memory of a process on the CPU beside weights; SmolLM2-135M's training has held 4.6 GB in all
ROOM = 1.3  # factor on the memory of weights, which leaves little room for activations and key-value cache


@dataclass(frozen=True)
class Finding:
    """One line of the output: a thing that was looked for."""

    name: str
    found: str
    need: str = ""  # if it is missing, what needs it and the remedy; otherwise empty
    stops_demo: bool = False  # whether the demo cannot run without it

    def __str__(self) -> str:
        state, need = ("missing", f": {self.need}") if self.need else ("ok", "")
        return f"{state:8}{self.name:12}{self.found}{need}"


def machine() -> Iterator[Finding]:
    """Check what every configuration needs: Python, packages, disk space, memory and programs."""
    yield Finding("Python", platform.python_version(), check_python(sys.version_info[:2]), True)
    environment = (ROOT / ".venv").is_dir()
    lacking = packages()
    if lacking and not environment and sys.prefix == sys.base_prefix:
        yield Finding("packages", f"no virtual environment; `make demo` makes it ({PACKAGES_GB:.0f} GB, some minutes)")
    elif lacking and (ROOT / ".venv/.ready").is_file() and (ROOT / ".venv/.ready").read_text() == UNFINISHED:
        need = "for everything; wait for the installation that is under way, or start `make demo` again if none is"
        yield Finding("packages", "not all installed yet", need, True)
    else:
        need = "for everything; run: make clean-venv demo" if lacking else ""
        yield Finding("packages", ", ".join(lacking[:5]) or "all of requirements.txt, as pinned", need, True)
    free = shutil.disk_usage(ROOT).free / 1e9
    wanted = DEMO_GB + (0 if environment else PACKAGES_GB)
    need = "" if free >= wanted else f"the demo needs {wanted:.0f} GB; make room"
    yield Finding("disk", f"{free:,.0f} GB free", need, True)
    need = "" if memory_gb() >= DEMO_MEMORY_GB else f"the demo needs {DEMO_MEMORY_GB:.0f} GB; use a larger machine"
    yield Finding("memory", f"{memory_gb():,.0f} GB", need, True)
    yield from check_folders(everyday_folders())
    for name, program, use in (
        ("git", "git", "manifests cannot name the commit; install git"),
        ("chromium", "chromium", "only for the tests of report.html, which are skipped without; install chromium"),
        ("SLURM", "sbatch", "only to hand jobs to a cluster; run on its login node"),
    ):
        where = shutil.which(program)
        yield Finding(name, where or f"no {program}", "" if where else use)


def memory_gb() -> float:
    """This machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def check_python(version: tuple[int, int]) -> str:
    """Which Python is needed by pyproject.toml, if not one of this version; an empty text if this one will do."""
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest, end, why = re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)" # (.+)', metadata)[0]
    if (3, int(oldest)) <= version < (3, int(end)):
        return ""
    return f"3.{oldest} to 3.{int(end) - 1} for everything ({why}); run: make PYTHON=python3.{oldest} doctor"


def check_folders(places: Iterable[tuple[str, Path]], but: Iterable[Path] = ()) -> Iterator[Finding]:
    """Yield a finding for each folder that cannot be written, but for those of ``but``; ``places`` are remedies and
    folders."""
    seen = {folder.resolve() for folder in but}
    for remedy, place in places:
        if (folder := nearest_folder(place).resolve()) not in seen and (why := refusal(place)):
            yield Finding(
                "folder", str(place.absolute()), f"it cannot be written ({why}); mend that, or {remedy}", True
            )
        seen.add(folder)


def everyday_folders() -> list[tuple[str, Path]]:
    """Folders that every run writes to: the working directory, that of temporary files, and Snakemake's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    try:
        temporary = os.environ.get("TMPDIR") or tempfile.gettempdir()
    except FileNotFoundError:  # no folder for temporary files can be written
        temporary = "/tmp"
    return [
        ("run in another one (m1 launch … --directory FOLDER)", Path()),
        ("set TMPDIR to another one", Path(temporary)),
        ("set XDG_CACHE_HOME to another one", Path(cache)),
    ]


def configured_folders(config: dict[str, Any]) -> list[tuple[str, Path]]:
    """Further folders that a run of this configuration writes to."""
    folders = {f"pathvars.{name}": path for name, path in config["pathvars"].items()}
    folders |= {"store": config["store"], "scratch": config["scratch"]}
    return [(f"set `{key}` to another one", Path(path)) for key, path in folders.items()]


def packages() -> list[str]:
    """Packages of requirements.txt that are missing or have another version."""
    lacking, pins = [], (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", pins, re.MULTILINE):
        try:
            found = importlib.metadata.version(name)
            if found.partition("+")[0] != version:
                lacking.append(f"{name} {found}, not {version}")
        except importlib.metadata.PackageNotFoundError:
            lacking.append(f"no {name}")
    return lacking


def gpus() -> list[float]:
    """Memory of each GPU of this machine, in GB."""
    return [gibibytes * 2**30 / 1e9 for gibibytes, _ in named_gpus()]


def named_gpus() -> list[tuple[float, str]]:
    """Memory (GiB) and name of each GPU of this machine."""
    code, said, _ = ask("nvidia-smi", "--query-gpu=memory.total,name", "--format=csv,noheader,nounits")
    found = [line.partition(",") for line in said.splitlines() if not code]
    return [(float(memory) / 1024, name.strip()) for memory, _, name in found if memory.strip().isdigit()]


TIMEOUT = 124
"""The exit code of a program that took too long, as ``timeout`` has it."""


def ask(*command: str, seconds: float = 30) -> tuple[int, str, str]:
    """Run a command; returns its exit code, standard output and standard error.

    The code is 127 if there is no such program, 126 if it cannot be started, and 124 if it took too long.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return 127, "", f"{command[0]}: not found"
    except OSError as error:
        return 126, "", f"{command[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return TIMEOUT, "", f"{command[0]}: no answer within {seconds:.0f} s"
    return done.returncode, done.stdout, done.stderr


def parameters(base: dict[str, Any]) -> float:
    """A model's number of parameters in billions, from the ``7B`` or ``135M`` in its name; 0 if it has none."""
    found = re.search(r"(\d+(?:\.\d+)?)([bBmM])(?![a-zA-Z])", str(base.get("hub") or base.get("path")))
    return float(found[1]) / (1000 if found[2] in "mM" else 1) if found else 0.0


def needs(config: dict[str, Any]) -> Iterator[Finding]:
    """Check what a configuration needs: GPUs, space for weights, SGLang, local files, the hub and keys."""
    from m1.wiring.run import Run

    run = Run(config)
    yield from check_folders(configured_folders(config), but=[Path()])
    yield from chain(check_gpus(run, gpus()), check_memory(run), check_weights(run))
    yield from chain(check_sglang(run), check_files(run))
    if lacking := missing_from_hub(run):
        yield check_hub(lacking)
        yield from check_folders([("set HF_HOME to another one", hub_cache())])
    yield from check_revisions(run)
    yield from check_keys(run)


def serve_settings(run: Run) -> dict[str, dict[str, Any]]:
    """The ``serve`` of each model that answers in this run."""
    found = {name: run.recipes[name]["serve"] for name in run.evaluated_here}
    return found | {f"screen.models.{name}": run.config["screen"]["serve"] for name in run.screening_models}


def gpu_demands(run: Run) -> Iterator[tuple[str, int, float]]:
    """Yield for each model its number of GPUs and the least memory of each in GB, to answer and to be trained.

    The memory of a model without a GPU is this machine's, if it is on the CPU.
    """
    bases, screen = run.config["bases"], run.config["screen"]["serve"]
    for name in run.evaluated_here:
        recipe = run.recipes[name]
        size = parameters(bases[recipe["base"]])
        yield name, run.answering_gpus(name), ROOM * WEIGHTS * size / recipe["serve"]["options"].get("tp", 1)
        if name in run.needed_trainings:
            nodes, training = run.training_gpus(name)
            shared = max(1, nodes * training) if recipe["train"]["strategy"].startswith("fsdp") else 1
            lora = run.adapter(name)
            held = TRAINING if lora is None else HELD[lora["base_dtype"]]
            yield name, training, ROOM * held * size / shared
    for name, model in run.screening_models.items():
        memory = ROOM * WEIGHTS * parameters(model) / screen["options"].get("tp", 1)
        yield f"screen.models.{name}", run.screening_gpus(name), memory


def check_gpus(run: Run, there: list[float]) -> Iterator[Finding]:
    """Check that this machine's GPUs can hold the models, by the least memory of weights and training."""
    found = f"{len(there)} of {min(there):.0f} GB" if there else "none"
    asked = [one for one in gpu_demands(run) if one[1]]
    lacking: dict[str, tuple[int, float]] = {}
    for name, count, memory in asked:
        if memory and (len(there) < count or min(there) < memory):
            most = lacking.get(name, (0, 0.0))
            lacking[name] = max(count, most[0]), max(memory, most[1])
    if lacking:
        largest = sorted(lacking.items(), key=lambda one: -one[1][0] * one[1][1])
        said = join_names([f"{name} wants {count} of {memory:.0f} GB or more" for name, (count, memory) in largest])
        remedy = "run on such a machine, lower `train` and `serve` in the recipe, or take what is published"
        yield Finding("GPUs", found, f"{said}; {remedy} (`published`)")
    elif there or asked:
        yield Finding("GPUs", f"{found}; enough for {len({name for name, *_ in asked})} models, at the least")
    else:
        yield Finding("GPUs", "none, and none is needed")


def check_memory(run: Run) -> Iterator[Finding]:
    """Check that this machine can hold the models that it runs on its CPU."""
    screened_here = run.config["screen"]["device"] == "cpu"
    for name, count, memory in sorted(gpu_demands(run), key=lambda one: -one[2]):
        if not count and memory and (run.on_cpu(name) if name in run.recipes else screened_here):
            wanted = PROCESS_GB + memory
            need = "" if memory_gb() >= wanted else "choose a smaller base, or use a larger machine"
            yield Finding(
                "memory", f"{name} wants {wanted:.0f} GB or more on the CPU, {memory_gb():,.0f} GB there", need
            )
            return


def check_weights(run: Run) -> Iterator[Finding]:
    """Check that the disks have space for the models; the needs of folders on one disk are added up."""
    disks: dict[int, list[tuple[Path, float]]] = {}
    for place, wanted in room(run):
        if wanted:
            disks.setdefault(disk(place), []).append((place, wanted))
    for places in disks.values():
        free = shutil.disk_usage(nearest_folder(places[0][0])).free / 1e9
        wanted = sum(one for _, one in places)
        asked = f"{wanted:,.0f} GB wanted in {join_names([str(place) for place, _ in places])}"
        remedy = "for models; make room, or name a larger disk by HF_HOME, `scratch`, `store` or `pathvars`"
        yield Finding("weights", f"{asked}, {free:,.0f} GB free", "" if free > wanted else remedy)


def disk(place: Path) -> int:
    """The number of the device that a folder is on, or will be on."""
    return nearest_folder(place).stat().st_dev


def room(run: Run) -> list[tuple[Path, float]]:
    """The folders where the run puts models, and the GB that each will still get: models in the hub's cache, two
    checkpoints of the largest training, and trained models, of which the store may keep copies on another disk."""
    config, bases = run.config, run.config["bases"]
    results, scratch, store = Path(config["pathvars"]["results"]), Path(config["scratch"]), Path(config["store"])
    sizes = {name: parameters(bases[recipe["base"]]) for name, recipe in run.recipes.items()}
    models = {f"bases/{name}": (base, parameters(base)) for name, base in bases.items()}
    models |= {f"screen/models/{name}": (model, parameters(model)) for name, model in run.screening_models.items()}
    checkpoints = run.published["checkpoints"]
    models |= {f"train/{name}": (config["data"][entry], sizes[name]) for name, entry in checkpoints.items()}
    fetched = [models[made] for made in missing_from_hub(run) if made in models]
    on_hub = {model["hub"]: WEIGHTS * size for model, size in fetched}  # a base that also screens is cached once
    cache = hub_cache()
    trained = [name for name in run.needed_trainings if not (results / "train" / name).exists()]
    whole = [name for name in trained if not run.adapter(name)]  # checkpoints of an adapter are small
    unfinished = [missing_gb(CHECKPOINTS * sizes[name], scratch / "train" / name) for name in whole]
    finished = sum(WEIGHTS * sizes[name] for name in trained)
    return [
        (cache, sum(missing_gb(size, cache / f"models--{name.replace('/', '--')}") for name, size in on_hub.items())),
        (scratch, max(unfinished, default=0.0)),
        (results, finished),
        (store, finished if disk(store) != disk(results) else 0.0),
    ]


def hub_cache() -> Path:
    """The cache folder of the hub's client."""
    home = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def missing_gb(wanted: float, folder: Path) -> float:
    """GB by which a folder must still grow to the wanted size."""
    held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return max(0.0, wanted - held / 1e9)


def check_sglang(run: Run) -> Iterator[Finding]:
    """Check that each Python that needs SGLang has it."""
    users: dict[str, list[str]] = {}
    for name, serve in serve_settings(run).items():
        if serve["engine"] == "sglang":
            users.setdefault(serve["options"].get("python") or os.environ.get("M1_SGLANG_PYTHON", ""), []).append(name)
    for python, names in users.items():
        there = bool(python) and not ask(python, "-I", "-c", FIND_SGLANG)[0]
        found = python if there else f"{python}: no Python with SGLang" if python else "M1_SGLANG_PYTHON is not set"
        remedy = "make its environment (docs/paper.md) and set M1_SGLANG_PYTHON to its python"
        yield Finding("SGLang", found, "" if there else f"for {join_names(names)}; {remedy}")


def check_files(run: Run) -> Iterator[Finding]:
    """Find local files and folders that the configuration names and that do not exist, except the embedded world's."""
    from m1.commands.check_data import data_sets

    config = run.config
    world = f"{config['pathvars']['results']}/world/"
    used = {f"bases.{name}": config["bases"][name] for name in [*run.bases, config["report"]["figure8a"]["base"]]}
    used |= {f"screen.models.{name}": model for name, model in run.screening_models.items()}
    places = {name: one["path"] for name, one in used.items() if one.get("path")}
    places |= {f"data.{name}": one.path for name, one in data_sets(run).items() if one.path and not one.optional}
    lacking = {name: path for name, path in places.items() if not path.startswith(world) and not Path(path).exists()}
    if lacking:
        remedy = "correct the path, or bring the file (make data-check says where from)"
        yield Finding("files", join_names(list(lacking.values())), f"for {join_names(list(lacking))}; {remedy}")


def missing_from_hub(run: Run) -> list[str]:
    """Results that come from the hub and have not been fetched."""
    results, found = Path(run.config["pathvars"]["results"]), run.hub_sources()
    fetched = [name for name, entries in found.items() if any(one["hub"] and not one.get("path") for one in entries)]
    return [name for name in fetched if not (results / name).exists()]


def check_revisions(run: Run) -> Iterator[Finding]:
    """Check that everything from the hub is pinned to a commit."""
    from m1.commands.pin import unpinned

    if names := sorted(f"{hub} at {revision}" for _, hub, revision in unpinned(run)):
        remedy = "may be another tomorrow; run make fetch, which writes their commits to config/revisions.lock.yaml"
        yield Finding("revisions", f"{len(names)} not pinned to a commit", f"{join_names(names)} {remedy}")


def check_hub(needed: list[str]) -> Finding:
    """Check that the hub answers; ``needed`` is what must be fetched."""
    if why := hub_failure():
        remedy = f"for {join_names(needed)}; check the network, or give local files (`path`)"
        return Finding("hub", f"{endpoint()} does not answer ({why})", remedy)
    return Finding("hub", f"{endpoint()} answers")


def hub_failure() -> str:
    """Why the hub does not answer; an empty text if it does."""
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    return "HF_HUB_OFFLINE is set" if offline else silence(endpoint(), seconds=8)


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def check_keys(run: Run) -> Iterator[Finding]:
    """Check that the environment variables with keys of providers and servers are set; the keys are never shown."""
    from m1.core.keys import OPEN, is_open

    callers = run.called_providers() | {name: serve["options"] for name, serve in serve_settings(run).items()}
    asked = {name: caller.get("api_key_env") for name, caller in callers.items()}
    for variable in dict.fromkeys(filter(None, asked.values())):
        names = [name for name, its_own in asked.items() if its_own == variable]
        there = bool(os.environ.get(variable))
        need = "" if there else f"for {join_names(names)}; run: export {variable}=…"
        yield Finding("key", f"{variable} is {'set' if there else 'not set'}", need)
    for name, caller in callers.items():
        if asked[name] and is_open(url := caller.get("base_url")):
            yield Finding("key", url, f"of {name}; {OPEN}")


def join_names(names: Sequence[str]) -> str:
    """The first three names, and the number of the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="m1 doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_configfile(parser)
    options = parser.parse_args(argv)
    findings = []

    def show(found: Iterable[Finding]) -> None:
        for finding in found:
            findings.append(finding)
            print(finding, flush=True)

    show(machine())
    try:
        from m1.wiring.config import load

        show(needs(load(options.configfile)))
    except ModuleNotFoundError as error:
        show([Finding("config", f"not looked at, without the package {error.name}")])
    if any(finding.need and finding.stops_demo for finding in findings):
        raise UserError("the demo cannot run here: see the lines above that begin with `missing`")
