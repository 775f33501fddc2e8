"""How long Snakemake takes to plan, and how much of it is Snakemake's own.

    python benchmarks/start.py              # the table of benchmarks/README.md, in Markdown; after `make demo`
    python benchmarks/start.py --times 1    # once each, to try it

It runs ``snakemake -n`` of an empty Snakefile, of the finished demo in this folder, of the paper, and of the paper with
a hundred models more in Table 1; of the last two nothing is made. Cases take turns. A first round is not counted: it
writes compiled code and fingerprints. CPU seconds are of all processes, and compare on a busy machine, too.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import yaml

ROOT = Path(__file__).parents[1]
WORKFLOW = ["--snakefile", str(ROOT / "Snakefile")]
PAPER = [*WORKFLOW, "--configfile", str(ROOT / "config/paper.yaml")]


def many_models(folder: Path, count: int) -> Path:
    """Recipes like m1-7B-1K's, each with a seed of its own, below a folder; the overlay that adds them to Table 1."""
    text = (ROOT / "config/models/m1-7b-1k.yaml").read_text(encoding="utf-8")
    paper = yaml.safe_load((ROOT / "config/paper.yaml").read_text(encoding="utf-8"))
    names = [f"mine-{number:03}" for number in range(count)]
    (folder / "config/models").mkdir(parents=True)
    for number, name in enumerate(names):
        recipe = text.replace("seed: 42", f"seed: {number}").replace("published: m1-7B-1K", "published: null")
        (folder / f"config/models/{name}.yaml").write_text(recipe, encoding="utf-8")
    shown = [*paper["report"]["table1"]["models"], *names]
    overlay = folder / "config/many.yaml"
    overlay.write_text(yaml.safe_dump({"report": {"table1": {"models": shown}}}), encoding="utf-8")
    return overlay


def plan(folder: Path, arguments: Sequence[str]) -> tuple[float, float, int]:
    """Wall and CPU seconds of ``snakemake -n`` in a folder, and how many jobs it plans."""
    command = [sys.executable, "-m", "snakemake", "-n", *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{folder}: {' '.join(command)}\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    jobs = re.search(r"^total +(\d+)$", done.stdout, re.MULTILINE)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, int(jobs[1]) if jobs else 0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="rounds that count")
    parser.add_argument("--models", type=int, default=100, help="models more in Table 1")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        floor, paper, many = (Path(name) / part for part in ("floor", "paper", "many"))
        floor.mkdir()
        paper.mkdir()
        (floor / "Snakefile").write_text("rule all:\n    input: []\n", encoding="utf-8")
        cases = {
            "an empty Snakefile": (floor, []),
            "the demo, finished": (ROOT, []),
            "the paper, nothing made": (paper, PAPER),
            f"the same with {arguments.models} models more": (many, [*PAPER, str(many_models(many, arguments.models))]),
        }
        rounds = [{case: plan(*told) for case, told in cases.items()} for _ in range(arguments.times + 1)]
    if rounds[0]["the demo, finished"][2]:
        print("The demo in this folder is not finished: run `make demo` first.", file=sys.stderr)
    middle = {case: [median(one[case][part] for one in rounds[1:]) for part in range(3)] for case in cases}
    least = middle["an empty Snakefile"]
    print("| `snakemake -n` of | jobs | wall (s) | CPU (s) | of it ours (s) |\n|---|---|---|---|---|")
    for case, (wall, cpu, jobs) in middle.items():
        print(f"| {case} | {jobs:,.0f} | {wall:.2f} | {cpu:.2f} | {cpu - least[1]:.2f} |")


if __name__ == "__main__":
    main()
