"""What a report shows, for tests of its steps: ``shown.json`` beside the files of a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from m1.report.settings import AccuracyRow, Margins, Model, Shown

NOTHING = Shown(
    models=(),
    table1=(),
    table2=None,
    table3=(),
    questions="pools/merged.parquet",
    pools=(),
    table4=(),
    domains=None,
    figures=(),
    budgets=(),
    figure1_published=False,
    forced=(0,),
    forced_budget=0,
    figure8a=(),
    benchmarks=(),
    manifests=(),
    page_tables=(),
    page_figures=(),
    page_megabytes=60,
    margins=Margins(average=2, cell=3),
    remark="",
    note="",
    seed=1,
)
"""A report that shows nothing; a test replaces what it needs."""


def save_shown(folder: Path, **changes: Any) -> Path:
    """Write ``shown.json`` into a folder: :data:`NOTHING` with changes; models that rows name are added."""
    rows = [row for table in ("table1", "table2") for row in changes.get(table) or ()]
    models = {row.model: Model(row.model, row.model.upper(), None) for row in rows}
    shown = vars(NOTHING) | {"models": tuple(models.values())} | changes
    path = folder / "shown.json"
    path.write_text(Shown(**shown).to_json(), encoding="utf-8")
    return path


def accuracy_row(model: str, **changes: Any) -> AccuracyRow:
    """A row of Table 1 without a published one; the label is the model's name in capitals."""
    budgets = changes.pop("budgets", (changes.pop("budget", 2048),))
    fields = {"label": model.upper(), "group": "<10B LLMs", "published": None, "bold": False, "budgets": budgets}
    return AccuracyRow(model, **({"published_budgets": budgets} | fields | changes))
