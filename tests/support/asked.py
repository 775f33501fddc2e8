"""Manifests of benchmarks, for tests of what a run asked: as ``pools_collect_benchmark`` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from score_files import PAPER


def save_asked(folder: Path, sizes: Mapping[str, int | None] | None = None, verified: bool = True) -> tuple[str, ...]:
    """Write the manifests of the paper's benchmarks below a folder; returns the benchmarks' keys.

    Args:
        sizes: questions of a benchmark, if fewer than were published; None for one that is missing.
        verified: whether the authors' file was read; else a set of the published size.
    """
    published = pd.read_csv(PAPER / "benchmarks.csv")
    (folder / "benchmarks").mkdir(exist_ok=True)
    for row in published.to_dict("records"):
        n = (sizes or {}).get(row["key"], row["n"])
        manifest = {
            "settings": {"checksum": row["evaluation"] if verified else None, "key": row["list"] if verified else None},
            "counts": {"published": row["n"] if n is not None else 0, "questions": n or 0},
            "questions_sha256": "0" * 64,
        } | ({"missing": "not there"} if n is None else {})
        (folder / "benchmarks" / f"{row['key']}.json").write_text(json.dumps(manifest), encoding="utf-8")
    return tuple(published["key"])
