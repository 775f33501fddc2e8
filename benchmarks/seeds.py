"""Is test-time scaling visible on any seed of the embedded world? Runs the demo on several and prints what the issue of
the demo asks.

    python benchmarks/seeds.py 1 2 3

Each seed is a whole run of its own below results/seeds/{seed} (about five minutes on two cores); what is there already
is not run again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]


def run(seed: int) -> Path:
    """The demo on one seed; its folder of results."""
    results = f"results/seeds/{seed}"
    overlay = ROOT / results / "overlay.yaml"
    overlay.parent.mkdir(parents=True, exist_ok=True)
    overlay.write_text(f"pathvars: {{results: {results}, logs: logs/seeds/{seed}}}\nworld: {{seed: {seed}}}\n")
    command = [sys.executable, "-m", "snakemake", "--quiet", "--configfile", str(overlay)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return ROOT / results


def mean_accuracies(results: Path, models: list[str]) -> pd.DataFrame:
    """Mean accuracy (%) over the benchmarks at each budget and forced count; one row for each model."""
    frames = [pd.read_parquet(results / "score" / f"{model}.parquet") for model in models]
    scored = pd.concat(frames)
    cells = scored.groupby(["model", "budget", "forced", "benchmark"])["correct"].mean()
    return (100 * cells.groupby(["model", "budget", "forced"]).mean()).unstack(["budget", "forced"]).sort_index(axis=1)


def main() -> None:
    """Print one table for each seed."""
    for seed in map(int, sys.argv[1:] or ["1", "2", "3"]):
        results = run(seed)
        found = mean_accuracies(results, ["m1-small-1k", "m1-small-23k", "m1-large-1k"])
        found.columns = [f"{budget}" if not forced else f"{budget}+{forced}W" for budget, forced in found.columns]
        print(f"seed {seed}: mean accuracy (%) of ten benchmarks by thinking budget (tokens) and forced Waits")
        print(found.round(1).to_string(), flush=True)


if __name__ == "__main__":
    main()
