"""Check, before a long run, what would fail on this cluster or machine (make cluster-check).

It prints one line for each check, and takes about a minute. It changes nothing, and leaves no job behind. For each kind
of job, `sbatch --test-only` asks SLURM whether it would accept it. One small job on each partition looks around on a
compute node, where the torch of each environment that needs GPUs must see them and multiply two matrices. What cannot
be found out is a warning, not a success.
"""

from __future__ import annotations

import argparse
import getpass
import importlib.util
import json
import os
import re
import shlex
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field, replace
from io import StringIO
from itertools import chain
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from m1.commands import add_configfile, doctor, slurm
from m1.commands.doctor import TIMEOUT, ask, join_names, nearest_folder
from m1.core import gpus as cards
from m1.core.errors import UserError, first_line
from m1.core.places import SOURCE, locate
from m1.engines.sglang import GLIBC, PYTHON
from m1.wiring.config import load
from m1.wiring.jobs import gres
from m1.wiring.run import Run

OK, WARN, FAILS = "ok", "warn", "fails"
ON_NODE_SECONDS = 60  # how long the small job may wait for a node
TORCH_SECONDS = 120  # how long torch may take: on a node's first use it reads gigabytes from a shared disk
NEEDED_CONDA = (24, 7, 1)  # the oldest conda that Snakemake accepts


@dataclass(frozen=True)
class Check:
    """One line of the output: what was found and, if it is not ok, what to do about it."""

    state: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.state:5}  {self.found}" + (f": {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class JobNeeds:
    """The resources that one kind of job requests from SLURM."""

    jobs: list[str] = field(compare=False)
    partition: str  # empty for SLURM's default
    nodes: int
    gpus: int  # on each node
    cores: int  # on each node
    memory: int  # MB on each node; 0 if not requested
    minutes: int  # 0 if not requested


@dataclass(frozen=True)
class Nodes:
    """A group of equal nodes of a partition, from ``sinfo``; cores, memory (MB) and GPUs are those of one node."""

    partition: str
    up: bool
    minutes: float
    count: int
    cores: int
    memory: int
    gpus: Mapping[str, int]  # by type, which is empty if SLURM names none

    def gpus_of(self, kind: str) -> int:
        """Number of GPUs on a node, of one type or (if ``kind`` is empty) of the most frequent one."""
        return self.gpus.get(kind, 0) if kind else max(self.gpus.values(), default=0)


@dataclass(frozen=True)
class Profile:
    """The settings of a Snakemake profile."""

    slurm: bool
    conda: bool
    config: Sequence[str]  # KEY=VALUE words, which override all files of the configuration
    default: Mapping[str, Any]  # default-resources at a job's first attempt
    requeue: bool  # whether SLURM may queue a job again

    @classmethod
    def read(cls, folder: Path) -> Profile:
        """Read a profile by Snakemake's own functions.

        Raises:
            UserError: there is no profile in the folder, or Snakemake refuses it.
        """
        from snakemake.cli import parse_args, parse_config  # takes a second, which the job on a compute node saves
        from snakemake.iocontainers import InputFiles, Wildcards
        from snakemake.resources import Resources

        from m1.commands.launch import check_profiles

        if not any(folder.glob("config*.yaml")):
            raise UserError(f"{folder}: no profile, there is no config.yaml in it. Correct PROFILE.")
        job = {"input": InputFiles(), "attempt": 1, "threads": 1, "rulename": "", "async_run": None}
        said = StringIO()
        try:
            with redirect_stderr(said):
                parser, asked = parse_args(["--workflow-profile", str(folder)])
            check_profiles(parser)
            parse_config(asked.config)
            resources = asked.default_resources or Resources.default("full")
            default = {name: one.evaluate(Wildcards(), **job).value for name, one in resources.items()}
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # Snakemake's own errors, and what it does not expect in a profile
            exited = " ".join(said.getvalue().rpartition("error: ")[2].split())
            reason = first_line(error) if isinstance(error, Exception) else exited
            message = f"{folder}: Snakemake cannot read this profile: {reason}. Correct it, or PROFILE."
            raise UserError(message) from None
        conda = any(method.name == "CONDA" for method in asked.software_deployment_method)
        requeue = asked.slurm_requeue is True  # something else where nothing is said
        return cls(asked.executor == "slurm", conda, asked.config or (), default, requeue)

    def flags(self, partition: str) -> list[str]:
        """The flags that every SLURM job gets from the profile."""
        qos, constraint = self.default.get("qos"), self.default.get("constraint")
        named = flags(account=self.default.get("slurm_account"), partition=partition, qos=qos, constraint=constraint)
        return [*named, *shlex.split(str(self.default.get("slurm_extra") or ""))]


def flags(**values: Any) -> list[str]:
    """SLURM's flags ``--name=value``, without those that have no value."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items() if value]


def job_needs(run: Run, default: Mapping[str, Any]) -> list[JobNeeds]:
    """List the needs of a run's jobs, with equal needs joined; ``default`` are the resources of all other jobs."""
    cluster = run.config["cluster"]
    longest = float(cluster["longest"] or "inf")
    found: dict[JobNeeds, list[str]] = {}

    def add(job: str, nodes: int, gpus: int, resources: Mapping[str, int], shards: int = 1) -> None:
        partition = cluster["gpu_partition" if gpus else "partition"]
        minutes = int(min(resources["runtime"], longest))
        one = JobNeeds([], partition, nodes, gpus, resources["threads"], resources["mem_mb"], minutes)
        found.setdefault(one, []).append(job)
        if gpus and shards > 1:
            add(f"{job} (gathers shards)", nodes, 0, resources)

    for name, recipe in run.recipes.items():
        if name in run.needed_trainings:
            add(f"train {name}", *run.training_gpus(name), run.resources("train", name))
        if name in run.evaluated_here:
            add(f"infer {name}", 1, run.answering_gpus(name), run.resources("infer", name), recipe["serve"]["shards"])
    shards = run.config["screen"]["shards"]
    for name in run.screening_models:
        add(f"screen {name}", 1, run.screening_gpus(name), run.resources("screen", name), shards)
    own = [replace(one, jobs=jobs) for one, jobs in found.items()]
    partition = str(default.get("slurm_partition") or "")
    asked = [default.get(name) for name in ("mem_mb", "runtime")]
    memory, minutes = (int(value) if isinstance(value, int | float) else 0 for value in asked)
    comparing, processes = ["pools_merge", "pools_audit", "pools_leaks"], run.config["merge"]["processes"]
    merging = JobNeeds(comparing, partition, 1, 0, processes, memory, minutes)
    return [JobNeeds(["other jobs"], partition, 1, 0, 1, memory, minutes), merging, *own]


def parse_nodes(text: str) -> list[Nodes]:
    """Parse the output of ``sinfo -h -o "%R|%a|%l|%D|%c|%m|%G"``."""
    found = []
    for line in text.splitlines():
        partition, state, limit, *sizes, gres = line.strip().split("|")
        gpus: dict[str, int] = {}
        for kind, number in re.findall(r"(?:^|,)gpu(?::([^:,()]*[A-Za-z_][^:,()]*))?:([0-9]+)", gres):
            gpus[kind] = gpus.get(kind, 0) + int(number)
        count, cores, memory = (int(re.sub(r"\D", "", part) or 0) for part in sizes)  # drops "+": some nodes have more
        found.append(Nodes(partition, state == "up", parse_minutes(limit), count, cores, memory, gpus))
    return found


def parse_minutes(limit: str) -> float:
    """Parse SLURM's time limits ``[days-]hours:minutes:seconds``, ``minutes:seconds`` and ``infinite`` into minutes."""
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", limit):
        return float("inf")
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if not days and len(parts) < 3:
        parts = [0, *parts]  # without days, two parts are minutes and seconds
    hours, minutes, seconds = [*parts, 0, 0][:3]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def check_partition(needs: JobNeeds, nodes: Sequence[Nodes], kind: str) -> Check:
    """Check that a partition has nodes for a kind of job; ``kind`` is the wanted type of GPU."""
    partition = needs.partition
    here = [one for one in nodes if one.partition == partition]
    nodes_asked = f"{needs.nodes} nodes with " if needs.nodes > 1 else ""
    gpus_asked = f"{nodes_asked}{needs.gpus} GPU{'s' * (needs.gpus > 1)}, " if needs.gpus else ""
    memory = f", {needs.memory:,} MB" if needs.memory else ""
    minutes = f", {needs.minutes:,} min" if needs.minutes else ""
    what = f"{join_names(needs.jobs)} ({gpus_asked}{needs.cores} cores{memory}{minutes})"
    if not partition:
        return Check(OK, f"{what}: SLURM's own partition")
    if not here:
        known = ", ".join(sorted({one.partition for one in nodes}))
        return Check(FAILS, f"{what}: there is no partition {partition!r}", f"choose one of {known} in the profile")
    if not any(one.up for one in here):
        return Check(FAILS, f"{what}: partition {partition} is down", "choose another one in the profile, or wait")
    if needs.minutes > (limit := max(one.minutes for one in here)):
        remedy = "set cluster.longest in the profile, or lower runtime in default-resources; what is unfinished goes on"
        return Check(FAILS, f"{what}: {partition} allows {limit:,.0f} min", remedy)
    gpus = max(one.gpus_of(kind) for one in here)
    if gpus < needs.gpus:
        kinds = ", ".join(sorted({name or "unnamed" for one in here for name in one.gpus})) or "none"
        has = f"{gpus} GPUs{f' of type {kind}' if kind else ''} (types: {kinds})"
        remedy = "lower train.processes or serve.options (tp × dp) in the recipe, or correct cluster.gpu_type"
        return Check(FAILS, f"{what}: a node of {partition} has {has}", remedy)
    large = [one for one in here if one.cores >= needs.cores and one.memory >= needs.memory]
    fit = sum(one.count for one in large if one.gpus_of(kind) >= needs.gpus)
    if not fit:
        most = f"{max(one.cores for one in here):,} cores and {max(one.memory for one in here):,} MB at most"
        remedy = "lower threads or mem_mb in the recipe's resources or default-resources, or merge.processes"
        return Check(FAILS, f"{what}: a node of {partition} has {most}", remedy)
    found = f"{what}: {partition} has {fit} such nodes"
    return Check(OK, found) if fit >= needs.nodes else Check(FAILS, found, "lower train.nodes in the recipe")


def _last_line(said: str) -> str:
    return next(reversed(said.strip().splitlines()), "no reason given")


def check_slurm(profile: Profile, run: Run, complete: bool) -> Iterator[Check]:
    """Check account, partitions, GPUs, SLURM's own verdict on each kind of job, and compute nodes.

    ``complete`` says that everything from the hub has been fetched.
    """
    code, said, error = ask("sinfo", "-h", "-o", "%R|%a|%l|%D|%c|%m|%G")
    if code:
        reason = "SLURM is not installed here" if code == 127 else f"SLURM does not answer ({_last_line(error)})"
        unchecked = "accounts, partitions, GPUs and compute nodes were not checked"
        yield Check(WARN, f"{reason}; {unchecked}", "run this on a login node")
        return
    nodes, jobs, kind = parse_nodes(said), job_needs(run, profile.default), run.config["cluster"]["gpu_type"]

    def gpu_flags(gpus: int) -> list[str]:
        return flags(gres=gres(kind, gpus)) if gpus else []

    yield from check_account(str(profile.default.get("slurm_account") or ""))
    yield from check_preemption(profile, dict.fromkeys(one.partition for one in jobs if one.partition))
    for needs in jobs:
        check = check_partition(needs, nodes, kind)
        if check.state == OK:
            size = flags(
                nodes=needs.nodes, ntasks=needs.nodes, cpus_per_task=needs.cores, mem=needs.memory, time=needs.minutes
            )
            asked = [*profile.flags(needs.partition), *size, *gpu_flags(needs.gpus)]
            code, _, error = ask("sbatch", "--test-only", *asked, "--wrap=true")
            if code:
                remedy = f"{_last_line(error)}; correct account, partition, default-resources or the recipe"
                check = Check(FAILS, f"{check.found}, yet SLURM refuses it", remedy)
        yield check
    for partition, gpus in dict.fromkeys((one.partition, min(one.gpus, 1)) for one in jobs):
        small = [*flags(nodes=1, ntasks=1, time=6, mem=8000 if gpus else 1000), *gpu_flags(gpus)]
        where = f"compute node of {partition or 'the default partition'}" + (" with a GPU" if gpus else "")
        pythons = gpu_commands(run, profile.conda) if gpus else {}
        node = [*profile.flags(partition), *small]
        yield from check_node(node, where, pythons, run, complete)


def check_preemption(profile: Profile, partitions: Iterable[str]) -> Iterator[Check]:
    """Check that preempted jobs are queued again."""
    cluster = slurm.configuration()
    for partition in partitions:
        how = slurm.preemption(partition, cluster)
        if how is None or not how.mode or "SUSPEND" in how.mode:
            continue  # suspended jobs continue by themselves
        stops = f"partition {partition} stops jobs for others, {how.seconds} s after a signal ({how.mode})"
        if profile.requeue:
            yield Check(OK, f"{stops}; they are queued again")
        else:
            yield Check(FAILS, f"{stops}, and they would count as failed", "set slurm-requeue: true in the profile")


def check_account(account: str) -> Iterator[Check]:
    """Check that the user may charge the account."""
    code, said, error = ask("sacctmgr", "-nP", "show", "associations", f"user={getpass.getuser()}", "format=account")
    accounts = sorted(set(said.split()))
    remedy = f"set slurm_account to one of {', '.join(accounts)}"
    if code or not accounts:
        why = _last_line(error) if code else "it lists none for you"
        yield Check(WARN, f"account {account or '(your default one)'} could not be checked ({why})")
    elif account and account not in accounts:
        yield Check(FAILS, f"account {account!r} is none of yours", remedy)
    elif not account and len(accounts) > 1:
        yield Check(WARN, "no account is named, SLURM takes your default one", remedy)
    else:
        yield Check(OK, f"account {account or accounts[0]}")


def gpu_commands(run: Run, conda: bool) -> dict[str, list[str]]:
    """The Pythons whose torch must see the GPUs of this run's jobs.

    Returns:
        The name of each environment, and the command of its Python; an empty command if it does not exist yet.
    """
    serves = [run.recipes[name]["serve"] for name in run.evaluated_here if run.answering_gpus(name)]
    serves += [run.config["screen"]["serve"] for name in run.screening_models if run.screening_gpus(name)]
    training = any(run.training_gpus(name)[1] for name in run.needed_trainings)
    here = {"envs/train.yaml": training, "envs/infer.yaml": any(one["engine"] == "transformers" for one in serves)}
    found: dict[str, list[str]] = {}
    for file in [file for file, used in here.items() if used]:
        found |= {file: conda_python(SOURCE / file)} if conda else {"this environment": [sys.executable, "-P"]}
    for serve in serves:
        if serve["engine"] == "sglang":
            python = serve["options"].get("python") or os.environ.get(PYTHON)
            found["SGLang's environment"] = [python, "-I"] if python else []
    return found


def conda_python(file: Path) -> list[str]:
    """The command of the Python in the environment that Snakemake made from a file; empty if there is none."""
    for copy in Path(".snakemake/conda").glob("*.yaml"):
        python = copy.with_suffix("") / "bin/python"
        if python.exists() and copy.read_bytes() == file.read_bytes():
            return [str(python.absolute()), "-P"]
    return []


def ask_torch(commands: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Ask the torch of each environment what it sees on this machine (:mod:`m1.core.gpus`); may be an ``error``."""
    found = {}
    for name, command in commands.items():
        code, said, error = ask(*command, cards.__file__, seconds=TORCH_SECONDS) if command else (1, "", "not made yet")
        try:
            found[name] = json.loads(_last_line(said)) if not code else {"error": _last_line(error)}
        except ValueError:
            found[name] = {"error": f"it says {_last_line(said)}"}
    return found


def check_torch(where: str, found: Mapping[str, dict[str, Any]], glibc: Sequence[int]) -> Iterator[Check]:
    """Check that each environment has what a job with a GPU needs, on a machine with this version of glibc."""
    for name, seen in found.items():
        at = f"{where}: {name}"
        built = tuple(seen.get("wanted_glibc", ((), ""))[0])
        least = max(built, GLIBC) if name.startswith("SGLang") else built
        if glibc and tuple(glibc) < least:
            old, wanted = (".".join(map(str, version)) for version in (glibc, least))
            remedy = (
                "choose nodes with a newer system (RHEL 9 has 2.34), or serve the models elsewhere (engine: openai)"
            )
            yield Check(FAILS, f"{at}: its packages want glibc {wanted}, and there is {old}", remedy)
        if seen.get("error") == "not made yet":
            yield Check(WARN, f"{at}: not made yet, so its torch was not asked", "make it, and run this again")
        elif "error" in seen:
            yield Check(FAILS, f"{at}: torch cannot be asked ({seen['error']})", "install it again")
        elif lacking := cards.lack(1, seen):
            yield Check(FAILS, f"{at}: {lacking.found}", lacking.remedy)
        elif wrong := [f"GPU {number}: {said}" for number, said in enumerate(seen["products"]) if said]:
            remedy = "this torch is not built for this card, or the card is broken: try another node, or another torch"
            yield Check(FAILS, f"{at}: it does not compute ({'; '.join(wrong)})", remedy)
        else:
            on = f"{seen['gpus']} GPU{'s' * (seen['gpus'] > 1)} ({', '.join(dict.fromkeys(seen['cards']))})"
            yield Check(
                OK, f"{at}: torch {seen['torch']} computes on {on}, CUDA {seen['cuda']}, driver {seen['driver']}"
            )


def check_node(
    flags: Sequence[str], where: str, asked: Mapping[str, Sequence[str]], run: Run, complete: bool
) -> Iterator[Check]:
    """Check, by a small job, that a compute node sees this folder, the scratch folder, the hub and its GPUs.

    Args:
        flags: SLURM's flags of the job.
        where: a name for the node, for messages.
        asked: the Pythons whose torch must see GPUs, from :func:`gpu_commands`.
        run: whose folders the node must see.
        complete: whether everything from the hub has been fetched.
    """
    scratch, cache = Path(run.config["scratch"]), doctor.hub_cache()
    fetched = next(cache.glob("*--*"), Path()) if run.hub_targets() else Path()
    with NamedTemporaryFile(dir=".", prefix=".cluster-check-") as seen:
        srun = ["srun", f"--immediate={ON_NODE_SECONDS}", *flags, sys.executable, "-m", "m1", "check-cluster"]
        looking = ["--on-node", seen.name, "--scratch", str(scratch.resolve()), "--fetched", str(fetched.absolute())]
        seconds = ON_NODE_SECONDS + 30 + TORCH_SECONDS * len(asked)
        code, said, error = ask(*srun, *looking, "--ask", json.dumps(asked), seconds=seconds)
    try:
        found = json.loads(_last_line(said))
    except ValueError:
        # The last line that srun itself says is only that the program has ended.
        why = _last_line("\n".join(line for line in error.splitlines() if not re.match("srun: error: .*: task", line)))
        if code == TIMEOUT or re.search("busy|immediate|timed out|revoked", why, re.IGNORECASE):
            yield Check(WARN, f"{where}: could not be asked ({why})", "try again when nodes are free")
        elif "Unable to allocate" in why:
            remedy = "correct account, partition or default-resources in the profile"
            yield Check(FAILS, f"{where}: SLURM refuses a small job there ({why})", remedy)
        else:
            remedy = f"clone to a folder that all nodes share, and install there ({Path.cwd()}, {sys.prefix})"
            yield Check(FAILS, f"{where}: this package cannot be started ({why})", remedy)
        return
    where = f"{where} ({found['host']})"
    if not found["folder"]:
        yield Check(FAILS, f"{where}: it does not see {Path.cwd()}", "work in a folder that all nodes share")
    elif not found["scratch"]:
        remedy = "name a folder in `scratch` that all nodes can write to"
        yield Check(FAILS, f"{where}: it cannot write to {scratch}", remedy)
    elif not found["fetched"]:
        remedy = "set HF_HOME to a folder that all nodes share, and run `make fetch` again"
        yield Check(FAILS, f"{where}: it does not see {cache}, where models and sets from the hub are", remedy)
    else:
        yield Check(OK, f"{where}: sees this folder and the scratch folder")
    yield from check_torch(where, found["torch"], found["glibc"])
    if found["hub"]:
        yield Check(OK, f"{where}: reaches the hub")
    elif complete:
        offline = "all is fetched (set HF_HUB_OFFLINE=1, so that nothing waits for it)"
        yield Check(OK, f"{where}: without the hub ({found['why']}); {offline}")
    else:
        remedy = "run `make fetch` on the login node, then set HF_HUB_OFFLINE=1"
        yield Check(WARN, f"{where}: does not reach the hub ({found['why']})", remedy)


def look_around(seen: Path, scratch: Path, fetched: Path, asked: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The facts that the small job reports from a compute node."""
    why = doctor.hub_failure()
    sees = {"folder": seen.exists(), "scratch": is_writable(scratch), "fetched": fetched.exists()}
    more = {"glibc": cards.glibc(), "torch": ask_torch(asked), "hub": not why, "why": why}
    return {"host": socket.gethostname(), **sees, **more}


def is_writable(folder: Path) -> bool:
    """Whether a file can be made in a folder or, if it does not exist, in its nearest existing parent."""
    try:
        with NamedTemporaryFile(dir=nearest_folder(folder)):
            return True
    except OSError:
        return False


def to_check(finding: doctor.Finding, otherwise: str = FAILS) -> Check:
    """Turn a finding of ``make doctor`` into a line of this output."""
    return Check(otherwise if finding.need else OK, f"{finding.name} {finding.found}", finding.need)


def check_environments(conda: bool) -> Check:
    """Check that the environments of the jobs are, or can be, installed."""
    if conda:
        code, said, error = ask("conda", "--version")
        version = tuple(map(int, re.findall(r"\d+", said)[:3]))
        found = f"conda {'.'.join(map(str, version))}"
        if code:
            return Check(FAILS, "the profile deploys conda environments, and there is no conda", _last_line(error))
        if version < NEEDED_CONDA:
            return Check(FAILS, f"{found} is too old for Snakemake", "24.7.1 or newer is needed")
        return Check(OK, found)
    packages = ("torch", "transformers", "trl", "datasets", "openai")
    if lacking := [name for name in packages if not importlib.util.find_spec(name)]:
        remedy = "install requirements.txt, or deploy environments (--sdm conda)"
        return Check(FAILS, f"{sys.executable} lacks {', '.join(lacking)}", remedy)
    return Check(OK, f"environment of {sys.executable}")


def checks(overlays: Sequence[Path], folder: Path) -> Iterator[Check]:
    """Yield all checks, the quick ones first."""
    profile = Profile.read(folder)
    yield Check(OK, f"profile {folder}" + ("" if profile.slurm else ": no scheduler"))
    try:
        run = Run(load(overlays, profile.config))
    except UserError as error:
        over = f", with `config` of {folder}/config.yaml laid over it" if profile.config else ""
        yield Check(FAILS, f"configuration{over}", str(error))
        return
    yield Check(OK, f"configuration: {len(run.recipes)} models, {len(run.needed_trainings)} of them trained here")
    yield check_environments(profile.conda)
    yield from map(to_check, chain(doctor.check_sglang(run), doctor.check_keys(run), doctor.check_files(run)))
    if is_writable(scratch := Path(run.config["scratch"])):
        yield Check(OK, f"scratch {scratch} can be written")
    else:
        yield Check(FAILS, f"scratch {scratch}: cannot be written", "name another folder in `scratch`")
    yield from map(to_check, doctor.check_weights(run))
    if missing := doctor.missing_from_hub(run):
        found = f"{len(missing)} models and sets are not fetched ({join_names(missing)})"
        yield Check(WARN, found, "run `make fetch`, where the hub can be reached")
        yield to_check(doctor.check_hub(missing), WARN)
    else:
        yield Check(OK, "all that comes from the hub is fetched")
    if profile.slurm:
        yield from check_slurm(profile, run, not missing)
    else:
        yield from check_torch("this machine", ask_torch(gpu_commands(run, profile.conda)), cards.glibc())


def main(argv: Sequence[str] | None = None) -> None:
    """Print the checks; exit with code 1 if anything would fail."""
    parser = argparse.ArgumentParser(
        prog="m1 check-cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_configfile(parser)
    parser.add_argument(
        "--profile",
        default=locate("profiles/slurm"),
        type=Path,
        help="folder of the Snakemake profile (default: %(default)s)",
    )
    # These are for the small job on a compute node; the first is a file that it must see in this folder.
    parser.add_argument("--on-node", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fetched", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ask", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.on_node:
        print(json.dumps(look_around(arguments.on_node, arguments.scratch, arguments.fetched, arguments.ask)))
        return
    states = set()
    for check in checks(arguments.configfile, arguments.profile):
        with suppress(BrokenPipeError):
            print(check, flush=True)
        states.add(check.state)
    if FAILS in states:
        raise SystemExit(1)
