"""The launcher on a cluster: which jobs are orphans, and when it leaves everything alone. On a real SLURM:
tests/workflow/test_slurm.py."""

from __future__ import annotations

import argparse
import json
import socket
from pathlib import Path

import pytest
from m1.commands import launch
from m1.core.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the lock of a run, where squeue and scancel are stand-ins that share a file of jobs."""
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / ".snakemake/locks/0.input.lock").touch()
    (tmp_path / "bin").mkdir()
    for name, script in {
        "squeue": f"cat {tmp_path}/jobs",
        "scancel": f'for job in "$@"; do echo $job >> {tmp_path}/cancelled; sed -i "/^$job|/d" {tmp_path}/jobs; done',
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    monkeypatch.setattr(launch, "processes", lambda folder: ([], []))
    return tmp_path


def queue(here: Path) -> None:
    rows = [
        f"7|m1_ab-cd|{here}",
        f"8|m1_ab-cd|{here}",
        f"9|m1_ab-cd|{here}/other",
        f"10|mine|{here}",
        f"11|m12_ab|{here}",
    ]
    (here / "jobs").write_text("\n".join(rows) + "\n")


def test_only_this_folders_jobs_of_this_profile_are_cancelled(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queue(here)
    launch.clear(here, ["true"], "m1_")
    assert (here / "cancelled").read_text().split() == ["7", "8"]
    assert "0 orphaned jobs ended, 2 SLURM jobs cancelled, lock removed" in capsys.readouterr().out


def test_orphans_are_cancelled_also_where_the_lock_was_removed_by_hand(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / ".snakemake/locks/0.input.lock").unlink()
    queue(here)
    launch.clear(here, ["false"], "m1_")
    assert (here / "cancelled").read_text().split() == ["7", "8"]
    assert "2 SLURM jobs cancelled; going on" in capsys.readouterr().out


def test_a_run_on_another_login_node_is_left_alone(here: Path) -> None:
    queue(here)
    (here / launch.NOTE).write_text(json.dumps({"machine": "login2", "process": 77}))
    with pytest.raises(
        UserError,
        match=r"the last run was started on login2 \(process 77\) and may be at work; start this one there, or, if",
    ):
        launch.clear(here, ["true"], "m1_")
    assert not (here / "cancelled").exists()


def test_nothing_starts_where_slurm_does_not_answer(here: Path) -> None:
    (here / "bin/squeue").write_text(
        "#!/bin/sh\necho 'squeue: error: Unable to contact slurm controller' >&2; exit 1\n"
    )
    with pytest.raises(
        UserError, match=r"SLURM does not answer: squeue: error: Unable to contact .* nothing is started"
    ):
        launch.clear(here, ["true"], "m1_")


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("python -m m1 launch all -n", "run"),
        ("python -u -X dev -m m1 launch all", "run"),
        ("python -m snakemake all", "run"),
        ("python /home/me/.venv/bin/snakemake all", "run"),
        ("python -m snakemake --target-jobs train_sft:model=a --mode remote", ""),
        ("python -m m1.infer.sweep --name a", "job"),
        ("python -m torch.distributed.run --nproc-per-node=2 -m m1.train.sft --name a", "job"),
        ("vim Snakefile snakemake.md", ""),
        ("python", ""),
    ],
)
def test_runs_and_jobs_are_known_by_their_command(command: str, role: str) -> None:
    assert launch.role(command.split()) == role


@pytest.fixture
def ran(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[argparse.Namespace]:
    """What Snakemake would have been started with, in a clone whose run was killed and left jobs."""
    queue(here)
    for name in ("profiles", "config", "resources", "workflow", "Snakefile"):
        (here / name).symlink_to(ROOT / name)
    monkeypatch.chdir(here)
    runs: list[argparse.Namespace] = []
    monkeypatch.setattr("snakemake.cli.args_to_api", lambda asked, parser: runs.append(asked) or True)
    return runs


def launched(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        launch.main(arguments)
    return ended.value.code


@pytest.mark.workflow
@pytest.mark.parametrize(
    "query", ["-n", "-np", "-nq", "--dry-run", "--summary", "-S", "--lint", "--dag", "--rulegraph", "--report", "-l"]
)
def test_what_makes_nothing_clears_nothing(query: str, here: Path, ran: list[argparse.Namespace]) -> None:
    assert launched(query, "--workflow-profile", "profiles/slurm") == 0
    assert len(ran) == 1
    assert not (here / "cancelled").exists()
    assert not (here / launch.NOTE).exists()


PROFILES = (
    ["--workflow-profile", "profiles/slurm"],
    ["--workflow-profile", "slurm"],
    ["--profile=profiles/slurm"],
    ["--profile", "profiles/slurm/config.yaml"],
    ["--executor", "slurm", "--slurm-jobname-prefix", "m1"],
)


@pytest.mark.workflow
@pytest.mark.parametrize(
    "profile",
    [PROFILES[0], *(pytest.param(profile, marks=pytest.mark.slow) for profile in PROFILES[1:])],
    ids=" ".join,
)
def test_a_run_on_slurm_cancels_orphans_however_its_profile_is_given(
    profile: list[str], here: Path, ran: list[argparse.Namespace]
) -> None:
    assert launched("all", *profile) == 0
    assert (here / "cancelled").read_text().split() == ["7", "8"]
    assert json.loads((here / launch.NOTE).read_text())["slurm"] == "m1_"
    assert ran[0].executor == "slurm"


@pytest.mark.workflow
def test_a_run_without_slurm_cancels_the_jobs_of_a_killed_one_with_it(
    here: Path, ran: list[argparse.Namespace]
) -> None:
    assert launched("all") == 0
    assert not (here / "cancelled").exists()
    (here / ".snakemake/locks").mkdir()
    (here / ".snakemake/locks/0.input.lock").touch()
    (here / launch.NOTE).write_text(json.dumps({"machine": socket.gethostname(), "process": 7, "slurm": "m1_"}))
    assert launched("all") == 0
    assert (here / "cancelled").read_text().split() == ["7", "8"]


@pytest.mark.workflow
@pytest.mark.parametrize(
    "more", [["--config", "seed=43"], ["--default-resources", "mem_mb=1"]], ids=lambda more: more[0]
)
def test_nothing_of_a_profile_is_dropped_unsaid(more: list[str], here: Path, ran: list[argparse.Namespace]) -> None:
    with pytest.raises(
        UserError, match=f"{more[0]} takes the place of all that the profile has .* into a file: --configfile"
    ):
        launch.main(["all", "--workflow-profile", "profiles/slurm", *more])
    assert not ran
    assert launched("all", *more) == 0


@pytest.mark.workflow
def test_no_configuration_file_is_dropped_unsaid(here: Path, ran: list[argparse.Namespace]) -> None:
    """Snakemake takes the last `--configfile`, and none of a profile's beside one of the command line."""
    for name in ("a", "b"):
        (here / f"{name}.yaml").write_text("seed: 1\n")
    for flags in (["--configfile", "--configfile"], ["--configfile", "--configfiles"]):
        with pytest.raises(UserError, match=r"^--configfile stands twice, and Snakemake takes only the last; put all"):
            launch.main(["all", flags[0], "a.yaml", flags[1], "b.yaml"])
    with pytest.raises(UserError, match=r"^--config stands twice, and Snakemake takes only the last; put all behind"):
        launch.main(["all", "--config", "seed=1", "-C", "answer_limit=9"])
    (here / "own").mkdir()
    (here / "own/config.yaml").write_text("configfile: [a.yaml]\ncores: 1\n")
    with pytest.raises(UserError, match=r"--configfile takes the place of .* or name all files in the same place"):
        launch.main(["all", "--workflow-profile", "own", "--configfile", "b.yaml"])
    assert not ran
    assert launched("all", "--configfile", "a.yaml", "b.yaml") == 0
    assert launched("all", "--workflow-profile", "own") == 0


@pytest.mark.workflow
def test_jobs_of_slurm_need_a_name(here: Path, ran: list[argparse.Namespace]) -> None:
    with pytest.raises(UserError, match=r"no slurm-jobname-prefix, .* Add to the profile: slurm-jobname-prefix: m1"):
        launch.main(["all", "--executor", "slurm"])


def test_slurm_that_is_not_there_is_said(
    here: Path, ran: list[argparse.Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="squeue: not found; start this on a login node"):
        launch.clear(here, ["true"], "m1_")


@pytest.mark.workflow
def test_a_status_command_by_which_a_run_would_never_end_is_refused(here: Path, ran: list[argparse.Namespace]) -> None:
    for name in ("sacct", "sinfo"):
        (here / "bin" / name).symlink_to("/bin/true")
    (here / "bin/scontrol").write_text("#!/bin/sh\necho 'AccountingStorageType = (null)'; echo 'MinJobAge = 300 sec'\n")
    (here / "bin/scontrol").chmod(0o755)
    words = ["all", "--executor", "slurm", "--slurm-jobname-prefix", "m1"]
    with pytest.raises(UserError, match=r"accounting is off .* would wait for ever; set slurm-status-command: squeue"):
        launch.main([*words, "--slurm-status-command", "sacct"])
    assert not ran
    assert launched(*words, "--slurm-status-command", "squeue") == 0
