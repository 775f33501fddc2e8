"""The facts about a configuration that rules and commands ask for: what a run computes, and what its jobs run on."""

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from m1.core.errors import UserError, printable
from m1.core.files import read_json, write_json
from m1.core.places import source_file, unreadable

RESOURCES = {"threads": 1, "mem_mb": 2000, "runtime": 60}  # defaults of a model's jobs: cores, MB, minutes
PAPER_POOLS = {"medqa_train", "pubmedqa_labeled", "headqa_train", "medmcqa_train"}  # the paper's, in config/data.yaml
NOWHERE = "nowhere/results"  # results folder of a plan from nothing, which only serves to draw the workflow's graph
Wildcards = Any  # Snakemake's: attributes by name, and a mapping
THINKING = ("thinking", "thinking_bare")  # values of a recipe's `prompt` for models that think


def trainings(name: str, recipe: dict[str, Any]) -> list[str]:
    """Names of the models that a recipe's ``seeds`` stand for; an empty list if the recipe has none.

    The first keeps the recipe's own seed and name, so that adding seeds reruns nothing. The others end in their seed.
    """
    others = (seed for seed in recipe["seeds"] or () if seed != recipe["sft"]["seed"])
    return [name, *(f"{name}.seed{seed}" for seed in others)] if recipe["seeds"] else []


def any_name(names: Iterable[str]) -> str:
    """A wildcard constraint that matches exactly these names, and nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def optional_flags(*names: str) -> Callable[[Wildcards, Any], str]:
    """A params function for inputs that only some jobs have: ``--{name} {file}`` for each that the job has."""
    return lambda wildcards, input: " ".join(f"--{name} {input[name]}" for name in names if input[name])


class LocalSource(NamedTuple):
    """A local file or folder that the configuration names."""

    key: str  # of the configuration
    path: str
    optional: bool = False
    folder: bool = False


class LocalSources:
    """The local files and folders that a configuration names, by the result that each is a source of.

    Snakemake does not check the inputs of a finished step. So a missing source is noticed here, whenever a plan comes
    to the step. After ``make adopt``, results may be used without their sources; ``adopted.json`` beside them notes it.

    Args:
        config: from :func:`m1.wiring.config.prepare`.
        makes: whether a rule makes a path; by default, everything below the results folder.
    """

    def __init__(self, config: dict[str, Any], makes: Callable[[str], bool] | None = None) -> None:
        self.config, self.results = config, config["pathvars"]["results"]
        self.makes = makes or (lambda path: path.startswith(f"{self.results}/"))
        self.note = Path(self.results, "adopted.json")

    def files(self, place: str) -> list[str]:
        """The local files that a result is made from, as inputs of its rule.

        An optional file that is missing is left out, and so is any missing file in a plan of :data:`NOWHERE`. Another
        one ends the program, because Snakemake ignores other exceptions of input functions of finished steps.
        """
        files = []
        for one in self.by_place.get(place, []):
            fault = self.fault(one)
            if fault and (self.results == NOWHERE or (one.optional and not Path(one.path).exists())):
                continue
            if fault and one.path not in self.adopted.get(place, []):
                remedy, made = "correct the path, or bring what is missing", Path(self.results, place)
                if made.exists():
                    remedy += f"; to keep {made} without it, `make adopt` (or m1 launch with --touch)"
                raise SystemExit(printable(f"error: {one.key}: {one.path}: {fault}; {remedy}"))
            files.append(one.path)
        return files

    def fault(self, one: LocalSource) -> str:
        """Why a source cannot be read; an empty text if it can, or if a rule makes it."""
        fault = unreadable(one.path, one.folder)
        return "" if fault and self.makes(one.path) else fault

    def absent(self) -> list[tuple[str, LocalSource]]:
        """The required sources that cannot be read, each after the result that needs it."""
        named = [(place, one) for place, several in self.by_place.items() for one in several if not one.optional]
        return [(place, one) for place, one in named if self.fault(one)]

    def adopt(self) -> None:
        """Note in ``adopted.json`` that the results, if there are any, are used without their missing sources."""
        absent, found = self.absent(), self._noted()
        for place, one in absent:
            found[place] = sorted({*found.get(place, []), one.path})
        if absent and self.note.parent.is_dir():
            write_json(self.note, found)

    @cached_property
    def adopted(self) -> dict[str, list[str]]:
        """Results that were adopted without some of their sources, and the paths of these.

        The first use prints which sources are still missing.
        """
        found = self._noted()
        absent = [f"{one.key} ({one.path})" for place, one in self.absent() if one.path in found.get(place, [])]
        if absent:
            names = ", ".join(dict.fromkeys(absent))
            said = f"{self.note}: results were taken without {names}; no step that reads it can run"
            print(printable(said), file=sys.stderr)  # stdout may be a graph
        return found

    def _noted(self) -> dict[str, list[str]]:
        try:
            return read_json(self.note) if self.note.exists() else {}
        except UserError as error:
            raise SystemExit(printable(f"error: {error}; delete it, and `make adopt` again")) from None

    @cached_property
    def by_place(self) -> dict[str, list[LocalSource]]:
        """All local sources, by the path of the result below the results folder."""
        found: dict[str, list[LocalSource]] = defaultdict(list)
        for place, one in [*self._sets(), *self._answers(), *self._models()]:
            if one.path:
                found[place].append(one)
        return found

    def _sets(self) -> Iterator[tuple[str, LocalSource]]:
        config, published, beside = self.config, self.config["published"], self.config["report"]["figure8a"]["beside"]
        for user, label in config["read_from"].items():
            (kind, name), entry = user.split(".", 1), label.partition(":")[0]
            source = config[kind][name]
            yield f"{kind}/{name}.parquet", LocalSource(f"data.{entry}.path", source["path"], source["optional"])
        entries = [(f"select/{name}.parquet", entry, False) for name, entry in published["subsets"].items()]
        entries += [(f"select/{entry}.parquet", entry, True) for entry in beside.values()]
        entries += [("evaluation.parquet", published["evaluation"], False)] if published["evaluation"] else []
        for place, entry, optional in entries:
            yield place, LocalSource(f"data.{entry}.path", config["data"][entry]["path"], optional)
        yield "select/domains.parquet", LocalSource("labeller.notes", config["labeller"]["notes"])

    def _answers(self) -> Iterator[tuple[str, LocalSource]]:
        for kind, folder in (("results", "infer"), ("beside", "published")):
            for name, files in self.config["published"][kind].items():
                for number, one in enumerate(files):
                    key = f"published.{kind}.{name}.{number}" if one.get("path") else f"data.{one['from']}"
                    path = (self.config["data"][one["from"]] | one)["path"]
                    yield f"{folder}/{name}/predictions.parquet", LocalSource(f"{key}.path", path)

    def _models(self) -> Iterator[tuple[str, LocalSource]]:
        for name, entry in self.config["published"]["checkpoints"].items():
            path = self.config["data"][entry]["path"]
            yield f"train/{name}", LocalSource(f"data.{entry}.path", path, folder=True)
        for kind, models in (("bases", self.config["bases"]), ("screen/models", self.config["screen"]["models"])):
            for name, model in models.items():
                key = f"{kind.replace('/', '.')}.{name}.path"
                yield f"{kind}/{name}", LocalSource(key, model.get("path"), folder=True)


class Run:
    """The sets, models and providers that a configuration computes.

    Args:
        config: from :func:`m1.wiring.config.prepare`.
        remote: whether this Snakemake runs a single job, perhaps on another host, and does not plan.
        makes: as for :class:`LocalSources`.
    """

    evaluation = "<results>/evaluation.parquet"  # all questions of the published evaluation file, in its order

    def __init__(
        self, config: dict[str, Any], remote: bool = False, makes: Callable[[str], bool] | None = None
    ) -> None:
        self.config, self.remote = config, remote
        self.local = LocalSources(config, makes)
        self.recipes: dict[str, Any] = config["recipes"]
        self.world_models: dict[str, Any] = config.get("world", {}).get("models", {})
        self.published: dict[str, Any] = config["published"]  # the authors' files used in place of ours, or beside ours
        self.thinking = [name for name, recipe in self.recipes.items() if recipe["prompt"] in THINKING]
        self.sweep_models = [name for name in self.thinking if name not in self.published["results"]]
        """Models that think and are swept over the budgets in this run."""
        self.direct = [name for name in self.recipes if name not in {*self.thinking, *self.published["results"]}]
        """Models that answer in this run without thinking."""
        self.evaluated_here = [name for name in self.recipes if name not in self.published["results"]]
        """Models whose answers this run generates, itself or through a server."""
        self.own_weights = [name for name, recipe in self.recipes.items() if "sft" in recipe]
        """Models with weights of their own, trained here or published."""
        self.trained_here = [name for name in self.own_weights if name not in self.published["checkpoints"]]
        self.needed_trainings = [name for name in self.trained_here if name not in self.published["results"]]
        """Models that must be trained here, because this run generates answers with their weights."""
        answering = {*self.evaluated_here} - ({*self.own_weights} - {*self.trained_here})
        self.bases = list(dict.fromkeys(recipe["base"] for name, recipe in self.recipes.items() if name in answering))
        """Bases that this run trains, or whose answers it generates."""
        self.providers: dict[str, Any] = config["screen"]["providers"]  # screening models behind a URL
        self.borrowers = [name for name, recipe in self.recipes.items() if recipe["tokenizer"]]
        """Models that borrow the chat template of another tokenizer."""
        self.drawn_subsets = [name for name in config["subsets"] if name not in self.published["subsets"]]
        """Subsets that are drawn here."""
        self.extra_sets = list(config["report"]["figure8a"]["beside"].values())
        """Further data sets that Figure 8a shows."""
        self.teacher_sets = list(dict.fromkeys(config["subsets"][name]["traces"] for name in self.drawn_subsets))
        """Sets of questions that the teacher answers."""
        self.screens = "hard" in self.teacher_sets
        self.screening_models: dict[str, Any] = config["screen"]["models"] if self.screens else {}
        """Screening models with weights; empty if this run does not screen."""
        self.random_sets = [name for name in config["distill"] if name != "hard"]
        """Sets of questions that are drawn at random from the whole collection."""
        self.pools = [f"<results>/pools/{name}.parquet" for name in config["pools"]]
        self.benchmarks = [f"<results>/benchmarks/{name}.parquet" for name in config["benchmarks"]]
        self.collection = self.pools if config["draws"] == "released" else ["<results>/pools/merged.parquet"]
        """The files that random sets are drawn from: all pools (``draws: released``), or what merging left of them."""
        # `ancient` would not do here: Snakemake does not propagate the update of a running job through such an input.
        kept = ("<results>/train/{}.sha256", "<results>/infer/{}/context.json")
        self.context_checks = [
            name for name in self.needed_trainings if not all(self.path(file.format(name)).exists() for file in kept)
        ]
        """Needed trainings before which the run checks that the questions fit the base's context. A finished training
        keeps the file of its check, which is never made again."""
        self.evaluation_files = [self.evaluation] if self.published["evaluation"] else self.benchmarks
        """The questions of the second decontamination: the whole evaluation file or, without one, all benchmarks."""

    # Files

    def teacher_questions(self, name: str) -> str:
        """The file with the questions of a teacher's set: those that no screening model solved, or a random draw."""
        return "<results>/screen/hard.parquet" if name == "hard" else f"<results>/distill/{name}.questions.parquet"

    @property
    def published_counts(self) -> list[str]:
        """The file of the paper's counts, if this configuration has the paper's four pools in full; else nothing."""
        pools = self.config["pools"]
        entries = {self.config["read_from"][f"pools.{name}"] for name in pools}
        whole = entries == PAPER_POOLS and all(pool["limit"] is None for pool in pools.values())
        return [str(source_file("resources/paper/counts.csv"))] if whole else []

    def path(self, name: str) -> Path:
        return Path(name.replace("<results>", self.config["pathvars"]["results"]))

    def weights(self, model: str) -> str:
        """The folder of the model that a recipe evaluates: its own weights, or the base."""
        own = model in self.own_weights
        return f"<results>/train/{model}" if own else f"<results>/bases/{self.recipes[model]['base']}"

    def model_entry(self, kind: str, name: str) -> dict[str, Any]:
        models: dict[str, Any] = self.config["bases"] if kind == "bases" else self.config["screen"]["models"]
        return models[name]

    def world_model(self, kind: str, name: str) -> list[str]:
        """The folder of the embedded world's model that a base or screening model uses; nothing if it uses none."""
        path = self.model_entry(kind, name).get("path", "")
        return [path] if path.startswith(f"{self.config['pathvars']['results']}/world/") else []

    def like_subset(self, settings: dict[str, Any]) -> list[str]:
        """The subset that ``like`` names, because its size is copied; nothing if there is no ``like``."""
        return [f"<results>/select/{settings['like']}.parquet"] if "like" in settings else []

    def store(self, name: str) -> str:
        """A folder of the store, which outlives the results."""
        return f"{self.config['store']}/{name}"

    def store_word(self, name: str) -> str:
        """The same as a quoted word of a command."""
        return f"{quote(self.config['store'])}/{name}"

    def server_files(self, provider: dict[str, Any]) -> list[str]:
        """Results that a provider's server reads, if the workflow starts that server; else nothing."""
        results = f"{self.config['pathvars']['results']}/"
        return [part for part in provider["serve"] or [] if part.startswith(results)]

    # Steps that call models over HTTP

    def http_steps(self) -> list[str]:
        """Manifests of the steps that call models over HTTP."""
        subsets = [self.config["subsets"][name] for name in self.drawn_subsets]
        names = [f"distill/{name}" for name in self.teacher_sets]
        names += [f"screen/{name}" for name in self.providers if self.screens]
        if "m23k" in self.drawn_subsets or any(subset["rule"].startswith("domain") for subset in subsets):
            names.append("select/domains")
        return [f"<results>/{name}.json" for name in names]

    def called_providers(self) -> dict[str, dict[str, Any]]:
        """The providers of these steps, by their key in the configuration."""
        stages = {Path(manifest).parent.name for manifest in self.http_steps()}
        steps = (("teacher", "distill"), ("labeller", "select"))
        found = {key: self.config[key] for key, stage in steps if stage in stages}
        screening = {f"screen.providers.{name}": one for name, one in self.providers.items() if "screen" in stages}
        return found | screening

    # What comes from the hub, or from files

    @property
    def forced_together(self) -> list[str]:
        """Models whose forced thinking is generated in batches of the whole evaluation file, as the authors did."""
        if self.config["generation"]["forcing"] == "exact" or not self.published["evaluation"]:
            return []
        return [name for name in self.sweep_models if self.recipes[name]["thinking"]["forced"]]

    def hub_sources(self) -> dict[str, list[dict[str, Any]]]:
        """Models, chat templates and data sets that the run fetches or reads, by the result that each becomes.

        When these results exist, only calls of providers still need the network.
        """
        config, data, published = self.config, self.config["data"], self.published
        bases = [*self.bases, config["report"]["figure8a"]["base"]]
        models = {f"bases/{name}": config["bases"][name] for name in sorted(bases)}
        models |= {f"screen/models/{name}": model for name, model in sorted(self.screening_models.items())}
        found = {name: [model] for name, model in models.items() if not model.get("path")}
        found |= {f"train/{name}": [data[entry]] for name, entry in published["checkpoints"].items()}
        found |= {f"templates/{name}": [self.recipes[name]["tokenizer"]] for name in self.borrowers}
        subsets = [*published["subsets"].items(), *((name, name) for name in self.extra_sets)]
        found |= {f"select/{name}.parquet": [data[entry]] for name, entry in subsets}
        for kind, folder in (("results", "infer"), ("beside", "published")):
            for name, files in published[kind].items():
                found[f"{folder}/{name}/predictions.parquet"] = [data[one["from"]] | one for one in files]
        for kind in ("pools", "benchmarks"):
            found |= {f"{kind}/{name}.parquet": [source] for name, source in config[kind].items()}
        if published["evaluation"] and (self.forced_together or self.drawn_subsets):
            found["evaluation.parquet"] = [data[published["evaluation"]]]
        return found

    def hub_targets(self) -> list[str]:
        return [f"<results>/{name}" for name in self.hub_sources()]

    # What jobs run on

    def resources(self, stage: str, name: str) -> dict[str, int]:
        """First request of a model's jobs: ``threads`` (cores), ``mem_mb`` (MB on each node), ``runtime`` (minutes)."""
        if stage == "screen":
            return {**RESOURCES, **self.config["screen"]["resources"]}
        common: dict[str, Any] = self.recipes[name]["resources"]
        shared = {key: value for key, value in common.items() if key in RESOURCES}
        return {**RESOURCES, **shared, **common.get(stage, {})}

    def on_cpu(self, model: str) -> bool:
        """Whether a model trains and answers on the CPU: by its recipe, or because it is one of the embedded world."""
        recipe = self.recipes[model]
        return recipe["device"] == "cpu" or bool(self.world_model("bases", recipe["base"]))

    def training_gpus(self, model: str) -> tuple[int, int]:
        """Number of nodes of a training, and of GPUs on each node (one per process; 0 on the CPU)."""
        train = self.recipes[model]["train"]
        return train["nodes"], 0 if self.on_cpu(model) else train["processes"]

    def adapter(self, model: str) -> dict[str, Any] | None:
        """The settings of the adapter (``sft.lora``) that a model is trained with in this run; None without one."""
        found: dict[str, Any] | None = self.recipes[model]["sft"]["lora"] if model in self.trained_here else None
        return found

    def answering_gpus(self, model: str) -> int:
        return 0 if self.on_cpu(model) else _gpus(self.recipes[model]["serve"])

    def screening_gpus(self, name: str) -> int:
        screen = self.config["screen"]
        on_cpu = screen["device"] == "cpu" or self.world_model("screen/models", name)
        return 0 if on_cpu else _gpus(screen["serve"])


def _gpus(serve: dict[str, Any]) -> int:
    """Number of GPUs that an engine needs; 0 for one with a URL, because its server runs elsewhere."""
    options = serve["options"]
    return 0 if "base_url" in options else options.get("tp", 1) * options.get("dp", 1)
