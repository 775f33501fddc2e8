"""What tables, figures and the page show, said once: ``shown.json``, which the steps of the report read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from m1.core.files import read_json
from m1.core.settings import Settings, read

HELP = "shown.json, which the rule report_shown writes; the files that it names lie beside it, below its folder"
"""What ``--shown`` is, in the help of each step."""


@dataclass(frozen=True)
class Model:
    """A model that a table or figure shows."""

    key: str
    label: str
    tokenizer: str | None
    """Folder with the tokenizer that reads its rollouts; None for a model without rollouts."""


@dataclass(frozen=True)
class AccuracyRow:
    """A row of Table 1 or 2."""

    model: str
    """Key of the model."""
    label: str
    """The row's name."""
    group: str
    """Heading above the row: a class of models in Table 1, a scale in Table 2."""
    published: str | None
    """Name of the row in the published table; None for a row that the paper lacks."""
    budget: int
    """Thinking tokens; 0 for a model that answers without thinking."""
    bold: bool


@dataclass(frozen=True)
class CountRow:
    """A row of Table 3."""

    label: str
    published: str | None
    """Name of the row in the published table; None for a row that the paper lacks."""
    files: tuple[str, ...]
    """Records that are counted together."""
    total: int | None = None
    """The published sum of a row that only the authors' code has, not the paper."""


@dataclass(frozen=True)
class Subset:
    """A training subset of Table 4 or Figure 8a."""

    label: str
    file: str


@dataclass(frozen=True)
class RuleManifests:
    """The manifests, or folders with a ``manifest.json``, of what a rule makes in this run."""

    rule: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Shown(Settings):
    """What the report shows of a run. Files are named from the folder that ``shown.json`` lies in."""

    models: tuple[Model, ...]
    """All models that a table or figure shows, in the order of the page."""
    table1: tuple[AccuracyRow, ...]
    table2: tuple[AccuracyRow, ...] | None
    """None where the configuration has no Table 2."""
    table3: tuple[CountRow, ...]
    questions: str
    """Questions of all pools, for the sources of records in Table 3 that have none of their own (traces)."""
    pools: tuple[str, ...]
    """Columns of Table 3: keys of the training pools."""
    table4: tuple[Subset, ...]
    domains: str | None
    """Domain labels of the questions, for Table 4; None where the samples bring their own."""
    figures: tuple[str, ...]
    """Keys of the models of Figures 1, 3, 4, 5 and 8."""
    budgets: tuple[int, ...]
    """Thinking tokens; the x axis of Figure 1."""
    forced: tuple[int, ...]
    """How often ``Wait`` is forced, 0 included; the x axis of Figure 3."""
    forced_budget: int
    """Thinking tokens, within which it is forced."""
    figure8a: tuple[Subset, ...]
    benchmarks: tuple[str, ...]
    """Keys of the benchmarks of this run."""
    manifests: tuple[RuleManifests, ...]
    """Of all steps, in the order of the paper."""
    page_tables: tuple[str, ...]
    """Names of the tables on the page, in order."""
    page_figures: tuple[str, ...]
    """Names of the figures on the page, in order."""
    page_megabytes: float
    """Size of the page in MB, at most."""
    remark: str
    """Follows the group in every row of Tables 1 and 2; empty for none."""
    note: str
    """Stands under every figure and table and on the page; empty for none."""
    seed: int
    """Seed of the bootstraps."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read ``shown.json``.

        Raises:
            UserError: no such file, no JSON, an unknown or missing key, or a value of another type.
        """
        return read(cls, read_json(path), str(path))

    @property
    def figure_models(self) -> list[Model]:
        """The models of Figures 1, 3, 4, 5 and 8, in their order."""
        models = {model.key: model for model in self.models}
        return [models[key] for key in self.figures]

    @property
    def accuracy_tables(self) -> dict[str, tuple[AccuracyRow, ...]]:
        """Rows of Tables 1 and 2 by the table's name; without Table 2 where the configuration has none."""
        return {"table1": self.table1} | ({} if self.table2 is None else {"table2": self.table2})
