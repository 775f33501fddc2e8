"""Places that a run cannot use, or that are called in an unusual way: it works, or one line says what to do.

Read-only and full file systems are mounted for one program only, in a mount namespace of its own: permission bits would
not bind root.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from project import REPOSITORY, Project

pytestmark = pytest.mark.workflow

SHORT = ["--configfile", str(REPOSITORY / "tests/configs/short.yaml")]
FACTS = "results/short/world/facts.json"
NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]


def run(folder: Path, *words: str, source: Path = REPOSITORY, **variables: str) -> tuple[int, str]:
    """Exit code, and what was said, of ``python -m m1`` in a folder."""
    environment = os.environ | {"PYTHONPATH": str(source / "workflow")} | variables
    command = [sys.executable, "-m", "m1", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def mounted(mounts: list[str], folder: Path, *words: str, **variables: str) -> tuple[int, str]:
    """As :func:`run`, after some ``mount`` commands that only this program sees."""
    if subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this user may mount nothing, so that no read-only or full file system can be tried")
    command = shlex.join([sys.executable, "-m", "m1", *words])
    script = "; ".join(["set -e", *(f"mount {one}" for one in mounts), f"cd {shlex.quote(str(folder))}", command])
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")} | variables
    done = subprocess.run([*NAMESPACE, "sh", "-c", script], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def clone(folder: Path) -> Path:
    """A copy of the repository in a folder."""
    Project.of_repository(folder)
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy2(REPOSITORY / name, folder)
    return folder


def refused(code: int, said: str, expected: str) -> None:
    """The launcher's exit code 1 and one line."""
    assert (code, "Traceback" in said) == (1, False), said
    assert re.search(f"^error: {expected}", said, re.MULTILINE), said
    assert "rule world_build" not in said, "no job began"


LAUNCH = ("launch", FACTS, "--cores", "1", *SHORT)
READ_ONLY = "cannot be written (Read-only file system); mend that, or"


@pytest.mark.parametrize("arguments", [LAUNCH, ("launch", "-n", *LAUNCH[1:])], ids=["run", "dry run"])
def test_a_read_only_folder_is_named(arguments: tuple[str, ...], tmp_path: Path) -> None:
    mounts = [f"-t tmpfs -o ro tmpfs {tmp_path}"]
    code, said = mounted(mounts, tmp_path, *arguments)
    expected = f"{tmp_path}: it {READ_ONLY} run in another one (m1 launch … --directory FOLDER)"
    refused(code, said, re.escape(expected))


def test_a_read_only_clone_runs_in_another_folder(tmp_path: Path) -> None:
    source, work = tmp_path / "clone", tmp_path / "work"
    source.mkdir()
    mounts = [f"--bind {REPOSITORY} {source}", f"-o remount,ro,bind {source}"]
    code, said = mounted(mounts, source, *LAUNCH, "--directory", str(work), PYTHONPATH=str(source / "workflow"))
    assert code == 0, said
    assert (work / FACTS).is_file()


FULL = {
    "a full folder for temporary files": ("TMPDIR", "-o size=16k", "No space left on device", "set TMPDIR", ""),
    "a read-only cache": ("XDG_CACHE_HOME", "-o ro", "Read-only file system", "set XDG_CACHE_HOME", ""),
    "a read-only home": ("HOME", "-o ro", "Read-only file system", "set XDG_CACHE_HOME", "/.cache"),
}


@pytest.mark.parametrize("case", FULL)
@pytest.mark.parametrize("command", ["launch", "doctor"])
def test_a_place_that_takes_nothing_is_named_with_its_variable(command: str, case: str, tmp_path: Path) -> None:
    variable, options, why, remedy, below = FULL[case]
    place, work = tmp_path / "place", tmp_path / "work"
    place.mkdir()
    work.mkdir()
    words = LAUNCH if command == "launch" else ("doctor", *SHORT)
    unset = {} if variable != "HOME" else {"XDG_CACHE_HOME": ""}
    code, said = mounted([f"-t tmpfs {options} tmpfs {place}"], work, *words, **{variable: str(place)}, **unset)
    expected = f"{place}{below}: it cannot be written ({why}); mend that, or {remedy} to another one"
    if command == "launch":
        refused(code, said, re.escape(expected))
    else:
        assert (code, "Traceback" in said) == (1, False), said
        assert f"missing folder      {expected}" in said


def test_folders_of_the_configuration_are_looked_at_and_named_by_their_key(tmp_path: Path) -> None:
    work, place = tmp_path / "work", tmp_path / "place"
    work.mkdir()
    place.mkdir()
    (tmp_path / "mine.yaml").write_text(f"store: {place}/store\nscratch: {place}/scratch\n", encoding="utf-8")
    mounts = [f"-t tmpfs -o ro tmpfs {place}"]
    code, said = mounted(mounts, work, *LAUNCH, str(tmp_path / "mine.yaml"))
    refused(code, said, re.escape(f"{place}/store: it {READ_ONLY} set `store` to another one"))
    code, said = mounted(mounts, work, "doctor", "--configfile", str(tmp_path / "mine.yaml"))
    assert said.count("missing folder") == 1, "one folder is one finding"


@pytest.mark.slow
def test_a_clone_with_a_blank_in_its_path_runs(tmp_path: Path) -> None:
    source = clone(tmp_path / "My Drive" / "it's p")
    code, said = run(source, *LAUNCH, source=source)
    assert code == 0, said
    assert (source / FACTS).is_file()


def test_a_clone_with_a_blank_in_its_path_is_refused_elsewhere(tmp_path: Path) -> None:
    source, work = clone(tmp_path / "My Drive/p"), tmp_path / "work"
    expected = re.escape(f"{source}: its path holds a blank, so the workflow runs only in that folder itself; move")
    refused(*run(source, *LAUNCH, "--directory", str(work), source=source), expected)
    refused(*run(work, "doctor", source=source), expected)
    braces = tmp_path / "{p}"
    source.rename(braces)
    refused(
        *run(braces, "doctor", source=braces), re.escape(f"{braces}: Snakemake and Python take {{ and }} in a path")
    )


@pytest.mark.slow
def test_a_directory_that_is_not_there_is_made_and_has_the_repositorys_configuration(tmp_path: Path) -> None:
    work = tmp_path / "a/work"
    code, said = run(REPOSITORY, *LAUNCH, "--directory", str(work))
    assert code == 0, said
    assert (work / FACTS).is_file()
    (tmp_path / "file").touch()
    code, said = run(REPOSITORY, *LAUNCH, "--directory", str(tmp_path / "file/work"))
    refused(code, said, re.escape(f"--directory: {tmp_path}/file/work cannot be made (Not a directory); give another"))


@pytest.mark.parametrize("written", ["results/x/", "./results/x", "results//x//"])
def test_a_folder_of_results_is_taken_in_its_plain_form(written: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"pathvars: {{results: '{written}', logs: logs/x/}}\n", encoding="utf-8")
    target = "results/x/world/facts.json"
    code, said = run(tmp_path, "launch", target, "--cores", "1", *SHORT, "mine.yaml")
    assert code == 0, said
    assert (tmp_path / target).is_file()
    assert (tmp_path / "logs/x/world_build.log").is_file()


@pytest.mark.parametrize(("key", "path"), [("results", "my results"), ("logs", "a;b")])
def test_a_folder_of_results_that_is_more_than_one_word_is_refused(key: str, path: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"pathvars: {{{key}: '{path}'}}\n", encoding="utf-8")
    code, said = run(tmp_path, "launch", "-n", "all", *SHORT, "mine.yaml")
    refused(
        code, said, rf"pathvars\.{key}: '{path}' holds .*, which commands of jobs cannot have; choose another folder"
    )


ODD = """we#ird %41 $HOME {a} it's "ä\\ c:d"""
OVERLAY = """
pathvars: {results: "./rés%=,@+x/", logs: "../lögs/"}
store: "st'o #% $5 ä/"
scratch: "./sc'r # % $5/"
data: {mine: {layout: medbullets, path: "./my dätä's #1 %20 $5 ~.csv"}}
benchmarks: {medqa: {from: mine}}
"""


def test_a_folder_and_files_of_odd_names(tmp_path: Path) -> None:
    """Working directory, overlay, data, results, logs, store and scratch, by a real job and by the commands of others;
    a whole run of the short configuration was made so, too."""
    work, overlay = tmp_path / ODD, "my 'o' #1 $x {a} ä.yaml"
    work.mkdir()
    (work / overlay).write_text(OVERLAY, encoding="utf-8")
    table = "question,opa,opb,opc,opd,ope,answer_idx\nWhich one?,This,That,,,,A\n"
    (work / "my dätä's #1 %20 $5 ~.csv").write_text(table, encoding="utf-8")
    target = "rés%=,@+x/benchmarks/medqa.parquet"
    code, said = run(work, "launch", target, "--cores", "1", *SHORT, overlay)
    assert code == 0, said
    assert (work / target).is_file()
    assert (tmp_path / "lögs/pools_collect_benchmark/medqa.log").is_file()
    assert "strongly discouraged" not in said, "Snakemake sees no `./`"
    code, said = run(work, "launch", "-n", "all", "--printshellcmds", "--cores", "1", *SHORT, overlay)
    assert code == 0, said
    commands = [shlex.split(line) for line in said.splitlines() if "python -m m1." in line or "--rulegraph" in line]
    stores = {words[words.index("--store") + 1] for words in commands if "--store" in words}
    assert stores >= {"st'o #% $5 ä//screen-small", "st'o #% $5 ä/"}
    scratches = {words[words.index("--scratch") + 1] for words in commands if "--scratch" in words}
    assert scratches == {"./sc'r # % $5/"}
    [graph] = [words for words in commands if "--rulegraph" in words]
    assert overlay in graph


def test_a_store_with_a_blank_in_its_path_is_one_word(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("store: 'my (paid) store'\n", encoding="utf-8")
    target = "results/short/screen/small.parquet"
    code, said = run(tmp_path, "launch", "-n", "--printshellcmds", target, *SHORT, "mine.yaml")
    assert code == 0, said
    assert " --store 'my (paid) store'/screen-small --output" in said
