"""What the budget sweeps cost, and what generating each setting anew would cost (3.3): ``sweep_cost.csv`` from
manifests."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m1.core.errors import UserError, run
from m1.core.files import read_json, replacing
from m1.core.progress import say

COUNTS = (
    "questions",
    "settings",
    "predictions",
    "rollout_tokens",
    "forced_tokens",
    "answer_tokens",
    "companion_tokens",
)
ANEW = ("anew_thinking_tokens", "anew_answer_tokens")
COLUMNS = ("model", *COUNTS, "tokens", *ANEW, "anew_tokens", "share", "generated_now", "seconds", "tokens_per_second")


def read_sweep(path: Path) -> dict[str, Any]:
    """Name, counts and seconds from the manifest of a sweep.

    Raises:
        UserError: names the file and what is missing: not a sweep's manifest, or of an earlier version.
    """
    manifest = read_json(path)
    if not isinstance(manifest, dict):
        manifest = {}
    found = {**manifest.get("counts", {}), "model": manifest.get("name"), "seconds": manifest.get("seconds")}
    missing = [key for key in ("model", *COUNTS, *ANEW, "generated_now", "seconds") if found.get(key) is None]
    if missing:
        raise UserError(
            f"{path}: not the manifest of a budget sweep: no {', '.join(missing)}. Delete it to have "
            "the sweep made again."
        )
    return found


def to_row(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table.

    ``tokens`` is what all settings together need, whatever the store held: thinking once, extending it by force,
    different answers, companions. ``anew_tokens`` is what each setting by itself would need, added up; ``share`` the
    first divided by the second. ``generated_now`` is what the run that wrote the manifest generated itself, in
    ``seconds`` of wall-clock time with loading the model; ``tokens_per_second`` is empty where it found everything in
    the store.
    """
    tokens = sum(sweep[f"{part}_tokens"] for part in ("rollout", "forced", "answer", "companion"))
    anew = sweep["anew_thinking_tokens"] + sweep["anew_answer_tokens"]
    return {
        **sweep,
        "tokens": tokens,
        "anew_tokens": anew,
        "share": f"{tokens / anew:.4f}" if anew else "",
        "seconds": f"{sweep['seconds']:.1f}",
        "tokens_per_second": f"{sweep['generated_now'] / sweep['seconds']:.0f}"
        if sweep["generated_now"] and sweep["seconds"]
        else "",
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--manifests",
        required=True,
        nargs="+",
        type=Path,
        help="manifests of m1.infer.sweep, a row each, in this order",
    )
    parser.add_argument("--output", required=True, type=Path, help="CSV")
    arguments = parser.parse_args(argv)
    rows = [to_row(read_sweep(path)) for path in arguments.manifests]
    with replacing(arguments.output) as partial, open(partial, "w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    tokens, anew = (sum(row[key] for row in rows) for key in ("tokens", "anew_tokens"))
    say(
        "sweep_cost",
        f"{len(rows)} models: {tokens:,} tokens; each setting anew would take {anew:,} "
        f"({anew / max(tokens, 1):.1f} times)",
    )


if __name__ == "__main__":
    run(main)
