"""What the calls of models over HTTP came to, by stage and in all: tokens and dollars of the manifests (B.1 gives the
paper's setting)."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from m1.core.errors import UserError, run
from m1.core.files import read_json, replacing
from m1.core.progress import say

COLUMNS = ("calls", "prompt_tokens", "thinking_tokens", "answer_tokens", "dollars", "refused", "cut")


def spending_table(manifests: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each step, and their sum.

    Args:
        manifests: step, such as ``distill hard``, to its manifest.

    Returns:
        ``step``, and :data:`COLUMNS`: all calls that the step's results rest on, whether paid now or before. A call
        that two steps share is counted in both, though it was paid once.

    Raises:
        UserError: a manifest without spending.
    """
    rows = []
    for step, manifest in manifests.items():
        spending = manifest.get("spending", {})
        if missing := [name for name in COLUMNS if name not in spending]:
            raise UserError(
                f"manifest of {step}: no {', '.join(missing)} in its spending. Delete it to have it made again."
            )
        rows.append({"step": step, **{name: spending[name] for name in COLUMNS}})
    table = pd.DataFrame(rows, columns=["step", *COLUMNS])
    return pd.concat(
        [table, pd.DataFrame([{"step": "sum", **table[list(COLUMNS)].sum()}])], ignore_index=True
    ).convert_dtypes()


def main(argv: Sequence[str] | None = None) -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifests", required=True, nargs="+", type=Path, help="JSON, of steps that call models")
    parser.add_argument("--output", required=True, type=Path, help="CSV")
    arguments = parser.parse_args(argv)
    table = spending_table({f"{path.parent.name} {path.stem}": read_json(path) for path in arguments.manifests})
    with replacing(arguments.output) as partial:
        table.to_csv(partial, index=False, lineterminator="\n", float_format="%.4f")
    total = table.iloc[-1]
    tokens = total["prompt_tokens"] + total["thinking_tokens"] + total["answer_tokens"]
    say("spending", f"{total['calls']:,} calls, {tokens:,} tokens, ${total['dollars']:,.2f}: {arguments.output}")


if __name__ == "__main__":
    run(main)
