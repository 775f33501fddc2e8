"""The launcher on a cluster: which jobs are orphans, and when it leaves everything alone. On a real SLURM: tests/workflow/test_slurm.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from m1 import launch
from m1.errors import UserError

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
    rows = [f"7|m1_ab-cd|{here}", f"8|m1_ab-cd|{here}", f"9|m1_ab-cd|{here}/other", f"10|mine|{here}", f"11|m12_ab|{here}"]
    (here / "jobs").write_text("\n".join(rows) + "\n")


def test_only_this_folders_jobs_of_this_profile_are_cancelled(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queue(here)
    launch.clear(here, ["true"], "m1_")
    assert (here / "cancelled").read_text().split() == ["7", "8"]
    assert "0 orphaned jobs ended, 2 SLURM jobs cancelled, lock removed" in capsys.readouterr().out


def test_orphans_are_cancelled_also_where_the_lock_was_removed_by_hand(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / ".snakemake/locks/0.input.lock").unlink()
    queue(here)
    launch.clear(here, ["false"], "m1_")
    assert (here / "cancelled").read_text().split() == ["7", "8"]
    assert "2 SLURM jobs cancelled; going on" in capsys.readouterr().out


def test_a_run_on_another_login_node_is_left_alone(here: Path) -> None:
    queue(here)
    (here / launch.NOTE).write_text(json.dumps({"machine": "login2", "process": 77}))
    with pytest.raises(
        UserError, match=r"the last run was started on login2 \(process 77\) and may be at work; start this one there, or, if"
    ):
        launch.clear(here, ["true"], "m1_")
    assert not (here / "cancelled").exists()


def test_nothing_starts_where_slurm_does_not_answer(here: Path) -> None:
    (here / "bin/squeue").write_text("#!/bin/sh\necho 'squeue: error: Unable to contact slurm controller' >&2; exit 1\n")
    with pytest.raises(UserError, match=r"SLURM does not answer: squeue: error: Unable to contact .* nothing is started"):
        launch.clear(here, ["true"], "m1_")


def test_a_dry_run_changes_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue(here)
    ran: list[list[str]] = []
    monkeypatch.chdir(here)
    monkeypatch.setattr("os.execv", lambda _, words: ran.append(words))
    launch.main(["-n", "all", "--workflow-profile", str(ROOT / "profiles/slurm")])
    assert ran[0][2:] == ["snakemake", "-n", "all", "--workflow-profile", str(ROOT / "profiles/slurm")]
    assert not (here / "cancelled").exists()
    assert not (here / launch.NOTE).exists()


def test_the_profile_says_how_slurm_jobs_are_called(tmp_path: Path) -> None:
    assert launch.slurm_prefix(["all", "--workflow-profile", str(ROOT / "profiles/slurm")]) == "m1_"
    assert launch.slurm_prefix(["all", f"--profile={ROOT}/profiles/slurm"]) == "m1_"
    assert launch.slurm_prefix(["all", "--workflow-profile", str(ROOT / "profiles/workstation")]) is None
    assert launch.slurm_prefix(["all"]) is None
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"executor": "slurm"}))
    with pytest.raises(UserError, match=r"config\.yaml: no slurm-jobname-prefix; .* Add: m1"):
        launch.slurm_prefix(["--profile", str(tmp_path)])
