"""`make cluster-check`: what it finds, with stand-ins for SLURM's commands, and with a real SLURM where there is
one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from fake_gpus import fake_driver, fake_torch
from m1.commands import launch
from m1.commands.check_cluster import (
    FAILS,
    OK,
    WARN,
    JobNeeds,
    Nodes,
    Profile,
    check_partition,
    check_preemption,
    check_torch,
    gpu_commands,
    job_needs,
    main,
    parse_minutes,
    parse_nodes,
)
from m1.core.errors import UserError
from m1.wiring.config import load
from m1.wiring.run import Run

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "config/paper.yaml"
SINFO = """\
cpu|up|infinite|10|64|256000|(null)
gpu|up|2-00:00:00|4|64+|512000|gpu:h100:8(S:0-1)
gpu|up|2-00:00:00|2|32|128000|gpu:a40:4,mps:100
old|down|1:00:00|9|16|64000|gpu:2
"""


def needs(
    partition: str = "gpu", nodes: int = 1, gpus: int = 8, cores: int = 8, memory: int = 64000, minutes: int = 1440
) -> JobNeeds:
    return JobNeeds(["train m"], partition, nodes, gpus, cores, memory, minutes)


def test_nodes_of_sinfo() -> None:
    assert parse_nodes(SINFO) == [
        Nodes("cpu", True, float("inf"), 10, 64, 256000, {}),
        Nodes("gpu", True, 2880, 4, 64, 512000, {"h100": 8}),
        Nodes("gpu", True, 2880, 2, 32, 128000, {"a40": 4}),
        Nodes("old", False, 60, 9, 16, 64000, {"": 2}),
    ]


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [
        ("30", 30),
        ("10:30", 10.5),
        ("2:00:00", 120),
        ("1-0", 1440),
        ("1-12:30", 2190),
        ("7-00:00:00", 10080),
        ("infinite", float("inf")),
    ],
)
def test_time_limits(limit: str, minutes: float) -> None:
    assert parse_minutes(limit) == minutes


@pytest.mark.parametrize(
    ("wanted", "kind", "state", "said"),
    [
        (needs(), "", OK, "gpu has 4 such nodes"),
        (needs(gpus=4), "", OK, "gpu has 6 such nodes"),
        (needs(nodes=2, memory=200000), "h100", OK, "gpu has 4 such nodes"),
        (needs("fast"), "", FAILS, "there is no partition 'fast': choose one of cpu, gpu, old"),
        (needs("old"), "", FAILS, "partition old is down"),
        (needs(minutes=4000), "", FAILS, "gpu allows 2,880 min: set cluster.longest"),
        (needs(), "a40", FAILS, "a node of gpu has 4 GPUs of type a40 (types: a40, h100): lower train.processes"),
        (needs(), "h200", FAILS, "a node of gpu has 0 GPUs of type h200"),
        (needs("cpu"), "", FAILS, "a node of cpu has 0 GPUs (types: none)"),
        (needs(memory=900000), "", FAILS, "512,000 MB at most: lower threads or mem_mb"),
        (needs(nodes=5), "", FAILS, "gpu has 4 such nodes: lower train.nodes"),
        (needs("cpu", gpus=0, cores=65), "", FAILS, "64 cores and 256,000 MB at most: lower threads or mem_mb"),
        (needs("", gpus=0, memory=0, minutes=0), "", OK, "train m (8 cores): SLURM's own partition"),
    ],
)
def test_what_a_partition_can_run(wanted: JobNeeds, kind: str, state: str, said: str) -> None:
    check = check_partition(wanted, parse_nodes(SINFO), kind)
    assert (check.state, said in str(check)) == (state, True), check


def test_jobs_of_the_paper_ask_for_what_their_recipes_say() -> None:
    run = Run(load([PAPER], ["cluster={partition: small, gpu_partition: gpu, longest: 600}"]))
    default = {"slurm_partition": "cpu", "mem_mb": 8000, "runtime": 240}
    found = {job: one for one in job_needs(run, default) for job in one.jobs}
    for job, nodes in {"train m1-7b-1k": 1, "train m1-32b-1k": 2, "infer m1-32b-1k": 1}.items():
        wanted = run.resources(*job.split())
        memory, minutes = wanted["mem_mb"], min(600, wanted["runtime"])
        assert found[job] == JobNeeds([], "gpu", nodes, 8, wanted["threads"], memory, minutes)
    assert found["infer 32b"].gpus == found["infer 7b"].gpus == 8
    assert set(found) >= {"screen 7b", "screen 32b", "infer m1-32b-1k"}
    screen, gathers = found["screen 32b"], found["screen 32b (gathers shards)"]
    assert (gathers.partition, gathers.gpus, gathers.memory) == ("small", 0, screen.memory), (
        "a job without GPUs asks for the same memory"
    )
    assert found["other jobs"] == JobNeeds([], "cpu", 1, 0, 1, 8000, 240)
    assert found["pools_merge"] == JobNeeds([], "cpu", 1, 0, 8, 8000, 240), "all processes of `merge`"
    assert not any(one.gpus for one in job_needs(Run(load()), {})), "the embedded world needs no GPU"


def written(folder: Path, text: str) -> Path:
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return folder


def test_a_profile_is_what_snakemake_reads_in_it(tmp_path: Path) -> None:
    text = """
    executor: slurm
    software-deployment-method: conda
    slurm-requeue: true
    slurm-status-command: sacct
    config: {scratch: ~/big, cluster: {longest: 1440}}
    default-resources: {slurm_account: "'abc'", qos: "'long'", mem_mb: 8000 * attempt, runtime: 4h,
      slurm_extra: "'--nice=5 --hold'"}
    """
    profile = Profile.read(written(tmp_path, text))
    assert (profile.slurm, profile.conda, profile.config) == (
        True,
        True,
        ["scratch=~/big", "cluster={'longest': 1440}"],
    )
    assert (profile.default["mem_mb"], profile.default["runtime"]) == (8000, 240)
    assert profile.requeue
    assert profile.flags("cpu") == ["--account=abc", "--partition=cpu", "--qos=long", "--nice=5", "--hold"]


def test_a_profile_in_lists_or_emptied(tmp_path: Path) -> None:
    profile = Profile.read(
        written(tmp_path, "{default-resources: [slurm_account=abc, mem_mb=5], config: , software-deployment-method: }")
    )
    assert not profile.requeue
    assert (profile.default["slurm_account"], profile.default["mem_mb"], profile.config, profile.conda) == (
        "abc",
        5,
        (),
        False,
    )


def test_a_key_that_stands_twice_in_a_profile_is_said(tmp_path: Path) -> None:
    """Snakemake takes the last of both without a word."""
    folder = written(tmp_path, "executor: slurm\nconfig: {scratch: a}\nconfig: {store: b}\n")
    expected = rf"{folder}/config\.yaml: key 'config' stands twice, in lines 2 and 3; put both into one"
    with pytest.raises(UserError, match=expected):
        Profile.read(folder)
    with pytest.raises(UserError, match=expected):
        launch.parse_arguments(["all", "--workflow-profile", str(folder)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "Couldn't parse config file"),
        ("nothing", "instead of 'dict'"),
        ("{retres: 2}", "unrecognized arguments: --retres=2"),
        ("{executor: slrum}", "invalid choice: 'slrum'"),
        ("{default-resources: 7}", "length 1; 2 is required"),
        ("{default-resources: {mem_mb: 8000 * atempt}}", "'8000 * atempt'"),
    ],
)
def test_a_profile_that_snakemake_refuses(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as refusal:
        Profile.read(written(tmp_path, text))
    assert said in str(refusal.value)
    assert str(refusal.value).startswith(f"{tmp_path}: Snakemake cannot read this profile: ")
    assert "\n" not in str(refusal.value)


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no profile, there is no"):
        Profile.read(tmp_path / "none")


DEFAULT = {
    "slurm_account": "'abc'",
    "slurm_partition": "cpu",
    "qos": "'normal'",
    "mem_mb": "8000 * attempt",
    "runtime": "90 * attempt",
}


class Here:
    """A folder with a profile, a configuration and stand-ins for commands; the check runs there as a program."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        self.environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT / "workflow"),
            "HF_HUB_OFFLINE": "1",
            "USER": "me",
        }
        self.profile(executor="slurm", **{"default-resources": DEFAULT})
        self.overlay(pathvars={"results": "results/paper", "logs": "logs"}, scratch="scratch")

    def profile(self, **more: object) -> None:
        cluster = {"partition": "cpu", "gpu_partition": "gpu", "gpu_type": "h100"}
        (self.folder / "config.yaml").write_text(
            yaml.safe_dump({"config": {"cluster": cluster}} | more), encoding="utf-8"
        )

    def overlay(self, **more: object) -> None:
        (self.folder / "overlay.yaml").write_text(yaml.safe_dump(more), encoding="utf-8")

    def command(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def slurm(self, srun: str = 'while [ "$1" != "-m" ]; do last=$1; shift; done; exec "$last" "$@"') -> None:
        self.command("sinfo", f"cat <<E\n{SINFO}E")
        self.command("sacctmgr", "echo abc; echo def")
        self.command("sbatch", 'echo "$@" >> asked; echo "sbatch: Job 5 to start" >&2')
        self.command("srun", f'echo "$@" >> sruns; {srun}')

    def check(self, *overlays: Path) -> tuple[int, list[str]]:
        overlay = [str(path) for path in overlays or (PAPER, self.folder / "overlay.yaml")]
        said, errors, code = StringIO(), StringIO(), 0
        with (
            chdir(self.folder),
            patch.dict(os.environ, self.environment, clear=True),
            redirect_stdout(said),
            redirect_stderr(errors),
        ):
            try:
                main(["--configfile", *overlay, "--profile", "."])
            except SystemExit as ended:
                code = int(ended.code or 0)
        assert not errors.getvalue()
        return code, said.getvalue().splitlines()


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def one(lines: list[str], part: str) -> str:
    found = [line for line in lines if part in line]
    assert len(found) == 1, lines
    return found[0]


def test_without_slurm_what_was_not_checked_is_said(here: Here) -> None:
    for name in ("bash", "which"):  # Snakemake starts with them
        (here.bin / name).symlink_to(str(shutil.which(name)))
    here.environment["PATH"] = str(here.bin)
    code, lines = here.check()
    assert code == 1, "no key, no SGLang"
    assert one(lines, "SLURM is not installed here").startswith(WARN)
    assert one(lines, "key OPENAI_API_KEY is not set: for labeller").startswith(FAILS)
    assert "make fetch" in one(lines, "are not fetched (bases/32b, bases/7b")


def test_the_embedded_world_on_one_machine_is_fine(here: Here) -> None:
    here.profile(cores="all")
    here.overlay()
    code, lines = here.check(here.folder / "overlay.yaml")
    assert code == 0, lines
    assert "no scheduler" in lines[0]
    assert not [line for line in lines if line.startswith(FAILS)]


def ready(here: Here) -> None:
    """All that the paper's run needs, but for scratch space."""
    here.slurm()
    gpus(here, "580.82.07")
    here.environment["OPENAI_API_KEY"] = "secret"
    run = Run(load([PAPER]))
    for path in run.hub_targets():
        made = here.folder / path.replace("<results>", "results/paper")
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    here.overlay(scratch="scratch", models=["7b", "7b-cot", "m1-7b-1k", "32b"], report=_small())


def gpus(here: Here, driver: str, **torch: Any) -> None:
    """One card, which the torch of this environment and that of SGLang's sees as it is told."""
    fake_driver(here.bin, driver, 1)
    torch = {"gpus": 1} | torch
    here.environment["PYTHONPATH"] = f"{fake_torch(here.folder / 'core', **torch)}:{ROOT / 'workflow'}"
    other = fake_torch(here.folder / "other", **torch)
    here.command("python", f'[ "$2" = -c ] || PYTHONPATH={other} exec {sys.executable} -P "$2"')
    here.environment["M1_SGLANG_PYTHON"] = str(here.bin / "python")


def _small() -> dict[str, object]:
    return {"table1": {"models": ["7b", "m1-7b-1k"], "budget": 4096}, "table2": None, "figures": ["m1-7b-1k"]}


def test_on_a_cluster_that_has_all(here: Here) -> None:
    ready(here)
    code, lines = here.check()
    failed = [line for line in lines if line.startswith(FAILS)]
    free = shutil.disk_usage(here.folder).free / 1e9
    assert (code, len(failed)) == ((1, 1) if free < 7 * 26 else (0, 0)), lines
    assert one(lines, "182 GB wanted in scratch, results/paper").startswith((OK, FAILS))
    assert all("GB wanted" in line for line in failed)
    assert one(lines, "account abc").startswith(OK)
    for environment in ("this environment", "SGLang's environment"):
        computes = (
            f"): {environment}: torch 2.14.1 computes on 1 GPU (NVIDIA H100 80GB HBM3), CUDA 13.0, driver 580.82.07"
        )
        assert one(lines, computes).startswith("ok     compute node of gpu with a GPU (")
    assert not [line for line in lines if "compute node of cpu" in line and "torch" in line]
    assert len([line for line in lines if "without the hub (HF_HUB_OFFLINE is set); all is fetched" in line]) == 2
    asked = (here.folder / "asked").read_text().splitlines()
    assert all("--test-only --account=abc" in line for line in asked), "nothing is submitted"
    assert [line for line in asked if "--partition=gpu" in line and "--gres=gpu:h100:8" in line]
    assert [
        line for line in asked if "--partition=cpu" in line and "--cpus-per-task=8 --mem=8000 --time=90 " in line
    ], "pools_merge"
    assert all("--qos=normal" in line for line in [*asked, *(here.folder / "sruns").read_text().splitlines()])
    assert not list(here.folder.glob(".cluster-check*"))


@pytest.mark.parametrize(
    ("requeue", "state", "said"), [(False, FAILS, "and they would count as failed"), (True, OK, "are queued again")]
)
def test_preemption(here: Here, requeue: bool, state: str, said: str) -> None:
    config = "PreemptType = preempt/qos\\n"
    rows = "PartitionName=cpu PreemptMode=OFF PriorityTier=1\\n"
    rows += "PartitionName=gpu PreemptMode=REQUEUE PriorityTier=1 GraceTime=60"
    here.command("scontrol", f'[ "$2" = config ] && printf "{config}" || printf "{rows}"')
    with patch.dict(os.environ, here.environment):
        (line,) = check_preemption(Profile(True, False, [], {}, requeue), ["cpu", "gpu"])
    assert line.state == state
    assert str(line).startswith(f"{state:5}  partition gpu stops jobs for others, 60 s after a signal (REQUEUE)")
    assert said in str(line)


def test_a_refusal_of_slurm_is_shown(here: Here) -> None:
    ready(here)
    here.command("sbatch", "echo 'sbatch: error: Invalid qos specification' >&2; exit 1")
    lines = here.check()[1]
    assert len([line for line in lines if line.startswith(FAILS) and "Invalid qos specification" in line]) >= 2


def test_another_account_and_no_free_node(here: Here) -> None:
    ready(here)
    here.command("sacctmgr", "echo def; echo xyz")
    here.command("srun", "echo 'srun: error: Unable to allocate resources: Requested nodes are busy' >&2; exit 1")
    lines = here.check()[1]
    assert one(lines, "account 'abc' is none of yours").endswith("set slurm_account to one of def, xyz")
    assert len([line for line in lines if line.startswith(WARN) and "Requested nodes are busy" in line]) == 2


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ("folder", "(n1): it does not see "),
        ("scratch", "(n1): it cannot write to scratch: name a folder in `scratch`"),
        ("fetched", "where models and sets from the hub are: set HF_HOME to a folder that all nodes share"),
    ],
)
def test_a_node_that_does_not_see_a_folder(here: Here, lacking: str, said: str) -> None:
    ready(here)
    found = {"host": "n1", "glibc": [2, 39], "torch": {}, "hub": True, "why": ""}
    found |= {name: name != lacking for name in ("folder", "scratch", "fetched")}
    here.command("srun", f"echo '{json.dumps(found)}'")
    lines = here.check()[1]
    assert len([line for line in lines if line.startswith(FAILS) and said in line]) == 2


def test_a_node_must_see_what_was_fetched(here: Here) -> None:
    ready(here)
    here.environment["HF_HOME"] = str(here.folder / "hub")
    (here.folder / "hub/hub/models--a--b").mkdir(parents=True)
    lines = here.check()[1]
    assert len([line for line in lines if "sees this folder" in line and line.startswith(OK)]) == 2
    asked = (here.folder / "sruns").read_text()
    assert f"--fetched {here.folder}/hub/hub/models--a--b" in asked
    runs_there = 'while [ "$1" != "-m" ]; do last=$1; shift; done; exec "$last" "$@"'
    here.slurm(f"mv hub gone 2> /dev/null; {runs_there}")  # as on a node where this disk is another
    lines = here.check()[1]
    assert [line for line in lines if f"it does not see {here.folder}/hub/hub, where models" in line]


@pytest.mark.parametrize(
    ("said", "state", "remedy"),
    [
        ("Unable to allocate resources: Requested nodes are busy", WARN, "try again when nodes are free"),
        ("Unable to allocate resources: Connection timed out", WARN, "try again when nodes are free"),
        ("Unable to allocate resources: Invalid account or account/partition combination", FAILS, "correct account"),
        ("execve(): /disk/.venv/bin/python: No such file or directory", FAILS, "a folder that all nodes share, and in"),
        ("/shared/python: No module named m1", FAILS, "a folder that all nodes share, and install there"),
    ],
)
def test_a_node_that_cannot_be_asked(here: Here, said: str, state: str, remedy: str) -> None:
    ready(here)
    here.command("srun", f"echo '{said}' >&2; echo 'srun: error: n1: task 0: Exited with exit code 2' >&2; exit 2")
    lines = [line for line in here.check()[1] if f"({said})" in line]
    assert len(lines) == 2
    assert all(line.startswith(state) and remedy in line for line in lines), lines


def test_a_driver_too_old_for_torch_fails_in_each_environment(here: Here) -> None:
    ready(here)
    gpus(here, "535.129.03", works=False)
    code, lines = here.check()
    assert code == 1
    for environment in ("this environment", "SGLang's environment"):
        line = one(lines, f"{environment}: 1 GPU asked for on ")
        assert line.startswith(f"{FAILS}  compute node of gpu with a GPU (")
        assert "torch sees 0 (driver 535.129.03 with 1 cards; torch 2.14.1 for CUDA 13.0" in line
        assert line.endswith("CUDA 13.0 wants driver 580 or newer: choose nodes with one, or torch for an older CUDA")


def test_on_one_machine_with_gpus_torch_is_asked_there(here: Here) -> None:
    ready(here)
    here.profile(cores="all")
    gpus(here, "580.82.07", ones="raise RuntimeError('no kernel image is available for execution on the device')")
    lines = here.check()[1]
    line = one(lines, "this machine: this environment: it does not compute (GPU 0: no kernel image is available")
    assert line.startswith(FAILS)
    assert "try another node, or another torch" in line


SEEN: dict[str, Any] = {"gpus": 1, "torch": "2.14.1", "cuda": "13.0", "driver": "580.82.07", "cards": ["H100"]}
SEEN |= {"visible": None, "host": "n1", "products": [""], "glibc": [2, 39], "wanted_glibc": [[2, 28], "torch"]}
SGLANG, CORE = "SGLang's environment", "this environment"


@pytest.mark.parametrize(
    ("name", "seen", "glibc", "states", "said"),
    [
        (CORE, SEEN, (2, 28), [OK], "n1: this environment: torch 2.14.1 computes on 1 GPU (H100), CUDA 13.0, driver"),
        (SGLANG, SEEN, (2, 28), [FAILS, OK], "its packages want glibc 2.34, and there is 2.28: choose nodes with a"),
        (SGLANG, {"error": "not made yet"}, (2, 28), [FAILS, WARN], "its packages want glibc 2.34, and there is 2.28"),
        (
            SGLANG,
            {"error": "not made yet"},
            (2, 34),
            [WARN],
            "SGLang's environment: not made yet, so its torch was not",
        ),
        (CORE, SEEN, (2, 17), [FAILS, OK], "this environment: its packages want glibc 2.28, and there is 2.17"),
        (
            SGLANG,
            {"error": "ImportError: libc"},
            (2, 39),
            [FAILS],
            "torch cannot be asked (ImportError: libc): install",
        ),
        (CORE, SEEN | {"cuda": None, "gpus": 0}, (2, 39), [FAILS], "torch 2.14.1 for CPUs only; CUDA_VISIBLE_DEVICES"),
        (CORE, SEEN | {"products": ["", "out of memory"]}, (2, 39), [FAILS], "does not compute (GPU 1: out of memory)"),
    ],
)
def test_what_an_environment_needs_where_there_are_gpus(
    name: str, seen: dict[str, Any], glibc: tuple[int, int], states: list[str], said: str
) -> None:
    found = list(check_torch("n1", {name: seen}, glibc))
    assert [check.state for check in found] == states
    assert said in str(found[0])


def test_the_c_library_that_sglang_wants_is_that_of_the_pinned_one() -> None:
    assert "  - sglang==0.5.23 " in (ROOT / "envs/sglang.yaml").read_text(), "look up the tag of the new wheel (GLIBC)"


def test_conda_environments_are_asked_where_snakemake_has_made_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M1_SGLANG_PYTHON", "/opt/sglang/bin/python")
    run = Run(load([PAPER]))
    made = tmp_path / ".snakemake/conda/0123_"
    (made / "bin").mkdir(parents=True)
    (made / "bin/python").touch()
    shutil.copy(ROOT / "envs/train.yaml", made.with_suffix(".yaml"))
    monkeypatch.chdir(tmp_path)
    found = gpu_commands(run, conda=True)
    assert found["envs/train.yaml"] == [str(made / "bin/python"), "-P"]
    assert found["SGLang's environment"] == ["/opt/sglang/bin/python", "-I"]
    assert found.get("envs/infer.yaml", []) == [], "not made yet"
    assert gpu_commands(run, conda=False)["this environment"] == [sys.executable, "-P"]
    assert gpu_commands(Run(load()), conda=False) == {}, "the embedded world needs no GPU"


@pytest.mark.parametrize(("version", "state"), [("conda 24.1.2", FAILS), ("conda 25.3.0", OK)])
def test_conda_where_the_profile_deploys_environments(here: Here, version: str, state: str) -> None:
    here.profile(**{"software-deployment-method": ["conda"]})
    here.command("conda", f"echo {version}")
    assert one(here.check()[1], version.removeprefix("conda ")).startswith(state)


def test_a_wrong_configuration_ends_the_check(here: Here) -> None:
    here.overlay(scren={})
    code, lines = here.check(here.folder / "overlay.yaml")
    assert code == 1
    assert "unknown key 'scren'; did you mean 'screen'?" in lines[-1]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("scrach", "/big", "unknown key 'scrach'; did you mean 'scratch'?"),
        ("cluster", {"gpu_partiton": "gpu"}, "unknown key 'gpu_partiton' in cluster; did you mean 'gpu_partition'?"),
        ("merge", {"ngram": "many"}, "merge.ngram: 'many' is not of type 'integer', 'null'; write a number in decimal"),
        ("scratch", "$M1_NOWHERE/m1", "scratch: $M1_NOWHERE/m1: the environment variable M1_NOWHERE is not set"),
    ],
)
def test_the_profiles_part_of_the_configuration_is_checked(here: Here, key: str, value: object, said: str) -> None:
    here.profile(config={key: value})
    code, lines = here.check()
    assert code == 1
    assert lines[-1].startswith(f"{FAILS}  configuration, with `config` of ./config.yaml laid over it: ")
    assert said in lines[-1]


def test_the_profile_comes_over_overlays_and_scratch_is_where_the_run_has_it(here: Here) -> None:
    here.environment["SCRATCH"] = str(here.folder / "big")
    here.slurm()
    here.profile(executor="slurm", config={"scratch": "$SCRATCH/m1", "cluster": {"gpu_partition": "gpu"}})
    here.overlay(scratch="elsewhere", cluster={"gpu_partition": "old", "gpu_type": "h100", "longest": 100})
    lines = here.check()[1]
    assert one(lines, f"scratch {here.folder}/big/m1 ").startswith(OK)
    assert "100 min): gpu has 4 such nodes" in one(lines, "infer 7b,")
    assert f"--scratch {here.folder}/big/m1" in (here.folder / "sruns").read_text()
    assert "--gres=gpu:h100:8" in (here.folder / "asked").read_text()


@pytest.mark.slow
def test_on_a_real_slurm(here: Here, tmp_path: Path) -> None:
    start = ROOT / "tests/slurm/start_slurm.sh"
    if not start.exists() or not shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("no SLURM here: install slurmctld, slurmd, slurm-client and munge")
    folder = tmp_path / "slurm"
    started = subprocess.run([start, folder], capture_output=True, text=True)
    try:
        assert not started.returncode, started.stderr
        here.environment |= {"PATH": f"{folder}/bin:/usr/bin:/bin", "SLURM_CONF": f"{folder}/slurm.conf"}
        config = {"cluster": {"partition": "cpu", "gpu_partition": "spare"}}
        here.profile(executor="slurm", config=config, **{"default-resources": {"slurm_partition": "cpu"}})
        lines = here.check()[1]
    finally:
        subprocess.run([start.with_name("stop_slurm.sh"), folder], check=False)
    assert re.search(r"\(8 GPUs, 16 cores, 64,000 MB, [\d,]+ min\): spare has ", one(lines, "infer 7b,"))
    assert one(lines, "train m1-32b-1k").startswith(FAILS), "a node has 64,000 MB"
    assert one(lines, "partition spare stops jobs for others, 2 s after a signal (REQUEUE)").startswith(FAILS)
    assert [
        line for line in lines if line.startswith(OK) and "compute node of cpu" in line and "sees this folder" in line
    ]
