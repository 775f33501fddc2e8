"""Compare counts of the curation with those that the authors published (Tables 3 and 4, the authors' notebooks)."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PUBLISHED = "CSV of the published counts, which the manifest then has beside those found"
"""Help of the flag ``--published``."""


def published_counts(path: str | Path) -> dict[str, dict[str, int]]:
    """Read ``resources/paper/counts.csv``: step to name of the count to number.

    A step is named by its manifest below the results, without suffix, such as ``pools/merged``.
    """
    found: dict[str, dict[str, int]] = {}
    with open(path, newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["step"], {})[row["count"]] = int(row["published"])
    return found


def beside_published(path: str | Path, manifest: str | Path, counts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The counts of a step that the authors published, each with ``published``, ``found`` and ``equal``.

    The folder and name of its manifest identify the step. A dot in a published name leads into a nested mapping of its
    own counts; a count that the step does not have is found as None.
    """
    step = Path(manifest).with_suffix("")
    wanted = published_counts(path).get(f"{step.parent.name}/{step.name}", {})
    found = {name: _lookup(counts, name) for name in wanted}
    return {
        name: {"published": number, "found": found[name], "equal": found[name] == number}
        for name, number in wanted.items()
    }


def _lookup(counts: Any, name: str) -> Any:
    for key in name.split("."):
        counts = counts.get(key) if isinstance(counts, Mapping) else None
    return counts
