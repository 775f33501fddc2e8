"""From the checked configuration to what the rules of the report need: rows of tables, models of figures, and the
page's parts."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from m1.wiring.run import Wildcards, Wiring

FIGURES = ["figure1", "figure2", "figure3", "figure4", "figure5", "figure8", "figure8a"]


class ReportWiring(Wiring):
    """The wiring of all rules: that of the stages before, and the report's."""

    def targets(self) -> list[str]:
        """Everything that this configuration makes in the end."""
        names = [f"{name}.csv" for name in [*self.tables(), "contamination"]]
        names += [f"{name}.{form}" for name in self.tables() if name.startswith("table") for form in ("tex", "md")]
        names += [f"{name}.pdf" for name in FIGURES]
        return [f"<results>/{name}" for name in [*names, "report.html"]]

    def tables(self) -> list[str]:
        """Names of the tables, in the order of the report."""
        names = ["table1", *(["table2"] if "table2" in self.config["report"] else []), "table3", "table4"]
        names += ["compare", "paired", "scaling", "best_budget", "cases"]
        return names + (["spending"] if self.spending() else []) + (["sweep_cost"] if self.swept else [])

    def scores(self, shown: str) -> list[str]:
        """Judgements of the models of a table or of the figures."""
        part = self.config["report"][shown]
        return [f"<results>/score/{model}.parquet" for model in (part if isinstance(part, list) else part["models"])]

    def table1(self) -> str:
        """Rows of Table 1, as JSON."""
        return self._accuracies("table1", lambda recipe: {key: recipe[key] for key in ("group", "label", "published")})

    def table2(self) -> str:
        """Rows of Table 2, as JSON."""
        return self._accuracies(
            "table2", lambda recipe: {**recipe["ablation"], "published": recipe["ablation"]["label"]}
        )

    def _accuracies(self, table: str, shown: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
        report: dict[str, Any] = self.config["report"]
        rows = []
        for model in report[table]["models"]:
            budget = report[table]["budget"] if model in self.thinking else 0
            rows.append({"model": model, "budget": budget, **shown(self.recipes[model])})
        return json.dumps({"rows": rows, "remark": report["remark"]})

    def table3(self) -> list[tuple[str, str | None, list[str]]]:
        """Rows of Table 3: label, name in the paper (None: a row of ours), and the files that are counted.

        Rows of stages that this run does not enter (m23K is taken as published), and of subsets that it lacks, are left
        out.
        """
        m1k = "Hard Domain Dataset Balanced 1K (m1K)"
        rows: list[tuple[str, str | None, list[str]]] = [
            ("Initial collection", "Initial collection", self.pools()),
            ("Deduplication & decontamination", None, ["<results>/pools/merged.parquet"]),
        ]
        if "m23k" in self.sampled:
            rows += [
                ("+After difficulty filtering", "+After difficulty filtering", ["<results>/screen/hard.parquet"]),
                ("+Generating thinking data", "+Generating thinking data", ["<results>/distill/hard.parquet"]),
            ]
        subsets = {
            "m23k": "+Decontamination & deduplication (m23K)",
            "random_23k": "Random 23K",
            "random_1k": "Random 1K",
            "hard_random_1k": "Hard random 1K",
            "hard_domain_1k": "Hard Domain Balanced 1K",
            "m1k": m1k,
        }
        return rows + [
            (label, label, [f"<results>/select/{key}.parquet"])
            for key, label in subsets.items()
            if key in self.config["subsets"]
        ]

    def counted(self) -> list[str]:
        """The files that Table 3 counts."""
        return [path for _, _, paths in self.table3() for path in paths]

    def table3_rows(self, wildcards: Wildcards, input: Any) -> list[str]:
        """``--row=label=path`` for each file of Table 3."""
        labels = [label for label, _, paths in self.table3() for _ in paths]
        return [f"--row={label}={path}" for label, path in zip(labels, input.counted, strict=True)]

    def table3_settings(self) -> str:
        """Columns and rows of Table 3, as JSON."""
        rows = [{"label": label, "published": published} for label, published, _ in self.table3()]
        return json.dumps({"columns": list(self.config["pools"]), "rows": rows})

    def table4(self) -> dict[str, list[str]]:
        """Inputs of Table 4: m23K, m1K, and domain labels. A published m23K has none (its counts say `missing`), and
        m1K brings its own."""
        subsets = {name: [f"<results>/select/{name}.parquet"] for name in ("m23k", "m1k")}
        return {**subsets, "domains": ["<results>/select/domains.parquet"] if "m23k" in self.sampled else []}

    def table4_flags(self, wildcards: Wildcards, input: Any) -> str:
        """``--domains`` and ``--subset`` of Table 4."""
        domains = f"--domains {input.domains} " if input.domains else ""
        return f"{domains}--subset m23K={input.m23k} --subset m1K={input.m1k}"

    def figure8a(self) -> dict[str, str]:
        """Label to file of the training subsets whose lengths are drawn."""
        return {
            label: f"<results>/select/{name}.parquet"
            for label, name in self.config["report"]["figure8a"]["subsets"].items()
        }

    def figure8a_subsets(self, wildcards: Wildcards, input: Any) -> list[str]:
        """``--subset=label=path`` for each subset of Figure 8a."""
        return [f"--subset={label}={path}" for label, path in zip(self.figure8a(), input.subsets, strict=True)]

    def figure8a_settings(self) -> str:
        """The remark on Figure 8a, as JSON."""
        return json.dumps({"note": self.config["report"]["note"]})

    def figure1(self) -> str:
        """Models and budgets of Figure 1, as JSON."""
        return json.dumps(
            {
                "models": self._labels(),
                "budgets": self.config["thinking"]["budgets"],
                "note": self.config["report"]["note"],
            }
        )

    def figure3(self) -> str:
        """Models, forced counts and budget of Figure 3, as JSON."""
        thinking = self.config["thinking"]
        counts = [thinking["forced_budget"] if count == "full" else count for count in thinking["forced"]]
        shown = {"models": self._labels(), "forced": [0, *counts], "budget": thinking["forced_budget"]}
        return json.dumps({**shown, "note": self.config["report"]["note"]})

    def _labels(self) -> list[dict[str, str]]:
        return [{"model": model, "label": self.recipes[model]["label"]} for model in self.config["report"]["figures"]]

    def compared(self) -> list[str]:
        """Judgements of the models of Tables 1 and 2."""
        return list(dict.fromkeys(path for table in self._accuracy_tables() for path in self.scores(table)))

    def compare(self) -> str:
        """Rows of Tables 1 and 2, and the seed of the bootstrap, as JSON."""
        tables = self._accuracy_tables()
        without = {"rows": [], "remark": self.config["report"]["remark"]}
        return json.dumps(
            {name: tables.get(name, without) for name in ("table1", "table2")} | {"seed": self.config["seed"]}
        )

    def paired(self) -> str:
        """The models of Tables 1 and 2 and their budgets there, as JSON. Labels are the recipes': those of Table 2
        occur at both scales."""
        tables = {
            name: [
                {"model": row["model"], "label": self.recipes[row["model"]]["label"], "budget": row["budget"]}
                for row in table["rows"]
            ]
            for name, table in self._accuracy_tables().items()
        }
        return json.dumps({"tables": tables})

    def _accuracy_tables(self) -> dict[str, Any]:
        """Tables 1 and 2, as far as there are any, to their rows and remark."""
        made = {"table1": self.table1, "table2": self.table2}
        return {name: json.loads(rows()) for name, rows in made.items() if name in self.config["report"]}

    def scaling(self) -> str:
        """Models of the figures, and the seed of the bootstrap, as JSON."""
        return json.dumps({"models": self._labels(), "seed": self.config["seed"]})

    def typeset(self, wildcards: Wildcards) -> str:
        """Rows in bold (Table 1: what was trained) and the note of a table, as JSON."""
        shown = self.config["report"]["table1"]["models"] if wildcards.table == "table1" else []
        bold = [self.recipes[model]["label"] for model in shown if model in self.tuned]
        return json.dumps({"bold": bold, "note": self.config["report"]["note"]})

    def manifests(self) -> dict[str, list[str]]:
        """Rule to the manifests (or folders with one) of what it makes in this run: the counts of Figure 2."""
        config, shown = self.config, self.shown
        paths = [model.get("path") for model in weights(config).values()]
        born = [name for name in self.world_models if f"{config['pathvars']['results']}/world/models/{name}" in paths]
        screens = [*config["screen"]["models"], *self.providers] if self.screens else []
        found = {
            "world_pretrain": [f"world/models/{name}" for name in born],
            "pools_collect": [f"pools/{name}.json" for name in config["pools"]],
            "pools_collect_benchmark": [f"benchmarks/{name}.json" for name in config["benchmarks"]],
            "pools_merge": ["pools/merged.json"],
            "screen_attempt": [f"screen/{name}.json" for name in screens if name not in self.providers],
            "screen_ask": [f"screen/{name}.json" for name in screens if name in self.providers],
            "screen_hard": ["screen/hard.json"] if screens else [],
            "distill_traces": [f"distill/{name}.json" for name in self.traced],
            "select_domains": [name for name in ["select/domains.json"] if f"<results>/{name}" in self.spending()],
            "select_sample": [f"select/{name}.json" for name in self.sampled],
            "select_published": [
                f"select/{name}.json" for name in self.published["subsets"] if name in config["subsets"]
            ],
            "train_sft": [f"train/{name}" for name in self.trainings if name in shown],
            "infer_sweep": [f"infer/{name}/manifest.json" for name in self.swept if name in shown],
            "infer_answer": [f"infer/{name}/manifest.json" for name in self.at_once if name in shown],
            "infer_published": [f"infer/{name}/manifest.json" for name in self.published["results"] if name in shown],
            "score_predictions": [f"score/{name}.json" for name in shown],
        }
        return {rule: [f"<results>/{name}" for name in names] for rule, names in found.items()}

    def all_manifests(self) -> list[str]:
        """The manifests, or folders with one, in the order of the paper; what is made from a folder has one, too, and
        changes with it."""
        return [path for paths in self.manifests().values() for path in paths]

    def figure2_manifests(self, wildcards: Wildcards, input: Any) -> list[str]:
        """``--manifest=rule=path`` for each manifest of Figure 2."""
        rules = [rule for rule, paths in self.manifests().items() for _ in paths]
        return [f"--manifest={rule}={path}" for rule, path in zip(rules, input.manifests, strict=True)]

    def cases(self) -> dict[str, list[str]]:
        """Inputs of Figures 4, 5 and 8: what their models thought and answered, and the tokenizers to read it."""
        return self._read(self.config["report"]["figures"])

    def cases_flags(self, wildcards: Wildcards, input: Any) -> list[str]:
        """``--predictions``, ``--rollouts`` and ``--tokenizer`` of each model of Figures 4, 5 and 8."""
        models = self.config["report"]["figures"]
        thought = [model for model in models if model in self.swept]
        named = [
            ("predictions", models, input.predictions),
            ("rollouts", thought, input.rollouts),
            ("tokenizer", thought, input.tokenizers),
        ]
        return [
            f"--{flag}={model}={path}" for flag, names, paths in named for model, path in zip(names, paths, strict=True)
        ]

    def cases_settings(self) -> str:
        """Models and budgets of Figures 4, 5 and 8, as JSON."""
        thinking, note = self.config["thinking"], self.config["report"]["note"]
        budgets = {"budget": max(thinking["budgets"]), "forced_budget": thinking["forced_budget"]}
        return json.dumps({"models": self._labels(), **budgets, "note": note})

    def note(self) -> str:
        """The remark on a figure, as JSON."""
        return json.dumps({"note": self.config["report"]["note"]})

    def page(self) -> dict[str, list[str]]:
        """Inputs of the report's page, of the models that tables or figures show."""
        return self._read(self.shown)

    def _read(self, models: list[str]) -> dict[str, list[str]]:
        """What models thought and answered, and how it was judged."""
        think = [model for model in models if model in self.swept]
        return {
            "scores": [f"<results>/score/{model}.parquet" for model in models],
            "questions": self.benchmarks(),
            "predictions": [f"<results>/infer/{model}/predictions.parquet" for model in models],
            "rollouts": [f"<results>/infer/{model}/rollouts.parquet" for model in think],
        }

    def tokenizers(self, models: list[str]) -> list[str]:
        """Folders of the models that think, whose tokenizers read it; ``ancient``, as another model has other
        predictions."""
        return [f"<results>/{self._weights(model)}" for model in models if model in self.swept]

    def figure8a_base(self) -> str:
        """Folder of the base whose tokenizer counts."""
        return f"<results>/bases/{self.config['report']['figure8a']['base']}"

    def _weights(self, model: str) -> str:
        return f"train/{model}" if model in self.tuned else f"bases/{self.recipes[model]['base']}"

    @property
    def shown(self) -> list[str]:
        """Models that a table or a figure shows, in their order."""
        report = self.config["report"]
        return list(
            dict.fromkeys(
                [*report["table1"]["models"], *report.get("table2", {"models": []})["models"], *report["figures"]]
            )
        )

    def page_flags(self, wildcards: Wildcards, input: Any) -> list[str]:
        """``--rollouts`` and ``--tokenizer`` of the models that think; none where no model does."""
        think = [model for model in self.shown if model in self.swept]
        flags = [f"--tokenizer={model}={folder}" for model, folder in zip(think, input.tokenizers, strict=True)]
        return [*flags, "--rollouts", *input.rollouts] if think else []

    def page_settings(self) -> str:
        """Remark, labels and largest size of the page, as JSON."""
        models = [{"model": model, "label": self.recipes[model]["label"]} for model in self.shown]
        report = self.config["report"]
        return json.dumps({"remark": report["note"], "models": models, "megabytes": report["page_megabytes"]})

    def page_tables(self) -> list[str]:
        """Tables on the report's page, in order."""
        return [f"<results>/{name}.csv" for name in self.tables()]

    def page_figures(self) -> list[str]:
        """Figures on the report's page, in order."""
        return [f"<results>/{name}.png" for name in FIGURES]

    def page_captions(self) -> list[str]:
        """Names of the captions that the page shows."""
        return [Path(path).stem for path in [*self.page_tables(), *self.page_figures()]]


def planned_anew(overlays: list[Path], settings: dict[str, Any]) -> str:
    """Arguments of a Snakemake that plans this run from nothing: it looks at no file that other steps make meanwhile.

    Args:
        overlays: files of configuration after the default ones.
        settings: what was given by ``--config``, or by a profile.
    """
    nowhere = {"results": "nowhere/results", "logs": "nowhere/logs"}
    values = {
        key: "" if value is None else json.dumps(value) for key, value in {**settings, "pathvars": nowhere}.items()
    }
    files = ["--configfile", *(os.path.relpath(path) for path in overlays)] if overlays else []
    return shlex.join([*files, "--config", *(f"{key}={value}" for key, value in values.items())])
