"""The authors' counts at each step of the curation beside those found here (Tables 3 and 4, the authors' notebooks)."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PUBLISHED = "CSV of the published counts, which the manifest then has beside those found"
"""Help of the flag ``--published``."""


def published_counts(path: str | Path) -> dict[str, dict[str, int]]:
    """Step (its manifest below the results, without the suffix) to count to number: ``resources/paper/counts.csv``."""
    found: dict[str, dict[str, int]] = {}
    with open(path, newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["step"], {})[row["count"]] = int(row["published"])
    return found


def beside_published(path: str | Path, manifest: str | Path, counts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every count of a step that the authors published: ``published``, ``found`` and whether they are ``equal``.

    Args:
        path: file of the published counts.
        manifest: the step's own; its folder and name are the step.
        counts: the step's counts; a dot in a published one's name leads into a mapping. One that is not there is None.
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
