"""``sweep_cost.csv``: the tokens of the budget sweeps and of generating each setting anew (3.3), from manifests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from m1.core.errors import UserError, run
from m1.core.files import read_json
from m1.core.progress import say
from m1.report.files import parser, write_csv, write_step_manifest

TOKENS = ("rollout_tokens", "forced_tokens", "answer_tokens", "companion_tokens")
COUNTS = ("questions", "settings", "predictions", *TOKENS)
ANEW = ("anew_thinking_tokens", "anew_answer_tokens")
COLUMNS = ["model", *COUNTS, "tokens", *ANEW, "anew_tokens", "share", "generated_now", "seconds", "tokens_per_second"]


def read_sweep(path: Path) -> dict[str, Any]:
    """Name, counts and seconds from the manifest of a sweep; a :class:`UserError` if one is missing, as in a manifest
    of an earlier version."""
    manifest = read_json(path)
    if not isinstance(manifest, dict):
        manifest = {}
    found = {**manifest.get("counts", {}), "model": manifest.get("name"), "seconds": manifest.get("seconds")}
    missing = [key for key in ("model", *COUNTS, *ANEW, "generated_now", "seconds") if found.get(key) is None]
    if missing:
        lacking = f"not the manifest of a budget sweep: no {', '.join(missing)}"
        raise UserError(f"{path}: {lacking}. Delete it to have the sweep made again.")
    return found


def to_row(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table.

    ``tokens`` is what all settings together need, whatever the store held. ``anew_tokens`` is the sum of what each
    would need by itself, and ``share`` the first divided by the second. ``generated_now`` is what the run that wrote
    the manifest generated itself, in ``seconds`` of wall-clock time, which include loading the model.
    ``tokens_per_second`` is empty where everything was in the store.
    """
    tokens = sum(sweep[key] for key in TOKENS)
    anew, now, seconds = sum(sweep[key] for key in ANEW), sweep["generated_now"], sweep["seconds"]
    return {
        **sweep,
        "tokens": tokens,
        "anew_tokens": anew,
        "share": f"{tokens / anew:.4f}" if anew else "",
        "seconds": f"{seconds:.1f}",
        "tokens_per_second": f"{now / seconds:.0f}" if now and seconds else "",
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write the table."""
    manifests = {"nargs": "+", "type": Path, "help": "manifests of m1.infer.sweep, a row each, in this order"}
    options = parser(__doc__, "manifest", manifests=manifests, output="CSV").parse_args(argv)
    table = pd.DataFrame([to_row(read_sweep(path)) for path in options.manifests], columns=COLUMNS)
    write_csv(table, options.output)
    tokens, anew = table["tokens"].sum(), table["anew_tokens"].sum()
    dearer = f"each setting anew would take {anew:,} ({anew / max(tokens, 1):.1f} times)"
    write_step_manifest(options)
    say("sweep_cost", f"{len(table)} models: {tokens:,} tokens; {dearer}")


if __name__ == "__main__":
    run(main)
