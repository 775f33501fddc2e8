"""Two runs side by side: what differs between them, paired differences of Tables 1 and 2, both scaling curves, and the
questions that are correct in one run only (docs/compare.md)."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from m1.core.places import source_file
from m1.report.runs import compare, name_runs


def main(argv: Sequence[str] | None = None) -> None:
    """Compare two runs, and print what differs."""
    parser = argparse.ArgumentParser(prog="m1 compare-runs", description=__doc__)
    parser.add_argument("a", metavar="A", help="results folder of the first run, as FOLDER or NAME=FOLDER")
    parser.add_argument("b", metavar="B", help="results folder of the second run; differences are B minus A")
    parser.add_argument("--output", type=Path, help="folder to write to (default: results/compare/A/vs/B)")
    arguments = parser.parse_args(argv)
    named = name_runs(arguments.a, arguments.b)
    (first, _), (second, _) = named
    output = arguments.output or Path("results/compare", first, "vs", second)
    compare(named, source_file("resources/paper/benchmarks.csv"), output)
