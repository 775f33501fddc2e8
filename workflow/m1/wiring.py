"""From the checked configuration to what the rules need: input files, settings as JSON, rows of tables.

Pure functions of the configuration and of wildcards; the rule files hold nothing but rules. Paths begin with the pathvar ``<results>``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

CALLS = ("base_url", "api_key_env", "serve_seconds", "concurrency", "timeout", "max_retries", "price_prompt", "price_completion")
"""Keys of a provider that decide no answer. They are no params, so that another price or pace asks nothing and trains nothing again."""

Wildcards = Any
"""Snakemake's wildcards: attributes by name, and a mapping."""


def one_of(names: Iterable[str]) -> str:
    """A wildcard constraint: one of some names; a pattern that never matches where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


class Wiring:
    """How the rules of one configuration are tied together.

    Args:
        config: from :func:`m1.config.prepare`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.recipes: dict[str, Any] = config["recipes"]
        self.world_bases = [name for name, base in config["bases"].items() if "world" in base]
        self.other_bases = [name for name in config["bases"] if name not in self.world_bases]
        self.thinking = [name for name, recipe in self.recipes.items() if recipe["prompt"] == "thinking"]
        """Models that think, and are swept over the budgets."""
        self.at_once = [name for name in self.recipes if name not in self.thinking]
        self.trained = [name for name, recipe in self.recipes.items() if "sft" in recipe]
        self.drawn = [name for name in config["distill"] if name != "hard"]
        """Sets of questions that are drawn at random from the whole collection."""

    def targets(self) -> list[str]:
        """Everything that this configuration makes in the end."""
        names = ["table1.csv", "table2.csv", "table3.csv", "table4.csv", "figure1.pdf", "figure3.pdf"]
        return [f"<results>/{name}" for name in names if name != "table2.csv" or "table2" in self.config["report"]]

    def settings(self, path: str, only: list[str] | None = None, **more: Any) -> Callable[[Wildcards], str]:
        """One concern of the configuration as JSON, the value of one param.

        Args:
            path: keys separated by ``/``; ``{name}`` in it is a wildcard.
            only: the keys that matter to the rule (all by default).
            more: further keys.
        """

        def value(wildcards: Wildcards) -> str:
            found = self.config
            for key in path.format(**wildcards).split("/"):
                found = found[key]
            return json.dumps({key: part for key, part in {**found, **more}.items() if only is None or key in only}, sort_keys=True)

        return value

    def provider(self, name: str) -> Callable[[Wildcards], str]:
        """What decides a provider's answers, as JSON."""
        return self.settings(name, only=[key for key in self.config[name] if key not in CALLS])

    def export_calls(self) -> None:
        """How calls are made and what they cost, as JSON, into the environment variables ``M1_TEACHER_CALLS`` and ``M1_LABELLER_CALLS``."""
        for name in ("teacher", "labeller"):
            os.environ[f"M1_{name.upper()}_CALLS"] = json.dumps({key: self.config[name][key] for key in CALLS})

    def batch(self, wildcards: Wildcards) -> int:
        """Requests that a model runs at a time."""
        return self.recipes[wildcards.model]["serve"]["batch"]

    def store(self, name: str) -> str:
        """A folder of the store, which outlives the results."""
        return f"{self.config['store']}/{name}"

    def resource(self, name: str, default: Any) -> Callable[[Wildcards], Any]:
        """A resource of the model's recipe."""
        return lambda wildcards: self.recipes[wildcards.model]["resources"].get(name, default)

    def served_files(self, provider: str) -> list[str]:
        """Files of this workflow that the server of a provider reads; none where the server is somebody else's."""
        results = f"{self.config['pathvars']['results']}/"
        return [part for part in self.config[provider]["serve"] or [] if part.startswith(results)]

    def pool_file(self, wildcards: Wildcards) -> list[str]:
        """The local file of a pool; none if it comes from the hub."""
        return [path for path in [self.config["pools"][wildcards.pool]["path"]] if path]

    def benchmark_file(self, wildcards: Wildcards) -> list[str]:
        """The local file of a benchmark; none if it comes from the hub."""
        return [path for path in [self.config["benchmarks"][wildcards.benchmark]["path"]] if path]

    def benchmarks(self) -> list[str]:
        """The questions of all benchmarks."""
        return [f"<results>/benchmarks/{name}.parquet" for name in self.config["benchmarks"]]

    def asked(self, wildcards: Wildcards) -> str:
        """The questions of a set for the teacher: what no screening model solved, or a random draw."""
        return "<results>/screen/hard.parquet" if wildcards.set == "hard" else f"<results>/distill/{wildcards.set}.questions.parquet"

    def drawn_like(self, wildcards: Wildcards) -> list[str]:
        """The subset whose size decides how many questions are drawn."""
        return _subset_file(self.config["distill"][wildcards.set])

    def traces(self, wildcards: Wildcards) -> str:
        """The traces that a subset is drawn from."""
        return f"<results>/distill/{self.config['subsets'][wildcards.subset]['traces']}.parquet"

    def domains(self, wildcards: Wildcards) -> list[str]:
        """Domain labels, where the sampling rule of a subset needs them."""
        needed = self.config["subsets"][wildcards.subset]["rule"].startswith("domain")
        return ["<results>/select/domains.parquet"] if needed else []

    def subset_like(self, wildcards: Wildcards) -> list[str]:
        """The subset whose size another one takes."""
        return _subset_file(self.config["subsets"][wildcards.subset])

    def base(self, wildcards: Wildcards) -> str:
        """The base that a recipe starts from."""
        return f"<results>/bases/{self.recipes[wildcards.model]['base']}"

    def training_set(self, wildcards: Wildcards) -> str:
        """The subset that a recipe trains on."""
        return f"<results>/select/{self.recipes[wildcards.model]['sft']['subset']}.parquet"

    def model(self, wildcards: Wildcards) -> str:
        """The model that a recipe evaluates: the trained one, or the base itself."""
        return f"<results>/train/{wildcards.model}" if wildcards.model in self.trained else self.base(wildcards)

    def judgements(self, shown: str) -> list[str]:
        """Judgements of the models of a table or of the figures."""
        part = self.config["report"][shown]
        return [f"<results>/score/{model}.parquet" for model in (part if isinstance(part, list) else part["models"])]

    def table1(self) -> str:
        """Rows of Table 1, as JSON."""
        return self._accuracies("table1", lambda recipe: {key: recipe[key] for key in ("group", "label", "published")})

    def table2(self) -> str:
        """Rows of Table 2, as JSON."""
        return self._accuracies("table2", lambda recipe: {**recipe["ablation"], "published": recipe["ablation"]["label"]})

    def _accuracies(self, table: str, shown: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
        report: dict[str, Any] = self.config["report"]
        rows = []
        for model in report[table]["models"]:
            budget = report[table]["budget"] if model in self.thinking else 0
            rows.append({"model": model, "budget": budget, **shown(self.recipes[model])})
        return json.dumps({"rows": rows, "remark": report["remark"]})

    def table3(self) -> list[tuple[str, str | None, list[str]]]:
        """Rows of Table 3: label, name in the paper (None: a row of ours), and the files that are counted."""
        results = self.config["pathvars"]["results"]
        m1k = "Hard Domain Dataset Balanced 1K (m1K)"
        rows = [
            ("Initial collection", "Initial collection", [f"pools/{pool}" for pool in self.config["pools"]]),
            ("Deduplication & decontamination", None, ["pools/merged"]),
            ("+After difficulty filtering", "+After difficulty filtering", ["screen/hard"]),
            ("+Generating thinking data (m23K)", "+Decontamination & deduplication (m23K)", ["select/m23k"]),
            ("Random 23K", "Random 23K", ["select/random_23k"]),
            ("Random 1K", "Random 1K", ["select/random_1k"]),
            ("Hard random 1K", "Hard random 1K", ["select/hard_random_1k"]),
            ("Hard Domain Balanced 1K", "Hard Domain Balanced 1K", ["select/hard_domain_1k"]),
            (m1k, m1k, ["select/m1k"]),
        ]
        return [(label, published, [f"{results}/{name}.parquet" for name in names]) for label, published, names in rows]

    def table3_settings(self) -> str:
        """Columns and rows of Table 3, as JSON."""
        rows = [{"label": label, "published": published} for label, published, _ in self.table3()]
        return json.dumps({"columns": list(self.config["pools"]), "rows": rows})

    def figure1(self) -> str:
        """Models and budgets of Figure 1, as JSON."""
        return json.dumps({"models": self._labels(), "budgets": self.config["thinking"]["budgets"], "note": self.config["report"]["note"]})

    def figure3(self) -> str:
        """Models, forced counts and budget of Figure 3, as JSON."""
        thinking = self.config["thinking"]
        shown = {"models": self._labels(), "forced": [0, *thinking["forced"]], "budget": thinking["forced_budget"]}
        return json.dumps({**shown, "note": self.config["report"]["note"]})

    def _labels(self) -> list[dict[str, str]]:
        return [{"model": model, "label": self.recipes[model]["label"]} for model in self.config["report"]["figures"]]


def _subset_file(settings: dict[str, Any]) -> list[str]:
    return [f"<results>/select/{settings['like']}.parquet"] if "like" in settings else []
