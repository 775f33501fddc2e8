"""Start Snakemake in this folder, also after a run that was killed.

A run that is killed with SIGKILL cannot clean up: its jobs may go on, and Snakemake's lock stays. The launcher then
ends the orphaned jobs and removes the lock. It sees whether another run is at work from this machine's processes with
this working directory, and from a note of where the last run was started. SLURM jobs of this folder are cancelled
first, because Snakemake would submit them a second time, and both would write the same files.

Results that were copied here without Snakemake's records are not made again unless asked for (``make adopt``).
"""

import argparse
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, suppress
from itertools import pairwise
from pathlib import Path

import psutil
from snakemake import cli
from snakemake.api import resolve_snakefile
from snakemake.exceptions import CliException, print_exception

from m1.commands import dry_run, slurm
from m1.commands.doctor import ask, check_folders, configured_folders, everyday_folders
from m1.core.errors import UserError, first_line
from m1.core.files import adopt
from m1.core.places import SOURCE, special_characters
from m1.core.progress import say
from m1.wiring import config, yaml_text
from m1.wiring.run import LocalSources

NOTE = ".snakemake/m1-run.json"  # machine and process of the last run in a folder
# Results that must not be made again without being asked for.
COSTLY = ("screen/*.parquet", "distill/*.parquet", "train/*.sha256", "infer/*/predictions.parquet")
QUERIES = (  # arguments with which Snakemake only shows something
    *("dryrun", "dag", "rulegraph", "filegraph", "d3dag", "summary", "detailed_summary", "lint", "report"),
    *("print_compilation", "list_rules", "list_target_rules", "list_input_changes", "list_params_changes"),
    *("list_untracked", "list_conda_envs"),
)
# Arguments with which Snakemake reads no records of results, or makes everything on purpose.
ANYWAY = ("touch", "forceall", "lint", "unlock", "list_rules", "list_target_rules")
ENDING = 120  # seconds that cancelled SLURM jobs may take to end


def processes(folder: Path) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Runs of Snakemake in a folder, and orphaned jobs there, which no such run is a parent of."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: dict[str, list[psutil.Process]] = {"run": [], "job": [], "": []}
    for process in psutil.process_iter(["cmdline", "cwd"]):  # both are None for other users' processes
        words = process.info["cmdline"]
        if words and process.info["cwd"] == str(folder) and process.pid not in own:
            found[role(words)].append(process)
    alive = {process.pid for process in found["run"]}
    return found["run"], [job for job in found["job"] if not alive & _ancestors(job)]


def role(words: Sequence[str]) -> str:
    """Classify a command line: a ``run`` of Snakemake, a ``job`` of the package, or an empty text for anything else."""
    modules = {following for word, following in pairwise(words) if word == "-m"}
    launched = any(pair == ("m1", "launch") for pair in pairwise(words))
    if "snakemake" in modules or launched or any(Path(word).name == "snakemake" for word in words[:3]):
        return "" if "--target-jobs" in words else "run"  # the Snakemake inside a job ends with the job
    return "job" if any(module.startswith("m1.") for module in modules) else ""


def _ancestors(process: psutil.Process) -> set[int]:
    try:
        return {parent.pid for parent in process.parents()}
    except psutil.NoSuchProcess:
        return set()


def slurm_prefix(options: argparse.Namespace) -> str | None:
    """The beginning of the names of this run's SLURM jobs, by Snakemake's options and profiles; None without SLURM.

    Raises:
        UserError: the profile sets no prefix, so orphaned jobs of a killed run could not be found.
    """
    if options.executor != "slurm":
        return None
    if not isinstance(options.slurm_jobname_prefix, str):
        why = "no slurm-jobname-prefix, by which orphaned jobs of a killed run are found"
        raise UserError(f"{why}. Add to the profile: slurm-jobname-prefix: m1")
    return f"{options.slurm_jobname_prefix}_"


def slurm_jobs(folder: Path, prefix: str) -> list[str]:
    """Numbers of this user's SLURM jobs of a folder that wait, run or are ending."""
    code, said, error = ask("squeue", "--noheader", "--me", "--format=%A|%j|%Z")
    if code == 127:
        raise UserError(f"{error}; start this on a login node of the cluster, or without the profile for SLURM")
    if code:
        unseen = f"jobs of {folder} cannot be seen, so none is cancelled, and nothing is started"
        raise UserError(f"SLURM does not answer: {error.strip()}; {unseen}. Give this command again when it answers")
    rows = [line.split("|", 2) for line in said.splitlines()]
    return sorted({number for number, name, where in rows if name.startswith(prefix) and where == str(folder)})


def cancel(folder: Path, prefix: str) -> int:
    """Cancel the SLURM jobs of a folder, and wait until they are gone; returns their number.

    Raises:
        UserError: jobs are still there after :data:`ENDING` seconds; names them.
    """
    jobs = slurm_jobs(folder, prefix)
    if not jobs:
        return 0
    ask("scancel", *jobs)  # that some have ended by now is no error
    waited = time.monotonic()
    while left := slurm_jobs(folder, prefix):
        if time.monotonic() - waited > ENDING:
            numbers = ", ".join(left)
            raise UserError(f"{folder}: SLURM jobs {numbers} do not end; cancel them by scancel, and start again")
        time.sleep(0.5)
    return len(jobs)


def cancel_leftovers(folder: Path, prefix: str) -> None:
    """Cancel jobs that an ended run left in SLURM's queue, because they would go on beside the next run."""
    try:
        if cancelled := cancel(folder, prefix):
            say("launch", f"{cancelled} SLURM jobs of this run cancelled")
    except UserError as error:  # Snakemake's onerror would show where in the code
        say("launch", str(error))


def clear(folder: Path, snakemake: Sequence[str], prefix: str | None) -> None:
    """End orphaned jobs and remove a stale lock, if there are any.

    Args:
        folder: the working directory.
        snakemake: the command of Snakemake, to remove the lock.
        prefix: of the names of this run's SLURM jobs; None if it makes none. Those of the killed run are found anyway.

    Raises:
        UserError: a run is at work in this folder, or may be at work on another machine.
    """
    locks = folder / ".snakemake" / "locks"
    locked = locks.is_dir() and any(locks.iterdir())
    if not (locked or prefix):
        return
    if runs := processes(folder)[0]:
        raise UserError(f"{folder}: Snakemake is at work here already (process {runs[0].pid}); wait for it or end it")
    note, here = folder / NOTE, socket.gethostname()
    last = json.loads(note.read_text(encoding="utf-8")) if locked and note.is_file() else {"machine": here}
    prefix = prefix or last.get("slurm")
    if last["machine"] != here:
        raise UserError(
            f"{folder}: the last run was started on {last['machine']} (process {last['process']}) and may be at work; "
            f"start this one there, or, if that process is gone, delete {note}"
        )
    cancelled = cancel(folder, prefix) if prefix else 0
    orphans = processes(folder)[1]
    for orphan in orphans:
        with suppress(psutil.NoSuchProcess):
            orphan.terminate()
    for orphan in psutil.wait_procs(orphans, timeout=10)[1]:
        orphan.kill()
    if locked:
        done = subprocess.run([*snakemake, "--unlock"], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip()[-2000:]
            raise UserError(f"{folder}: the lock of a killed run could not be removed. Snakemake says:\n{said}")
    if locked or cancelled:
        scheduled = f", {cancelled} SLURM jobs cancelled" if prefix else ""
        ended = f"{len(orphans)} orphaned jobs ended{scheduled}" + (", lock removed" if locked else "")
        say("launch", f"the last run here was killed: {ended}; going on from what is finished")


def records_remedy(folder: Path, results: str) -> str:
    """Advise what to do about results that came here without Snakemake's records; empty if there are none.

    Without records, Snakemake goes by the times of files, which a copy or a fresh clone changes.
    """
    records = folder / ".snakemake/metadata"
    known = records.is_dir() and any(records.iterdir())
    if known or not any(file for pattern in COSTLY for file in (folder / results).glob(pattern)):
        return ""
    return (
        f"{results}: these results came without Snakemake's records of them (the folder .snakemake), so it would make "
        "most of them again. Bring .snakemake along, too; or take them as they are, by the same command with --touch "
        f"(make adopt CONFIG=…), which makes nothing; or, to make them anew, delete {results}"
    )


def add_snakefile(arguments: Sequence[str]) -> list[str]:
    """Snakemake's arguments, with the workflow's own Snakefile if they name none and the folder has none."""
    options = cli.get_argument_parser().parse_args(arguments)
    found = resolve_snakefile(options.snakefile, allow_missing=True)
    return [*arguments] if found else ["--snakefile", str(SOURCE / "Snakefile"), *arguments]


def check_profiles(parser: argparse.ArgumentParser) -> None:
    """Refuse a profile in which a key stands twice, because Snakemake silently takes the last one."""
    for file in getattr(parser, "_default_config_files", ()):
        yaml_text.read_yaml(Path(file), file, {})


def parse_arguments(arguments: Sequence[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Parse arguments as Snakemake does, with those of its profiles; returns the parser and the options.

    Raises:
        UserError: a flag on the command line would replace everything that the profile has under the same name, or
            that it was given before itself, or a key stands twice in a profile.
    """
    for first, other in (("--configfile", "--configfiles"), ("--config", "-C")):
        if sum(word.partition("=")[0] in (first, other) for word in arguments) > 1:
            raise UserError(f"{first} stands twice, and Snakemake takes only the last; put all behind one {first}")
    parser, options = cli.parse_args(arguments)
    check_profiles(parser)
    own = cli.get_argument_parser().parse_args(arguments)
    profiles = ["--profile", *own.profile] if own.profile else []
    profiles += ["--workflow-profile", own.workflow_profile] if own.workflow_profile else []
    with redirect_stderr(io.StringIO()):  # the first call has printed which profile is used
        profile = cli.parse_args(profiles)[1]
    for name in ("config", "configfile", "default_resources"):
        if getattr(own, name) and getattr(profile, name):
            flag = f"--{name.replace('_', '-')}"
            remedy = "put keys of the configuration into a file: --configfile"
            remedy = remedy if name != "configfile" else "name all files in the same place"
            raise UserError(
                f"{flag} takes the place of all that the profile has below `{flag[2:]}` (as partitions, scratch, "
                f"account); change the profile, or {remedy}"
            )
    return parser, options


def main(argv: Sequence[str] | None = None) -> None:
    """Clear what a killed run left, then run Snakemake with the same arguments; a mere query clears nothing."""
    parser, options = parse_arguments(add_snakefile(list(sys.argv[1:] if argv is None else argv)))
    folder, files = Path.cwd(), [str(file) for file in options.configfile or []]
    if options.directory:
        folder, files = Path(options.directory).resolve(), [os.path.abspath(file) for file in files]
    try:
        cli.parse_config(options.config)
    except (ValueError, CliException) as error:
        remedy = "KEY is one of the top level; what is below it goes into a file: --configfile mine.yaml"
        raise UserError(f"--config: {first_line(error)} {remedy}") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--directory: {folder} cannot be made ({error.strerror}); give another folder") from None
    if options.executor == "slurm" and (found := special_characters(str(folder))):
        raise UserError(
            f"{folder}: its path holds {found}; run in another folder, because such paths are untested on SLURM"
        )
    with chdir(folder):  # checked before Snakemake starts: its messages are less clear, and it would write files first
        alone = options.replace_workflow_config
        whole = config.load([Path(file) for file in files], options.config or (), alone=alone)
        folders = everyday_folders() + configured_folders(whole)
        if faulty := next(check_folders(folders), None):
            raise UserError(f"{faulty.found}: {faulty.need}")
        if options.touch and not options.dryrun:
            LocalSources(whole).adopt()
    query = any(getattr(options, name) for name in QUERIES)
    anyway = any(getattr(options, name) for name in ANYWAY)
    if problem := "" if anyway else records_remedy(folder, whole["pathvars"]["results"]):
        if not query:
            raise UserError(problem)
        say("launch", problem)
    if not query:
        prefix = slurm_prefix(options)
        words = ["--snakefile", os.path.abspath(resolve_snakefile(options.snakefile))]
        words += ["--configfile", *files] if files else []
        if prefix:
            slurm.teach_executor()
        clear(folder, [sys.executable, "-m", "snakemake", *words], prefix)
        (folder / NOTE).parent.mkdir(parents=True, exist_ok=True)
        note = {"machine": socket.gethostname(), "process": os.getpid(), "slurm": prefix}
        (folder / NOTE).write_text(json.dumps(note), encoding="utf-8")
    if options.touch:
        # Touch all results, since those that look new by their time would stay unrecorded; and delete none that fails.
        options.forceall = options.keep_incomplete = True
        for path in adopt(folder / whole["pathvars"]["results"]) if not query else ():
            say("launch", f"{path}: changed since it was made; taken as it is, and its manifest says so now")
    if options.dryrun and not any(getattr(options, name) for name in QUERIES if name != "dryrun"):
        dry_run.record(options)
    try:
        success = cli.args_to_api(options, parser)
    except Exception as error:
        print_exception(error)
        success = False
    if success:
        dry_run.show()
    raise SystemExit(0 if success else 1)
