"""From the checked configuration to what the rules need: input files and settings as JSON (the report's:
:mod:`m1.wiring.report`).

Pure functions of the configuration and of wildcards; the rule files hold nothing but rules. Paths begin with the
pathvar ``<results>``.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from m1.core.sources import KEYS
from m1.engines.protocol import DECIDE
from m1.wiring.config import READ

CALLS = (
    *(
        "base_url",
        "api_key_env",
        "serve_seconds",
        "concurrency",
        "timeout",
        "max_retries",
        "price_prompt",
        "price_completion",
    ),
    *("requests_per_minute", "tokens_per_minute", "deadline", "max_dollars", "batch"),
)
"""Keys of a provider that decide no answer. They are no params, so that another price or pace asks nothing and trains
nothing again."""

RESOURCES = {"threads": 1, "mem_mb": 2000, "runtime": 60}
"""Of a model's jobs, where nothing is said: cores, megabytes, minutes."""

Wildcards = Any
"""Snakemake's wildcards: attributes by name, and a mapping."""


def one_of(names: Iterable[str]) -> str:
    """A wildcard constraint: one of some names; a pattern that never matches where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


class Wiring:
    """How the rules of one configuration are tied together.

    Args:
        config: from :func:`m1.wiring.config.prepare`.
        remote: this is not the Snakemake that plans but one that runs a job for it, on another host perhaps.
    """

    def __init__(self, config: dict[str, Any], remote: bool = False) -> None:
        self.config, self.remote = config, remote
        self.recipes: dict[str, Any] = config["recipes"]
        self.world_models: dict[str, Any] = config.get("world", {}).get("models", {})
        self.enter: dict[str, Any] = config["enter"]
        """What is taken as published, in place of computing it."""
        self.thinking = [name for name, recipe in self.recipes.items() if recipe["prompt"] == "thinking"]
        """Models that think, and are swept over the budgets."""
        self.swept = [name for name in self.thinking if name not in self.enter["results"]]
        self.at_once = [
            name for name in self.recipes if name not in self.thinking and name not in self.enter["results"]
        ]
        self.tuned = [name for name, recipe in self.recipes.items() if "sft" in recipe]
        """Models with weights of their own, trained here or published."""
        self.trained = [name for name in self.tuned if name not in self.enter["checkpoints"]]
        self.trainings = [name for name in self.trained if name not in self.enter["results"]]
        """Of them, those whose weights something is computed from."""
        answering = {*self.swept, *self.at_once} - ({*self.tuned} - {*self.trained})
        self.bases = list(dict.fromkeys(recipe["base"] for name, recipe in self.recipes.items() if name in answering))
        """Bases that are trained here, or answer themselves."""
        self.providers: dict[str, Any] = config["screen"]["providers"]
        """Screening models behind a URL."""
        self.borrowing = [name for name, recipe in self.recipes.items() if recipe["tokenizer"]]
        """Models without a chat template of their own."""
        self.sampled = [name for name in config["subsets"] if name not in self.enter["subsets"]]
        self.traced = list(dict.fromkeys(config["subsets"][name]["traces"] for name in self.sampled))
        """Sets of questions that the teacher thinks about."""
        self.screens = "hard" in self.traced
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
        return lambda wildcards: _json(
            {key: part for key, part in self._at(path, wildcards).items() if key not in CALLS}
        )

    def export_calls(self) -> None:
        """How calls are made and what they cost, as JSON, into environment variables: ``M1_TEACHER_CALLS``,
        ``M1_LABELLER_CALLS`` and, by provider, ``M1_SCREEN_CALLS``."""

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
        """Where and how a ``serve`` runs, as JSON. Rules have it as a resource, so that another server or more GPUs
        rerun nothing."""
        return lambda wildcards: _json(
            {key: part for key, part in self._at(f"{path}/options", wildcards).items() if key not in DECIDE}
        )

    def screen_shards(self, wildcards: Wildcards) -> list[str]:
        """Manifests of the shards of a screening model's attempts; see :meth:`_shards`."""
        wanted = self.config["screen"]["shards"]
        return self._shards(
            wanted, f"<results>/screen/shards/{wildcards.base}", f"<results>/screen/{wildcards.base}.parquet"
        )

    def infer_shards(self, wildcards: Wildcards) -> list[str]:
        """Manifests of the shards of a model's answers; see :meth:`_shards`."""
        folder = f"<results>/infer/{wildcards.model}"
        return self._shards(
            self.recipes[wildcards.model]["serve"]["shards"], f"{folder}/shards", f"{folder}/predictions.parquet"
        )

    def _shards(self, wanted: int, folder: str, artifact: str) -> list[str]:
        """Manifests of the shards that fill the store for an artifact; none where one job does all.

        Their number is placement and must make nothing run again. Yet Snakemake reruns a step when the set of its input
        files changes, and after a screen all trainings. So what has been made keeps the shards it was made with;
        another number holds for what is made anew. A job on another host goes by what is there, as its own output has
        been removed before it starts.
        """
        here = Path(folder.replace("<results>", self.config["pathvars"]["results"]))
        done = Path(artifact.replace("<results>", self.config["pathvars"]["results"]))
        found = sorted(int(file.stem.partition("-of-")[2]) for file in here.glob("1-of-*.json"))
        for count in (wanted, *found):
            if count > 1 and all((here / f"{number}-of-{count}.json").exists() for number in range(1, count + 1)):
                break
        else:
            count = 1 if self.remote or done.exists() else wanted
        return [f"{folder}/{number}-of-{count}.json" for number in range(1, count + 1) if count > 1]

    def made(self, wildcards: Wildcards, input: Any, output: Any) -> str:
        """Flags that say what a job is to make: its shard of the generations, or the files, from the shards if there
        are any."""
        if hasattr(wildcards, "shard"):
            return f"--shard {wildcards.shard}/{wildcards.shards}"
        files = [
            f"--{name if name == 'rollouts' else 'output'} {path}"
            for name, path in output.items()
            if name != "manifest"
        ]
        return " ".join([*files, *(["--gather", *input.shards] if input.shards else [])])

    def train(self, wildcards: Wildcards) -> str:
        """Where and how a model is trained, as JSON; a resource, as :meth:`placement` is."""
        return _json(self.recipes[wildcards.model]["train"])

    def batch(self, wildcards: Wildcards) -> int:
        """Requests that a model runs at a time."""
        return self.recipes[wildcards.model]["serve"]["batch"]

    def store(self, name: str) -> str:
        """A folder of the store, which outlives the results."""
        return f"{self.config['store']}/{name}"

    def resources(self, stage: str, name: str) -> dict[str, int]:
        """Cores (``threads``), memory on each node (``mem_mb``, MB) and time (``runtime``, minutes) of a model's jobs,
        for the first try.

        Args:
            stage: ``train`` or ``infer``, for which a recipe may have its own; or ``screen``.
            name: of the model, or screening model.
        """
        if stage == "screen":
            return {**RESOURCES, **self.config["screen"]["resources"]}
        common: dict[str, Any] = self.recipes[name]["resources"]
        return {
            **RESOURCES,
            **{key: value for key, value in common.items() if key in RESOURCES},
            **common.get(stage, {}),
        }

    def threads(self, stage: str) -> Callable[[Wildcards], int]:
        """Cores of a job."""
        return lambda wildcards: self.resources(stage, _model(wildcards))["threads"]

    def training(self, wildcards: Wildcards) -> tuple[int, int]:
        """Nodes of a training, and GPUs on each of them."""
        return self.trains_on(wildcards.model)

    def answering(self, wildcards: Wildcards) -> tuple[int, int]:
        """Nodes and GPUs for a model's answers, or a shard of them."""
        return 1, 0 if self._gathers(wildcards, self.infer_shards) else self.answers_on(wildcards.model)

    def screening(self, wildcards: Wildcards) -> tuple[int, int]:
        """Nodes and GPUs for a screening model's attempts, or a shard of them."""
        return 1, 0 if self._gathers(wildcards, self.screen_shards) else self.screens_on(wildcards.base)

    def trains_on(self, model: str) -> tuple[int, int]:
        """Nodes of a training, and GPUs on each of them: one for each process."""
        recipe = self.recipes[model]
        return recipe["train"]["nodes"], 0 if self._of_world("bases", recipe["base"]) else recipe["train"]["processes"]

    def answers_on(self, model: str) -> int:
        """GPUs that a model answers on."""
        recipe = self.recipes[model]
        return 0 if self._of_world("bases", recipe["base"]) else _cards(recipe["serve"])

    def screens_on(self, base: str) -> int:
        """GPUs that a screening model answers on."""
        return 0 if self._of_world("screen/models", base) else _cards(self.config["screen"]["serve"])

    def _gathers(self, wildcards: Wildcards, shards: Callable[[Wildcards], list[str]]) -> bool:
        """Whether a job only joins what its shards have put into the store, and so needs no GPU."""
        is_shard = "shard" in wildcards.keys()  # noqa: SIM118  (by `in` alone, Snakemake's wildcards are a list of values)
        return not is_shard and bool(shards(wildcards))

    def allocation(self, stage: str) -> dict[str, Callable[..., int | str | None]]:
        """What a job with GPUs asks of a scheduler, as resources. One that is None is not asked for.

        On one node that is ``gpu``, which a limit without a scheduler counts, too. On several, SLURM needs GPUs by
        node, and a step that the job starts by itself (``mpi``).

        Memory and time grow with each attempt.

        Args:
            stage: as of :meth:`resources`.
        """
        shape = {"train": self.training, "infer": self.answering, "screen": self.screening}[stage]
        cluster = self.config["cluster"]
        kind = cluster["gpu_type"]

        def asked(one: Callable[[int, int], int | str | None]) -> Callable[[Wildcards], int | str | None]:
            return lambda wildcards: one(*shape(wildcards))

        def several(value: Callable[[int], int | str]) -> Callable[[Wildcards], int | str | None]:
            return asked(lambda nodes, _: value(nodes) if nodes > 1 else None)

        def grown(name: str, most: float = math.inf) -> Callable[..., int]:
            return lambda wildcards, attempt: int(min(self.resources(stage, _model(wildcards))[name] * attempt, most))

        return {
            "mem_mb": grown("mem_mb"),
            "runtime": grown("runtime", int(cluster["longest"]) if cluster["longest"] else math.inf),
            "slurm_partition": asked(lambda _, gpus: cluster["gpu_partition" if gpus else "partition"] or None),
            "nodes": asked(lambda nodes, _: nodes),
            "gpu": asked(lambda nodes, gpus: gpus if gpus and nodes == 1 else None),
            "gpu_model": asked(lambda nodes, gpus: kind or None if gpus and nodes == 1 else None),
            "gres": asked(
                lambda nodes, gpus: ":".join(filter(None, ("gpu", kind, str(gpus)))) if gpus and nodes > 1 else None
            ),
            "mpi": several(lambda _: "srun"),
            "tasks": several(lambda nodes: nodes),
            "tasks_per_gpu": several(lambda _: 0),
        }

    def served_files(self, provider: dict[str, Any]) -> list[str]:
        """Files of this workflow that the server of a provider reads; none where the server is somebody else's."""
        results = f"{self.config['pathvars']['results']}/"
        return [part for part in provider["serve"] or [] if part.startswith(results)]

    def spending(self) -> list[str]:
        """Manifests of the steps of this run that call models over HTTP."""
        subsets = [self.config["subsets"][name] for name in self.sampled]
        made = [f"distill/{name}" for name in self.traced]
        if self.screens:
            made += [f"screen/{name}" for name in self.providers]
        if "m23k" in self.sampled or any(subset["rule"].startswith("domain") for subset in subsets):
            made.append("select/domains")
        return [f"<results>/{name}.json" for name in made]

    def called(self) -> dict[str, dict[str, Any]]:
        """The providers that steps of this run call, by their key in the configuration."""
        stages = {Path(manifest).parent.name for manifest in self.spending()}
        found = {
            key: self.config[key] for key, stage in (("teacher", "distill"), ("labeller", "select")) if stage in stages
        }
        return found | {f"screen.providers.{name}": one for name, one in self.providers.items() if "screen" in stages}

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
        return self._of_world(wildcards.kind, wildcards.base)

    def _of_world(self, kind: str, base: str) -> list[str]:
        path = self._at(f"{kind}/{base}", {}).get("path", "")
        return [path] if path.startswith(f"{self.config['pathvars']['results']}/world/") else []

    def asked(self, wildcards: Wildcards) -> str:
        """The questions of a set for the teacher: what no screening model solved, or a random draw."""
        return (
            "<results>/screen/hard.parquet"
            if wildcards.set == "hard"
            else f"<results>/distill/{wildcards.set}.questions.parquet"
        )

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

    def identities(self, *folders: Callable[[Wildcards], str | list[str]]) -> Callable[[Wildcards], list[str]]:
        """Identities of models and tokenizers: files to go by, as the folders are ``ancient``
        (:func:`m1.core.files.replacing_model`)."""

        def files(wildcards: Wildcards) -> list[str]:
            found = [folder(wildcards) for folder in folders]
            return [f"{one}.sha256" for part in found for one in ([part] if isinstance(part, str) else part)]

        return files

    def entry(self, path: str) -> Callable[[Wildcards], str]:
        """What is read in place of an artifact, as JSON: the entry of ``data`` that a path of ``enter`` names
        (``subsets/{subset}``)."""

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
            names |= {
                one["key"]: benchmark for benchmark, one in sets.items() if benchmark in self.config["benchmarks"]
            }
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
        """Where each set that this configuration reads is, and what uses it: the argument of
        :func:`m1.commands.check_data.check`.

        Sets of the embedded world are left out: the run makes them itself.
        """
        sources: dict[str, dict[str, Any]] = {}
        for user, label in self.config["read_from"].items():
            kind, name = user.split(".")
            source = self.config[kind][name]
            if (source["path"] or "").startswith(f"{self.config['pathvars']['results']}/world/"):
                continue
            one = sources.setdefault(
                label, {"used_by": [], "optional": True, "strict": False, **{key: source[key] for key in READ}}
            )
            one["used_by"].append(user)
            one["optional"] = one["optional"] and source["optional"]
            one["strict"] = one["strict"] or (
                source["invalid"] == "error" and not source["part"]
            )  # the other part may hold the record
        for name, label in self.enter["subsets"].items():
            entry = {key: self.config["data"][label][key] for key in READ}
            sources[label] = {"used_by": [f"enter.subsets.{name}"], "optional": False, "strict": False, **entry}
        return sources

    def fetched(self) -> list[str]:
        """All that comes from the hub, or from files: models, chat templates, sets. After it, nothing needs the network
        but providers."""
        folders = {
            f"bases/{name}" for name in [*self.bases, self.config["report"]["figure8a"]["base"]]
        }  # whose tokenizer counts
        folders |= {f"screen/models/{name}" for name in self.config["screen"]["models"] if self.screens}
        folders -= {
            f"{kind}/{name}"
            for kind, name in (folder.rsplit("/", 1) for folder in folders)
            if self._at(f"{kind}/{name}", {}).get("path")
        }
        made = [
            *sorted(folders),
            *(f"train/{name}" for name in self.enter["checkpoints"]),
            *(f"templates/{name}" for name in self.borrowing),
        ]
        made += [f"select/{name}.parquet" for name in self.enter["subsets"]]
        made += [f"infer/{name}/predictions.parquet" for name in self.enter["results"]]
        return [*(f"<results>/{name}" for name in made), *self.pools(), *self.benchmarks()]

    def template(self, wildcards: Wildcards) -> list[str]:
        """The tokenizer whose chat template a model borrows; none where it has its own."""
        return [f"<results>/templates/{wildcards.model}"] if self.recipes[wildcards.model]["tokenizer"] else []

    def template_flag(self, wildcards: Wildcards, input: Any) -> str:
        """``--template`` where a model borrows one."""
        return f"--template {input.template}" if input.template else ""


def _model(wildcards: Wildcards) -> str:
    """The model, or screening model, of a job."""
    return str(wildcards.model if hasattr(wildcards, "model") else wildcards.base)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


def _cards(serve: dict[str, Any]) -> int:
    """GPUs that an engine runs on; none for a server elsewhere."""
    options = serve["options"]
    return 0 if serve["engine"] == "openai" else options.get("tp", 1) * options.get("dp", 1)


def _subset_file(settings: dict[str, Any]) -> list[str]:
    return [f"<results>/select/{settings['like']}.parquet"] if "like" in settings else []
