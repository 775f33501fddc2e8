"""Check a configuration: its keys and values by the schema, and that every name refers to something that exists.

Each fault raises a :class:`UserError` that names the key, what was found, and what would be right.
"""

import csv
import difflib
import functools
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from m1.core.errors import UserError
from m1.core.keys import check_keys
from m1.core.places import SOURCE, locate, source_file, unreadable
from m1.report.settings import LARGEST
from m1.wiring.run import THINKING
from m1.wiring.schema import config_schema


def check(value: Any, schema: dict[str, Any], where: str) -> None:
    """Check a value (``where`` names it) against a part of the configuration's schema, and that it holds no API key.

    Of several faults, the message gives the one nearest to the top level.
    """
    try:
        check_keys(value, "")
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    faults = Draft202012Validator({**schema, "$defs": config_schema()["$defs"]}).iter_errors(value)

    def rank(fault: ValidationError) -> tuple[int, str, bool]:
        return len(fault.absolute_path), str(fault.absolute_path), fault.validator != "type"

    if first := min(faults, key=rank, default=None):
        raise UserError(f"{where}: {explain(first)}")


def explain(fault: ValidationError) -> str:
    at = ".".join(map(str, fault.absolute_path))
    if fault.validator == "additionalProperties" and isinstance(fault.schema.get("additionalProperties"), bool):
        known = list(fault.schema.get("properties", {}))
        key = next(key for key in fault.instance if key not in known)
        return f"unknown key '{key}'{f' in {at}' if at else ''}{nearest(str(key), known)}"
    if fault.validator == "required":
        missing = next(key for key in fault.validator_value if key not in fault.instance)
        return f"{at or 'top level'}: key '{missing}' is missing"
    if fault.validator == "pattern" and "propertyNames" in fault.absolute_schema_path:
        return f"{at}: the name {fault.instance!r} becomes a file's; {config_schema()['$defs']['name']['description']}"
    if {"api_key_env", "base_url", "extra"} & set(fault.absolute_path):
        return f"{at}: {fault.validator} {fault.validator_value} is needed; what was found is not shown"
    if inner := [one for one in fault.context or () if len(one.absolute_path) > len(fault.absolute_path)]:
        return explain(inner[0])  # the fault is inside one item of a list; the branch that allows lists has it
    if fault.validator == "type" and fault.instance is None:
        return f"{at}: null is no {fault.validator_value}; a name stands in quotes: 'null'"
    number = fault.validator == "type" and re.search("integer|number", str(fault.validator_value))
    if number and isinstance(fault.instance, str):
        return f"{at}: {fault.message}; write a number in decimal digits, without quotes"
    meant = fault.schema.get("description") if fault.validator == "pattern" else None
    return f"{at}: {fault.message}" + (f" ({meant})" if meant else "")


def nearest(name: str, known: list[str]) -> str:
    """The end of a message about an unknown name: ``; did you mean 'seed'?``, or all known names."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; known are {', '.join(known)}"


def names_in(folder: str) -> list[str]:
    """Names, without suffix, of the YAML files in a folder of the working directory and of the workflow's source."""
    return sorted({file.stem for place in (Path(), SOURCE) for file in (place / folder).glob("*.yaml")})


def require_name(name: str, names: Any, where: str) -> None:
    if name not in names:
        raise UserError(f"{where}: there is no '{name}'{nearest(name, list(names))}")


def require_entry(config: dict[str, Any], entry: str, key: str, where: str) -> None:
    """Check that ``data`` has an entry, and that the entry has a key (``sets``, ``sources``) with its layout."""
    require_name(entry, config["data"], where)
    if not config["data"][entry][key]:
        raise UserError(f"data.{entry}: key '{key}' is missing; {where} needs it (config/data.yaml shows its form)")


def all_weights(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every base and every screening model with weights, by its key in the configuration."""
    bases = {f"bases.{name}": base for name, base in config["bases"].items()}
    return bases | {f"screen.models.{name}": model for name, model in config["screen"]["models"].items()}


def check_names(config: dict[str, Any]) -> None:
    """Check that every name refers to something that the configuration has.

    Raises:
        UserError: gives the key, what was found, and the nearest name.
    """
    check_taken(config)
    check_weights(config)
    check_sources(config)
    check_published(config)
    check_screen(config)
    check_sets(config)
    check_recipes(config)
    check_serve(config)
    check_tables(config)
    check_beside(config)
    check_figures(config)


TAKEN = {  # by the files of other rules in the same folder of results
    "pools": r"merged|leaks",
    "subsets": r"domains",
    "distill": r".*\.(questions|dropped|differing)",
    "screen.models": r"hard",
    "screen.providers": r"hard",
}
"""Names that no pool, set, … may have."""


def check_taken(config: dict[str, Any]) -> None:
    """Check that no name makes a file that another rule makes."""
    for key, names in TAKEN.items():
        part = functools.reduce(lambda part, name: part[name], key.split("."), config)
        for name in part:
            if re.fullmatch(names, name):
                raise UserError(f"{key}.{name}: the name is taken by a file of the results; give it another one")


def check_weights(config: dict[str, Any]) -> None:
    """Check that every base and every screening model has exactly one place: ``hub`` or ``path``."""
    of_world = f"{config['pathvars']['results']}/world/models/"
    for where, model in all_weights(config).items():
        if "hub" in model and "path" in model:
            both = f"both path ({model['path']}) and hub ({model['hub']}) are given"
            remedy = f"take one out by null, as in {{hub: {model['hub']}, path: null}}"
            raise UserError(f"{where}: {both}, perhaps one of them by another file; {remedy}")
        if not ("hub" in model or "path" in model):
            raise UserError(f"{where}: give one of hub and path")
        if model.get("path", "").startswith(of_world) and "world" in config:
            require_name(model["path"].removeprefix(of_world), config["world"]["models"], f"{where}.path: world.models")


def check_screen(config: dict[str, Any]) -> None:
    """Check that there is a screening model or provider, and that no two of them share a name (3.1)."""
    screen = config["screen"]
    for name in screen["providers"]:
        if name in screen["models"]:
            raise UserError(f"screen.providers.{name}: the name is taken; give it another one")
    if not (screen["models"] or screen["providers"]):
        none = "there is none, and none in screen.providers"
        raise UserError(f"screen.models: {none}; at least one model must screen (3.1)")


def check_sets(config: dict[str, Any]) -> None:
    for name, drawn in config["distill"].items():
        if name != "hard" and ("size" in drawn) + ("like" in drawn) != 1:
            raise UserError(f"distill.{name}: give one of size and like, and share")
        if name != "hard" and "share" not in drawn:
            meaning = "the share of correct answers expected, 0.8 in the paper"
            raise UserError(f"distill.{name}: key 'share' is missing ({meaning})")
        if "like" in drawn:
            require_name(drawn["like"], config["subsets"], f"distill.{name}.like")
    for name, subset in config["subsets"].items():
        require_name(subset["traces"], config["distill"], f"subsets.{name}.traces")
        if "like" in subset:
            require_name(subset["like"], config["subsets"], f"subsets.{name}.like")


def check_recipes(config: dict[str, Any]) -> None:
    """Check that every recipe's base, subset and strategy exist, and that its processes can share a batch evenly."""
    for name, recipe in config["recipes"].items():
        file = f"config/models/{name}.yaml"
        require_name(recipe["base"], config["bases"], f"{file}: base")
        if "sft" in recipe:
            strategy = f"config/accelerate/{recipe['train']['strategy']}.yaml"
            if fault := unreadable(locate(strategy)):
                known = nearest(recipe["train"]["strategy"], names_in("config/accelerate"))
                raise UserError(f"{file}: train.strategy: {strategy}: {fault}{known}")
            require_name(recipe["sft"]["subset"], config["subsets"], f"{file}: sft.subset")
            size, processes = recipe["sft"]["batch_size"], recipe["train"]["nodes"] * recipe["train"]["processes"]
            if size % processes:
                fault = f"{size} samples cannot be shared among {processes} processes (train.nodes × train.processes)"
                raise UserError(f"{file}: sft.batch_size: {fault}; choose a number of GPUs that divides it")


def check_serve(config: dict[str, Any]) -> None:
    """Check that deterministic decoding names its attention backend.

    SGLang's own choice depends on the card, and the store would keep the answers of both under one key.
    """
    serves = {f"config/models/{name}.yaml: serve": recipe["serve"] for name, recipe in config["recipes"].items()}
    for where, serve in (serves | {"screen.serve": config["screen"]["serve"]}).items():
        options = serve["options"]
        if options.get("deterministic") and not options.get("attention_backend"):
            fault = "`deterministic` needs `attention_backend`, because SGLang's own choice depends on the card"
            raise UserError(f"{where}.options: {fault}; fa3 is for Ampere and Hopper, triton for others")


def check_tables(config: dict[str, Any]) -> None:
    """Check that every model of Tables 1 and 2 has the table's budget and, for Table 2, an ``ablation``."""
    tables = {table: config["report"][table] for table in ("table1", "table2") if table in config["report"]}
    for table, name in ((table, name) for table, shown in tables.items() for name in shown["models"]):
        recipe, budget = config["recipes"][name], tables[table]["budget"]
        found, thinks = recipe["thinking"]["budgets"], recipe["prompt"] in THINKING
        if thinks and budget != "best" and budget not in found:
            raise UserError(f"report.{table}.budget: {budget} is not among the budgets of {name}: {found}")
        if thinks and table == "table1" and min(found, default=LARGEST + 1) > LARGEST:
            raise UserError(f"report.table1: {name} has no budget up to {LARGEST:,}, only {found}; the paper's has")
        if table == "table2" and not recipe["ablation"]:
            lacking = f"config/models/{name}.yaml has no 'ablation' (scale and label), its place in Table 2"
            raise UserError(f"report.table2.models: {lacking}")


def check_beside(config: dict[str, Any]) -> None:
    """Check ``published.beside``: the authors' answers that are compared with a model's own, question by question.

    The model must have cells that are compared with the paper, at the budgets of the files, on a benchmark of this run.
    """
    published = config["published"]
    for name, files in published["beside"].items():
        where = f"published.beside.{name}"
        require_name(name, config["recipes"], "published.beside")
        if name in published["results"]:
            fault = f"published.results.{name} takes its answers as published; they would be compared with themselves"
            raise UserError(f"{where}: {fault}; remove one of the two")
        for one in files:
            require_entry(config, one["from"], "sets", where)
        if not any(config["benchmarks"].keys() & config["data"][one["from"]]["sets"].keys() for one in files):
            raise UserError(f"{where}: its `sets` in data name no benchmark of this run; take it out")
        check_beside_budgets(where, files, compared_budgets(config, name))


def compared_budgets(config: dict[str, Any], name: str) -> set[int]:
    """Budgets (tokens) at which a model's cells of Tables 1 and 2 are compared with the paper's; 0 without thinking."""
    recipe, tables = config["recipes"][name], config["report"]
    thinks, found = recipe["prompt"] in THINKING, set()
    if recipe["published"] and name in tables["table1"]["models"]:
        found |= {budget for budget in recipe["thinking"]["budgets"] if budget <= LARGEST} if thinks else {0}
    if "table2" in tables and name in tables["table2"]["models"]:
        found.add(tables["table2"]["budget"] if thinks else 0)
    return found


def check_beside_budgets(where: str, files: list[dict[str, Any]], compared: set[int]) -> None:
    """Check that published answers are unforced, at budgets that are compared, and in one file for each budget."""
    if not compared:
        needed = "show it in Table 1 with `published` in its recipe, or in Table 2; or take it out"
        raise UserError(f"{where}: no cell of this model is compared with a published one; {needed}")
    budgets = [one["budget"] for one in files if not one["forced"]]
    for one in files:
        if one["forced"]:
            remedy = "take this file out"
            raise UserError(f"{where}: forced is {one['forced']}, but no cell of Tables 1 and 2 is forced; {remedy}")
        if one["budget"] not in compared:
            known = ", ".join(map(str, sorted(compared)))
            fault = f"budget {one['budget']} is none that its cells of Tables 1 and 2 are compared at ({known})"
            raise UserError(f"{where}: {fault}; correct it, or take this file out")
        if budgets.count(one["budget"]) > 1:
            raise UserError(f"{where}: budget {one['budget']} is there twice; give each one file")


def check_figures(config: dict[str, Any]) -> None:
    """Check that the models of the figures think, at all budgets and forced counts, and that Figure 8a's sets exist."""
    lengths = config["report"]["figure8a"]
    require_name(lengths["base"], config["bases"], "report.figure8a.base")
    for name in lengths["subsets"].values():
        require_name(name, config["subsets"], "report.figure8a.subsets")
    for label, name in lengths["beside"].items():
        where = f"report.figure8a.beside.{label}"
        require_entry(config, name, "sources", where)
        if name in config["subsets"] or label in lengths["subsets"]:
            raise UserError(f"{where}: {name} is a subset of this run, or its label is taken; name it in `subsets`")
    for name in config["report"]["figures"]:
        recipe = config["recipes"][name]
        if recipe["prompt"] not in THINKING:
            raise UserError(f"report.figures: {name} does not think (its prompt is {recipe['prompt']}); take it out")
        for key in ("budgets", "forced"):
            if lacking := [value for value in config["thinking"][key] if value not in recipe["thinking"][key]]:
                why = "because its recipe has its own `thinking`; remove one of the two"
                raise UserError(f"report.figures: {name} lacks {key} {lacking}, {why}")


def check_sources(config: dict[str, Any]) -> None:
    """Check that every pool and benchmark names an entry of ``data`` with a layout, and no column of the tables."""
    data = config["data"]
    with open(source_file("resources/paper/benchmarks.csv"), newline="", encoding="utf-8") as stream:
        taken = {row["column"] for row in csv.DictReader(stream)} | {"Avg.", "all", "average"}
    for name in config["benchmarks"]:
        if name in taken:
            fault = "a column of the tables has that name already"
            raise UserError(f"benchmarks.{name}: {fault}; give the benchmark another one")
    used = {f"{kind}.{name}": one["from"] for kind in ("pools", "benchmarks") for name, one in config[kind].items()}
    for where, entry in used.items():
        require_name(entry, data, f"{where}.from")
        if not data[entry]["layout"]:
            raise UserError(f"data.{entry}: key 'layout' is missing; {where} needs it")
    world = f"{config['pathvars']['results']}/world/"
    of_world = [f"data.{entry}" for entry in used.values() if (data[entry]["path"] or "").startswith(world)]
    of_world += [name for name, model in all_weights(config).items() if model.get("path", "").startswith(world)]
    if of_world and "world" not in config:
        raise UserError(f"world: key is missing, yet {of_world[0]} is made by it")


def check_published(config: dict[str, Any]) -> None:
    """Check that everything taken as published has an entry of ``data`` that says how it is laid out."""
    data, published, recipes = config["data"], config["published"], config["recipes"]
    if published["evaluation"] is not None:
        require_entry(config, published["evaluation"], "sets", "published.evaluation")
    for name, entry in published["subsets"].items():
        require_name(name, config["subsets"], "published.subsets")
        require_entry(config, entry, "sources", f"published.subsets.{name}")
    for name, entry in published["checkpoints"].items():
        require_name(name, recipes, "published.checkpoints")
        require_name(entry, data, f"published.checkpoints.{name}")
        if "sft" not in recipes[name]:
            remedy = "it is its base, so change that one in `bases`"
            raise UserError(f"published.checkpoints.{name}: its recipe has no 'sft'; {remedy}")
    for name, results in published["results"].items():
        require_name(name, recipes, "published.results")
        for result in results:
            require_entry(config, result["from"], "sets", f"published.results.{name}")
