"""Read YAML as people mean it: the schema decides the type of an unquoted word, and no key stands twice."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.error import MarkedYAMLError

from m1.core.errors import UserError, first_line
from m1.wiring.schema import config_schema


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
