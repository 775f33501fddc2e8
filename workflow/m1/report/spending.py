"""``spending.csv``: the calls of models over HTTP with their tokens and dollars, for each step and in total, from the
manifests. Section B.1 has the paper's setting."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from m1.core.errors import UserError, run
from m1.core.files import read_json
from m1.core.progress import say
from m1.report.files import parser, write_csv, write_step_manifest

COLUMNS = ["calls", "prompt_tokens", "thinking_tokens", "answer_tokens", "dollars", "refused", "cut"]
AT_MOST = ["uncounted", "dollars_at_most", "dollars_lost"]
"""Upper bounds of what is not known (:class:`m1.client.ledger.Spending`); manifests of older releases lack them."""


def spending_table(manifests: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each step, such as ``distill hard``, and one for their sum; a :class:`UserError` if a manifest has no
    spending.

    A row counts all calls that the results of the step rest on, whether they were paid now or before. A call that two
    steps share counts in both, although it was paid once. ``dollars_at_most`` is the part of ``dollars`` for
    ``uncounted`` calls, whose provider did not say what they used. ``dollars_lost`` are for answers that did not
    arrive, and are not part of ``dollars``.
    """
    rows = {step: manifest.get("spending", {}) for step, manifest in manifests.items()}
    for step, spending in rows.items():
        if missing := ", ".join(name for name in COLUMNS if name not in spending):
            raise UserError(f"manifest of {step}: no {missing} in its spending. Delete it to have it made again.")
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*COLUMNS, *AT_MOST]).rename_axis("step")
    table.loc["sum"] = table.sum()
    return table.reset_index().convert_dtypes()


def main(argv: Sequence[str] | None = None) -> None:
    """Write the table."""
    manifests = {"nargs": "+", "type": Path, "help": "JSON, of steps that call models"}
    options = parser(__doc__, "manifest", manifests=manifests, output="CSV").parse_args(argv)
    table = spending_table({f"{path.parent.name} {path.stem}": read_json(path) for path in options.manifests})
    write_csv(table, options.output, fraction="{:.4f}")
    total = table.iloc[-1]
    tokens = total["prompt_tokens"] + total["thinking_tokens"] + total["answer_tokens"]
    write_step_manifest(options)
    unknown = total["dollars_at_most"] + total["dollars_lost"]
    bound = (
        f" (${total['dollars_at_most']:,.2f} of it, and ${total['dollars_lost']:,.2f} more, at most)" if unknown else ""
    )
    say("spending", f"{total['calls']:,} calls, {tokens:,} tokens, ${total['dollars']:,.2f}{bound}: {options.output}")


if __name__ == "__main__":
    run(main)
