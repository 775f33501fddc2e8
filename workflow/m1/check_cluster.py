"""Before a long run, what would fail on this cluster or machine: one line a check, in about a minute (``make cluster-check``).

Nothing is changed, and no job stays: what SLURM would make of each kind of job is asked by ``sbatch --test-only``, and one small job per
partition, of this very module, looks around on a compute node. What could not be found out is a warning, not a success.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import yaml

from m1.config import load, merged
from m1.doctor import CHECKPOINTS, WEIGHTS, parameters
from m1.errors import UserError, run
from m1.wiring import Wiring

OK, WARN, FAILS = "ok", "warn", "fails"
ON_NODE_SECONDS = 60
"""How long the small job may wait for a node."""
HUB_SECONDS = 8.0
NEEDED_CONDA = (24, 7, 1)


@dataclass(frozen=True)
class Check:
    """One line: what was found and, where it is not ok, what to do about it."""

    state: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.state:5}  {self.found}" + (f": {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Ask:
    """What one kind of job needs."""

    jobs: list[str] = field(compare=False)
    """Which these are, for the line."""
    nodes: int
    gpus: int
    """On each node."""
    cores: int
    memory: int
    """MB, on each node."""
    minutes: int


@dataclass(frozen=True)
class Nodes:
    """Alike nodes of a partition, as ``sinfo`` has them."""

    partition: str
    up: bool
    minutes: float
    count: int
    cores: int
    memory: int
    """MB."""
    gpus: Mapping[str, int]
    """On each, by kind; the kind is empty where SLURM gives none."""

    def gpus_of(self, kind: str) -> int:
        """GPUs on a node, of one kind or of any."""
        return self.gpus.get(kind, 0) if kind else max(self.gpus.values(), default=0)


@dataclass(frozen=True)
class Cluster:
    """What a profile says."""

    slurm: bool
    account: str
    partition: str
    gpu_partition: str
    gpu_type: str
    longest: float
    """Minutes; infinite where none is named."""
    conda: bool
    overlay: Mapping[str, Any]
    """Its part of the configuration."""

    @classmethod
    def of(cls, folder: Path) -> Cluster:
        """Read a profile.

        Raises:
            UserError: there is none, or it is no YAML.
        """
        path = folder / "config.yaml"
        try:
            profile = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not readable as a profile: {' '.join(str(error).split())}. Correct PROFILE.") from None
        default, overlay = profile.get("default-resources", {}), profile.get("config", {})
        cluster = overlay.get("cluster", {})
        partition = str(cluster.get("partition") or _bare(default.get("slurm_partition")))
        deployment = profile.get("software-deployment-method", profile.get("sdm", []))
        return cls(
            profile.get("executor") == "slurm",
            _bare(default.get("slurm_account")),
            partition,
            str(cluster.get("gpu_partition") or partition),
            str(cluster.get("gpu_type") or ""),
            float(cluster.get("longest") or "inf"),
            "conda" in deployment,
            overlay,
        )


def _bare(value: Any) -> str:
    return str(value or "").strip("'\"")


def asked(wiring: Wiring, longest: float) -> list[Ask]:
    """What the jobs with GPUs need; equal needs are one entry. Recipes are counted as they stand: GPUs of ``train`` and ``serve``."""
    found: dict[Ask, list[str]] = {}

    def add(job: str, nodes: int, gpus: int, resources: Mapping[str, Any]) -> None:
        if not gpus:
            return
        minutes = int(min(resources.get("runtime", 60), longest))
        one = Ask([], nodes, gpus, int(resources.get("threads", 1)), int(resources.get("mem_mb", 2000)), minutes)
        found.setdefault(one, []).append(job)

    for name, recipe in wiring.recipes.items():
        if name in wiring.trainings:
            add(f"train {name}", *wiring.trains_on(name), recipe["resources"])
        if name in {*wiring.swept, *wiring.at_once}:
            add(f"infer {name}", 1, wiring.answers_on(name), recipe["resources"])
    screen = wiring.config["screen"]
    if wiring.screens:
        for name in screen["models"]:
            add(f"screen {name}", 1, wiring.screens_on(name), screen.get("resources", {}))
    return [Ask(jobs, one.nodes, one.gpus, one.cores, one.memory, one.minutes) for one, jobs in found.items()]


def parse_nodes(text: str) -> list[Nodes]:
    """Lines of ``sinfo -h -o "%R|%a|%l|%D|%c|%m|%G"``."""
    found = []
    for line in text.splitlines():
        partition, state, limit, count, cores, memory, gres = line.strip().split("|")
        gpus: dict[str, int] = {}
        for kind, number in re.findall(r"(?:^|,)gpu(?::([^:,()]*[A-Za-z_][^:,()]*))?:([0-9]+)", gres):
            gpus[kind] = gpus.get(kind, 0) + int(number)
        count, cores, memory = (re.sub(r"\D", "", part) or "0" for part in (count, cores, memory))  # "+": others have more
        found.append(Nodes(partition, state == "up", parse_minutes(limit), int(count), int(cores), int(memory), gpus))
    return found


def parse_minutes(limit: str) -> float:
    """Minutes of SLURM's ``[days-]hours:minutes:seconds``, ``minutes:seconds`` or ``infinite``."""
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", limit):
        return float("inf")
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    else:
        hours, minutes, seconds = {1: [0, *parts, 0], 2: [0, *parts], 3: parts}[len(parts)]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def fitting(ask: Ask, nodes: Sequence[Nodes], partition: str, kind: str) -> Check:
    """Whether a partition has nodes for a kind of job."""
    here = [one for one in nodes if one.partition == partition]
    nodes_asked = f"{ask.nodes} nodes with " if ask.nodes > 1 else ""
    cards_asked = f"{nodes_asked}{ask.gpus} GPU{'s' * (ask.gpus > 1)}, " if ask.gpus else ""
    what = f"{_several(ask.jobs)} ({cards_asked}{ask.cores} cores, {ask.memory:,} MB, {ask.minutes:,} min)"
    if not here:
        known = ", ".join(sorted({one.partition for one in nodes}))
        return Check(FAILS, f"{what}: there is no partition {partition!r}", f"choose one of {known} in the profile")
    if not any(one.up for one in here):
        return Check(FAILS, f"{what}: partition {partition} is down", "choose another one in the profile, or wait")
    if ask.minutes > max(one.minutes for one in here):
        limit = max(one.minutes for one in here)
        return Check(
            FAILS, f"{what}: {partition} allows {limit:,.0f} min", "set cluster.longest in the profile; what is unfinished goes on"
        )
    cards = max(one.gpus_of(kind) for one in here)
    if cards < ask.gpus:
        kinds = ", ".join(sorted({name or "unnamed" for one in here for name in one.gpus})) or "none"
        return Check(
            FAILS,
            f"{what}: a node of {partition} has {cards} GPUs{f' of type {kind}' if kind else ''} (types: {kinds})",
            "lower train.processes or serve.options (tp × dp) in the recipe, or correct cluster.gpu_type",
        )
    fit = [one for one in here if one.gpus_of(kind) >= ask.gpus and one.cores >= ask.cores and one.memory >= ask.memory]
    if not fit:
        most = f"{max(one.cores for one in here):,} cores and {max(one.memory for one in here):,} MB at most"
        return Check(FAILS, f"{what}: a node of {partition} has {most}", "lower threads or mem_mb in the recipe's resources")
    if sum(one.count for one in fit) < ask.nodes:
        return Check(FAILS, f"{what}: {partition} has {sum(one.count for one in fit)} such nodes", "lower train.nodes in the recipe")
    return Check(OK, f"{what}: {partition} has {sum(one.count for one in fit)} such nodes")


def _several(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _answer(*command: str, seconds: float = 30) -> tuple[int, str, str]:
    """Exit code and what was said; 127 where there is no such program, 124 where it took too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return 127, "", f"{command[0]}: not found"
    except subprocess.TimeoutExpired:
        return 124, "", f"{command[0]}: no answer within {seconds:.0f} s"
    return done.returncode, done.stdout, done.stderr


def _last(said: str) -> str:
    return next(reversed(said.strip().splitlines()), "no reason given")


def _place(cluster: Cluster, partition: str) -> list[str]:
    return [*([f"--account={cluster.account}"] if cluster.account else []), *([f"--partition={partition}"] if partition else [])]


def check_slurm(cluster: Cluster, asks: Sequence[Ask], scratch: Path, complete: bool) -> Iterator[Check]:
    """Account, partitions, GPUs, what SLURM itself says to each kind of job, and compute nodes.

    Args:
        complete: nothing needs the hub any more.
    """
    code, said, error = _answer("sinfo", "-h", "-o", "%R|%a|%l|%D|%c|%m|%G")
    if code:
        reason = "SLURM is not installed here" if code == 127 else f"SLURM does not answer ({_last(error)})"
        yield Check(WARN, f"{reason}; accounts, partitions, GPUs and compute nodes were not checked", "run this on a login node")
        return
    nodes = parse_nodes(said)
    yield from check_account(cluster)
    for ask in [Ask(["other jobs"], 1, 0, 1, 8000, 60), *asks]:
        partition = cluster.gpu_partition if ask.gpus else cluster.partition
        check = fitting(ask, nodes, partition, cluster.gpu_type) if partition else Check(OK, f"{_several(ask.jobs)}: SLURM's own partition")
        if check.state == OK:
            card = ":".join(filter(None, ("gpu", cluster.gpu_type, str(ask.gpus))))
            size = [f"--nodes={ask.nodes}", f"--ntasks={ask.nodes}", f"--cpus-per-task={ask.cores}", f"--mem={ask.memory}"]
            size += [f"--time={ask.minutes}", *([f"--gres={card}"] if ask.gpus else [])]
            code, _, error = _answer("sbatch", "--test-only", *_place(cluster, partition), *size, "--wrap=true")
            if code:
                check = Check(FAILS, f"{check.found}, yet SLURM refuses it", f"{_last(error)}; correct account, partition or the recipe")
        yield check
    yield from check_nodes(cluster, scratch, complete)


def check_account(cluster: Cluster) -> Iterator[Check]:
    """Whether the user may charge the account."""
    code, said, error = _answer(
        "sacctmgr", "-nP", "show", "associations", f"user={os.environ.get('USER') or os.getuid()}", "format=account"
    )
    accounts = sorted(set(said.split()))
    if code or not accounts:
        why = _last(error) if code else "it lists none for you"
        yield Check(WARN, f"account {cluster.account or '(your default one)'} could not be checked ({why})")
    elif cluster.account and cluster.account not in accounts:
        yield Check(FAILS, f"account {cluster.account!r} is none of yours", f"set slurm_account to one of {', '.join(accounts)}")
    elif not cluster.account and len(accounts) > 1:
        yield Check(WARN, "no account is named, SLURM takes your default one", f"set slurm_account to one of {', '.join(accounts)}")
    else:
        yield Check(OK, f"account {cluster.account or accounts[0]}")


def check_nodes(cluster: Cluster, scratch: Path, complete: bool) -> Iterator[Check]:
    """What a small job in each partition sees: this folder, the scratch folder, GPUs, the hub."""
    for partition, gpus in dict.fromkeys([(cluster.partition, 0), (cluster.gpu_partition, 1)]):
        where = f"compute node of {partition or 'the default partition'}" + (" with a GPU" if gpus else "")
        with NamedTemporaryFile(dir=".", prefix=".cluster-check-") as seen:
            card = ":".join(filter(None, ("gpu", cluster.gpu_type, "1")))
            small = ["--nodes=1", "--ntasks=1", "--time=3", "--mem=1000", *([f"--gres={card}"] if gpus else [])]
            command = [
                "srun",
                *_place(cluster, partition),
                f"--immediate={ON_NODE_SECONDS}",
                *small,
                sys.executable,
                "-m",
                "m1.check_cluster",
            ]
            code, said, error = _answer(*command, "--on-node", seen.name, "--scratch", str(scratch.resolve()), seconds=ON_NODE_SECONDS + 30)
        try:
            found = json.loads(_last(said))
        except ValueError:
            found = None
        if code or found is None:
            yield Check(WARN, f"{where}: could not be asked ({_last(error)})", "try again when nodes are free")
            continue
        where = f"{where} ({found['host']})"
        if not found["folder"]:
            yield Check(FAILS, f"{where}: it does not see {Path.cwd()}", "work in a folder that all nodes share")
        elif not found["scratch"]:
            yield Check(FAILS, f"{where}: it cannot write to {scratch}", "name a folder in `scratch` that all nodes can write to")
        elif gpus and not found["gpus"]:
            yield Check(WARN, f"{where}: nvidia-smi shows no GPU", "ask for the GPU type that there is (cluster.gpu_type)")
        else:
            yield Check(OK, f"{where}: sees this folder and the scratch folder" + (f", {found['gpus']} GPU" if gpus else ""))
        if found["hub"]:
            yield Check(OK, f"{where}: reaches the hub")
        elif complete:
            yield Check(
                OK, f"{where}: without the hub ({found['why']}); all is fetched (set HF_HUB_OFFLINE=1, so that nothing waits for it)"
            )
        else:
            yield Check(
                WARN, f"{where}: does not reach the hub ({found['why']})", "run `make fetch` on the login node, then set HF_HUB_OFFLINE=1"
            )


def look_around(seen: Path, scratch: Path) -> dict[str, Any]:
    """On a compute node: what is there."""
    reached, why = hub()
    code, listed, _ = _answer("nvidia-smi", "-L", seconds=20)
    cards = len(listed.splitlines()) if not code else 0
    return {"host": socket.gethostname(), "folder": seen.exists(), "scratch": writable(scratch), "gpus": cards, "hub": reached, "why": why}


def hub() -> tuple[bool, str]:
    """Whether the hub answers, else why not."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False, "HF_HUB_OFFLINE is set"
    try:
        urllib.request.urlopen(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout=HUB_SECONDS).close()
    except urllib.error.HTTPError:
        return True, ""  # it answers
    except (OSError, ValueError) as error:
        return False, str(getattr(error, "reason", error))
    return True, ""


def writable(folder: Path) -> bool:
    """Whether a file can be made in a folder, or in the nearest one above it that is there."""
    there = next(part for part in (folder, *folder.absolute().parents) if part.is_dir())
    try:
        with NamedTemporaryFile(dir=there):
            return True
    except OSError:
        return False


def check_scratch(wiring: Wiring, scratch: Path) -> Iterator[Check]:
    """The scratch folder: may it be written, and is there space for the largest training."""
    if not writable(scratch):
        yield Check(FAILS, f"scratch {scratch}: cannot be written", "name another folder in `scratch`")
        return
    there = next(part for part in (scratch, *scratch.absolute().parents) if part.is_dir())
    free = shutil.disk_usage(there).free / 1e9
    sizes = [(parameters(wiring.config["bases"][wiring.recipes[one]["base"]]), one) for one in wiring.trainings]
    largest, name = max(sizes, default=(0.0, ""))
    needed = largest * (CHECKPOINTS + WEIGHTS)
    if needed > free:
        yield Check(
            FAILS, f"scratch {scratch}: {free:,.0f} GB free, {name} needs {needed:,.0f}", "free space, or name another disk in `scratch`"
        )
    else:
        yield Check(OK, f"scratch {scratch}: {free:,.0f} GB free" + (f", {name} needs about {needed:,.0f}" if needed else ""))


def check_fetched(wiring: Wiring) -> Check:
    """Whether all that comes from the hub is here."""
    results = wiring.config["pathvars"]["results"]
    wanted = [Path(path.replace("<results>", results)) for path in wiring.fetched()]
    missing = [path for path in wanted if not path.exists()]
    if missing:
        shown = _several([str(path.relative_to(results)) for path in missing])
        return Check(
            WARN,
            f"{len(missing)} of {len(wanted)} models and sets are not fetched ({shown})",
            "run `make fetch`, where the hub can be reached",
        )
    return Check(OK, f"all {len(wanted)} models and sets are fetched")


def check_keys(wiring: Wiring) -> Iterator[Check]:
    """Whether the keys of providers are in the environment; their values are not looked at."""
    users: dict[str, list[str]] = {}
    for name, provider in wiring.called().items():
        if provider["api_key_env"]:
            users.setdefault(provider["api_key_env"], []).append(name)
    for name, recipe in wiring.recipes.items():
        if variable := recipe["serve"]["options"].get("api_key_env"):
            users.setdefault(variable, []).append(name)
    for variable, names in users.items():
        if os.environ.get(variable):
            yield Check(OK, f"key {variable} is set ({_several(names)})")
        else:
            yield Check(FAILS, f"key {variable} is not set ({_several(names)})", f"export {variable}=… in the shell that starts Snakemake")


def check_environments(config: Mapping[str, Any], cluster: Cluster) -> Iterator[Check]:
    """Whether what runs the jobs is installed."""
    if cluster.slurm:
        if importlib.util.find_spec("snakemake_executor_plugin_slurm"):
            yield Check(OK, "Snakemake's SLURM plugin is installed")
        else:
            yield Check(FAILS, "Snakemake's SLURM plugin is not installed", "install requirements.txt again")
    if cluster.conda:
        code, said, error = _answer("conda", "--version")
        version = tuple(map(int, re.findall(r"\d+", said)[:3]))
        if code:
            yield Check(FAILS, "the profile deploys conda environments, and there is no conda", _last(error))
        elif version < NEEDED_CONDA:
            yield Check(FAILS, f"conda {'.'.join(map(str, version))} is too old for Snakemake", "24.7.1 or newer is needed")
        else:
            yield Check(OK, f"conda {'.'.join(map(str, version))}")
    elif lacking := [name for name in ("torch", "transformers", "trl", "datasets", "openai") if not importlib.util.find_spec(name)]:
        yield Check(FAILS, f"{sys.executable} lacks {', '.join(lacking)}", "install requirements.txt, or deploy environments (--sdm conda)")
    else:
        yield Check(OK, f"environment of {sys.executable}")
    served = [config["screen"]["serve"], *(recipe["serve"] for recipe in config["recipes"].values())]
    for python in dict.fromkeys(
        serve["options"].get("python") or os.environ.get("M1_SGLANG_PYTHON", "") for serve in served if serve["engine"] == "sglang"
    ):
        if not python:
            yield Check(
                FAILS, "recipes use SGLang, and its Python is not named", "make envs/sglang.yaml and set M1_SGLANG_PYTHON (docs/engines.md)"
            )
        elif _answer(python, "-I", "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('sglang') is None)")[0]:
            yield Check(FAILS, f"{python}: no Python with SGLang", "correct M1_SGLANG_PYTHON (docs/engines.md)")
        else:
            yield Check(OK, f"SGLang's environment {python}")


def checks(overlays: Sequence[Path], profile: Path) -> Iterator[Check]:
    """All checks, the quick ones first."""
    cluster = Cluster.of(profile)
    yield Check(OK, f"profile {profile}" + ("" if cluster.slurm else ": no scheduler"))
    try:
        config = load(overlays)
    except UserError as error:
        yield Check(FAILS, "configuration", str(error))
        return
    wiring = Wiring(merged(config, {key: value for key, value in cluster.overlay.items() if key != "cluster"}))
    yield Check(OK, f"configuration: {len(wiring.recipes)} models, {len(wiring.trainings)} of them trained here")
    yield from check_environments(wiring.config, cluster)
    yield from check_keys(wiring)
    scratch = Path(wiring.config["scratch"]).expanduser()
    yield from check_scratch(wiring, scratch)
    fetched = check_fetched(wiring)
    yield fetched
    if fetched.state != OK:
        reached, why = hub()
        yield Check(OK, "the hub answers here") if reached else Check(WARN, f"the hub does not answer here ({why})", "fetch elsewhere")
    if cluster.slurm:
        yield from check_slurm(cluster, asked(wiring, cluster.longest), scratch, fetched.state == OK)


def main(argv: Sequence[str] | None = None) -> None:
    """Say what would fail; exit code 1 if anything would."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", nargs="*", default=[], type=Path, help="laid over the default, as Snakemake's --configfile")
    parser.add_argument("--profile", default=Path("profiles/slurm"), type=Path, help="folder of the profile (default %(default)s)")
    parser.add_argument("--on-node", type=Path, help=argparse.SUPPRESS)  # the small job's: a file that this folder has
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.on_node:
        print(json.dumps(look_around(arguments.on_node, arguments.scratch)))
        return
    failed = 0
    for check in checks(arguments.configfile, arguments.profile):
        with suppress(BrokenPipeError):
            print(check, flush=True)
        failed += check.state == FAILS
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    run(main)
