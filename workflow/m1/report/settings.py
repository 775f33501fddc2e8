"""What tables, figures and the page show. One file says it, ``shown.json``, which all steps of the report read."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from m1.core.files import read_json
from m1.core.settings import Settings, read

LARGEST = 8192
"""Tokens of the largest thinking budget that the paper's Table 1 was chosen from; larger ones are an extrapolation."""


@dataclass(frozen=True)
class Model:
    """A model that a table or figure shows."""

    key: str
    label: str
    tokenizer: str | None  # folder of the tokenizer that decodes its rollouts; None for a model without rollouts
    published: str | None = None  # name of its row in the published Table 1; None for a model that the paper lacks
    departure: str = ""  # how its training departs from the paper's in kind; empty where it does not


@dataclass(frozen=True)
class AccuracyRow:
    """A row of Table 1 or 2."""

    model: str
    label: str
    group: str  # heading above the row: a class of models in Table 1, a scale in Table 2
    published: str | None  # name of the row in the published table; None for a row that the paper lacks
    budgets: tuple[int, ...]  # thinking tokens; of several, the best of each benchmark; 0 for a model without thinking
    published_budgets: tuple[int, ...]  # the budgets that the published row was chosen from
    bold: bool
    trainings: tuple[str, ...] = ()  # models of one recipe by its seeds, ``model`` first; empty for a single training

    @property
    def budget(self) -> str:
        """The thinking budget as tables say it: tokens, or ``best``."""
        return str(*self.budgets) if len(self.budgets) == 1 else "best"


@dataclass(frozen=True)
class CountRow:
    """A row of Table 3."""

    label: str
    published: str | None  # name of the row in the published table; None for a row that the paper lacks
    files: tuple[str, ...]  # records that are counted together
    total: int | None = None  # the published sum of a row that is in the authors' code but not in the paper


@dataclass(frozen=True)
class Subset:
    """A training subset of Table 4 or Figure 8a."""

    label: str
    file: str
    optional: bool = False  # whether it is left out if it has no samples


@dataclass(frozen=True)
class RuleManifests:
    """The manifests of what a rule makes in this run: files, or folders with a ``manifest.json``."""

    rule: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Margins:
    """Differences from the published accuracies that count as none, in points; docs/statistics.md gives the reasons."""

    average: float
    cell: float


@dataclass(frozen=True)
class Shown(Settings):
    """What the report shows of a run. Files are named from the folder that ``shown.json`` lies in."""

    models: tuple[Model, ...]  # all that a table or figure shows, in the order of the page
    table1: tuple[AccuracyRow, ...]
    table2: tuple[AccuracyRow, ...] | None  # None where the configuration has no Table 2
    table3: tuple[CountRow, ...]
    questions: str  # questions of all pools, which have the sources of traces in Table 3
    pools: tuple[str, ...]  # columns of Table 3: keys of the training pools
    table4: tuple[Subset, ...]
    domains: str | None  # labels of the questions for Table 4; None where the samples have their own
    figures: tuple[str, ...]  # keys of the models of Figures 1, 3, 4, 5 and 8
    budgets: tuple[int, ...]  # thinking tokens; the x axis of Figure 1
    figure1_published: bool  # whether Figure 1 also shows the paper's points
    forced: tuple[int, ...]  # how often `Wait` is forced, 0 included; the x axis of Figure 3
    forced_budget: int  # thinking tokens of the answers with forced `Wait`s
    figure8a: tuple[Subset, ...]
    benchmarks: tuple[str, ...]  # keys of the benchmarks of this run
    manifests: tuple[RuleManifests, ...]  # of all steps, in the order of the paper
    page_tables: tuple[str, ...]  # names, in the order of the page
    page_figures: tuple[str, ...]
    page_megabytes: float  # size of the page in MB, at most
    margins: Margins  # of the verdicts
    remark: str  # follows the group in every row of Tables 1 and 2; empty for none
    note: str  # stands under every figure and table and on the page; empty for none
    seed: int  # of the bootstraps

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read ``shown.json``; a :class:`UserError` says what is wrong with the file, a key or a value."""
        return read(cls, read_json(path), str(path))

    @property
    def figure_models(self) -> list[Model]:
        """The models of Figures 1, 3, 4, 5 and 8, in their order."""
        models = {model.key: model for model in self.models}
        return [models[key] for key in self.figures]

    @property
    def departures(self) -> dict[str, str]:
        """How the training of a model departs from the paper's, by its key. Only models whose training does have an
        entry."""
        return {model.key: model.departure for model in self.models if model.departure}

    @property
    def accuracy_tables(self) -> dict[str, tuple[AccuracyRow, ...]]:
        """Rows of Tables 1 and 2 by the table's name; without Table 2 where the configuration has none."""
        return {"table1": self.table1} | ({} if self.table2 is None else {"table2": self.table2})


def files_to_compare(shown: Shown, models: Collection[str], benchmarks: Collection[str]) -> list[str]:
    """The files of one run that a comparison of two runs reads, from the folder of its ``shown.json``: scores, answers,
    thinking and tokenizers of some models, and the questions of some benchmarks."""
    shared = [model for model in shown.models if model.key in models]
    files = [f"score/{model.key}.parquet" for model in shared]
    files += [f"infer/{model.key}/predictions.parquet" for model in shared]
    for model in shared:
        if model.tokenizer is not None:
            files += [f"infer/{model.key}/rollouts.parquet", f"{model.tokenizer}/tokenizer.json"]
    return files + [f"benchmarks/{key}.parquet" for key in shown.benchmarks if key in benchmarks]
