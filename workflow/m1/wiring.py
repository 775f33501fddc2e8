"""From the checked configuration to what the rules need: input files and settings as JSON (the report's: :mod:`m1.wiring_report`).

Pure functions of the configuration and of wildcards; the rule files hold nothing but rules. Paths begin with the pathvar ``<results>``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from m1.config import READ
from m1.infer.engines import DECIDE
from m1.pools.sources import KEYS

CALLS = (
    *("base_url", "api_key_env", "serve_seconds", "concurrency", "timeout", "max_retries", "price_prompt", "price_completion"),
    *("requests_per_minute", "tokens_per_minute", "deadline", "max_dollars", "batch"),
)
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
        self.world_models: dict[str, Any] = config.get("world", {}).get("models", {})
        self.enter: dict[str, Any] = config["enter"]
        """What is taken as published, in place of computing it."""
        self.thinking = [name for name, recipe in self.recipes.items() if recipe["prompt"] == "thinking"]
        """Models that think, and are swept over the budgets."""
        self.swept = [name for name in self.thinking if name not in self.enter["results"]]
        self.at_once = [name for name in self.recipes if name not in self.thinking and name not in self.enter["results"]]
        self.tuned = [name for name, recipe in self.recipes.items() if "sft" in recipe]
        """Models with weights of their own, trained here or published."""
        self.trained = [name for name in self.tuned if name not in self.enter["checkpoints"]]
        self.providers: dict[str, Any] = config["screen"]["providers"]
        """Screening models behind a URL."""
        self.borrowing = [name for name, recipe in self.recipes.items() if recipe["tokenizer"]]
        """Models without a chat template of their own."""
        self.sampled = [name for name in config["subsets"] if name not in self.enter["subsets"]]
        self.drawn = [name for name in config["distill"] if name != "hard"]
        """Sets of questions that are drawn at random from the whole collection."""

    def settings(self, path: str, only: list[str] | None = None, **more: Any) -> Callable[[Wildcards], str]:
        """One concern of the configuration as JSON, the value of one param.

        Args:
            path: keys separated by ``/``; ``{name}`` in it is a wildcard.
            only: the keys that matter to the rule (all by default).
            more: further keys.
        """

        def value(wildcards: Wildcards) -> str:
            found = {**self._at(path, wildcards), **more}
            return _json({key: part for key, part in found.items() if only is None or key in only})

        return value

    def _at(self, path: str, wildcards: Wildcards) -> dict[str, Any]:
        """The part of the configuration at a path, which is as in :meth:`settings`."""
        found = self.config
        for key in path.format(**wildcards).split("/"):
            found = found[key]
        return found

    def provider(self, path: str) -> Callable[[Wildcards], str]:
        """What decides the answers of the provider at a path of the configuration, as JSON."""
        return lambda wildcards: _json({key: part for key, part in self._at(path, wildcards).items() if key not in CALLS})

    def export_calls(self) -> None:
        """How calls are made and what they cost, as JSON, into environment variables: ``M1_TEACHER_CALLS``, ``M1_LABELLER_CALLS`` and,
        by provider, ``M1_SCREEN_CALLS``."""

        def calls(provider: dict[str, Any]) -> dict[str, Any]:
            return {key: provider[key] for key in CALLS}

        for name in ("teacher", "labeller"):
            os.environ[f"M1_{name.upper()}_CALLS"] = json.dumps(calls(self.config[name]))
        providers = self.config["screen"]["providers"]
        os.environ["M1_SCREEN_CALLS"] = json.dumps({name: calls(provider) for name, provider in providers.items()})

    def serve(self, path: str) -> Callable[[Wildcards], str]:
        """What of a ``serve`` decides answers, as JSON; ``path`` is as in :meth:`settings`."""

        def value(wildcards: Wildcards) -> str:
            serve = self._at(path, wildcards)
            options = {key: part for key, part in serve["options"].items() if key in DECIDE}
            return _json({"engine": serve["engine"], "dtype": serve["dtype"], "options": options})

        return value

    def placement(self, path: str) -> Callable[[Wildcards], str]:
        """Where and how a ``serve`` runs, as JSON. Rules have it as a resource, so that another server or more GPUs rerun nothing."""
        return lambda wildcards: _json({key: part for key, part in self._at(f"{path}/options", wildcards).items() if key not in DECIDE})

    def train(self, wildcards: Wildcards) -> str:
        """Where and how a model is trained, as JSON; a resource, as :meth:`placement` is."""
        return _json(self.recipes[wildcards.model]["train"])

    def batch(self, wildcards: Wildcards) -> int:
        """Requests that a model runs at a time."""
        return self.recipes[wildcards.model]["serve"]["batch"]

    def store(self, name: str) -> str:
        """A folder of the store, which outlives the results."""
        return f"{self.config['store']}/{name}"

    def resource(self, name: str, default: Any) -> Callable[[Wildcards], Any]:
        """A resource of the model's recipe."""
        return lambda wildcards: self.recipes[wildcards.model]["resources"].get(name, default)

    def served_files(self, provider: dict[str, Any]) -> list[str]:
        """Files of this workflow that the server of a provider reads; none where the server is somebody else's."""
        results = f"{self.config['pathvars']['results']}/"
        return [part for part in provider["serve"] or [] if part.startswith(results)]

    def spending(self) -> list[str]:
        """Manifests of the steps of this run that call models over HTTP."""
        subsets = [self.config["subsets"][name] for name in self.sampled]
        sets = dict.fromkeys(subset["traces"] for subset in subsets)
        made = [f"distill/{name}" for name in sets]
        if "hard" in sets:
            made += [f"screen/{name}" for name in self.providers]
        if "m23k" in self.sampled or any(subset["rule"].startswith("domain") for subset in subsets):
            made.append("select/domains")
        return [f"<results>/{name}.json" for name in made]

    def source_file(self, kind: str, name: str) -> list[str]:
        """The local file of a pool or benchmark; none if it comes from the hub, or is optional and not there."""
        source = self.config[kind][name]
        path = source["path"]
        return [path] if path and (Path(path).exists() or not source["optional"]) else []

    def pools(self) -> list[str]:
        """The questions of all pools."""
        return [f"<results>/pools/{name}.parquet" for name in self.config["pools"]]

    def benchmarks(self) -> list[str]:
        """The questions of all benchmarks."""
        return [f"<results>/benchmarks/{name}.parquet" for name in self.config["benchmarks"]]

    def born(self, wildcards: Wildcards) -> list[str]:
        """The embedded world's model that a base or a screening model is; none where it comes from elsewhere."""
        path = self._at("{kind}/{base}", wildcards).get("path", "")
        return [path] if path.startswith(f"{self.config['pathvars']['results']}/world/") else []

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
        return f"<results>/train/{wildcards.model}" if wildcards.model in self.tuned else self.base(wildcards)

    def entry(self, path: str) -> Callable[[Wildcards], str]:
        """What is read in place of an artifact, as JSON: the entry of ``data`` that a path of ``enter`` names (``subsets/{subset}``)."""

        def value(wildcards: Wildcards) -> str:
            entry = self._entry(*path.format(**wildcards).split("/"))
            return _json({key: entry[key] for key in KEYS})

        return value

    def _entry(self, part: str, name: str) -> dict[str, Any]:
        """The entry of ``data`` that is taken in place of an artifact."""
        return self.config["data"][self.enter[part][name]]

    def checkpoint(self, wildcards: Wildcards) -> str:
        """Where a published checkpoint is, as JSON: a folder, or a model on the hub."""
        entry = self._entry("checkpoints", wildcards.model)
        return _json({key: entry[key] for key in ("path", "hub", "revision") if entry[key]})

    def pool_names(self, wildcards: Wildcards) -> str:
        """Source in a published subset to pool, as JSON."""
        return json.dumps(self._entry("subsets", wildcards.subset)["sources"])

    def published_results(self, wildcards: Wildcards) -> str:
        """The published results of a model, as JSON: lists of the files by benchmark, and where each file is."""
        names: dict[str, str] = {}
        for result in self.enter["results"][wildcards.model]:
            sets = self.config["data"][result["from"]]["sets"]
            names |= {one["key"]: benchmark for benchmark, one in sets.items() if benchmark in self.config["benchmarks"]}
        return _json({"names": names, "results": self._published(wildcards)})

    def _published(self, wildcards: Wildcards) -> list[dict[str, Any]]:
        """Budget, forced count and place of each published result of a model."""
        results = []
        for result in self.enter["results"][wildcards.model]:
            place = self.config["data"][result["from"]] | result
            results.append({key: place[key] for key in ("budget", "forced", *KEYS) if key not in ("key", "rows")})
        return results

    def published_files(self, wildcards: Wildcards) -> list[str]:
        """The local files of a model's published results."""
        return [place["path"] for place in self._published(wildcards) if place["path"]]

    def subset_file(self, wildcards: Wildcards) -> list[str]:
        """The local file of a published subset."""
        return [path for path in [self._entry("subsets", wildcards.subset)["path"]] if path]

    def data_check(self) -> dict[str, dict[str, Any]]:
        """Where each set that this configuration reads is, and what uses it: the argument of :func:`m1.pools.check.check`.

        Sets of the embedded world are left out: the run makes them itself.
        """
        sources: dict[str, dict[str, Any]] = {}
        for user, label in self.config["read_from"].items():
            kind, name = user.split(".")
            source = self.config[kind][name]
            if (source["path"] or "").startswith(f"{self.config['pathvars']['results']}/world/"):
                continue
            one = sources.setdefault(label, {"used_by": [], "optional": True, **{key: source[key] for key in READ}})
            one["used_by"].append(user)
            one["optional"] = one["optional"] and source["optional"]
        for name, label in self.enter["subsets"].items():
            entry = {key: self.config["data"][label][key] for key in READ}
            sources[label] = {"used_by": [f"enter.subsets.{name}"], "optional": False, **entry}
        return sources

    def template(self, wildcards: Wildcards) -> list[str]:
        """The tokenizer whose chat template a model borrows; none where it has its own."""
        return [f"<results>/templates/{wildcards.model}"] if self.recipes[wildcards.model]["tokenizer"] else []

    def template_flag(self, wildcards: Wildcards, input: Any) -> str:
        """``--template`` where a model borrows one."""
        return f"--template {input.template}" if input.template else ""


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


def _subset_file(settings: dict[str, Any]) -> list[str]:
    return [f"<results>/select/{settings['like']}.parquet"] if "like" in settings else []
