"""Read, merge and complete the configuration before anything runs; every fault in it is a :class:`UserError`."""

import csv
import functools
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from m1.core.errors import UserError
from m1.core.files import digest
from m1.core.fingerprint import fingerprint
from m1.core.places import SOURCE, locate, misplaced_source, source_file, special_characters, unreadable
from m1.wiring.check import all_weights, check, check_names, names_in, nearest
from m1.wiring.run import trainings
from m1.wiring.schema import config_schema
from m1.wiring.yaml_text import not_a_name, parse, read_yaml

# Keys whose named parts an overlay removes by setting them to null, as in `benchmarks: {gpqa: null}`.
NAMED = ("bases", "data", "pools", "benchmarks", "distill", "subsets", "report")


def all_recipes() -> list[str]:
    return names_in("config/models")


def default_files() -> list[Path]:
    """The files that every configuration starts from, in order; the Snakefile's ``configfile`` lines name the same.

    Raises:
        UserError: one is neither in the working directory nor in the workflow's source.
    """
    names = ("config/data.yaml", "config/config.yaml")
    for name in names:
        if not locate(name).exists():
            source_file(name)
    return [locate(name) for name in names]


def load(overlays: Sequence[Path] = (), words: Sequence[str] = (), *, alone: bool = False) -> dict[str, Any]:
    """Read, merge and check the configuration; the Snakefile and all commands call this function.

    The default files come first, then each overlay in turn, then the command line. Snakemake's own merge is not used:
    it merges the overlays with each other first, and so loses the null of one overlay where the next has a dictionary.

    Args:
        overlays: files of ``--configfile``.
        words: ``KEY=VALUE`` of ``--config``, also of a profile.
        alone: leave the default files out (``--replace-workflow-config``).
    """
    default = default_values()
    given = [{} if alone else default, *map(read, overlays), read_words(words)]
    return prepare(functools.reduce(merge, given), default)


def default_values() -> dict[str, Any]:
    values: dict[str, Any] = functools.reduce(merge, map(read, default_files()))
    return values


def read(path: Path) -> dict[str, Any]:
    """Read one configuration file without checking its keys.

    Raises:
        UserError: the file does not exist (the message names the nearest one in ``config/``), it is a pipe, it is not
            YAML, or it has no keys at its top level.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"{path}: {unreadable(path)}; it is read several times, so write it into a file")
    try:
        found = read_yaml(path, str(path), config_schema())
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file{nearest_file(path)}") from None
    if not isinstance(found, dict):
        shown = "nothing" if found is None else f"a {type(found).__name__}"
        form = "a configuration has `key: value` at its top, for example `seed: 42`"
        raise UserError(f"{path}: {shown} is in it; {form}")
    return found


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """Read the words of ``--config KEY=VALUE …`` as a file's; a value that is not YAML stays text."""
    found: dict[str, Any] = {}
    for word in words:
        key, _, text = word.partition("=")
        try:
            value = parse(text, f"--config {key}", config_schema()["properties"].get(key, {}))
        except yaml.YAMLError:
            value = text
        found = merge(found, {key: value})
    return found


def require_texts(part: Any, where: str = "") -> None:
    """Refuse a key that is not text; Snakemake's own parser of files and of the command line lets such keys pass."""
    for key, value in part.items() if isinstance(part, dict) else ():
        if not isinstance(key, str):
            raise UserError(f"configuration: {where}{key}: {not_a_name(key)}")
        require_texts(value, f"{where}{key}.")


def nearest_file(path: Path) -> str:
    """The end of a message about a missing configuration file: the most similar name, here or in the source."""
    folder = Path() if Path("config").is_dir() else SOURCE
    files = [file for part in ("config", "config/overlays") for file in sorted((folder / part).glob("*.yaml"))]
    where = "" if folder == Path() else f" (in {os.path.relpath(SOURCE)})"
    return nearest(str(path), [str(file.relative_to(folder)) for file in files]) + where


def merge(value: Any, changes: Any) -> Any:
    """Lay ``changes`` over ``value``: dictionaries merge; everything else, null too, replaces what was there."""
    if not (isinstance(value, dict) and isinstance(changes, dict)):
        return changes
    return value | {key: merge(value.get(key), part) for key, part in changes.items()}


def prepare(config: dict[str, Any], default: dict[str, Any] | None = None) -> dict[str, Any]:
    """Check a merged configuration, and complete it with defaults and with the recipes of its models.

    Args:
        config: the configuration to check; it is not changed.
        default: the merged default files, which give the order of keys; they are read here if None.

    Returns:
        The configuration with these changes: ``models`` lists every model (first those that tables and figures show);
        ``recipes`` maps each model to its complete recipe, where each further seed is a model of its own; ``bases``
        also has the weights that recipes bring along; each pool and benchmark holds what its entry of ``data`` says.
    """
    require_texts(config)
    config = in_default_order(drop_nulls(config), default_values() if default is None else default)
    check(config, config_schema(), "configuration")
    config = with_defaults(config, config_schema())
    changes = config.pop("recipes")
    if config["report"]["table1"]["models"] == "published":
        config["report"]["table1"]["models"] = published_models(config, changes)
    needed = needed_recipes(config) | {name: f"recipes.{name}" for name in changes if name not in all_recipes()}
    config["recipes"] = {}
    for name, where in needed.items():
        found = recipe(name, where, changes.get(name, {}))
        config["recipes"] |= with_seeds(config, name, complete_recipe(config, name, found))
    config["models"] = list(needed)
    expand_paths(config)
    check_names(config)
    for provider in (config["teacher"], config["labeller"], *config["screen"]["providers"].values()):
        identify_server(provider, config["pathvars"]["results"])
    config["read_from"] = {}
    for kind in ("pools", "benchmarks"):
        for name, source in config[kind].items():
            config["read_from"][f"{kind}.{name}"], config[kind][name] = resolve_source(config, kind, name, source)
    return config


def needed_recipes(config: dict[str, Any]) -> dict[str, str]:
    """The models that a configuration names, each with the first key that names it (for messages)."""
    report = config["report"]
    places = {f"report.{table}.models": report[table]["models"] for table in ("table1", "table2") if table in report}
    places |= {"report.figures": report["figures"], "models": config["models"]}
    first: dict[str, str] = {}
    for where, names in places.items():
        for name in names:
            first.setdefault(name, where)
    return first


def recipe(name: str, where: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Read and check a model's recipe, and complete it with defaults.

    Args:
        name: the model.
        where: the key of the configuration that names the model, for messages.
        changes: what the configuration lays over the recipe (``recipes.{name}``).
    """
    file = f"config/models/{name}.yaml"
    form = config_schema()["$defs"]["name"]
    if not re.search(form["pattern"], name):
        raise UserError(f"{where}: the name {name!r} becomes a file's; {form['description']}")
    try:
        schema = config_schema()["$defs"]["recipe"]
        found = read_yaml(locate(file), file, schema)
    except FileNotFoundError:
        raise UserError(f"{where}: no recipe {file}{nearest(name, all_recipes())}") from None
    check(found, schema, file)
    if changes:
        # In a recipe, null always means the default, so removing the key says the same.
        found = without_nulls(merge(found, changes))
        check(found, schema, f"recipes.{name}")
    return dict(with_defaults(found, schema))


def complete_recipe(config: dict[str, Any], name: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """Complete a recipe's ``thinking``; weights that it brings along go into ``bases`` under the model's name."""
    if isinstance(recipe["base"], dict):
        if name in config["bases"]:
            both = f"weights are given here and in bases.{name}"
            raise UserError(f"config/models/{name}.yaml: base: {both}; remove one of the two")
        config["bases"][name], recipe["base"] = recipe["base"], name
    recipe["thinking"] = {**config["thinking"], **recipe.get("thinking", {})}
    if results := config["published"]["results"].get(name):
        recipe["thinking"]["budgets"] = sorted({result["budget"] for result in results} - {0})
        recipe["thinking"]["forced"] = sorted({result["forced"] for result in results} - {0})
    return recipe


def with_seeds(config: dict[str, Any], name: str, recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The models that a complete recipe stands for: one, or one for each of its ``seeds``, which alone differ."""
    found = {name: recipe}
    if not recipe["seeds"]:
        return found
    where, seeds = f"config/models/{name}.yaml: seeds", recipe["seeds"]
    if "sft" not in recipe:
        raise UserError(f"{where}: the recipe has no 'sft', so nothing is trained; take it out")
    for kind in ("checkpoints", "results", "beside"):
        if name in config["published"][kind]:
            why = "its answers are paired with one training's" if kind == "beside" else "it stands for one training"
            raise UserError(f"{where}: published.{kind}.{name} is there, and {why}; remove one of the two")
    if (own := recipe["sft"]["seed"]) not in seeds:
        raise UserError(f"{where}: {seeds} lacks the recipe's own sft.seed, {own}; add it, or correct sft.seed")
    for model, seed in zip(trainings(name, recipe)[1:], (seed for seed in seeds if seed != own), strict=True):
        if model in all_recipes():
            raise UserError(f"{where}: seed {seed} becomes the model {model}, which has a recipe; rename that file")
        found[model] = recipe | {"seeds": None, "sft": recipe["sft"] | {"seed": seed}}
    return found


def published_models(config: dict[str, Any], changes: Mapping[str, Any]) -> list[str]:
    """Models with a row in the paper's Table 1, in its order (``report.table1.models: published``).

    A recipe counts if this configuration has its base, or if the recipe brings its own weights.
    """
    with open(source_file("resources/paper/table1.csv"), newline="", encoding="utf-8") as stream:
        rows = [row["model"] for row in csv.DictReader(stream)]
    recipes = {name: recipe(name, "report.table1.models", changes.get(name, {})) for name in all_recipes()}
    here = [name for name, one in recipes.items() if isinstance(one["base"], dict) or one["base"] in config["bases"]]
    shown = [name for name in here if recipes[name]["published"] in rows]
    return sorted(shown, key=lambda name: rows.index(recipes[name]["published"]))


def in_default_order(config: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """Put the keys into the order of the default files; further keys follow in their own order.

    The order of pools decides which of two duplicate questions stays, and the order of models that of table rows.
    """

    def reorder(part: Any, default: Any) -> Any:
        if not isinstance(part, dict):
            return part
        known = default if isinstance(default, dict) else {}
        return {name: reorder(part[name], known.get(name)) for name in dict.fromkeys([*known, *part]) if name in part}

    result: dict[str, Any] = reorder(config, default)
    return result


def expand_paths(config: dict[str, Any]) -> None:
    """Expand ``~``, ``$VARIABLES`` and ``<results>`` in all paths of the configuration, in place.

    No other code expands paths. ``pathvars`` hold no variable, as Snakemake has read them by then; they get their plain
    form (``results/x``, not ``./results/x/``).
    """
    for name, path in config["pathvars"].items():
        if (full := expand_path(path, f"pathvars.{name}")) != path:
            raise UserError(f"pathvars.{name}: {path}: Snakemake takes it as it stands; write it out: {full}")
        if found := special_characters(path):
            remedy = "choose another folder"
            raise UserError(f"pathvars.{name}: {path!r} holds {found}, which commands of jobs cannot have; {remedy}")
        config["pathvars"][name] = str(Path(path))
        if not Path(path).parts:
            raise UserError(f"pathvars.{name}: {path!r} is the working directory itself; name a folder in it")
    if misplaced := misplaced_source():
        raise UserError(misplaced)
    results = config["pathvars"]["results"]
    for key in ("store", "scratch"):
        config[key] = expand_path(config[key], key)
    for name, path in config["runs"].items():
        config["runs"][name] = str(Path(expand_path(path, f"runs.{name}")))
    if notes := config["labeller"]["notes"]:
        config["labeller"]["notes"] = expand_path(notes, "labeller.notes")
    entries = {f"data.{name}": entry for name, entry in config["data"].items()} | all_weights(config)
    for kind in ("results", "beside"):
        for name, files in config["published"][kind].items():
            entries |= {f"published.{kind}.{name}.{number}": one for number, one in enumerate(files)}
    for where, entry in entries.items():
        if entry.get("path"):
            # Snakemake warns of a leading `./`, and does not match such a path with a rule's output.
            path = expand_path(entry["path"], f"{where}.path").replace("<results>", results)
            entry["path"] = path.removeprefix("./")


def expand_path(path: str, where: str) -> str:
    """A path with ``~`` and ``$VARIABLES`` expanded, without what Snakemake or a command takes for something else."""
    for name in re.findall(r"\$\{?([A-Za-z_]\w*)", path):
        if not os.environ.get(name):
            unset = f"the environment variable {name} is not set"
            raise UserError(f"{where}: {path}: {unset}; export it, or write the path out")
    full = os.path.expanduser(os.path.expandvars(path))
    if full.startswith("~"):
        raise UserError(f"{where}: {path}: there is no such user; write the path out")
    special = [repr(one) for one in sorted(set("{}\n") & set(full))] or ["'-' at its beginning"][: full.startswith("-")]
    if special:
        fault = f"holds {' and '.join(special)}, which Snakemake or a command takes for something else"
        raise UserError(f"{where}: {path!r} {fault}; rename it")
    return full


def resolve_source(config: dict[str, Any], kind: str, name: str, source: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Complete a pool or benchmark with what its entry of ``data`` says; returns the entry's name, and the source.

    A benchmark that ``published.evaluation`` holds is taken from there, whatever its own entry says. Its ``part`` is
    then dropped, because a part is one of the original set.
    """
    label, evaluation = source["from"], config["published"]["evaluation"]
    if kind == "benchmarks" and evaluation and name in (sets := config["data"][evaluation]["sets"]):
        source = source | sets[name] | {"part": None, "from": evaluation}
        label = f"{evaluation}: {source['key']}"
    place = {key: value for key, value in config["data"][source["from"]].items() if key not in ("sets", "sources")}
    return label, place | {key: value for key, value in source.items() if key != "from"}


def drop_nulls(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of the configuration without the parts that an overlay sets to null.

    For example, ``benchmarks: {gpqa: null}`` removes GPQA, ``bases: {NAME: {path: null}}`` a base's folder,
    ``report: {figure8a: {beside: {s1K: null}}}`` a data set from Figure 8a, and
    ``published: {results: {m1-7b-1k: null}}`` the answers of a model that the authors released.
    """
    depths = {**dict.fromkeys(NAMED, 1), "bases": 2, "report": 3}
    result = {key: without_nulls(value, depths.get(key, 0)) for key, value in config.items()}
    if isinstance(screen := config.get("screen"), dict):
        depths = {"models": 2, "providers": 1}
        result["screen"] = {key: without_nulls(value, depths.get(key, 0)) for key, value in screen.items()}
    if isinstance(published := config.get("published"), dict):  # where `evaluation: null` says something
        result["published"] = {key: without_nulls(value, 1) for key, value in published.items()}
    return result


def without_nulls(part: Any, depth: float = math.inf) -> Any:
    """A part of the configuration without the null values of its dictionaries, down to ``depth`` levels."""
    if not (isinstance(part, dict) and depth):
        return part
    return {name: without_nulls(value, depth - 1) for name, value in part.items() if value is not None}


def identify_server(provider: dict[str, Any], results: str) -> None:
    """Complete a provider whose server the workflow starts by itself: expand ``<results>`` in the server's arguments,
    and append a digest of the server's code and arguments to the model's name.

    The store keeps calls under the model's name, so the answers of a changed server are not taken for this one's.
    """
    if not provider["serve"]:
        return
    module, *arguments = provider["serve"]
    try:
        code = fingerprint(module)
    except ModuleNotFoundError:
        raise UserError(f"serve: there is no module {module} in the package") from None
    provider["model"] += f"@{digest([code, arguments])[:8]}"
    provider["serve"] = [part.replace("<results>", results) for part in provider["serve"]]


def with_defaults(value: Any, schema: dict[str, Any]) -> Any:
    """A copy of a value, completed with the defaults of its part of the schema."""
    if "$ref" in schema:
        schema = config_schema()["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(value, list) and "items" in schema:
        return [with_defaults(part, schema["items"]) for part in value]
    if not isinstance(value, dict):
        return value
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    lacking = {key: part["default"] for key, part in properties.items() if "default" in part and key not in value}
    inner = others if isinstance(others, dict) else {}
    return {key: with_defaults(part, properties.get(key, inner)) for key, part in (lacking | value).items()}
