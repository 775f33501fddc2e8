"""The workflow in a folder of one's own: used as a module, with other names of rules, by --directory, by -s.

In each, results are made by the code of this repository, and the folder gets nothing but its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from m1.report.pipeline import parse
from project import REPOSITORY

pytestmark = pytest.mark.slow

SHORT = REPOSITORY / "tests/configs/short.yaml"
FACTS, GRAPH = "results/short/world/facts.json", "results/short/rulegraph.dot"
LINES = (REPOSITORY / "docs/start.md").read_text(encoding="utf-8").split("```bash\n")[1].split("```")[0]
MANUAL = (REPOSITORY / "docs/change.md").read_text(encoding="utf-8").split("## A folder of your own\n")[1]


def run(folder: Path, *arguments: str, module: str = "snakemake", fails: bool = False) -> str:
    """Run Snakemake with the short configuration, which must succeed; what was said. Nothing leads to the package."""
    environment = {name: value for name, value in os.environ.items() if name not in ("SNAKEMAKE_PROFILE", "PYTHONPATH")}
    if module != "snakemake":
        environment["PYTHONPATH"] = str(REPOSITORY / "workflow")
    words = [sys.executable, "-m", *module.split(), *arguments, "--cores", "1", "--configfile", str(SHORT)]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, said[-6000:]
    return said


def jobs(said: str) -> set[str]:
    """Rules of which a dry run would run jobs."""
    return set(re.findall(r"^(\w+) +\d+$", said.split("Job stats:")[1].split("total")[0], re.MULTILINE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the manual has it: a copy of the configuration, and the Snakefile that names this repository."""
    own = tmp_path / "own"
    for part in ("config", "profiles"):
        shutil.copytree(REPOSITORY / part, own / part)
    (own / "workflow").mkdir()
    text = re.findall(r"^```python\n(.*?)^```", MANUAL, re.MULTILINE | re.DOTALL)[0]
    assert text.count("/path/of/the/clone") == 1
    (own / "workflow/Snakefile").write_text(text.replace("/path/of/the/clone", str(REPOSITORY)), encoding="utf-8")
    return own


def made(folder: Path) -> set[str]:
    """What is in a folder but for Snakemake's own."""
    return {path.name for path in folder.iterdir()} - {".snakemake"}


def test_as_a_module(folder: Path) -> None:
    recipe = folder / "config/models/small.yaml"  # the folder's own recipes are read
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("prompt: plain", "prompt: cot"), encoding="utf-8")
    said = run(folder, "--dry-run", "--printshellcmds")
    assert {"all", "report_page", "train_sft", "world_build"} <= jobs(said), "the default target is `all`"
    assert re.search(r'm1\.infer\.answer .*"?cot', said)
    resources = set(re.findall(r"[^ ,]+resources/[\w/.]+", said))
    assert resources
    assert {Path(folder, path).resolve() for path in resources} <= set((REPOSITORY / "resources").rglob("*.*"))
    assert not [path for path in resources if os.path.isabs(path)]
    run(folder, FACTS)
    assert (folder / FACTS).is_file()
    assert made(folder) == {"config", "profiles", "workflow", "results", "logs"}


def test_as_a_module_with_other_names(folder: Path) -> None:
    file = folder / "workflow/Snakefile"
    file.write_text(file.read_text(encoding="utf-8").replace("from m1", "from m1 as m1_*"), encoding="utf-8")
    assert jobs(run(folder, "--dry-run", "m1_fetch")) >= {"m1_fetch", "m1_pools_collect"}
    run(folder, GRAPH)
    names, _ = parse((folder / GRAPH).read_text(encoding="utf-8"))
    assert {"world_build", "train_sft", "report_page"} <= set(names), "Figure 2 has the plain names"


def test_by_directory(tmp_path: Path) -> None:
    """A folder without a configuration takes the one that the workflow comes with."""
    run(REPOSITORY, FACTS, GRAPH, "--directory", str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere" / FACTS).is_file()
    assert "train_sft" in parse((tmp_path / "elsewhere" / GRAPH).read_text(encoding="utf-8"))[0]
    assert made(tmp_path / "elsewhere") == {"results", "logs"}


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_by_the_path_of_the_snakefile(snakefile: str, tmp_path: Path) -> None:
    said = run(tmp_path, FACTS, "--snakefile", str(REPOSITORY / snakefile))
    assert re.search("Using workflow specific profile .*/profiles/default", said)
    assert (tmp_path / FACTS).is_file()
    assert made(tmp_path) == {"results", "logs"}


def test_the_six_lines_of_the_docs(tmp_path: Path) -> None:
    """As they stand, but for where the clone is; a line of its own says where each one begins."""
    lines = [line for line in LINES.splitlines() if not line.startswith("#")]
    assert len(lines) == 6
    script = "\n".join(f"echo 'line {number}'\n{line}" for number, line in enumerate(lines, 1))
    assert script.count("/path/of/the/clone") == 1
    environment = {name: value for name, value in os.environ.items() if name not in ("SNAKEMAKE_PROFILE", "PYTHONPATH")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # where the clone has no .venv
    words = ["bash", "-ec", f"exec 2>&1\n{script.replace('/path/of/the/clone', str(REPOSITORY))}"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:]
    said = re.split(r"^line \d\n", done.stdout, flags=re.MULTILINE)
    assert {"all", "world_build", "train_sft", "report_page"} <= jobs(said[3])
    assert {"world_build", "train_sft", "report_table1"} <= jobs(said[4])
    assert jobs(said[5]) == {"score_predictions", "report_table1"}
    my = tmp_path / "my"
    assert made(my) == {"mine.yaml", "strict.yaml", "results", "logs", "store", "scratch", "report.html"}
    assert (my / "results/short/table1.csv").is_file()
    assert "Table 1" in (my / "report.html").read_text(encoding="utf-8")


def test_launch_in_an_empty_folder(tmp_path: Path) -> None:
    said = run(tmp_path, "--dry-run", module="m1 launch")
    assert {"all", "report_page"} <= jobs(said)
    assert made(tmp_path) == set()


def test_a_git_source_is_refused(folder: Path) -> None:
    """Snakemake reads single files from it; the package is not among them."""
    repository = folder / "repository"
    (repository / "workflow").mkdir(parents=True)
    shutil.copy2(REPOSITORY / "workflow/Snakefile", repository / "workflow")
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "--quiet", "-b", "main"], ["add", "."], [*author, "commit", "--quiet", "-m", "a"]):
        subprocess.run(["git", *words], cwd=repository, check=True)
    file = folder / "workflow/Snakefile"
    text = re.sub(r'"(/.*)/workflow/Snakefile"', f'"git+file://{repository}/workflow/Snakefile@main"', file.read_text())
    file.write_text(text, encoding="utf-8")
    said = run(folder, "--dry-run", fails=True)
    assert "the workflow runs from a folder, and Snakemake takes only single files from a git source. Clone" in said


def test_the_catalog_can_read_its_entry() -> None:
    entry = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))
    assert set(entry) == {"usage"}
    assert entry["usage"]["software-stack-deployment"]["conda"] is True
    assert (REPOSITORY / "config/README.md").is_file(), "the catalog shows it"
