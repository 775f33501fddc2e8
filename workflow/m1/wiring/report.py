"""Inputs and params of ``rules/report.smk``: what the report shows, and the files that it is made from."""

import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from m1.core.counts import published_counts
from m1.core.errors import UserError, printable
from m1.core.places import source_file, unreadable
from m1.report.settings import (
    LARGEST,
    AccuracyRow,
    CountRow,
    Margins,
    Model,
    RuleManifests,
    Shown,
    Subset,
    files_to_compare,
)
from m1.wiring.check import all_weights
from m1.wiring.run import NOWHERE, Run, Wildcards, trainings

FIGURES = ["figure1", "figure2", "figure3", "figure4", "figure5", "figure8", "figure8a"]
MERGED = "pools/merged.parquet"
TABLE3 = {  # subset to its row, as in the paper
    "m23k": "+Decontamination & deduplication (m23K)",
    "random_23k": "Random 23K",
    "random_1k": "Random 1K",
    "hard_random_1k": "Hard random 1K",
    "hard_domain_1k": "Hard Domain Balanced 1K",
    "m1k": "Hard Domain Dataset Balanced 1K (m1K)",
}


class ReportRules:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.report: dict[str, Any] = run.config["report"]
        self.figures: list[str] = self.report["figures"]  # models of Figures 1, 3, 4, 5 and 8
        self.compared = list(dict.fromkeys([*self.table_models("table1"), *self.table_models("table2")]))
        self.models = list(dict.fromkeys([*self.compared, *self.figures]))  # that a table or figure shows

    # Outputs

    def tables(self) -> list[str]:
        """Names of the tables, in the order of the page."""
        names = ["table1", *(["table2"] if "table2" in self.report else []), "table3", "table4"]
        names += ["compare", "budget_choice", "claims", "paired", "scaling", "best_budget", "cases"]
        names += ["spending"] if self.run.http_steps() else []
        return names + (["sweep_cost"] if self.run.sweep_models else [])

    def targets(self) -> list[str]:
        """The files of the rule ``all``: tables, figures and the page."""
        names = [f"{name}.csv" for name in [*self.tables(), "contamination"]]
        names += [f"{name}.{form}" for name in self.tables() if name.startswith("table") for form in ("tex", "md")]
        names += [f"{name}.pdf" for name in FIGURES]
        return [f"<results>/{name}" for name in [*names, "report.html"]]

    def page(self) -> list[str]:
        """The tables and figures on the page."""
        return [f"<results>/{name}.csv" for name in self.tables()] + [f"<results>/{name}.png" for name in FIGURES]

    # Inputs

    def table_models(self, table: str) -> list[str]:
        """Models of Table 1 or 2; an empty list if the configuration has no such table."""
        return list(self.report[table]["models"]) if table in self.report else []

    def trainings(self, models: list[str]) -> list[str]:
        """The models, each followed by its trainings with other seeds."""
        return [one for model in models for one in trainings(model, self.run.recipes[model]) or [model]]

    def scores(self, models: list[str]) -> list[str]:
        return [f"<results>/score/{model}.parquet" for model in models]

    def singles(self) -> list[str]:
        """Scores of the authors' published answers to single questions, for models of Tables 1 and 2."""
        beside = self.run.published["beside"]
        return [f"<results>/published/{model}/score.parquet" for model in self.compared if model in beside]

    def asked(self) -> list[str]:
        """Manifests of the benchmarks, which record whether their questions equal the published ones."""
        return _in_results(f"benchmarks/{name}.json" for name in self.run.config["benchmarks"])

    def texts(self, models: list[str]) -> list[str]:
        """Files with what the models were asked, thought and answered."""
        answers = [f"<results>/infer/{model}/predictions.parquet" for model in models]
        thoughts = [f"<results>/infer/{model}/rollouts.parquet" for model in models if model in self.run.sweep_models]
        return [*self.run.benchmarks, *answers, *thoughts]

    def tokenizers(self, models: list[str]) -> list[str]:
        """Folders of the models that think; their tokenizers decode the thinking.

        Rules take the folders as ``ancient``: another model has other predictions, which are inputs, too.
        """
        return [self.run.weights(model) for model in models if model in self.run.sweep_models]

    def table3_files(self) -> list[str]:
        """The records that Table 3 counts, and the questions of all pools."""
        return _in_results(dict.fromkeys([MERGED, *(file for row in self.table3() for file in row.files)]))

    def table4_files(self) -> list[str]:
        """The subsets of Table 4, and the domain labels of their questions."""
        return _in_results(subset.file for subset in self.table4()) + _in_results(filter(None, [self.domains()]))

    def subsets(self) -> list[str]:
        return _in_results(subset.file for subset in self.figure8a())

    def base(self) -> str:
        """Folder of the base whose tokenizer counts the lengths of Figure 8a."""
        return f"<results>/bases/{self.report['figure8a']['base']}"

    def manifests(self) -> list[str]:
        """Manifests, or folders that hold one, of everything that is shown, in the order of the paper."""
        return _in_results(file for one in self.rule_manifests() for file in one.files)

    # Two runs side by side

    def files_of_run(self, side: str) -> Callable[[Wildcards], list[str]]:
        """An input function for ``report_compare_runs``: the existing files of one of its runs (``side`` is a or b).

        Raises:
            SystemExit: the function raises it where :meth:`named_run` refuses a name. Snakemake ignores other
                exceptions of input functions of finished steps.
        """

        def files(wildcards: Wildcards) -> list[str]:
            own, other = (wildcards[one] for one in ("ab" if side == "a" else "ba"))
            try:
                folders = [Path(self.named_run(name)) for name in (own, other)]
            except UserError as error:
                raise SystemExit(printable(f"error: {error}")) from None
            return _files_beside(*folders)

        return files

    def named_run(self, name: str) -> str:
        """The folder of a run in ``runs``; raises a :class:`UserError` if there is no such run, or no such folder."""
        runs: dict[str, str] = self.run.config["runs"]
        if name not in runs:
            known = f"known are {', '.join(runs)}" if runs else "none is known; name folders of results there"
            raise UserError(f"runs: there is no '{name}'; {known}")
        if fault := unreadable(runs[name], folder=True):
            raise UserError(f"runs.{name}: {runs[name]}: {fault}; name the folder of a run's results")
        return runs[name]

    def named_runs(self, wildcards: Wildcards) -> str:
        return shlex.join(f"{wildcards[side]}={self.named_run(wildcards[side])}" for side in "ab")

    # What is shown

    def shown(self) -> Shown:
        config, thinking = self.run.config, self.run.config["thinking"]
        forced = [thinking["forced_budget"] if count == "full" else count for count in thinking["forced"]]
        return Shown(
            models=tuple(map(self.model, self.models)),
            table1=tuple(map(self.table1_row, self.table_models("table1"))),
            table2=tuple(map(self.table2_row, self.table_models("table2"))) if "table2" in self.report else None,
            table3=tuple(self.table3()),
            questions=MERGED,
            pools=tuple(config["pools"]),
            table4=tuple(self.table4()),
            domains=self.domains(),
            figures=tuple(self.figures),
            budgets=tuple(thinking["budgets"]),
            figure1_published=self.report["figure1"]["published"],
            forced=(0, *forced),
            forced_budget=thinking["forced_budget"],
            figure8a=tuple(self.figure8a()),
            benchmarks=tuple(config["benchmarks"]),
            manifests=tuple(self.rule_manifests()),
            page_tables=tuple(self.tables()),
            page_figures=tuple(FIGURES),
            page_megabytes=self.report["page_megabytes"],
            margins=Margins(**self.report["margins"]),
            remark=self.report["remark"],
            note=self.report["note"],
            seed=config["seed"],
        )

    def model(self, key: str) -> Model:
        """A model as figures and the page show it."""
        folder, recipe = self.run.weights(key).removeprefix("<results>/"), self.run.recipes[key]
        label, tokenizer = self.labelled(key, recipe["label"]), folder if key in self.run.sweep_models else None
        return Model(key, label, tokenizer, recipe["published"], self.departure(key))

    def labelled(self, key: str, label: str) -> str:
        """A model's label in tables, in figures and on the page; a model trained by an adapter says "(LoRA)"."""
        return f"{label} (LoRA)" if self.run.adapter(key) and "LoRA" not in label else label

    def departure(self, key: str) -> str:
        """A remark on a model whose training is of another kind than the paper's (LoRA); else an empty text."""
        lora = self.run.adapter(key)
        return f"trained by LoRA (rank {lora['r']}), which is not the paper's training" if lora else ""

    def table1_row(self, key: str) -> AccuracyRow:
        """A model's row in Table 1; bold marks models with weights of their own, as in the paper."""
        recipe = self.run.recipes[key]
        every = [budget for budget in sorted(recipe["thinking"]["budgets"]) if budget <= LARGEST]
        published = tuple(every) if key in self.run.thinking else (0,)
        fixed = key in self.run.thinking and self.report["table1"]["budget"] != "best"
        budgets = (self.report["table1"]["budget"],) if fixed else published
        names = self.labelled(key, recipe["label"]), recipe["group"], recipe["published"]
        bold = key in self.run.own_weights
        return AccuracyRow(key, *names, budgets, published, bold, tuple(trainings(key, recipe)))

    def table2_row(self, key: str) -> AccuracyRow:
        """A model's row in Table 2, named after the subset that the model was trained on."""
        recipe, ablation = self.run.recipes[key], self.run.recipes[key]["ablation"]
        budgets = (self.report["table2"]["budget"] if key in self.run.thinking else 0,)
        names, several = (ablation["scale"], ablation["label"]), tuple(trainings(key, recipe))
        label = self.labelled(key, ablation["label"])
        return AccuracyRow(key, label, *names, budgets, budgets, bold=False, trainings=several)

    def table3(self) -> list[CountRow]:
        """Rows of Table 3, without those of subsets, screening and the teacher that this run lacks."""
        pools = tuple(f"pools/{name}.parquet" for name in self.run.config["pools"])
        published = published_counts(source_file("resources/paper/counts.csv"))
        rows = [
            CountRow("Initial collection", "Initial collection", pools),
            CountRow("Deduplication & decontamination", None, (MERGED,), published["pools/merged"]["merged"]),
        ]
        steps = {"+After difficulty filtering": "screen", "+Generating thinking data": "distill"}
        if "m23k" in self.run.drawn_subsets:
            rows += [CountRow(label, label, (f"{stage}/hard.parquet",)) for label, stage in steps.items()]
        subsets = {label: key for key, label in TABLE3.items() if key in self.run.config["subsets"]}
        return rows + [CountRow(label, label, (f"select/{key}.parquet",)) for label, key in subsets.items()]

    def table4(self) -> list[Subset]:
        """The subsets of Table 4. The counts of a published m23K say ``missing``, because it comes without domains."""
        return [Subset("m23K", "select/m23k.parquet"), Subset("m1K", "select/m1k.parquet")]

    def domains(self) -> str | None:
        """Domain labels of the questions of m23K; None where m23K is taken as published."""
        return "select/domains.parquet" if "m23k" in self.run.drawn_subsets else None

    def figure8a(self) -> list[Subset]:
        """The training subsets whose lengths are drawn."""
        shown, beside = self.report["figure8a"]["subsets"], self.report["figure8a"]["beside"]
        found = [Subset(label, f"select/{key}.parquet") for label, key in shown.items()]
        return found + [Subset(label, f"select/{key}.parquet", optional=True) for label, key in beside.items()]

    def rule_manifests(self) -> list[RuleManifests]:
        """The manifests of each rule that made something shown; Figure 2 takes its counts, and the page its steps."""
        run, config = self.run, self.run.config
        paths = [model.get("path") for model in all_weights(config).values()]
        of_world = f"{config['pathvars']['results']}/world/models"
        pretrained = [name for name in run.world_models if f"{of_world}/{name}" in paths]
        screens = [*config["screen"]["models"], *run.providers] if run.screens else []
        labels = [name for name in ["select/domains.json"] if f"<results>/{name}" in run.http_steps()]
        published = [name for name in run.published["subsets"] if name in config["subsets"]]
        taken = [name for name in run.published["results"] if name in self.models]
        models = self.trainings(self.models)
        found = {
            "world_pretrain": [f"world/models/{name}" for name in pretrained],
            "pools_collect": [f"pools/{name}.json" for name in config["pools"]],
            "pools_collect_benchmark": [f"benchmarks/{name}.json" for name in config["benchmarks"]],
            "pools_merge": ["pools/merged.json"],
            "pools_leaks": ["pools/leaks.json"] if run.drawn_subsets else [],
            "screen_attempt": [f"screen/{name}.json" for name in screens if name not in run.providers],
            "screen_ask": [f"screen/{name}.json" for name in screens if name in run.providers],
            "screen_hard": ["screen/hard.json"] if screens else [],
            "distill_traces": [f"distill/{name}.json" for name in run.teacher_sets],
            "select_domains": labels,
            "select_sample": [f"select/{name}.json" for name in run.drawn_subsets],
            "select_published": [f"select/{name}.json" for name in published],
            "train_sft": [f"train/{name}" for name in run.needed_trainings if name in models],
            "infer_sweep": [f"infer/{name}/manifest.json" for name in run.sweep_models if name in models],
            "infer_answer": [f"infer/{name}/manifest.json" for name in run.direct if name in models],
            "infer_published": [f"infer/{name}/manifest.json" for name in taken],
            "score_predictions": [f"score/{name}.json" for name in models],
        }
        return [RuleManifests(rule, tuple(files)) for rule, files in found.items() if files]


def _files_beside(folder: Path, other: Path) -> list[str]:
    """The existing files of a run that a comparison reads; ``shown.json`` alone where either run's cannot be read."""
    shown = folder / "shown.json"
    try:
        own, their = Shown.load(shown), Shown.load(other / "shown.json")
    except UserError:
        return [str(shown)] if shown.is_file() else []
    models, benchmarks = {model.key for model in their.models}, set(their.benchmarks)
    files = [shown, *(folder / name for name in files_to_compare(own, models, benchmarks))]
    for name in (name for one in own.manifests for name in one.files):
        path = folder / name
        files += [path] if path.suffix == ".json" else [path / "manifest.json", path.with_name(f"{path.name}.sha256")]
    for base in sorted((folder / "bases").glob("*/config.json")):
        files += [base, base.parent.with_name(f"{base.parent.name}.sha256")]
    return [str(file) for file in files if file.is_file()]


def _in_results(files: Iterable[str]) -> list[str]:
    """Paths below the results folder, in the form that rules use (``<results>/…``)."""
    return [f"<results>/{file}" for file in files]


def fresh_plan_arguments(overlays: Sequence[Path], words: Sequence[str]) -> str:
    """Arguments for a second Snakemake that plans this run from nothing, to draw the workflow's graph.

    Its results folder does not exist, so it never looks at files that other jobs are writing meanwhile.
    """
    nowhere = f"pathvars={{results: {NOWHERE}, logs: nowhere/logs}}"
    files = ["--configfile", *(os.path.relpath(path) for path in overlays)] if overlays else []
    return shlex.join([*files, "--config", *words, nowhere])
