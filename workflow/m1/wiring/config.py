"""Read, merge and check the configuration before anything runs.

An unknown key is refused with the nearest known one, and every name must refer to something that exists. Each fault
raises a :class:`UserError` that names the file or key, what was found, and what would be right.
"""

import csv
import difflib
import functools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from yaml.constructor import ConstructorError
from yaml.error import MarkedYAMLError

from m1.core.errors import UserError, first_line
from m1.core.files import digest
from m1.core.fingerprint import fingerprint
from m1.core.keys import check_keys
from m1.core.places import SOURCE, locate, misplaced_source, source_file, special_characters, unreadable
from m1.report.settings import LARGEST
from m1.wiring.run import THINKING, trainings
from m1.wiring.schema import config_schema

# Keys whose named parts an overlay removes by setting them to null, as in `benchmarks: {gpqa: null}`.
NAMED = ("bases", "data", "pools", "benchmarks", "distill", "subsets", "report")


def all_recipes() -> list[str]:
    return names_in("config/models")


def names_in(folder: str) -> list[str]:
    """Names, without suffix, of the YAML files in a folder of the working directory and of the workflow's source."""
    return sorted({file.stem for place in (Path(), SOURCE) for file in (place / folder).glob("*.yaml")})


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


def read_yaml(path: Path, name: str, schema: Mapping[str, Any]) -> Any:
    """Read a YAML file by :func:`parse`; raises a :class:`UserError`, which calls the file ``name``, if it is none."""
    try:
        return parse(path.read_text(encoding="utf-8"), name, schema)
    except FileNotFoundError:
        raise
    except ConstructorError as error:
        remedy = "write the value itself; tags (!…) are not read" if "tag" in (error.problem or "") else ""
        raise UserError(f"{name}: not readable as YAML: {'; '.join(filter(None, (_fault(error), remedy)))}") from None
    except (OSError, yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8
        raise UserError(f"{name}: not readable as YAML: {_fault(error)}") from None
    except RecursionError:
        raise UserError(f"{name}: not readable as YAML: nested too deeply") from None


def _fault(error: Exception) -> str:
    """The library's complaint about a file, with the line, but without the text there, because that may be a key."""
    if not isinstance(error, MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return " ".join(filter(None, (error.context, error.problem))) + place


def parse(text: str, name: str, schema: Mapping[str, Any]) -> Any:
    """Parse YAML text; the schema decides the type of an unquoted word.

    Where the schema wants text, ``2024`` is the text "2024"; where it wants a whole number, ``1e5`` is 100000.

    Raises:
        UserError: a key stands twice or is null, a number is not finite, or a value is one that JSON cannot hold; the
            message calls the text ``name``.
        yaml.YAMLError: the text is not YAML.
    """
    loader, top = compose(text)
    waiting: list[tuple[yaml.Node | None, list[Mapping[str, Any]]]] = [(top, [schema])]
    seen = set()
    while waiting:
        node, schemas = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            node.value = joined(node.value)
            settle(node, schemas, name)
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(value, below(schemas, None)) for value in node.value]
        elif isinstance(node, yaml.MappingNode):
            settle_names(node, name)
            either: Mapping[str, Any] = {"anyOf": schemas, "items": {"anyOf": schemas}}
            for key, value in node.value:
                waiting.append((value, [either] if key.tag == f"{TAG}merge" else below(schemas, key.value)))
    try:
        found = loader.construct_document(top) if top else None
        json.dumps(found, ensure_ascii=False).encode()  # the form in which jobs get their settings
    except (KeyError, TypeError, ValueError) as error:  # KeyError: of `!!bool maybe`
        what = "texts, numbers, true, false, null, lists and dictionaries, none inside itself"
        raise UserError(f"{name}: not a configuration: {first_line(error)}; it may hold {what}") from None
    return found


def joined(text: str) -> str:
    """The text with each pair of surrogates as one character: JSON writes an emoji as two ``\\u``."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


TAG = "tag:yaml.org,2002:"
SCALARS = {
    f"{TAG}int": {"integer", "number"},
    f"{TAG}float": {"number"},
    f"{TAG}bool": {"boolean"},
    f"{TAG}null": {"null"},
}
"""YAML's tags of unquoted words that are not text, and the names of these types in a JSON schema."""
# Numbers as people mean them. YAML 1.1 reads 1e5 as text, 012 as 10, 12:30 as 750 and 2024-01-01 as a date.
NUMBERS = {
    f"{TAG}int": re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)$"),
    f"{TAG}float": re.compile(
        r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?$"
        r"|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
    ),
}
RESOLVERS = {
    first: [pair for pair in pairs if pair[0] in SCALARS.keys() - NUMBERS or pair[0] == f"{TAG}merge"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
RESOLVERS |= {first: [*RESOLVERS.get(first, []), *NUMBERS.items()] for first in "-+.0123456789"}


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with :data:`NUMBERS` as the only forms of a number."""

    yaml_implicit_resolvers = RESOLVERS


class FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same loader in C, which is several times as fast."""

    yaml_implicit_resolvers = RESOLVERS


def compose(text: str) -> tuple[yaml.SafeLoader, yaml.Node | None]:
    """The loader of a YAML text, and the text's top node.

    A text that the C library refuses is read again in Python, whose messages say more.
    """
    # Between values, a tab is a blank to JSON and to libyaml, but an error to PyYAML and so to Snakemake.
    if "\t" in text and is_json(text):
        text = text.replace("\t", " ")
    # libyaml recurses without a limit, so a text nested some thousand levels deep would crash the interpreter.
    if "\t" not in text and max(map(text.count, "[{-?")) < 3000:
        with suppress(yaml.YAMLError):
            fast = FastLoader(text)
            return fast, fast.get_single_node()
    loader = Loader(text)
    return loader, loader.get_single_node()


def is_json(text: str) -> bool:
    """Whether a text is JSON, which Snakemake reads as such."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def settle_names(node: yaml.MappingNode, name: str) -> None:
    """Turn the keys of a mapping into texts, as they are written.

    A key that stands twice is refused, because YAML would silently drop the first value.
    """
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag == f"{TAG}null":
            shown = key.value if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
            raise UserError(f"{name}: line {line}: key {shown}: {not_a_name(shown)}")
        key.value = joined(key.value)
        if key.value in lines:
            both = f"in lines {lines[key.value]} and {line}" if lines[key.value] != line else f"in line {line}"
            raise UserError(f"{name}: key '{key.value}' stands twice, {both}; put both into one")
        lines[key.value] = line
        if key.tag in SCALARS:
            key.tag = f"{TAG}str"


def settle(node: yaml.ScalarNode, schemas: list[Mapping[str, Any]], name: str) -> None:
    """Give an unquoted number, boolean or null the type that the schema wants: a whole number for ``1e5``, text for a
    name such as ``2024`` or ``no``. A number must be finite."""
    if node.tag not in SCALARS:
        return
    types = wanted_types(schemas)
    fits = not types or types & SCALARS[node.tag]
    number = float(re.sub(r"_|\.(?=[in])", "", node.value.lower())) if node.tag == f"{TAG}float" else 0.0
    if fits and not math.isfinite(number):
        line = node.start_mark.line + 1
        raise UserError(f"{name}: line {line}: {node.value}: a finite number is needed; a text stands in quotes")
    if not fits and "integer" in types and node.tag == f"{TAG}float" and number.is_integer():
        node.tag, node.value = f"{TAG}int", f"{int(number)}"
    elif not fits and "string" in types and node.tag != f"{TAG}null":
        node.tag = f"{TAG}str"


def alternatives(schemas: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield these parts of the schema, and all parts that they refer to (``$ref``) or choose among (``anyOf``)."""
    for schema in schemas:
        yield schema
        inner = [*schema.get("anyOf", ()), *(branch["then"] for branch in schema.get("allOf", ()))]
        if "$ref" in schema:
            inner.append(config_schema()["$defs"][schema["$ref"].rsplit("/", 1)[1]])
        yield from alternatives(inner)


def below(schemas: Iterable[Mapping[str, Any]], key: str | None) -> list[Mapping[str, Any]]:
    """The parts of the schema for the value of a key, or for the items of a list if ``key`` is None."""
    found = (
        one.get("items") if key is None else one.get("properties", {}).get(key, one.get("additionalProperties"))
        for one in alternatives(schemas)
    )
    return [part for part in found if isinstance(part, dict)]


def wanted_types(schemas: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names of the JSON types that the schema allows; an empty set where the schema does not restrict the type."""
    names, found = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}, set()
    for one in alternatives(schemas):
        types = one.get("type", [])
        values = one.get("enum", [one["const"]] if "const" in one else [])
        found |= {types} if isinstance(types, str) else {*types}
        found |= {names[type(value)] for value in values}
    return found


def not_a_name(key: Any) -> str:
    """The end of a message about a key that is not text."""
    return f"the name must be a text; write it in quotes: '{key}'"


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


def require_name(name: str, names: Any, where: str) -> None:
    if name not in names:
        raise UserError(f"{where}: there is no '{name}'{nearest(name, list(names))}")


def all_weights(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every base and every screening model with weights, by its key in the configuration."""
    bases = {f"bases.{name}": base for name, base in config["bases"].items()}
    return bases | {f"screen.models.{name}": model for name, model in config["screen"]["models"].items()}


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


def require_entry(config: dict[str, Any], entry: str, key: str, where: str) -> None:
    """Check that ``data`` has an entry, and that the entry has a key (``sets``, ``sources``) with its layout."""
    require_name(entry, config["data"], where)
    if not config["data"][entry][key]:
        raise UserError(f"data.{entry}: key '{key}' is missing; {where} needs it (config/data.yaml shows its form)")


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
