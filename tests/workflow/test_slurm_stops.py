"""Jobs on a real SLURM that are stopped before their end: preempted, cancelled, on a node that is lost; and a database
of accounting that is away."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
import slurm_cluster
from m1.commands import launch
from m1.commands.slurm import teach_executor
from m1.train import checkpoints
from patience import PATIENCE
from project import Project
from slurm_cluster import Cluster
from slurm_executor import Executor
from slurm_executor import untaught as untaught

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
MODEL = "m1-large-1k"
LARGE, SWEPT = f"results/short/train/{MODEL}", "results/short/infer/m1-small-1k/predictions.parquet"
STEPS = 30  # of the training, ten times three


SLOWLY = """\
        self.done += count
        self.calls = getattr(self, "calls", 0) + 1
        if not os.path.exists("go"):
            time.sleep(3 if self.unit == "steps" else 0.1)
        while self.unit == "questions" and self.calls > 60 and not os.path.exists("go"):
            time.sleep(0.1)
"""


def ready(project: Project, slurm: dict[str, str], partition: str, command: str, **train: int) -> Cluster:
    """A finished project that has a training and a sweep to do again, in a partition.

    Until the test calls :func:`go_on`, a step of the training takes three seconds, and the sweep stops at its middle.
    """
    for made in (LARGE, "results/short/infer/m1-small-1k"):
        shutil.rmtree(project.path(made))
    for kept in ("train/m1-large-1k", "infer-m1-small-1k"):
        shutil.rmtree(project.path(f"store/short/{kept}"))
    profile, progress = "profiles/slurm/config.yaml", "workflow/m1/core/progress.py"
    project.replace(profile, "partition: &partition cpu", f"partition: &partition {partition}")
    project.replace(profile, "slurm-status-command: squeue", f"slurm-status-command: {command}")
    project.replace(progress, "import time\n", "import os\nimport time\n")
    project.replace(progress, "        self.done += count\n", SLOWLY)  # decides no result
    train_as(project, save_steps=1, **train)
    return Cluster(project, slurm)


def train_as(project: Project, **train: int) -> None:
    """Set what the training runs on."""
    recipe = project.path("config/models/m1-large-1k.yaml")
    recipe.write_text(f"{recipe.read_text()}train: {json.dumps(train)}\n")


def go_on(project: Project) -> None:
    """Let the training and the sweep go on at full speed."""
    project.folder.joinpath("go").touch()


def generations(project: Project) -> list[str]:
    """Keys of what the store has of the sweep, in no order."""
    segments = (project.folder / "store/short/infer-m1-small-1k").glob("*.jsonl")
    return [json.loads(line)["key"] for segment in segments for line in segment.read_text().splitlines()]


def check_training(project: Project, finished: Project, resumed: int) -> None:
    """The training is that of an undisturbed one, to the byte, and did not begin anew."""
    for file in ("model.safetensors", "log.jsonl"):
        assert project.path(f"{LARGE}/{file}").read_bytes() == finished.path(f"{LARGE}/{file}").read_bytes()
    steps = [line["step"] for line in checkpoints.losses(project.path(f"{LARGE}/log.jsonl"))]
    assert steps == list(range(1, STEPS + 1)), "each is logged once"
    assert json.loads(project.path(f"{LARGE}/manifest.json").read_text())["ran"]["resumed"] >= resumed


def test_preempted_jobs_go_on_while_the_database_is_away(
    project: Project, finished: Project, slurm: dict[str, str]
) -> None:
    if not slurm_cluster.accounts():
        pytest.skip("no accounting here; Debian: apt-get install slurmdbd mariadb-server")
    cluster = ready(project, slurm, "spare", "sacct")
    process = cluster.start(LARGE, SWEPT)
    cluster.wait(lambda: cluster.step(MODEL) > 5 and len(generations(project)) > 10, process)
    cluster.kill("slurmdbd", "mariadbd")
    try:
        cluster.take_nodes(1)
        cluster.wait(lambda: [job["Restarts"] for job in cluster.jobs()] == ["1", "1"], process)
        kept = generations(project)
        go_on(project)
        cluster.wait(lambda: {job["JobState"] for job in cluster.jobs()} == {"COMPLETED"}, process)
        assert process.poll() is None, "nobody can know yet that they have ended"
    finally:
        slurm_cluster.start(cluster.slurm)
    assert process.wait(timeout=PATIENCE) == 0, cluster.said.read_text()

    assert [job["Restarts"] for job in cluster.jobs()] == ["1", "1"], "none was submitted again"
    said = cluster.said.read_text()
    assert "Error in rule" not in said
    assert said.index("sacct does not answer") < said.index("sacct answers again")
    check_training(project, finished, 5)
    assert project.path(SWEPT).read_bytes() == finished.path(SWEPT).read_bytes()
    found = generations(project)
    assert len(found) == len(set(found)), "nothing is generated twice"
    assert 10 < len(set(kept)) < len(found)
    assert set(kept) < set(found)


def trainers(project: Project) -> list[psutil.Process]:
    """Trainings at work in a project."""
    found = psutil.process_iter(["cmdline", "cwd"])
    return [
        process
        for process in found
        if "m1.train.sft" in (process.info["cmdline"] or []) and process.info["cwd"] == str(project.folder)
    ]


def test_a_training_outlives_a_preemption_that_it_heeds_a_drained_node_and_a_lost_one(
    project: Project, finished: Project, slurm: dict[str, str]
) -> None:
    cluster = ready(project, slurm, "grace", "squeue")
    process = cluster.start(LARGE)
    cluster.wait(lambda: cluster.step(MODEL) > 2, process)
    cluster.take_nodes(1)  # it stops by itself, which SLURM calls FAILED
    cluster.wait(lambda: cluster.jobs()[0]["Restarts"] == "1" and cluster.jobs()[0]["JobState"] == "RUNNING", process)
    assert "was preempted, and is queued again" in cluster.said.read_text()
    resumed = cluster.step(MODEL)

    lost = cluster.jobs()[0]["NodeList"]
    cluster.ask("scontrol", "update", f"NodeName={lost}", "State=DRAIN", "Reason=test")
    cluster.wait(lambda: cluster.step(MODEL) > resumed, process)
    settings = (cluster.slurm / "slurm.conf").read_text()
    try:
        (cluster.slurm / "slurm.conf").write_text(settings.replace("SlurmdTimeout=300", "SlurmdTimeout=10"))
        cluster.ask("scontrol", "reconfigure")
        cluster.kill(f"slurmd-{lost}")
        (first,) = trainers(project)
        first.suspend()  # it goes on there, for longer than it takes SLURM to queue its job again
        log = project.path("logs/short/train_sft/m1-large-1k.log")
        waits = f"process {first.pid} on {lost} since "
        cluster.wait(lambda: log.exists() and waits in log.read_text(), process)
        assert "on a node that SLURM has lost; waiting until it has ended" in log.read_text()
        (job,) = cluster.jobs()
        assert (job["Restarts"], job["JobState"], job["NodeList"] != lost) == ("2", "RUNNING", True)
        go_on(project)
        first.resume()
        assert process.wait(timeout=PATIENCE) == 0, cluster.said.read_text()
    finally:
        for left in trainers(project):
            left.resume()
        slurm_cluster.start(cluster.slurm)
        cluster.ask("scontrol", "reconfigure")
        cluster.ask("scontrol", "update", f"NodeName={lost}", "State=RESUME")
    assert [job["JobState"] for job in cluster.jobs()] == ["COMPLETED"], "one job, whatever became of it"
    assert "Error in rule" not in cluster.said.read_text()
    check_training(project, finished, 2)


def test_a_training_on_two_nodes_goes_on_after_a_preemption(
    project: Project, finished: Project, slurm: dict[str, str], tmp_path: Path
) -> None:
    undisturbed = finished.copy(tmp_path / "undisturbed")
    for made in (f"results/short/train/{MODEL}", f"store/short/train/{MODEL}"):
        shutil.rmtree(undisturbed.path(made))
    train_as(undisturbed, per_device=4)  # as each of two processes has, so that sums are the same to the last bit
    undisturbed.make(LARGE)

    cluster = ready(project, slurm, "spare", "squeue", nodes=2)
    process = cluster.start(LARGE)
    cluster.wait(lambda: cluster.step(MODEL) > 5, process)
    assert {training.environ()["SLURM_NODEID"] for training in trainers(project)} == {"0", "1"}
    cluster.take_nodes(1)
    cluster.wait(lambda: cluster.jobs()[0]["Restarts"] == "1" and cluster.jobs()[0]["JobState"] == "RUNNING", process)
    go_on(project)
    assert process.wait(timeout=PATIENCE) == 0, cluster.said.read_text()

    (job,) = cluster.jobs()
    assert (job["JobState"], job["NumNodes"], job["Restarts"]) == ("COMPLETED", "2", "1")
    assert "Error in rule" not in cluster.said.read_text()
    check_training(project, undisturbed, 5)


SNAKEFILE = """
rule all:
    input:
        expand("made/{number}", number=range(4))


localrules: wait


rule wait:
    output:
        "go"
    shell:
        "until [ -e may-go ]; do sleep 0.1; done; touch {output}"


rule make:
    input:
        "go"
    output:
        "made/{number}"
    shell:
        "sleep 1; echo {wildcards.number} > {output}"
"""


@pytest.fixture
def four_jobs(slurm: dict[str, str], tmp_path: Path) -> Cluster:
    """A project of four short jobs, which are submitted when there is a file ``may-go``."""
    project = Project.of_repository(tmp_path / "project")
    (project.folder / "Snakefile").write_text(SNAKEFILE)
    return Cluster(project, slurm)


def refused(cluster: Cluster, why: str) -> bool:
    """Whether the run has said that SLURM takes no job at present, for a reason."""
    return bool(re.search(rf"SLURM takes no job at present \(.*(?i:{why})", cluster.said.read_text()))


def check_four(cluster: Cluster, process: subprocess.Popen[bytes]) -> None:
    """The run ends well, and each of the four jobs ran once."""
    assert process.wait(timeout=PATIENCE) == 0, cluster.said.read_text()
    assert [job["JobState"] for job in cluster.jobs()] == ["COMPLETED"] * 4, "each is submitted once"
    assert "Error in rule" not in cluster.said.read_text()


def test_more_jobs_than_slurm_accepts_are_submitted_later(four_jobs: Cluster) -> None:
    if not slurm_cluster.accounts():
        pytest.skip("no accounting here; Debian: apt-get install slurmdbd mariadb-server")

    def limit(jobs: int) -> None:
        four_jobs.ask("sacctmgr", "-i", "modify", "qos", "normal", "set", f"MaxSubmitJobsPerUser={jobs}")

    (four_jobs.project.folder / "may-go").touch()
    limit(2)
    try:
        process = four_jobs.start("all")
        four_jobs.wait(lambda: refused(four_jobs, "QOSMaxSubmitJobPerUserLimit"), process)
    finally:
        limit(-1)
    check_four(four_jobs, process)


@pytest.mark.parametrize("how", ["killed", "slow"])
def test_jobs_that_reach_no_controller_are_submitted_later(four_jobs: Cluster, how: str) -> None:
    """A slow controller takes a job after ``sbatch`` has given it up.

    One that is killed could lose what it has just taken, so it is killed before.
    """
    process = four_jobs.start("all")
    four_jobs.wait(lambda: "rule wait" in four_jobs.said.read_text(), process)
    four_jobs.kill("slurmctld", by=signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    try:
        (four_jobs.project.folder / "may-go").touch()
        four_jobs.wait(lambda: refused(four_jobs, "unable to contact|timed out|connection"), process)
    finally:
        if how == "killed":
            slurm_cluster.start(four_jobs.slurm)
        else:
            four_jobs.kill("slurmctld", by=signal.SIGCONT)
    check_four(four_jobs, process)


def test_ends_that_the_executor_does_not_know(
    slurm: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    cluster = Cluster(Project(tmp_path), slurm)
    # SIGTERM can reach `sleep` before the shell: as the loop's condition, it would end the job with 0.
    stops = "--wrap=srun sh -c 'trap \"exit 1\" TERM; touch began-$SLURM_JOB_ID; while :; do sleep 0.1; done'"
    size = ("--cpus-per-task=8", "--mem=100", "--output=/dev/null", "--job-name=m1_ends")

    def submit(partition: str, flag: str = "--requeue") -> str:
        job = cluster.ask("sbatch", "--parsable", f"--partition={partition}", flag, *size, stops).strip()
        cluster.wait((tmp_path / f"began-{job}").exists)
        return job

    cancelled = submit("cpu")
    cluster.ask("scancel", cancelled)
    jobs = [submit("spare", "--no-requeue"), submit("grace"), submit("cancels")]
    held = cluster.ask("sbatch", "--parsable", "--hold", *size, stops).strip()
    cluster.take_nodes(3)
    teach_executor()
    executor = Executor("sacct" if slurm_cluster.accounts() else "squeue", "m1_ends")

    def waits_for() -> list[str]:
        return executor.ask(*(job for job in (cancelled, *jobs, held) if job not in executor.reports))

    def queued_again() -> bool:
        return all("Restarts=1" in cluster.ask("scontrol", "show", "job", job) for job in jobs[1:])

    cluster.wait(lambda: waits_for() == [*jobs[1:], held] and queued_again())
    assert "status is: 'CANCELLED'" in executor.reports[cancelled]
    assert "status is: 'FAILED'" in executor.reports[jobs[0]]
    assert waits_for() == [*jobs[1:], held], "the executor goes on to wait for them"
    said = f"wait for more than their turn (JobHeldUser): {held}; `scontrol release {held}` lets them go on"
    assert capsys.readouterr().out.count(said) == 1
    assert launch.cancel(tmp_path, "m1_") == 3, "a killed run's jobs are found when they have been queued again, too"
    cluster.wait(lambda: not waits_for())
    assert all("status is: 'CANCELLED'" in executor.reports[job] for job in jobs[1:])
