"""The settings of a step: a dataclass whose fields are the keys, passed as one JSON object on the command line."""

import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import cache, partial
from typing import Annotated, Any, Literal, Self, TypeVar

from m1.core.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The numbers that a field accepts; ``words`` says it in messages, as in ``from 1``."""

    words: str
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and value > self.above


Count = Annotated[int, Range("from 1", least=1)]
Share = Annotated[float, Range("above 0 and at most 1", above=0, most=1)]
Percent = Annotated[float, Range("above 0 and at most 100", above=0, most=100)]


@dataclass(frozen=True)
class Settings:
    """One concern of the configuration; a rule writes it by :meth:`to_json`, the step reads it by :meth:`from_json`.

    A subclass has a field for each key. A field without a default is required; the configuration holds the defaults.
    """

    @classmethod
    def from_json(cls, text: str, where: str = "--settings") -> Self:
        """Parse JSON that :meth:`to_json` wrote or a person typed; ``where`` names it in messages.

        Raises:
            UserError: it is no JSON object, a key is unknown or missing, or a value has the wrong type.
        """
        try:
            value = json.loads(text)
        except ValueError as error:
            raise UserError(f"{where}: not readable as JSON: {error}. Give {_form(cls)}.") from None
        return read(cls, value, where)

    @classmethod
    def from_parts(cls, *parts: Mapping[str, Any], where: str = "configuration") -> Self:
        """Collect the fields from parts of the configuration; other keys are ignored.

        If several parts have a key, the last one counts.

        Raises:
            UserError: a key is missing, or a value has the wrong type.
        """
        names = {field.name for field in fields(cls)}
        return read(cls, {key: value for part in parts for key, value in part.items() if key in names}, where)

    @classmethod
    def keys(cls) -> str:
        """The names of the keys, for ``--help``."""
        return ", ".join(field.name for field in fields(cls))

    def to_json(self) -> str:
        """The settings as one JSON object with sorted keys: the value of one param."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Source(Settings):
    """The place of a published set of records, and the conditions that it must meet (an entry of ``data``).

    A ``path`` is used in place of the set on the ``hub``.
    """

    path: str | None = None  # local file
    hub: str | None = None  # data set on the hub
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    file: str | None = None  # one file of that repository, in place of config and split
    key: str | None = None  # the list to take, where the file is a JSON object of lists
    where: dict[str, tuple[Any, ...]] | None = None  # field to values: only records with one of these are taken
    checksum: str | None = None  # `md5:` or `sha256:` and the hexadecimal digest of the file
    rows: int | None = None  # records expected after `key` and `where`
    obtain: str | None = None  # what a user is told who does not have the set


def read(kind: type[T], value: Any, where: str) -> T:
    """Make a dataclass from a JSON object; fields may again be dataclasses, or tuples and mappings of them.

    Raises:
        UserError: a key is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {_excerpt(value)} found; give {_form(kind)}.")
    hints = _hints(kind)
    every = fields(kind)  # type: ignore[arg-type]
    needed = [one.name for one in every if one.default is MISSING and one.default_factory is MISSING]
    faults = {"unknown": [key for key in value if key not in hints]}
    faults["missing"] = [key for key in needed if key not in value]
    if said := [f"{word} key {', '.join(map(repr, keys))}" for word, keys in faults.items() if keys]:
        raise UserError(f"{where}: {'; '.join(said)}. Give {_form(kind)}.")
    return kind(**{key: _convert(part, hints[key], f"{where}: {key}") for key, part in value.items()})


_hints: Callable[[Any], dict[str, Any]] = cache(partial(typing.get_type_hints, include_extras=True))


def _form(kind: type) -> str:
    names = ", ".join(_hints(kind))
    return f"one JSON object with the keys {names}" if names else "an empty JSON object"


def _excerpt(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:80] + "…"


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Convert a JSON value to the type of a field; lists become tuples, and objects dataclasses."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    plain = int | float if hint is float else hint
    if hint is Any:
        return value
    if origin is Annotated:
        number = _convert(value, inner[0], where)
        if number in inner[1]:
            return number
    elif is_dataclass(hint):
        return read(hint, value, where)  # type: ignore[arg-type]
    elif origin is Literal:
        if value in inner:
            return value
        raise UserError(f"{where} is {_excerpt(value)}; it must be one of {', '.join(map(str, inner))}.")
    elif origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        others = [one for one in inner if one is not type(None)]
        for one in others:
            try:
                return _convert(value, one, where)
            except UserError:
                if len(others) == 1:
                    raise
    elif origin is tuple and isinstance(value, list | tuple):
        if inner[1:] == (...,):
            return tuple(_convert(part, inner[0], f"{where}[{place}]") for place, part in enumerate(value))
        if len(value) == len(inner):
            return tuple(_convert(part, one, where) for part, one in zip(value, inner))
    elif origin in (dict, Mapping) and isinstance(value, Mapping):
        return {key: _convert(part, inner[1], f"{where}.{key}") for key, part in value.items()}
    elif isinstance(hint, type) and isinstance(value, bool) is (hint is bool) and isinstance(value, plain):
        return value
    raise UserError(f"{where} is {_excerpt(value)}; {_name(hint)} is needed.")


def _name(hint: Any) -> str:
    """A type in words, for messages."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_name, inner))
    if origin is Annotated:
        return f"{_name(inner[0])} {inner[1].words}"
    if origin is tuple:
        return f"a list ({', '.join(_name(one) for one in inner if one is not ...)})"
    if origin in (dict, Mapping):
        return "an object"
    known = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    return known.get(hint, str(getattr(hint, "__name__", hint)))
